package broker

// This file is flow control for QoS 0. MQTT has none, so a publisher that sends faster than a
// subscriber reads would lose most of its events in the subscriber's output buffer. Therefore a
// flood waits:
//
//   - A subscriber is crowded while a QoS 0 event has found its buffer a quarter full. The other
//     three quarters are room for events that all publishers send until they notice.
//   - A connection that floods (see flood) waits, before its next event, until no subscriber is
//     crowded, for at most maxYield.
//   - A subscriber that has not read half a buffer within slowAfter is slow. No publisher waits for
//     it again until its buffer was empty. It loses QoS 0 events when its buffer is full, as
//     without flow control. When many subscribers are crowded, a share of that half is enough, but
//     at least an eighth of a buffer.
//
// So a dead subscriber costs the flooding publishers one pause of about slowAfter, and all others
// nothing.

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	slowAfter   = 50 * time.Millisecond
	maxYield    = 100 * time.Millisecond
	reviewEvery = 10 * time.Millisecond
)

// crowd is the set of crowded connections. Its lock is taken with a connection's mu held, never in
// the opposite order.
type crowd struct {
	n atomic.Int32 // len(conns), for readers that only check whether it is 0

	mu    sync.Mutex
	conns map[*conn]struct{}
	empty chan struct{} // closed when no connection is crowded any more; nil when no publisher waits
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

// emptied returns a channel that is closed when no connection is crowded; nil when that is so now.
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

// review removes connections that have become slow. While all publishers wait, no other code would
// notice.
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

// wait blocks until no connection is crowded, for at most maxYield.
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

// occupancy is how well a connection keeps up with QoS 0.
type occupancy struct {
	crowded bool // it is in Broker.crowd
	slow    bool // it was too slow, and its buffer has not been empty since
	since   time.Time
	taken   int // bytes that the socket has taken since
}

// crowdLocked is called before a QoS 0 event is queued. The caller holds mu.
func (c *conn) crowdLocked(limit int) {
	if o := &c.occupancy; !o.crowded && !o.slow && len(c.out) > limit/4 && !c.dead {
		*o = occupancy{crowded: true, since: time.Now()}
		c.broker.crowd.add(c)
	}
	c.watchLocked(limit)
}

// watchLocked removes the connection from the crowd when its buffer has room again or it is slow.
// The caller holds mu.
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
		// Many crowded connections share the processor, and that alone does not make them slow.
		o.slow = o.taken < max(limit/8, limit/2/max(1, int(c.broker.crowd.n.Load())))
		keep = !o.slow
		o.since, o.taken = now, 0
	}
	if !keep {
		o.crowded = false
		c.broker.crowd.remove(c)
	}
}
