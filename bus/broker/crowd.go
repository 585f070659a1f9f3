package broker

// This file is flow control for QoS 0. MQTT has none, so a publisher that sends faster than a subscriber
// takes would lose most of its events in the subscriber's output buffer. Therefore a flood waits:
//
//   - A subscriber is crowded while a QoS 0 event has found its buffer a quarter full. The other three
//     quarters are room for what all publishers send until they notice.
//   - A connection that floods (see flood) waits, before its next event, until nobody is crowded, for
//     at most maxYield.
//   - A subscriber that has not taken half a buffer within slowAfter is slow: nobody waits for it again
//     until its buffer was empty. It loses QoS 0 events when its buffer is full, as ever. Where many are
//     crowded its share of that will do, from an eighth of a buffer on.
//
// So a dead subscriber costs the flooding publishers one pause of about slowAfter and all others nothing.

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	slowAfter   = 50 * time.Millisecond
	maxYield    = 100 * time.Millisecond
	reviewEvery = 10 * time.Millisecond

	// More than this within floodTime is a flood.
	floodEvents = 64
	floodBytes  = 16 << 10
	floodTime   = 5 * time.Millisecond
)

// crowd is the set of crowded connections. Its lock is taken with a connection's mu held, never the other
// way round.
type crowd struct {
	n atomic.Int32 // len(conns), for those who only want to know whether there is anybody

	mu    sync.Mutex
	conns map[*conn]struct{}
	empty chan struct{} // closed when nobody is crowded any more; nil when nobody waits
}

func (w *crowd) add(c *conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conns == nil {
		w.conns = map[*conn]struct{}{}
	}
	w.conns[c] = struct{}{}
	w.n.Store(int32(len(w.conns)))
}

func (w *crowd) remove(c *conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.conns, c)
	w.n.Store(int32(len(w.conns)))
	if len(w.conns) == 0 && w.empty != nil {
		close(w.empty)
		w.empty = nil
	}
}

// emptied returns a channel that is closed when nobody is crowded; nil when that is so now.
func (w *crowd) emptied() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.conns) == 0 {
		return nil
	}
	if w.empty == nil {
		w.empty = make(chan struct{})
	}
	return w.empty
}

// review takes out those who have become slow: with all publishers waiting nothing else would notice.
func (w *crowd) review(limit int) {
	w.mu.Lock()
	list := make([]*conn, 0, len(w.conns))
	for c := range w.conns {
		list = append(list, c)
	}
	w.mu.Unlock()
	for _, c := range list {
		c.mu.Lock()
		c.watchLocked(limit)
		c.mu.Unlock()
	}
}

// wait blocks until nobody is crowded, for at most maxYield.
func (w *crowd) wait(limit int, stop <-chan struct{}) {
	t := time.NewTicker(reviewEvery)
	defer t.Stop()
	for start := time.Now(); ; {
		empty := w.emptied()
		if empty == nil {
			return
		}
		select {
		case <-empty:
			return
		case <-stop:
			return
		case <-t.C:
			w.review(limit)
		}
		if time.Since(start) >= maxYield {
			return
		}
	}
}

// flood is what a connection has published at QoS 0 lately.
type flood struct {
	since  time.Time
	events int
	bytes  int
}

// begin is called before more is read.
func (f *flood) begin() {
	if f.events > 0 {
		if now := time.Now(); now.Sub(f.since) > floodTime {
			*f = flood{since: now}
		}
	}
}

// yield is the wait, before a QoS 0 event of that size is routed.
func (c *conn) yield(size int) {
	c.flood.events++
	c.flood.bytes += size
	if (c.flood.events > floodEvents || c.flood.bytes > floodBytes) && c.broker.crowd.n.Load() > 0 {
		c.broker.crowd.wait(c.broker.o.Load().OutputBuffer, c.broker.stop)
	}
}

// occupancy is how far a connection keeps up with QoS 0.
type occupancy struct {
	crowded bool // it is in Broker.crowd
	slow    bool // it was too slow, and its buffer has not been empty since
	since   time.Time
	taken   int // bytes that the socket has taken since
}

// crowdLocked is called when a QoS 0 event is to go into the buffer. The caller holds mu.
func (c *conn) crowdLocked(limit int) {
	if o := &c.occupancy; !o.crowded && !o.slow && len(c.out) > limit/4 && !c.dead {
		*o = occupancy{crowded: true, since: time.Now()}
		c.broker.crowd.add(c)
	}
	c.watchLocked(limit)
}

// watchLocked ends what crowdLocked began, when the buffer has room again or the subscriber is slow. The
// caller holds mu.
func (c *conn) watchLocked(limit int) {
	o := &c.occupancy
	if len(c.out) == 0 {
		o.slow = false
	}
	if !o.crowded {
		return
	}
	keep := len(c.out) > limit/4 && !c.dead
	if now := time.Now(); keep && now.Sub(o.since) >= slowAfter {
		// Many who are crowded at once share the processor, and are not slow for that.
		o.slow = o.taken < max(limit/8, limit/2/max(1, int(c.broker.crowd.n.Load())))
		keep = !o.slow
		o.since, o.taken = now, 0
	}
	if !keep {
		o.crowded = false
		c.broker.crowd.remove(c)
	}
}
