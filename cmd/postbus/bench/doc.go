// Package bench loads any MQTT 3.1.1 broker over plain sockets and reports throughput, latency, and
// missed, repeated and disordered events, so that anyone can repeat postbus's figures beside their
// own broker.
//
// It promises to be honest and light. Every event carries its publisher, its sequence number and
// the time it was sent. Every receiver keeps one bit an event, so missing, repeated and late events
// are counted, not guessed. The client is its own small MQTT codec on 64 KiB buffers, with one
// syscall for many packets and no allocation an event, because it shares the machine with the
// broker it measures.
//
//	publisher ─┐  window of unacknowledged events,        ┌─▶ subscriber ─▶ check: one bit an event
//	publisher ─┼▶ one write a batch ──▶ broker ──▶ reads ─┤
//	publisher ─┘◀── acknowledgements                      └─▶ subscriber ─▶ latency histogram
//
// No scenario hangs: one that makes no progress for Options.Idle ends, and missing events are
// counted. Memory is bounded by one bit an event for each publisher and each subscriber.
//
// It speaks TCP, unix sockets and WebSocket without TLS, and MQTT 5 only in Takeover. It does not
// own the broker, except in the crash scenario, which starts and kills one.
package bench
