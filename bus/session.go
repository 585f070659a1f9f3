package bus

// This file is the session: the object that package broker holds for an MQTT client. One connection
// at a time calls its methods; the broker serialises takeovers.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postbus/postbus/bus/journal"
	"github.com/postbus/postbus/bus/topic"
)

// NeverExpires as SessionOptions.Expiry keeps a session until it is dropped.
const NeverExpires = ^uint32(0)

// Filter is one subscription as the client requests it.
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

// Will is the last will: the event that is published when a client's connection ends without
// DISCONNECT.
type Will struct {
	Topic      string     `json:"t"`
	Payload    []byte     `json:"p"`
	QoS        byte       `json:"q,omitempty"`
	Retain     bool       `json:"r,omitempty"`
	Delay      uint32     `json:"d,omitempty"` // seconds
	Expiry     uint32     `json:"e,omitempty"` // seconds; 0: none
	Properties Properties `json:"pr,omitempty"`
	// Login is for MayPublishWill: how the client logged in, if its user alone does not tell what it may.
	Login []byte `json:"l,omitempty"`
}

// size is the memory of a will in bytes.
func (w *Will) size() int64 {
	if w == nil {
		return 0
	}
	return int64(200 + len(w.Topic) + len(w.Payload) + len(w.Properties) + len(w.Login))
}

// setWillLocked is the one way in which a will changes; it counts the memory.
func (s *Session) setWillLocked(w *Will) {
	s.bus.willSize.Add(w.size() - s.will.size())
	s.will = w
}

func (w *Will) event(source string) Event {
	return Event{Topic: w.Topic, Payload: w.Payload, QoS: w.QoS, Retain: w.Retain, Source: source,
		Expiry: time.Duration(w.Expiry) * time.Second, Properties: w.Properties}
}

// SessionOptions are the options of a client's connection.
type SessionOptions struct {
	Name   string // client identifier
	User   string // a session belongs to a user; another user cannot attach to it
	Clean  bool   // discard an earlier session
	Expiry uint32 // seconds that the session outlives its connection; 0: not at all
	Will   *Will
}

// Session is a client's subscriptions and its position in the journal.
type Session struct {
	cursor

	// State of the fold: only dispatch and replay change these fields, with mu held.
	phase    phase
	user     string
	expiry   uint32
	will     *Will  // of the last connection, until it is published or void
	opened   uint64 // sequence of the record that opened the session last
	received map[uint16]bool

	// State of the connection and of housekeeping, guarded by mu.
	closing   *closeRecord   // the connection ended, and the record of it is not folded yet
	leftAt    time.Time      // when its connection ended; zero: before the bus started
	absentFor time.Duration  // time that the bus ran while the client was offline, as of the last housekeeping
	writing   bool           // records about the session are being written
	written   journal.Commit // of the last record about the session that the bus wrote on its own
}

// phase is the state of a session according to the folded records.
type phase uint8

const (
	phaseOpen   phase = iota // a client is connected, or was connected when the bus stopped
	phaseAbsent              // the connection ended
	phaseEnded               // the session expired, was dropped, or was replaced
)

// pendingLocked reports whether records about the session are being written. Records that the disk
// refused do not count: they are written again.
func (s *Session) pendingLocked() bool {
	if s.writing {
		return true
	}
	select {
	case <-s.written.Done():
		return s.written.Err() == nil && s.written.Seq() > s.bus.completed.Load()
	default:
		return true
	}
}

// connectedLocked reports whether a client is connected or connecting.
func (s *Session) connectedLocked() bool {
	return s.sink.Load() != nil || s.unrecorded || s.phase == phaseOpen && s.closing == nil
}

