package broker

// This file gives each client its share. A connection that floods would otherwise occupy the processors,
// and the journal's queue would be so long that the events of others wait. Therefore it waits
//
//   - at QoS 0 for its turn to have its events handled, see shares: one processor remains for
//     everything else. A turn lasts about turnTime, and connections wait for theirs in the order in
//     which they came;
//   - at QoS 1 and 2, and with retained events, for its own earlier events. All connections that flood
//     have together at most about twice queueEvents, or queueBytes, that are not offered to their
//     consumers yet.
//
// A connection that does not flood never waits here. Nothing is lost: reading slows down.

import (
	"runtime"
	"sync/atomic"
	"time"

	"github.com/postbus/postbus/bus/internal/fair"
	"github.com/postbus/postbus/bus/journal"
)

const (
	// More than this within floodTime is a flood.
	floodEvents = 64
	floodBytes  = 16 << 10
	floodTime   = 5 * time.Millisecond

	turnTime  = time.Millisecond
	turnCheck = 16 // events between two looks at the clock

	// As many as a commit needs to be efficient, also on a disk that takes some 20 ms to sync.
	queueEvents = 4096
	queueBytes  = 512 << 10
)

// shares is what the connections that flood have together.
type shares struct {
	turns  fair.Turns
	floods atomic.Int32 // connections that flood, and have input now
}

func newShares() shares {
	return shares{turns: fair.New(runtime.GOMAXPROCS(0) - 1)}
}

// flood is what a connection published within floodTime, and what it has of the shares. It belongs to the
// reading goroutine.
type flood struct {
	since  time.Time
	events int
	bytes  int
	before bool // it flooded in the time before

	counted    bool // in shares.floods
	turn       bool
	turnSince  time.Time
	turnEvents int

	queued      int // events and their bytes since the last mark
	queuedBytes int
	last, mark  journal.Commit // of the newest event, and of the newest at the last mark
}

func (f *flood) exceeded() bool { return f.events > floodEvents || f.bytes > floodBytes }

// share counts a PUBLISH of that size. If the connection floods, it waits for its share before the event
// is routed.
func (c *conn) share(qos byte, size int) {
	f := &c.flood
	f.events++
	f.bytes += size
	if !f.before && !f.exceeded() {
		return
	}
	b := c.broker
	if !f.counted {
		f.counted = true
		b.shares.floods.Add(1)
	}
	if qos == 0 && b.crowd.n.Load() > 0 {
		c.endTurn()
		b.crowd.wait(b.o.Load().OutputBuffer, b.stop)
	}
	c.waitForOwn()
	if qos == 0 {
		c.takeTurn()
	}
}

// takeTurn waits for the connection's turn, or for the next one when its turn has lasted long enough.
func (c *conn) takeTurn() {
	f := &c.flood
	if f.turn {
		if f.turnEvents++; f.turnEvents%turnCheck != 0 || time.Since(f.turnSince) < turnTime {
			return
		}
		c.endTurn()
	}
	c.broker.shares.turns.Take()
	f.turn, f.turnEvents, f.turnSince = true, 0, time.Now()
}

// endTurn ends the connection's turn, if it has one. It is called before everything that may wait.
func (c *conn) endTurn() {
	if c.flood.turn {
		c.flood.turn = false
		c.broker.shares.turns.End()
	}
}

// waitForOwn waits for the connection's events up to its last mark, if enough of them are queued since. The
// newest is the next mark.
func (c *conn) waitForOwn() {
	f := &c.flood
	floods := int(c.broker.shares.floods.Load())
	if f.queued <= queueEvents/floods && f.queuedBytes <= queueBytes/floods {
		return
	}
	c.endTurn()
	c.kick()
	c.broker.bus.Offered(f.mark, c.closed)
	f.mark = f.last
	f.queued, f.queuedBytes = 0, 0
}

// append appends an event, whose packet has that size, and counts it as one in the journal's queue.
func (c *conn) append(r *journal.Record, size int) (journal.Commit, error) {
	commit, err := c.broker.bus.Append(r)
	if err == nil {
		f := &c.flood
		f.last = commit
		f.queued++
		f.queuedBytes += size
	}
	return commit, err
}

// rest is called before each read, and at the end: the connection may have no input for long. It starts a
// new count when floodTime has passed.
func (c *conn) rest() {
	c.endTurn()
	f := &c.flood
	if f.counted {
		f.counted = false
		c.broker.shares.floods.Add(-1)
	}
	if f.events == 0 {
		return
	}
	if now := time.Now(); now.Sub(f.since) > floodTime {
		f.before = f.exceeded()
		f.since, f.events, f.bytes = now, 0, 0
	}
}
