package plugins

// This file sends mapped events to the disk, in order. Its goroutine sends as fast as the bus
// accepts events, and answers each event's source once the event is durable; meanwhile the next one
// is mapped. If the disk refuses, all refused events are sent again before any new one.

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/plugins/kind"
)

const (
	maxFlight      = 4096    // events of a plugin that wait for the disk
	maxFlightBytes = 4 << 20 // and their size in bytes, unless it is a single event
	batchSize      = 64      // events that are sent together while the disk is busy

	minPause = 20 * time.Millisecond // the pause before an event that the disk refused is sent again
	maxPause = 2 * time.Second
)

// flow is the path of one plugin's events to the disk.
type flow struct {
	bus   *bus.Bus
	log   *slog.Logger
	count *counters
	fail  func(error)           // records an error of an event
	lose  func(int, string)     // counts events of sources that are lost
	disk  atomic.Pointer[error] // why the bus currently accepts no event
	room  flight

	mu     sync.Mutex
	fresh  []outgoing    // mapped, not sent yet
	idle   bool          // run has no event at all
	closed bool          // put is not called any more
	wake   chan struct{} // holds a token when a field that mu guards has changed

	ctx    context.Context
	cancel context.CancelFunc
	ended  chan struct{}
}

// outgoing is one outcome on its way to the disk. The last one of a source's event carries the
// answer and the size to release.
type outgoing struct {
	event   bus.Event
	empty   bool // the source's event has no outcome: only its position counts
	pending bus.Pending
	bytes   int // more than 0 in the last of an event
	done    func(error)
	answers bool  // done gets the fault
	fault   error // why there is no outcome
}

// verdict is the answer to the source for a settled event.
func (p *outgoing) verdict() error {
	if p.answers {
		return p.fault
	}
	return nil
}

// settled reports whether the disk has answered.
func (p *outgoing) settled() bool {
	select {
	case <-p.pending.Done():
		return true
	default:
		return false
	}
}

func (f *flow) start(b *bus.Bus, log *slog.Logger, count *counters, fail func(error), lose func(int, string)) {
	f.bus, f.log, f.count, f.fail, f.lose = b, log, count, fail, lose
	f.room.cond.L = &f.room.mu
	f.wake, f.ended = make(chan struct{}, 1), make(chan struct{})
	f.ctx, f.cancel = context.WithCancel(context.Background())
	go f.run()
}

// close waits until all events are on disk, but no longer than patience, and ends the flow.
func (f *flow) close(patience time.Duration) {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.wakeUp()
	timer := time.AfterFunc(patience, f.cancel)
	<-f.ended
	timer.Stop()
	f.cancel()
}

// put queues the outcomes of one event. flight has reserved the room for them. While the disk is
// busy with earlier events, put delays the wake-up until there are several: they go into one group
// anyway, and to wake run costs more than to send. QoS 0 does not wait. last is the source's event
// itself.
func (f *flow) put(events []bus.Event, last outgoing) {
	f.mu.Lock()
	wakeNow := f.idle
	for i := range events {
		f.fresh = append(f.fresh, outgoing{event: events[i]})
		wakeNow = wakeNow || events[i].QoS == 0 && !events[i].Retain
	}
	if n := len(events); n == 0 {
		last.empty = true
		f.fresh = append(f.fresh, last)
	} else {
		last.event = events[n-1]
		f.fresh[len(f.fresh)-1] = last
	}
	wakeNow = wakeNow || len(f.fresh) >= batchSize
	f.mu.Unlock()
	if wakeNow {
		f.wakeUp()
	}
}

func (f *flow) wakeUp() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// collect adds the newly put outgoing events to queue.
func (f *flow) collect(queue []outgoing) (_ []outgoing, closed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(queue) == 0 {
		queue, f.fresh = f.fresh, queue
	} else {
		queue = append(queue, f.fresh...)
		clear(f.fresh)
		f.fresh = f.fresh[:0]
	}
	f.idle = len(queue) == 0
	return queue, f.closed
}