// Attach opens the session for a connection; present reports whether it existed. Delivery begins
// with Start. A session that outlives its connection is durable when Attach returns. While the disk
// refuses writes, an existing session can be attached, but no new one.
func (b *Bus) Attach(ctx context.Context, o SessionOptions) (s *Session, present bool, err error) {
	old := b.session(o.Name)
	if old != nil && !mayTakeOver(old.owner(), o.User) {
		return nil, false, fmt.Errorf("session %q: %w", o.Name, ErrForeignSession)
	}
	if w := o.Will; w != nil {
		e := w.event(o.Name)
		if err := e.check(b.limits.Load().MaxPayload); err != nil {
			return nil, false, fmt.Errorf("last will: %w", err)
		}
		if err := b.admit(e.Record()); err != nil {
			return nil, false, fmt.Errorf("last will: %w", err)
		}
		if l := b.limits.Load(); b.willSize.Load()+w.size() > l.WillSize {
			return nil, false, b.refuse(LimitWillSize, l.WillSize)
		}
	}
	if old == nil && !strings.HasPrefix(o.Name, localPrefix) {
		if l := b.limits.Load(); b.sessionCount() >= l.Sessions {
			return nil, false, b.refuse(LimitSessions, int64(l.Sessions))
		}
	}
	if old == nil && o.Expiry == 0 && o.Will == nil {
		return b.attachEphemeral(o), false, nil
	}
	var will *journal.Record
	if old != nil {
		will = old.willBeforeReturn(o.Clean)
	}
	err = b.open(ctx, will, o)
	s = b.session(o.Name)
	switch {
	case err == nil && s != nil:
		return s, s == old, nil
	case s != nil && s == old && !o.Clean && s.outlives() && ctx.Err() == nil:
		// Publishes of an earlier connection at QoS 2 must be folded, so that a repetition is
		// recognised.
		if ferr := b.folded(ctx, o.Name, b.journal.Durable()); ferr != nil {
			return nil, false, ferr
		}
		s.mu.Lock()
		s.unrecorded = s.phase != phaseEnded && !s.pendingLocked() // a record that is being written may end it
		silent := s.unrecorded
		s.mu.Unlock()
		if silent {
			b.logger.Warn("session opened without a journal record: the disk refuses writes",
				"session", o.Name, "err", err)
			return s, true, nil
		}
	case err == nil:
		err = ErrClosed
	}
	return nil, false, err
}

func (b *Bus) attachEphemeral(o SessionOptions) *Session {
	// Start at the position of dispatch and not at the end of the journal: a retained event, or an
	// event of history, that is not durable yet would otherwise be missed.
	s := b.newSession(o.Name, b.completed.Load())
	s.user = o.User
	b.mu.Lock()
	b.sessions[o.Name] = s
	b.mu.Unlock()
	return s
}

// open writes the last will of the previous connection and the record that a client connected, and
// returns when they are folded.
func (b *Bus) open(ctx context.Context, will *journal.Record, o SessionOptions) error {
	open, err := stateRecord(kindOpen, o.Name, openRecord{User: o.User, Clean: o.Clean, Expiry: o.Expiry, Will: o.Will})
	if err != nil {
		return err
	}
	records := []*journal.Record{open}
	if will != nil {
		records = []*journal.Record{will, open}
	}
	commit, err := b.journal.AppendAll(records...)
	if err != nil {
		return err
	}
	if err = b.await(ctx, o.Name, commit); err != nil && ctx.Err() != nil {
		b.abandon(commit, o)
	}
	return err
}

// abandon closes a session whose client gave up while it connected: the record that it connected
// may still be folded, and no connection would ever end it.
func (b *Bus) abandon(opened journal.Commit, o SessionOptions) {
	if b.stopping() {
		return
	}
	b.tasks.Go(func() {
		<-opened.Done()
		if opened.Err() != nil {
			return
		}
		left, err := stateRecord(kindClose, o.Name, closeRecord{Opened: opened.Seq(), Expiry: o.Expiry})
		if err == nil {
			_, err = b.journal.Append(left)
		}
		if err != nil && !errors.Is(err, journal.ErrClosed) {
			b.logger.Warn("recording an abandoned connection failed", "session", o.Name, "err", err)
		}
	})
}

// willBeforeReturn returns the last will that must be published before a new connection takes over,
// because it has no delay or the session ends now; nil if there is none.
func (s *Session) willBeforeReturn(clean bool) *journal.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sink.Load() != nil || s.will == nil || !clean && s.expiry != 0 && s.will.Delay != 0 {
		return nil
	}
	return s.willLocked()
}

