package bus

// This file is the Go consumer: a named, durable cursor for a program that embeds the bus.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/postbus/postbus/bus/topic"
)

// ErrGone is returned by Next when another Subscribe took the name.
var ErrGone = errors.New("the subscription was taken over or closed")

// ErrNotInFlight is returned by Ack for an event that was already acknowledged, or never delivered.
var ErrNotInFlight = errors.New("the event is not in flight")

// localPrefix keeps Go subscriptions apart from MQTT client identifiers, which may not begin with
// it.
const localPrefix = "@"

// subscriptionWindow is the maximum number of delivered and unacknowledged events,
// subscriptionBytes the maximum size of the payloads that wait for Next.
const (
	subscriptionWindow = 4096
	subscriptionBytes  = 4 << 20
)

// Subscription is a consumer in this process. One goroutine may use it; any may call Close.
type Subscription struct {
	bus     *Bus
	session *Session
	mu      sync.Mutex
	queue   []*Event
	bytes   int // payloads of queue
	ready   chan struct{}
	closed  bool
	durable bool

	// See CaughtUp: until is the last sequence of the journal when the subscription was made, which
	// dispatch has passed when Subscribe returns, past is how many events of queue count as earlier, and
	// caughtUp is closed with isCaughtUp set.
	until      uint64
	past       int
	caughtUp   chan struct{}
	isCaughtUp bool
}

// Subscribe returns a subscription to the events that match any filter. A name makes it durable:
// events that arrive while it is not held, and unacknowledged ones, are delivered to the next
// Subscribe of that name, also after a crash. The filters replace earlier ones. An empty name is a
// subscription that ends with Close. Events of QoS 0 are delivered only while there is room.
func (b *Bus) Subscribe(ctx context.Context, name string, filters ...string) (*Subscription, error) {
	for _, f := range filters {
		if err := topic.CheckSubscription(f); err != nil {
			return nil, err
		}
	}
	s := &Subscription{bus: b, ready: make(chan struct{}, 1), durable: name != "",
		until: b.journal.Durable(), caughtUp: make(chan struct{})}
	o := SessionOptions{Name: localPrefix + name, Expiry: NeverExpires}
	if name == "" {
		o.Name, o.Expiry, o.Clean = fmt.Sprintf("%s%p", localPrefix, s), 0, true
	}
	b.locals.Lock()
	defer b.locals.Unlock()
	if old := b.local[o.Name]; old != nil {
		old.end()
	}
	session, _, err := b.Attach(ctx, o)
	if err != nil {
		return nil, err
	}
	s.session = session
	session.Start(s, subscriptionWindow)
	if err := s.replace(ctx, filters); err != nil {
		session.Detach(true, o.Expiry)
		return nil, err
	}
	if b.local == nil {
		b.local = map[string]*Subscription{}
	}
	b.local[o.Name] = s
	return s, nil
}

// replace makes filters the only filters of the subscription.
func (s *Subscription) replace(ctx context.Context, filters []string) error {
	var have, gone []string
	s.session.mu.Lock()
	for _, sub := range s.session.subs {
		if f := sub.Filter.Filter; sub.until.Load() == 0 {
			have = append(have, f)
			if !slices.Contains(filters, f) {
				gone = append(gone, f)
			}
		}
	}
	s.session.mu.Unlock()
	var add []Filter
	for _, f := range filters {
		if !slices.Contains(have, f) {
			add = append(add, Filter{Filter: f, QoS: 1, RetainAsPublished: true})
		}
	}
	if len(gone) > 0 {
		if _, err := s.session.Unsubscribe(ctx, gone); err != nil {
			return err
		}
	}
	return s.session.Subscribe(ctx, add)
}

// Deliver implements Sink.
func (s *Subscription) Deliver(d *Delivery) Verdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	size := len(d.Event.Payload)
	if s.closed || len(s.queue) >= subscriptionWindow || s.bytes > 0 && s.bytes+size > subscriptionBytes {
		return Full
	}
	s.bytes += size
	e := new(Event)
	e.fill(d.Event)
	e.Retain = d.Retain
	e.QoS = d.QoS
	e.ID, e.Redelivered, e.Missed, e.Stored = d.ID, d.Dup, d.Gap, d.Stored
	s.queue = append(s.queue, e)
	if s.isPast(e) {
		s.past++
	}
	s.wakeLocked()
	return Sent
}

func (s *Subscription) wakeLocked() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// Release implements Sink. It is never called, because all deliveries are QoS 1.
func (s *Subscription) Release(uint16) bool { return true }

