// Package bus is an event bus that never loses an acknowledged event. It is the heart of postbus
// and can be embedded in any Go program; package broker puts MQTT in front of it.
//
// # The contract
//
//  1. A publish at QoS 1 or 2 is acknowledged only after it is on disk (fdatasync). A retained
//     message is durable under the same acknowledgement.
//  2. An acknowledged event reaches every persistent session that had a matching subscription of
//     QoS 1 or 2 when it was accepted, at least once. This holds while the client is offline or slow,
//     its Receive Maximum is full, it is taken over by another connection, the bus is killed with -9,
//     loses power, is upgraded, or its disk fills up.
//  3. There is one order: the journal's sequence. Each session gets its events in that order, missed
//     events before new ones; a redelivery carries DUP, keeps its packet identifier and is resent in
//     order. In a shared group it may go to another member; to that client it is new, without DUP.
//  4. Nothing is dropped silently. An acknowledged event goes undelivered only when its session
//     expired, the message expired, it is larger than the client accepts, an ACL forbids it, files of
//     the journal are damaged or missing, or a limit passed it. Each such loss is counted, logged with
//     the client's name and published on $bus/lost, and the next event the session gets carries the
//     user property "gap" with the number lost. If a file is missing, its content is not known, and
//     the number is the maximum. "gap" also counts events that the rules hide from a client. In a shared
//     group an event is lost only when no member can have it, online or not.
//     An event that was not acknowledged may still have been accepted: a publish that failed with a
//     disk error can be delivered after a restart.
//  5. Memory is bounded: a backlog lives on disk, and Limits bounds what clients make the bus keep.
//  6. A slow or dead consumer slows nobody else.
//
// # How it works
//
//	Publish ─▶ journal (fdatasync) ─▶ dispatch ─▶ cursor ─▶ Sink (MQTT connection, Go channel, …)
//
// Every consumer is the same thing: a cursor in the journal with filters and a window of deliveries
// in flight. One goroutine, dispatch, folds the journal's records in their order into sessions,
// subscriptions and retained messages, and offers each event to the cursors that are live. A cursor
// whose window or sink is full, or whose consumer is offline, costs a publish nothing: it reads the
// journal from its own offset later (see pump.go), and becomes live again when it has caught up.
//
// State is a fold over the journal: every change (a session opens, subscribes, moves its cursor) is
// a record, and a snapshot now and then bounds what a start has to replay. See
// docs/adr/0001-one-log.md.
package bus