// willLocked returns the session's last will as a conditional event, see acceptWill. It is nil if
// there is none, or if the client sent DISCONNECT. For a will that its user may no longer publish, it
// returns the record that the will is lost.
func (s *Session) willLocked() *journal.Record {
	w := s.will
	if w == nil || s.closing != nil && s.closing.Clean {
		return nil
	}
	if may := s.bus.o.MayPublishWill; may != nil && !may(s.user, s.name, w) {
		lost, err := stateRecord(kindWill, s.name, dropRecord{Opened: s.opened, Reason: "last will not allowed", Lost: 1})
		if err != nil {
			panic(err) // a struct of numbers and text
		}
		return lost
	}
	e := w.event(s.name)
	r := e.Record()
	r.Kind, r.Cause = journal.KindConditional, s.opened
	s.bus.stamp(r)
	return r
}

// outlives reports whether the session still exists for a client that connects now. A session that
// has expired does not, even if the disk refused the record.
func (s *Session) outlives() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expiry == NeverExpires || s.expiry > 0 && (s.phase == phaseOpen || s.absentFor < time.Duration(s.expiry)*time.Second)
}

// MayTakeOver reports whether a user may connect with the name of a session: there is none, or it is
// the user's or anonymous.
func (b *Bus) MayTakeOver(name, user string) bool {
	s := b.session(name)
	return s == nil || mayTakeOver(s.owner(), user)
}

// mayTakeOver: an anonymous session belongs to nobody. A page takes it over when somebody logs in, and
// a device when it gets a user name.
func mayTakeOver(owner, user string) bool { return owner == user || owner == "" }

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

// Received lists the packet identifiers of QoS 2 publishes that wait for PUBREL.
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
	s.offlineUntil = s.bus.journal.Next() - 1
	var groups []*group
	for _, sub := range s.subs {
		if sub.until.Load() != 0 {
			continue
		}
		if sub.cursor != &s.cursor {
			groups = append(groups, s.bus.group(sub.Filter.Filter))
		} else {
			s.bus.index.add(sub)
			if sub.retained > 0 && !s.retainedQueuedLocked(sub) {
				s.queueRetainedLocked(sub)
			}
		}
	}
	s.attachLocked(sink)
	s.kickLocked()
	s.mu.Unlock()
	for _, g := range groups {
		g.refreshMembers()
	}
}

