// This file: events on their way to the remote, in order, until it has acknowledged them.

package bridge

import (
	"context"
	"sync"
)

// subscribeID is the packet identifier of our SUBSCRIBE; events never have it.
const subscribeID = 65535

// entry is one event.
type entry struct {
	id       uint16
	msg      *message
	done     func(error)
	sent     bool // once at least, so that again it is a duplicate
	inFlight bool // sent on this connection at QoS 1, and not acknowledged
	acked    bool
}

// window holds at most max entries, which go out in order on whatever connection there is, and again on the next.
type window struct {
	room chan struct{} // one for each entry

	order    sync.Mutex // held while done is called, so that those calls are in order too
	mu       sync.Mutex
	list     []*entry
	next     uint16
	over     error // set when nothing is taken any more
	conn     *conn
	inFlight int // of the entries
	limit    int // how many the remote takes
	prepare  func(*message) *message
}

func newWindow(max int) *window { return &window{room: make(chan struct{}, max)} }

// add takes an event, when there is room; done(nil) is called when it and all before it are acknowledged, or done with an
// error when the window is dropped. The error is ctx's or that one, and then done is not called.
func (w *window) add(ctx context.Context, m *message, done func(error)) error {
	select {
	case w.room <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	w.mu.Lock()
	if w.over != nil {
		w.mu.Unlock()
		<-w.room
		return w.over
	}
	w.next = w.next%(subscribeID-1) + 1 // 1 to 65534, and no more than max of them are in use, in a row
	w.list = append(w.list, &entry{id: w.next, msg: m, done: done})
	lost := w.sendLocked()
	w.mu.Unlock()
	if lost {
		w.settle()
	}
	return nil
}

// sendLocked hands what is not sent on this connection to it, in order, as far as the remote takes more. lost reports whether some of
// it can't be sent at all, and counts as acknowledged. mu is held.
func (w *window) sendLocked() (lost bool) {
	if w.conn == nil {
		return false
	}
	for _, e := range w.list {
		if e.acked || e.inFlight {
			continue
		}
		if w.inFlight >= w.limit {
			break
		}
		m := w.prepare(e.msg)
		if m == nil {
			e.acked, lost = true, true
			continue
		}
		m.dup = e.sent && m.qos > 0
		e.sent, e.inFlight = true, true
		w.inFlight++
		var written func()
		if m.qos == 0 {
			written = func() { w.acked(e.id) }
		}
		w.conn.send(&packet{kind: publish, id: e.id, msg: m}, written)
	}
	return lost
}

// attach sends all that is not acknowledged on a new connection, as far as the remote takes it; the one before must have ended. prepare makes
// of a message what this remote can be sent, a copy; nil when it is lost.
func (w *window) attach(c *conn, limit int, prepare func(*message) *message) {
	w.mu.Lock()
	w.conn, w.limit, w.prepare, w.inFlight = c, limit, prepare, 0
	for _, e := range w.list {
		e.inFlight = false
	}
	lost := w.sendLocked()
	w.mu.Unlock()
	if lost {
		w.settle()
	}
}

// detach keeps what comes for the next connection.
func (w *window) detach() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conn = nil
}

// acked takes note of an acknowledgement; one that nobody waits for is nothing.
func (w *window) acked(id uint16) {
	w.mu.Lock()
	for _, e := range w.list {
		if e.id == id && !e.acked {
			e.acked = true
			if e.inFlight {
				e.inFlight = false
				w.inFlight--
			}
		}
	}
	w.sendLocked()
	w.mu.Unlock()
	w.settle()
}

// settle tells of the events at the front that are acknowledged.
func (w *window) settle() {
	w.order.Lock()
	defer w.order.Unlock()
	w.mu.Lock()
	n := 0
	for n < len(w.list) && w.list[n].acked {
		n++
	}
	ready := w.list[:n:n]
	w.list = w.list[n:]
	w.mu.Unlock()
	for _, e := range ready {
		e.done(nil)
		<-w.room
	}
}

// drop gives back what is not acknowledged, and takes no more. There must be no connection.
func (w *window) drop(err error) {
	w.order.Lock()
	defer w.order.Unlock()
	w.mu.Lock()
	list := w.list
	w.list, w.over = nil, err
	w.mu.Unlock()
	for _, e := range list {
		e.done(err)
		<-w.room
	}
}
