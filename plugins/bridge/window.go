// This file holds events, in order, until the remote has acknowledged them.

package bridge

import (
	"context"
	"sync"
)

// subscribeID is the packet identifier of our SUBSCRIBE. Events never use it.
const subscribeID = 65535

// entry is one event.
type entry struct {
	id       uint16
	msg      *message
	done     func(error)
	sent     bool // it was sent at least once, so that a further PUBLISH sets DUP
	inFlight bool // sent on this connection at QoS 1 and not acknowledged
	acked    bool
}

// window holds at most max entries. They are sent in order on the current connection, and again on
// the next one.
type window struct {
	room chan struct{} // one for each entry

	settling sync.Mutex // held while done is called, so that those calls keep the order
	mu       sync.Mutex
	list     []*entry
	next     uint16
	err      error // set when the window accepts no more entries
	conn     *conn
	inFlight int // entries in flight
	limit    int // how many the remote accepts in flight
	prepare  func(*message) *message
}

func newWindow(max int) *window { return &window{room: make(chan struct{}, max)} }

// add adds an event and blocks while the window is full. done(nil) is called when the event and all
// before it are acknowledged, or done with an error when the window is dropped. When add returns an
// error, ctx's or the window's, done is not called.
func (w *window) add(ctx context.Context, m *message, done func(error)) error {
	select {
	case w.room <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	w.mu.Lock()
	if w.err != nil {
		w.mu.Unlock()
		<-w.room
		return w.err
	}
	w.next = w.next%(subscribeID-1) + 1 // 1 to 65534; at most max consecutive identifiers are in use
	w.list = append(w.list, &entry{id: w.next, msg: m, done: done})
	lost := w.sendLocked()
	w.mu.Unlock()
	if lost {
		w.settle()
	}
	return nil
}

// sendLocked sends the entries that were not sent on this connection, in order, as far as the
// remote accepts more. lost reports whether some of them can't be sent at all; those count as
// acknowledged. The caller holds mu.
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

// attach sends all unacknowledged entries on a new connection, as far as the remote accepts them.
// The connection before must have ended. prepare copies a message into a form that this remote
// accepts; nil when the event is lost.
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

// detach makes the window hold new entries for the next connection.
func (w *window) detach() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conn = nil
}

// acked processes an acknowledgement. An unknown identifier is ignored.
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

// settle calls done for the acknowledged entries at the front.
func (w *window) settle() {
	w.settling.Lock()
	defer w.settling.Unlock()
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

// drop calls done with err for all unacknowledged entries, and refuses new ones. There must be no
// connection.
func (w *window) drop(err error) {
	w.settling.Lock()
	defer w.settling.Unlock()
	w.mu.Lock()
	list := w.list
	w.list, w.err = nil, err
	w.mu.Unlock()
	for _, e := range list {
		e.done(err)
		<-w.room
	}
}