// Next returns the next event. It blocks until there is one, the context ends, or the subscription
// does (ErrGone).
func (s *Subscription) Next(ctx context.Context) (Event, error) {
	for {
		s.noteCaughtUp()
		s.mu.Lock()
		if len(s.queue) > 0 {
			e := s.queue[0]
			s.queue[0] = nil
			s.queue = s.queue[1:]
			s.bytes -= len(e.Payload)
			if s.isPast(e) {
				s.past--
			}
			s.mu.Unlock()
			return *e, nil
		}
		closed := s.closed
		s.mu.Unlock()
		if closed {
			return Event{}, ErrGone
		}
		s.session.Kick()
		select {
		case <-s.ready:
		case <-ctx.Done():
			return Event{}, ctx.Err()
		case <-s.bus.ctx.Done():
			return Event{}, ErrClosed
		}
	}
}

// CaughtUp returns a channel that is closed when no event is still to come that was in the journal
// when the subscription was made, and no retained message of that time. The call of Next that follows
// the last of them closes it, before it returns a later event or blocks: a caller that handles each
// event before it calls Next again has handled all of them. The channel stays open when the
// subscription ends before, while Next is not called, and while too many events are not acknowledged.
// Filters of shared groups don't count.
func (s *Subscription) CaughtUp() <-chan struct{} { return s.caughtUp }

// isPast reports whether an event counts for CaughtUp.
func (s *Subscription) isPast(e *Event) bool {
	return e.Seq > 0 && e.Seq <= s.until
}

// noteCaughtUp closes caughtUp if it is time. Only Next calls it.
func (s *Subscription) noteCaughtUp() {
	s.mu.Lock()
	wait := s.isCaughtUp || s.closed || s.past > 0
	s.mu.Unlock()
	if wait {
		return
	}
	s.session.mu.Lock() // so that nothing is delivered between the two questions
	defer s.session.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && s.past == 0 && s.session.sentLocked(s.until) {
		s.isCaughtUp = true
		close(s.caughtUp)
	}
}

// live implements liveSink: Next may have to close caughtUp.
func (s *Subscription) live() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && !s.isCaughtUp {
		s.wakeLocked()
	}
}

// Ack acknowledges an event. Until then it is in flight: at most 4,096 events are in flight, and
// the next holder of the name gets the unacknowledged ones again.
//
// Errors: ErrGone when another Subscribe took the name or Close was called, and the event will be
// delivered again; ErrNotInFlight when it was acknowledged before. An event of QoS 0 needs no Ack.
func (s *Subscription) Ack(e Event) error {
	if e.ID == 0 {
		return nil
	}
	if err := s.session.ackEvent(s, e.Seq, e.ID); err != nil {
		return err
	}
	s.session.Kick()
	return nil
}

// Close ends the subscription; a named one continues to store events.
func (s *Subscription) Close() {
	s.bus.locals.Lock()
	defer s.bus.locals.Unlock()
	s.end()
}

func (s *Subscription) end() {
	s.mu.Lock()
	was := s.closed
	s.closed, s.queue, s.bytes = true, nil, 0
	s.mu.Unlock()
	if was {
		return
	}
	delete(s.bus.local, s.session.name)
	expiry := uint32(0)
	if s.durable {
		expiry = NeverExpires
	}
	s.session.Detach(true, expiry)
	close(s.ready)
}

// Unsubscribe ends a named subscription for good. Its backlog is dropped on the owner's request and
// does not count as lost.
func (b *Bus) Unsubscribe(ctx context.Context, name string) error {
	b.locals.Lock()
	defer b.locals.Unlock()
	if s := b.local[localPrefix+name]; s != nil {
		s.end()
	}
	return b.drop(ctx, localPrefix+name, "")
}

// ReservedName reports whether a client identifier could be taken for another source of events: Go
// subscriptions (@…), shared groups, plugins, HTTP, or the bus itself.
func ReservedName(clientID string) bool {
	for _, prefix := range []string{localPrefix, "$share/", PluginSource, HTTPSource} {
		if strings.HasPrefix(clientID, prefix) {
			return true
		}
	}
	return clientID == ownSource
}

// Names lists the named subscriptions whose names have the prefix.
func (b *Bus) Names(prefix string) []string {
	var out []string
	for _, s := range b.all() {
		if name, ok := strings.CutPrefix(s.name, localPrefix); ok && strings.HasPrefix(name, prefix) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
