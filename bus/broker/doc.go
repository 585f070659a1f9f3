// Package broker puts MQTT 3.1, 3.1.1 and 5 in front of a bus.
//
// mochi-mqtt is the protocol front for CONNECT, SUBSCRIBE, UNSUBSCRIBE and DISCONNECT. It is used through
// its exported functions and a hook, never forked; see docs/adr/0003-mochi-as-a-front.md:
//
//	socket ─▶ conn.run ─▶ frame (strict) ─┬▶ PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP ─▶ bus
//	                                      └▶ everything else ─▶ mochi ─▶ hook ─▶ bus
//	socket ◀─ flush ◀─ output buffer ◀─┬─ acknowledgements (behind a barrier) and deliveries
//	                                   └─ what mochi writes
//
// What it promises beyond the bus's contract: no byte that acknowledges an event reaches the socket
// before the event is durable (the barrier, see output.go); no packet that violates the protocol
// reaches mochi's decoder (the guard, see input.go); a connection that does not read costs a bounded
// buffer and nobody else anything; a client identifier has one connection at a time, and the next one
// begins only when the last is gone altogether.
package broker
