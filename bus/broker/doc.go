// Package broker puts MQTT 3.1, 3.1.1 and 5 in front of a bus.
//
// mochi-mqtt is the protocol front for CONNECT, SUBSCRIBE, UNSUBSCRIBE and DISCONNECT. The package
// uses its exported functions and a hook, and does not fork it; see
// docs/adr/0003-mochi-as-a-front.md:
//
//	socket ─▶ conn.run ─▶ frame (strict) ─┬▶ PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP ─▶ bus
//	                                      └▶ everything else ─▶ mochi ─▶ hook ─▶ bus
//	socket ◀─ flush ◀─ output buffer ◀─┬─ acknowledgements (behind a barrier) and deliveries
//	                                   └─ what mochi writes
//
// The package promises more than the bus's contract:
//
//   - No byte that acknowledges an event reaches the socket before the event is durable (the
//     barrier, see output.go).
//   - No packet that violates the protocol reaches mochi's decoder (the guard, see input.go).
//   - A connection that does not read costs a bounded buffer, and no other client anything.
//   - A client identifier has one connection at a time. The next one begins only when the previous
//     one has ended completely.
package broker
