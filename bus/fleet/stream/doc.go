// Package stream is one log on a NATS JetStream hub: append by compare-and-set, read in order, ask
// for what is stored. No other package imports the NATS client.
//
// What it promises:
//
//   - Append stores a message only if the last one on its subject is the one that the caller names.
//     Commit repeats an Append whose result is unknown, and stores exactly one message: the hub
//     refuses the second of two equal compare-and-sets.
//   - A Reader gives messages in the order of the stream. It never takes "nothing" for the end, and
//     reports ErrRestarted whenever the hub may have lost or replaced messages meanwhile.
//   - Nothing is sent to a hub before it was checked: its version, JetStream, the stream, its shape
//     and the size of messages. A fault is reported with a hint, and checked again from time to time.
//   - The connection is retried for ever, with pauses. No call blocks longer than its context, or
//     Options.Timeout for a request.
//   - Memory is bounded: a Reader holds at most 2 MiB and a message, whatever the stream has.
//   - Close waits for every goroutine.
//
// What it doesn't promise: that the hub keeps what it acknowledged. JetStream acknowledges before
// fsync by default, and a hub can come back with an older copy of its disk. The hub's last message
// on a subject is the truth about that subject; callers compare it with what they know.
//
// A Stream's methods may be called from any goroutine; a Reader belongs to one.
package stream