// run ends when the flow is closed and empty, or cancelled.
func (f *flow) run() {
	defer close(f.ended)
	var queue []outgoing
	sent := 0 // the number of outgoing events in queue that the bus has
	pause := minPause
	for {
		var closed bool
		if queue, closed = f.collect(queue); closed && len(queue) == 0 {
			return
		}
		err := f.send(queue, &sent)
		answered, refusal := f.answerDurable(queue[:sent])
		queue, sent = slices.Delete(queue, 0, answered), sent-answered
		if refusal != nil { // all later ones were refused too
			err, sent = refusal, 0
		}
		var answer <-chan struct{}
		if sent > 0 {
			answer = queue[0].pending.Done()
		}
		switch {
		case f.ctx.Err() != nil:
			f.abandon(queue, errStopped)
			return
		case errors.Is(err, bus.ErrClosed):
			f.abandon(queue, err)
			queue, sent = queue[:0], 0
		case err != nil:
			if f.disk.Swap(&err) == nil {
				f.log.Warn("events not durable yet: the disk refuses writes", "err", err)
			}
			select {
			case <-time.After(pause/2 + rand.N(pause)):
				pause = min(2*pause, maxPause)
			case <-answer:
			case <-f.ctx.Done():
			}
		case answered > 0:
			pause = minPause
		default:
			select {
			case <-f.wake:
			case <-answer:
			case <-f.ctx.Done():
			}
		}
	}
}

// send passes the remaining outgoing events to the bus, until the disk refuses.
func (f *flow) send(queue []outgoing, sent *int) error {
	for ; *sent < len(queue); *sent++ {
		if n := *sent; n > 0 && queue[n-1].settled() && queue[n-1].pending.Err() != nil {
			return nil // answerDurable processes the error
		}
		p := &queue[*sent]
		if p.empty {
			continue
		}
		var err error
		p.pending, err = f.bus.Send(p.event)
		var refused *bus.Unavailable
		switch {
		case err == nil:
		case errors.As(err, &refused), errors.Is(err, bus.ErrClosed):
			return err
		default: // the event itself is invalid: too large
			f.count.errors.Add(1)
			f.fail(err)
			p.fault = kind.Permanent(err)
			if k := p.event.Kept; k.Topic != "" { // its entry has acted, though in vain
				p.event = bus.Event{Topic: k.Topic, Payload: k.Value, QoS: 1, Retain: true, Source: p.event.Source}
				*sent--
				continue
			}
			p.empty, p.pending = true, bus.Pending{}
		}
	}
	return nil
}

// answerDurable answers the sources of durable events, in order. An error states why the disk
// refused the next event; then the disk has answered for all that were sent.
func (f *flow) answerDurable(sent []outgoing) (n int, err error) {
	bytes, events := 0, 0
	for ; n < len(sent) && sent[n].settled(); n++ {
		p := &sent[n]
		if err = p.pending.Err(); err != nil {
			break
		}
		if !p.empty {
			if f.disk.Load() != nil {
				f.disk.Store(nil)
			}
			if p.event.Topic[0] != '$' { // jobs of actions do not count as published
				f.count.published.Add(1)
			}
		}
		if p.bytes > 0 {
			if p.done != nil {
				p.done(p.verdict())
			}
			bytes, events = bytes+p.bytes, events+1
		}
	}
	f.room.give(events, bytes)
	if err != nil {
		for i := n; i < len(sent); i++ {
			select {
			case <-sent[i].pending.Done():
			case <-f.ctx.Done():
			}
			sent[i].pending = bus.Pending{}
		}
	}
	return n, err
}

// abandon answers that the queue's events will not be durable. An event whose source expects no
// answer counts as lost: nothing sends it again.
func (f *flow) abandon(queue []outgoing, err error) {
	lost := 0
	defer func() {
		if lost > 0 {
			f.lose(lost, "not durable when the plugin ended")
		}
	}()
	for i := range queue {
		if p := &queue[i]; p.bytes > 0 {
			if p.done != nil {
				p.done(err)
			} else if !p.empty {
				lost++
			}
			f.room.give(1, p.bytes)
		}
	}
	clear(queue)
}

// flight bounds the events on their way to the disk.
type flight struct {
	mu       sync.Mutex
	cond     sync.Cond
	n, bytes int
	waiting  int
}

func (f *flight) take(ctx context.Context, bytes int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.full(bytes) {
		stop := context.AfterFunc(ctx, func() {
			f.mu.Lock()
			f.cond.Broadcast()
			f.mu.Unlock()
		})
		defer stop()
		f.waiting++
		for f.full(bytes) && ctx.Err() == nil {
			f.cond.Wait()
		}
		f.waiting--
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	f.n++
	f.bytes += bytes
	return nil
}

func (f *flight) full(bytes int) bool {
	return f.n >= maxFlight || f.n > 0 && f.bytes+bytes > maxFlightBytes
}

func (f *flight) give(n, bytes int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n -= n
	f.bytes -= bytes
	if f.waiting > 0 {
		f.cond.Broadcast()
	}
}
