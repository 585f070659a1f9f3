// Package hour tests the contract of the bus from outside, in everything that a bad hour brings at once: the
// real program, on a small disk of its own, serves clients that come and go (MQTT 3.1.1 and 5, over TCP, TLS
// and WebSocket, by password and by certificate, at QoS 1 and 2, in shared groups), while it is killed every
// minute, its disk is full, its certificate is renewed, certificates of clients are revoked, users and their
// rights change, plugin files are edited, broken and removed, and segments of its journal are damaged. It is
// tests only.
//
// A ledger is the judge. It knows each event that was published and whether it was acknowledged, what each
// session received in which order, and, because the test has read the segments before it damages them, which
// events were in the damaged part. It demands:
//
//   - every acknowledged event reaches each session that wants it, or was in a damaged segment, has expired, or
//     was hidden by the rules of that time; then the session is notified: the sum of "gap" is at least what it
//     misses (before MQTT 5, and for groups, the bus's counter of the session is)
//   - a gap is at most what was damaged between the event before it and its own. The first gap after a connect
//     may go back to the last clean stop, because a kill repeats deliveries, and what is repeated may be gone
//     by now: that is the slack of "at least once"
//   - the events of one publisher arrive in their order; sequences rise within a connection; no event is in
//     the journal twice; a repeated delivery has DUP, and at QoS 2 only a new run of the bus repeats one
//   - no event that was refused is delivered; no durable session is forgotten
//   - what a plugin makes of an event arrives like the event itself
//
// Segments are damaged after a clean stop, or before the newest snapshot: what is cut off the newest segment
// after a kill can't be distinguished from a write that the kill cut off, see docs/adr/0016-holes-in-the-journal.md.
//
// The disk is a tmpfs in a mount namespace of the test's own, so that nothing is left mounted however the test
// ends.
//
//	go test ./cmd/postbus/hour                                    some seconds: each kind of trouble once
//	go test ./cmd/postbus/hour -v -timeout 2h -hour.for=1h        200 clients, a kill every minute
//	go test ./cmd/postbus/hour -v -hour.for=10m -hour.seed=7      the order of the troubles is that of the seed
package hour
