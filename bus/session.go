package bus

// This file is the session: what package broker holds for an MQTT client. Its methods are called by
// one connection at a time; the broker serialises takeovers.

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/postbus/postbus/bus/journal"
)

// NeverExpires as SessionOptions.Expiry keeps a session until it is dropped.
const NeverExpires = ^uint32(0)

// Filter is one subscription as the client asks for it.
type Filter struct {
	Filter            string `json:"f"` // may be $share/group/filter
	QoS               byte   `json:"q,omitempty"`
	NoLocal           bool   `json:"nl,omitempty"`
	RetainAsPublished bool   `json:"rap,omitempty"`
	RetainHandling    byte   `json:"rh,omitempty"` // 0 send retained, 1 only for a new subscription, 2 never
	ID                uint32 `json:"id,omitempty"` // subscription identifier; 0: none
	Meta              bool   `json:"meta,omitempty"`
	Since             Since  `json:"since,omitzero"` // it begins in the past
}

// Will is what is published when a client is gone without a goodbye.
type Will struct {
	Topic      string     `json:"t"`
	Payload    []byte     `json:"p"`
	QoS        byte       `json:"q,omitempty"`
	Retain     bool       `json:"r,omitempty"`
	Delay      uint32     `json:"d,omitempty"` // seconds
	Expiry     uint32     `json:"e,omitempty"` // seconds; 0: none
	Properties Properties `json:"pr,omitempty"`
}

// SessionOptions are what a client connects with.
type SessionOptions struct {
	Name   string // client identifier
	User   string // a session belongs to a user: another one cannot have it
	Clean  bool   // forget what the session was
	Expiry uint32 // seconds that it outlives its connection; 0: not at all
	Will   *Will
}

// Session is a client's subscriptions and its place in the journal.
type Session struct {
	cursor
	user      string
	expiry    uint32
	will      *Will
	online    bool
	absentFor time.Duration // time that the bus ran without the client, as of the last housekeeping
	leftAt    time.Time     // when its connection ended; zero: before the bus started
	received  map[uint16]bool
	opened    uint64          // sequence of the record that opened it last
	willSaid  *journal.Commit // of the records that its will was published, and
	endSaid   *journal.Commit // that it ended, while they are on the way to the journal
	closeSaid *journal.Commit // of the record that its connection ended
	closing   closeRecord     // that record
}

// Attach opens the session for a connection and says whether there was one. Delivery begins with
// Start. A session that is to survive is durable when Attach returns; with a disk that refuses an
// existing one is attached all the same, a new one is not.
func (b *Bus) Attach(ctx context.Context, o SessionOptions) (s *Session, present bool, err error) {
	old := b.session(o.Name)
	if old != nil && old.owner() != o.User {
		return nil, false, fmt.Errorf("session %q: %w", o.Name, ErrForeignSession)
	}
	if old == nil && o.Expiry == 0 && o.Will == nil {
		return b.attachEphemeral(o), false, nil
	}
	if old != nil && old.willDue(o.Clean) {
		// Its connection is gone, and what comes next must not swallow the will [MQTT-3.1.2-8].
		if err := b.publishWill(old); err != nil {
			b.logger.Warn("will not published", "session", o.Name, "err", err)
		}
	}
	err = b.change(ctx, kindOpen, o.Name, openRecord{User: o.User, Clean: o.Clean, Expiry: o.Expiry, Will: o.Will})
	s = b.session(o.Name)
	switch {
	case err == nil && s != nil:
		return s, s == old, nil
	case s != nil && s == old && !o.Clean && s.outlives() && ctx.Err() == nil:
		b.logger.Warn("session opened without a record: the disk refuses", "session", o.Name, "err", err)
		s.mu.Lock()
		s.silent = true
		s.mu.Unlock()
		return s, true, nil
	case err == nil:
		err = ErrClosed
	}
	return nil, false, err
}

func (b *Bus) attachEphemeral(o SessionOptions) *Session {
	// From the place of dispatch, not from the end of the journal: a retained event, or one of the past, that
	// is still on its way to the disk would fall between the two.
	s := b.newSession(o.Name, b.completed.Load())
	s.user, s.online = o.User, true
	b.mu.Lock()
	b.sessions[o.Name] = s
	b.mu.Unlock()
	return s
}

