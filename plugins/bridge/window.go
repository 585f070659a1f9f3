// This file: events on their way to the remote, in order, until it has acknowledged them.

package bridge

import (
	"context"
	"sync"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// subscribeID is the packet identifier of our SUBSCRIBE; events never have it.
const subscribeID = 65535

// entry is one event.
type entry struct {
	p     *packets.PublishPacket
	done  func(error)
	sent  bool // once at least, so that again it is a duplicate
	acked bool
}

// window holds at most max entries, which go out in order on whatever connection there is, and again on the next.
type window struct {
	room chan struct{} // one for each entry

	order sync.Mutex // held while done is called, so that those calls are in order too
	mu    sync.Mutex
	list  []*entry
	next  uint16
	over  error // set when nothing is taken any more
	conn  *conn
	sent  func(*packets.PublishPacket)
}

func newWindow(max int) *window { return &window{room: make(chan struct{}, max)} }

// add takes an event, when there is room; done(nil) is called when it and all before it are acknowledged, or done with an
// error when the window is dropped. The error is ctx's or that one, and then done is not called.
func (w *window) add(ctx context.Context, p *packets.PublishPacket, done func(error)) error {
	select {
	case w.room <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over != nil {
		<-w.room
		return w.over
	}
	w.next = w.next%(subscribeID-1) + 1 // 1 to 65534, and no more than max of them are in use, in a row
	p.MessageID = w.next
	e := &entry{p: p, done: done}
	w.list = append(w.list, e)
	if w.conn != nil {
		w.send(e)
	}
	return nil
}

// send hands an entry to the connection.
func (w *window) send(e *entry) {
	e.p.Dup, e.sent = e.sent && e.p.Qos > 0, true
	w.sent(e.p)
	if e.p.Qos == 0 {
		w.conn.send(e.p, func() { w.acked(e.p.MessageID) })
		return
	}
	w.conn.send(e.p, nil)
}

// attach sends all that is not acknowledged on a new connection; the one before must have ended. sent is called for everything sent.
func (w *window) attach(c *conn, sent func(*packets.PublishPacket)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conn, w.sent = c, sent
	for _, e := range w.list {
		if !e.acked {
			w.send(e)
		}
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
	w.order.Lock()
	defer w.order.Unlock()
	w.mu.Lock()
	for _, e := range w.list {
		if e.p.MessageID == id {
			e.acked = true
		}
	}
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