// retainedQueuedLocked reports whether retained messages of sub are queued or in flight.
func (s *Session) retainedQueuedLocked(sub *subscription) bool {
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

// queueRetainedLocked queues the retained messages, or the history, for a new subscription.
// Messages that are newer than the subscription come through the journal.
func (s *Session) queueRetainedLocked(sub *subscription) {
	sub.retained = 1
	w := retainedWork{sub: sub}
	if !sub.Since.IsZero() {
		w.reader = s.bus.journal.Reader(s.bus.fromSeq(sub.Since))
		w.reader.Lost = func(from, to uint64) { s.loseLocked("damaged", to-from+1) }
		w.reader.Match, w.reader.Prefixes = sub.pattern.match, sub.pattern.prefix
		s.work = append(s.work, w)
		return
	}
	for _, r := range s.bus.retained.announcedThat(&sub.pattern) {
		w.topics = append(w.topics, string(r.Topic))
	}
	w.retained = true
	s.work = append(s.work, w)
}

// Detach ends the attachment. clean means that the client sent DISCONNECT, so that its last will is
// void. expiry is how many seconds the session outlives the connection.
func (s *Session) Detach(clean bool, expiry uint32) {
	s.mu.Lock()
	attached := s.sink.Load() != nil
	s.detachLocked() // before the index forgets its filters
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
	if c := s.closing; c != nil && c.Clean {
		clean = true // the clean end of the recorded connection still counts, because this one has no record
	}
	s.closing = &closeRecord{Opened: s.opened, Clean: clean, Expiry: expiry, Parted: max(s.maybeSent, s.detachedAt)}
	s.leftAt = time.Now()
	s.mu.Unlock()
	for _, l := range back {
		l.g.returnToGroup(l.seq)
	}
	for _, g := range groups {
		g.refreshMembers()
	}
	if !durable {
		s.bus.endSession(s)
		return
	}
	// Do not wait: after a crash an open session counts as ended without DISCONNECT. If the disk
	// refuses the record, housekeeping writes it again.
	s.writeDue()
}

// Subscribe makes the subscriptions, durable when the session is. Retained messages follow, or the
// requested history. If a filter is not valid, or a limit refuses it, none is made.
func (s *Session) Subscribe(ctx context.Context, filters []Filter) error {
	for _, f := range filters {
		if err := topic.CheckSubscription(f.Filter); err != nil {
			return err
		}
	}
	for i, err := range s.refusals(filters) {
		if err != nil {
			return fmt.Errorf("filter %.100q: %w", filters[i].Filter, err)
		}
	}
	return s.makeSubscriptions(ctx, slices.Clone(filters))
}

// SubscribeAdmitted is Subscribe for those of the valid filters that no limit refuses. refused has a
// *LimitError at the index of each other filter, and err is why none is made.
func (s *Session) SubscribeAdmitted(ctx context.Context, filters []Filter) (refused []error, err error) {
	refused = s.refusals(filters)
	var admitted []Filter
	for i, f := range filters {
		if refused[i] == nil {
			admitted = append(admitted, f)
		}
	}
	return refused, s.makeSubscriptions(ctx, admitted)
}

// makeSubscriptions makes admitted subscriptions. The slice is its own.
func (s *Session) makeSubscriptions(ctx context.Context, filters []Filter) error {
	if len(filters) == 0 {
		return nil
	}
	for i := range filters {
		filters[i].begin(time.Now())
	}
	if s.durable {
		return s.bus.change(ctx, kindSubscribe, s.name, filters)
	}
	// A client whose retained event was acknowledged must find it.
	if err := s.bus.folded(ctx, s.name, s.bus.journal.Durable()); err != nil {
		return err
	}
	s.bus.subscribe(s, filters, 0)
	return nil
}

// Unsubscribe removes filters and reports which of them existed. Events that were accepted before
// are still delivered to a durable session, and events that were dispatched before to any other.
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

// Ack processes a PUBACK or PUBCOMP, or a PUBREC that refuses. It reports whether the identifier
// was in flight. Call Kick when the available input is processed.
func (s *Session) Ack(id uint16) bool {
	s.mu.Lock()
	e := s.findLocked(id)
	if e == nil {
		s.mu.Unlock()
		return false
	}
	group, seq := e.group, e.seq
	s.finishLocked(e)
	s.mu.Unlock()
	if group != nil {
		group.ackShared(seq)
	}
	return true
}

// ackEvent processes an acknowledgement of a consumer in this process. It identifies the event by
// its sequence and identifier, because an identifier repeats after 65,535 events, and counts only
// while sink is attached.
func (s *Session) ackEvent(sink Sink, seq uint64, id uint16) error {
	s.mu.Lock()
	if now := s.sink.Load(); now == nil || *now != sink {
		s.mu.Unlock()
		return ErrGone
	}
	e := s.findLocked(id)
	if e == nil || e.seq != seq {
		s.mu.Unlock()
		return fmt.Errorf("event %d: %w", seq, ErrNotInFlight)
	}
	group := e.group
	s.finishLocked(e)
	s.mu.Unlock()
	if group != nil {
		group.ackShared(seq)
	}
	return nil
}

// Receive processes a PUBREC: the client has the event, and PUBREL is next [MQTT-4.3.3-4]. It
// reports whether the identifier was in flight.
func (s *Session) Receive(id uint16) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.findLocked(id)
	if e == nil {
		return false
	}
	e.received = true
	return true
}

// Kick continues delivery after acknowledgements, or when the sink has room again.
func (s *Session) Kick() {
	s.mu.Lock()
	if !s.is(modeStalled) && !s.inGroupLocked() {
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

func (s *Session) inGroupLocked() bool {
	for _, sub := range s.subs {
		if sub.cursor != &s.cursor {
			return true
		}
	}
	return false
}

// Release ends the receiving half of a QoS 2 publish durably: PUBCOMP may be sent when the commit
// is done. Without it a reused identifier could be taken for the old event. A zero Commit means
// that there is nothing to wait for.
func (s *Session) Release(id uint16) (journal.Commit, error) {
	if !s.durable {
		return journal.Commit{}, nil
	}
	return s.bus.journal.Append(&journal.Record{Kind: kindRelease, ID: id, Source: []byte(s.name)})
}
