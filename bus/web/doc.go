// Package web is the HTTP side of a bus: health, sessions, publishing.
//
// It promises:
//
//   - The users and rules are those of MQTT: no client has more rights here than there. See
//     access.go.
//   - A web page of another origin, or of a name that was pointed at this machine (DNS rebinding),
//     gets no answer but a refusal, unless the configuration names its origin. See guard.go.
//   - Every error is a JSON object with "error" and where possible "hint".
//   - Bodies, headers and times are bounded.
//
// It owns neither the listener's address nor the bus.
package web
