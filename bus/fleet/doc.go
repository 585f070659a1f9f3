// Package fleet exchanges events between buses that each work alone, through a hub that all of them reach now
// and then: a NATS server with JetStream.
//
// # Contract
//
//   - A bus acknowledges a publish when its own disk has it. It never waits for the hub.
//   - Every event of QoS 1 or 2 that a bus shares enters the journal of every bus that takes it once, however
//     often links break, buses are killed, or the hub loses what it had.
//   - The events of a lane keep the order of their origin. A bus has one lane for each filter that it shares,
//     unless the filter's key lane divides it. Between lanes and between buses there is no order.
//   - An event does not return to the bus that published it.
//   - The last writer of a retained topic wins, and all buses that share it end with the same value.
//   - Events that neither the hub nor their origin keep any more are reported as lost, at most so many.
//
// # How
//
// The exporter reads the journal and puts groups of records on the hub's stream, each with a compare-and-set
// behind the last message of its lane. The importer reads the stream and appends what the bus takes, with the
// number that each event has in its origin's journal: its sequence there. The fold of the taker's journal drops
// numbers that it has seen. So the exporter may send an event again whenever it is not sure, and the importer
// may read the stream again from its start.
//
//	journal ─▶ exporter ─▶ group ─▶ hub's stream ─▶ importer ─▶ journal of another bus
//
// The package owns the exchange and its figures. Package stream owns the connection; package bus owns what an
// imported event means.
package fleet