// willDue reports whether an absent session's will is published before a new connection takes over:
// it has no delay, or the session ends now.
func (s *Session) willDue(clean bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.will != nil && s.sink.Load() == nil && (clean || s.expiry == 0 || s.will.Delay == 0)
}

// outlives reports whether the session is there for a client that comes back now, also when the disk
// has refused the record that it expired.
func (s *Session) outlives() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expiry == NeverExpires || s.expiry > 0 && (s.online || s.absentFor < time.Duration(s.expiry)*time.Second)
}

func (s *Session) owner() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.user
}

func (b *Bus) newSession(name string, seq uint64) *Session {
	s := &Session{cursor: cursor{bus: b, name: name, next: seq + 1}}
	s.mu.Use(b.o.schedule, name)
	return s
}

// Name is the client identifier.
func (s *Session) Name() string { return s.name }

// Received lists the packet identifiers of QoS 2 publishes that wait for their release.
func (s *Session) Received() []uint16 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []uint16
	for id := range s.received {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Start begins delivery to sink, with at most limit deliveries in flight.
func (s *Session) Start(sink Sink, limit int) {
	s.mu.Lock()
	s.limit = max(limit, 1)
	s.absent = s.bus.log.Next() - 1
	var groups []*group
	for _, sub := range s.subs {
		if sub.until.Load() != 0 {
			continue
		}
		if sub.cursor != &s.cursor {
			groups = append(groups, s.bus.group(sub.Filter.Filter))
		} else {
			s.bus.index.add(sub)
			if sub.retained > 0 && !s.working(sub) {
				s.owe(sub)
			}
		}
	}
	s.sink.Store(&sink)
	s.kickLocked()
	s.mu.Unlock()
	for _, g := range groups {
		g.join()
	}
}

// working reports whether retained messages of sub are still on their way.
func (s *Session) working(sub *subscription) bool {
	for i := range s.work {
		if s.work[i].sub == sub {
			return true
		}
	}
	for i := range s.window {
		if s.window[i].sub == sub {
			return true
		}
	}
	return false
}

// owe notes the retained messages that a new subscription is to get. Those that are newer than the
// subscription come through the journal.
func (s *Session) owe(sub *subscription) {
	sub.retained = 1
	w := retainedWork{sub: sub}
	if !sub.Since.IsZero() {
		w.reader = s.bus.log.Reader(s.bus.fromSeq(sub.Since))
		w.reader.Match = sub.pattern.match
		s.work = append(s.work, w)
		return
	}
	for _, r := range s.bus.retained.match(&sub.pattern) {
		if r.Seq <= sub.from && !(sub.NoLocal && string(r.Source) == s.name) {
			w.msgs = append(w.msgs, r)
		}
	}
	slices.SortFunc(w.msgs, func(a, b *journal.Record) int { return cmp.Compare(a.Seq, b.Seq) })
	sub.retained += len(w.msgs)
	s.work = append(s.work, w)
}

// Detach ends the attachment. clean: the client said goodbye, its will is void. expiry is how long the
// session lives on.
func (s *Session) Detach(clean bool, expiry uint32) {
	s.mu.Lock()
	attached := s.sink.Load() != nil
	s.leave() // before the index forgets it: what dispatch passes in between is offered to nobody
	if attached {
		for _, sub := range s.subs {
			if sub.until.Load() == 0 && sub.cursor == &s.cursor {
				s.bus.index.remove(sub)
			}
		}
	}
	type lent struct {
		g   *cursor
		seq uint64
	}
	var back []lent
	kept := s.window[:0]
	for _, e := range s.window {
		if e.group == nil {
			kept = append(kept, e)
			continue
		}
		s.foreign--
		if !e.done {
			back = append(back, lent{e.group, e.seq})
		}
	}
	s.window = kept
	var groups []*group
	for _, sub := range s.subs {
		if sub.until.Load() == 0 && sub.cursor != &s.cursor {
			groups = append(groups, s.bus.group(sub.Filter.Filter))
		}
	}
	durable := s.durable
	if clean {
		s.will = nil // also when the record of it is still on its way
	}
	will := !clean && s.will != nil && (s.will.Delay == 0 || expiry == 0)
	s.closing = closeRecord{Opened: s.opened, Clean: clean, Expiry: expiry, Parted: max(s.unsure, s.parted)}
	s.mu.Unlock()
	for _, l := range back {
		l.g.giveBack(l.seq)
	}
	for _, g := range groups {
		g.join()
	}
	if !durable {
		s.bus.forget(s)
		return
	}
	if will {
		if err := s.bus.publishWill(s); err != nil {
			s.bus.logger.Warn("will not published yet", "session", s.name, "err", err)
		}
	}
	// Not waited for: after a crash an open session counts as left without a goodbye.
	s.mu.Lock()
	_, commit, err := s.bus.appendJSON(kindClose, s.name, s.closing)
	s.closeSaid = commit
	s.mu.Unlock()
	if err != nil {
		s.bus.closeSession(s, s.closing, s.bus.visible.Load())
	}
}

// Subscribe makes the subscriptions, durable when the session is. Retained messages follow, or what of the
// past was asked for.
func (s *Session) Subscribe(ctx context.Context, filters []Filter) error {
	if len(filters) == 0 {
		return nil
	}
	for _, f := range filters {
		if err := CheckFilter(f.Filter); err != nil {
			return err
		}
	}
	filters = slices.Clone(filters)
	for i := range filters {
		filters[i].begin(time.Now())
	}
	if s.durable {
		return s.bus.change(ctx, kindSubscribe, s.name, filters)
	}
	// Whoever saw a retained event acknowledged is to find it.
	if err := s.bus.folded(ctx, s.bus.log.Durable()); err != nil {
		return err
	}
	s.bus.subscribe(s, filters, 0)
	return nil
}

// Unsubscribe gives filters up and reports which there were. What was accepted before is still delivered
// to a durable session; to another one what had been dispatched.
func (s *Session) Unsubscribe(ctx context.Context, filters []string) ([]bool, error) {
	existed := make([]bool, len(filters))
	s.mu.Lock()
	for i, f := range filters {
		for _, sub := range s.subs {
			existed[i] = existed[i] || sub.until.Load() == 0 && sub.Filter.Filter == f
		}
	}
	s.mu.Unlock()
	if s.durable {
		return existed, s.bus.change(ctx, kindUnsubscribe, s.name, filters)
	}
	s.bus.unsubscribe(s, filters, 0)
	return existed, nil
}

// Ack takes a PUBACK or PUBCOMP, or a PUBREC that refuses. It reports whether the identifier was in
// flight. Call Kick when the input at hand is processed.
func (s *Session) Ack(id uint16) bool {
	s.mu.Lock()
	e := s.find(id)
	if e == nil {
		s.mu.Unlock()
		return false
	}
	group, seq := e.group, e.seq
	s.finish(e)
	s.mu.Unlock()
	if group != nil {
		group.acked(seq)
	}
	return true
}

// Receive takes a PUBREC: the event is the client's, PUBREL is next [MQTT-4.3.3-4]. It reports whether
// the identifier was in flight.
func (s *Session) Receive(id uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.find(id)
	if e == nil {
		return false
	}
	e.received = true
	return true
}

// Kick goes on with delivery after acknowledgements, or when the sink has room again.
func (s *Session) Kick() {
	s.mu.Lock()
	if !s.stalled && !s.lending() {
		s.mu.Unlock()
		return
	}
	s.kickLocked()
	var groups []string
	for _, sub := range s.subs {
		if sub.until.Load() == 0 && sub.cursor != &s.cursor {
			groups = append(groups, sub.Filter.Filter)
		}
	}
	s.mu.Unlock()
	for _, key := range groups {
		if g := s.bus.group(key); g != nil {
			g.kick()
		}
	}
}

func (s *Session) lending() bool {
	for _, sub := range s.subs {
		if sub.cursor != &s.cursor {
			return true
		}
	}
	return false
}

// Release ends the receiving half of a QoS 2 publish durably: PUBCOMP may be sent when the commit is
// done. Without it a reused identifier could be taken for the old event. nil: nothing to wait for.
func (s *Session) Release(id uint16) (*journal.Commit, error) {
	if !s.durable {
		return nil, nil
	}
	_, c, err := s.bus.log.Append(&journal.Record{Kind: kindRelease, ID: id, Source: []byte(s.name)})
	return c, err
}
