// Package broker puts MQTT 3.1, 3.1.1 and 5 in front of a bus.
//
// mochi-mqtt is the protocol front: it owns CONNECT, SUBSCRIBE, UNSUBSCRIBE, PINGREQ and DISCONNECT
// and a connection's life. It is used through its hooks and through the net.Conn that it is handed,
// never forked:
//
//	socket ─▶ conn.Read ─▶ frame (strict) ─┬▶ PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP ─▶ bus
//	                                       └▶ everything else ─▶ mochi ─▶ hook ─▶ bus
//	socket ◀─ flush ◀─ output buffer ◀─┬─ acknowledgements (behind a barrier) and deliveries
//	                                   └─ what mochi writes
//
// What it promises beyond the bus's contract: no byte that acknowledges an event reaches the socket
// before the event is durable (the barrier, see output.go); no packet that violates the protocol
// reaches mochi's decoder (the guard, see input.go); a connection that does not read costs a bounded
// buffer and nobody else anything; a client identifier has one connection at a time, and the next one
// begins only when the last is gone altogether.
package broker
