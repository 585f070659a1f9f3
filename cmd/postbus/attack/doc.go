// Package attack tests what an enemy can do to the bus: the real program, in a cgroup of 256 MB where this
// machine allows one, is attacked while an honest client publishes and reads its own events. It is tests
// only.
//
// Each attack must leave the bus running and must cost the honest client no event. After all of them the
// bus starts again with what is stored. What the attacks cost is printed, not asserted: memory, processor
// time, and the honest client's latency before and during each attack. With -attack.peer=mosquitto the same
// attacks are made on a Mosquitto, for comparison.
//
//	go test ./cmd/postbus/attack                                           half a second of each attack
//	go test ./cmd/postbus/attack -v -attack.for=10m -attack.peer=mosquitto
package attack
