package bus

// This file is the fold: it applies each record of the bus's state.

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postbus/postbus/bus/journal"
	"github.com/postbus/postbus/bus/topic"
)

// Kinds of records beside events. Source is the session's name; the payload is JSON.
const (
	kindOpen        journal.Kind = 2 + iota // a client connected
	kindSubscribe                           // []Filter
	kindUnsubscribe                         // []string
	kindClose                               // its connection ended
	kindDrop                                // the session ended
	kindCursors                             // []storedCursor: the positions of sessions
	kindRelease                             // ID: the receiving half of a QoS 2 publish ended
	kindWill                                // its last will was not allowed any more; of format 1: it was published
	kindSession                             // storedSession: in snapshots
	kindGroup                               // storedCursor of a group: in snapshots
	kindVoid                                // []uint64, conditional events that don't count: in snapshots
	kindKept                                // a kept value alone, without a payload
	kindPassed                              // passedRecord: a lane is passed up to a number; in snapshots, too
	kindHighest                             // Stamp is the highest of all: in snapshots
	kindTombs                               // tombstones: in snapshots
	kindReplaced                            // the stamp of a value that a snapshot doesn't hold: see replaced
	kindVoidRanges                          // [][2]uint64, instead of kindVoid: in snapshots
)

type openRecord struct {
	User   string `json:"u,omitempty"`
	Clean  bool   `json:"c,omitempty"`
	Expiry uint32 `json:"e,omitempty"`
	Will   *Will  `json:"w,omitempty"`
}

type closeRecord struct {
	Opened uint64 `json:"o,omitempty"`
	Clean  bool   `json:"c,omitempty"`
	Expiry uint32 `json:"e,omitempty"`
	Parted uint64 `json:"s,omitempty"` // events up to here may have been sent
}

// dropRecord is the payload of kindDrop. The client may reconnect before such a record, a last will
// or kindClose is folded: they count only if the session was not opened again after Opened.
type dropRecord struct {
	Opened uint64 `json:"o,omitempty"`
	Reason string `json:"r,omitempty"` // why the backlog is lost; empty: its owner unsubscribed
	Lost   uint64 `json:"l,omitempty"` // events not delivered
}

// apply folds one record, and reports whether it is an event that counts. When replaying, no
// consumer is attached, and stored positions count. Only dispatch and replay call it.
func (b *Bus) apply(r *journal.Record, replaying bool) (event bool, err error) {
	b.noteStamp(r)
	if r.Kind.Conditional() {
		if !b.accept(r) {
			b.void.add(r.Seq)
			return false, nil
		}
		if !replaying {
			b.published.Add(1)
		}
	}
	if r.Kind.Event() {
		if r.Flags&flagQoS == 2 && r.ID != 0 {
			if s := b.session(string(r.Source)); s != nil && s.durable {
				s.mu.Lock()
				if s.received == nil {
					s.received = map[uint16]bool{}
				}
				s.received[r.ID] = true
				s.mu.Unlock()
			}
		}
		if r.Flags&flagRetain != 0 {
			b.retain(r)
		}
		if len(r.KeptTopic) > 0 {
			b.retained.setKept(r, inJournal)
		}
		return true, nil
	}
	if err := b.applyState(r, replaying); errors.Is(err, errUnknownKind) {
		return false, err
	} else if err != nil {
		b.logger.Error("journal record skipped: its content is not valid",
			"seq", r.Seq, "kind", r.Kind, "session", string(r.Source), "err", err)
	}
	return false, nil
}

// errUnknownKind is the error of a record that a newer version wrote. Skipping it would lose its
// change.
var errUnknownKind = errors.New("unknown kind of record")

// accept decides whether a conditional event counts.
func (b *Bus) accept(r *journal.Record) bool {
	if r.Kind == journal.KindConditional {
		return b.acceptWill(r)
	}
	return b.acceptImport(r)
}

// acceptWill decides whether a session's last will is published: once, and only the will of the
// connection that left it [MQTT-3.1.2-8]. Records before it in the journal alone decide, so that
// every replay decides alike.
func (b *Bus) acceptWill(r *journal.Record) bool {
	s := b.session(string(r.Source))
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.will == nil || s.opened != r.Cause {
		return false
	}
	s.setWillLocked(nil)
	return true
}

func (b *Bus) applyState(r *journal.Record, replaying bool) error {
	name := string(r.Source)
	if r.Kind == kindKept {
		b.retained.setKept(r, inJournal)
		return nil
	}
	if r.Kind == kindPassed {
		return b.passLane(r, replaying)
	}
	if r.Kind < kindOpen || r.Kind > kindWill { // the others are in snapshots
		return fmt.Errorf("record %d is of kind %d: %w", r.Seq, r.Kind, errUnknownKind)
	}
	if r.Kind == kindOpen {
		var o openRecord
		if err := json.Unmarshal(r.Payload, &o); err != nil {
			return err
		}
		b.openSession(name, o, r.Seq)
		return nil
	}
	if r.Kind == kindCursors {
		var cs []storedCursor
		if err := json.Unmarshal(r.Payload, &cs); err != nil {
			return err
		}
		b.foldPositions(cs, replaying)
		return nil
	}
	s := b.session(name)
	if s == nil {
		return nil // the session ended before
	}
	switch r.Kind {
	case kindSubscribe:
		var fs []Filter
		if err := json.Unmarshal(r.Payload, &fs); err != nil {
			return err
		}
		b.subscribe(s, fs, r.Seq)
	case kindUnsubscribe:
		var fs []string
		if err := json.Unmarshal(r.Payload, &fs); err != nil {
			return err
		}
		b.unsubscribe(s, fs, r.Seq)
	case kindClose:
		var c closeRecord
		if err := json.Unmarshal(r.Payload, &c); err != nil {
			return err
		}
		if c.Opened != s.opened {
			return nil
		}
		b.closeSession(s, c, r.Seq)
		if replaying {
			s.maybeSent = max(s.maybeSent, c.Parted)
		}
	case kindDrop:
		var d dropRecord
		if err := json.Unmarshal(r.Payload, &d); err != nil {
			return err
		}
		if d.Opened != s.opened {
			return nil
		}
		b.endSession(s)
		if !replaying {
			b.reportDrop(name, d)
		}
	case kindRelease:
		s.mu.Lock()
		delete(s.received, r.ID)
		s.mu.Unlock()
	case kindWill:
		var d dropRecord
		if err := json.Unmarshal(r.Payload, &d); err != nil {
			return err
		}
		s.mu.Lock()
		counts := d.Opened == s.opened && s.will != nil
		if counts {
			s.setWillLocked(nil)
		}
		s.mu.Unlock()
		if counts && !replaying {
			b.reportDrop(name, d)
		}
	}
	return nil
}

// reportDrop logs and counts the events that were lost with a session.
func (b *Bus) reportDrop(name string, d dropRecord) {
	if d.Reason == "" {
		return
	}
	b.logger.Info(d.Reason, "session", name, "undelivered", d.Lost)
	if d.Lost > 0 {
		b.ReportLoss(name, d.Reason, d.Lost)
	}
}

func (b *Bus) openSession(name string, o openRecord, seq uint64) {
	s := b.session(name)
	if s != nil && (o.Clean || s.expiry == 0) { // a session without expiry ended with its connection
		b.endSession(s)
		s = nil
	}
	if s == nil {
		s = b.newSession(name, seq)
		s.durable = true
		b.mu.Lock()
		b.sessions[name] = s
		b.persisted[name] = seq // a start before a record of positions begins there
		b.mu.Unlock()
	}
	s.mu.Lock()
	s.user, s.expiry = o.User, o.Expiry
	s.setWillLocked(o.Will)
	s.phase, s.absentFor, s.opened, s.unrecorded = phaseOpen, 0, seq, false
	s.closing = nil
	s.mu.Unlock()
}

func (b *Bus) closeSession(s *Session, c closeRecord, seq uint64) {
	s.mu.Lock()
	s.phase, s.absentFor, s.expiry, s.closing = phaseAbsent, 0, c.Expiry, nil
	if c.Clean {
		s.setWillLocked(nil)
	}
	s.offlineUntil = max(s.offlineUntil, seq)
	gone := s.expiry == 0 && s.will == nil
	s.mu.Unlock()
	if gone {
		b.endSession(s)
	}
}

// endSession ends a session: its subscriptions, its position, its membership of groups.
func (b *Bus) endSession(s *Session) {
	b.mu.Lock()
	if b.sessions[s.name] == s {
		delete(b.sessions, s.name)
		delete(b.persisted, s.name)
	}
	b.mu.Unlock()
	s.mu.Lock()
	s.phase = phaseEnded
	var shared []*subscription
	for _, sub := range s.subs {
		if sub.until.Load() != 0 {
			continue
		}
		if sub.cursor != &s.cursor {
			shared = append(shared, sub)
		} else if s.sink.Load() != nil {
			b.index.remove(sub)
		}
	}
	s.detachLocked()
	s.setWillLocked(nil)
	s.keepSubsLocked(func(*subscription) bool { return false })
	s.window, s.work = nil, nil
	s.foreign = 0
	s.mu.Unlock()
	for _, sub := range shared {
		b.dropFromGroup(sub)
	}
	if f := b.sessionEnded.Load(); f != nil {
		(*f)(s.name)
	}
}

// subscribe makes filters active from seq on; an active one with the same text ends there. For a
// session without records seq is 0: its filters are active from the position of dispatch.
func (b *Bus) subscribe(s *Session, filters []Filter, seq uint64) {
	var subs, left []*subscription
	var joined []*group
	for _, f := range filters { // groups first: a group's lock must not be taken while a cursor's is held
		share, _ := topic.SplitShare(f.Filter)
		sub := &subscription{Filter: f, pattern: compile(topic.Inner(f.Filter)), session: s, cursor: &s.cursor, from: seq}
		if share != "" {
			at := seq
			if at == 0 {
				at = b.completed.Load()
			}
			joined = append(joined, b.addToGroup(sub, at))
		}
		subs = append(subs, sub)
	}
	s.mu.Lock()
	s.stopLiveLocked()
	if seq == 0 { // the cursor must stop being live first: it has already got the earlier events
		seq = b.completed.Load()
		for _, sub := range subs {
			sub.from = seq
		}
	}
	active := s.activeLocked()
	for i, f := range filters {
		old, sub, pending := active[f.Filter], subs[i], false
		if old != nil {
			pending = old.retained > 0
			if s.endSubscriptionLocked(old, seq+1) {
				left = append(left, old)
			}
		}
		active[f.Filter] = sub
		s.addSubLocked(sub)
		if sub.cursor != &s.cursor {
			continue
		}
		if f.RetainHandling == 0 || f.RetainHandling == 1 && (old == nil || pending) || f.RetainHandling == 2 && !f.Since.IsZero() {
			sub.retained = 1 // not sent yet
		}
		if s.sink.Load() != nil {
			b.index.add(sub)
			if sub.retained > 0 {
				s.queueRetainedLocked(sub)
			}
		}
	}
	s.dropSharedLocked(left)
	s.single.Store(len(s.subs) == 1)
	s.mu.Unlock()
	for _, sub := range left {
		b.dropFromGroup(sub)
	}
	for _, g := range joined {
		g.refreshMembers()
	}
	s.kick()
}

// activeLocked lists the active filters by their text.
func (s *Session) activeLocked() map[string]*subscription {
	m := make(map[string]*subscription, len(s.subs))
	for _, sub := range s.subs {
		if sub.until.Load() == 0 {
			m[sub.Filter.Filter] = sub
		}
	}
	return m
}

// endSubscriptionLocked removes an active filter. A shared one is not kept, and true is returned:
// the caller drops it from its group. The caller calls dropSharedLocked at the end.
func (s *Session) endSubscriptionLocked(sub *subscription, seq uint64) (shared bool) {
	if sub.cursor != &s.cursor {
		return true
	}
	sub.until.Store(seq)
	if sub.retained > 0 {
		s.work = slices.DeleteFunc(s.work, func(w retainedWork) bool {
			if w.sub == sub {
				sub.retained -= len(w.msgs) + 1
				w.release()
			}
			return w.sub == sub
		})
	}
	if s.sink.Load() != nil {
		s.bus.index.remove(sub)
	}
	return false
}

// dropSharedLocked drops shared filters that were removed, and others that the cursor has passed.
func (s *Session) dropSharedLocked(left []*subscription) {
	if len(left) > 0 {
		gone := make(map[*subscription]bool, len(left))
		for _, sub := range left {
			gone[sub] = true
		}
		s.keepSubsLocked(func(sub *subscription) bool { return !gone[sub] })
	}
	s.pruneLocked()
}

func (b *Bus) unsubscribe(s *Session, filters []string, seq uint64) {
	var left []*subscription
	s.mu.Lock()
	s.stopLiveLocked()
	if seq == 0 {
		seq = b.completed.Load() + 1
	}
	active := s.activeLocked()
	for _, f := range filters {
		if old := active[f]; old != nil {
			delete(active, f)
			if s.endSubscriptionLocked(old, seq) {
				left = append(left, old)
			}
		}
	}
	s.dropSharedLocked(left)
	s.single.Store(len(s.subs) == 1)
	s.mu.Unlock()
	for _, sub := range left {
		b.dropFromGroup(sub)
	}
	s.kick()
}

// foldPositions records durable positions; in a replay sessions continue from them.
func (b *Bus) foldPositions(cs []storedCursor, replaying bool) {
	for _, sc := range cs {
		b.mu.Lock()
		b.persisted[sc.Name] = sc.Position
		b.mu.Unlock()
		if !replaying {
			continue
		}
		if s := b.session(sc.Name); s != nil {
			s.restorePosition(sc)
			s.absentFor = time.Duration(sc.Absent) * time.Minute
			for _, sub := range s.subs {
				if sub.from <= sc.Settled {
					sub.retained = 0
				}
			}
		} else if g := b.group(sc.Name); g != nil {
			g.restorePosition(sc)
		}
	}
}

func (b *Bus) all() []*Session {
	b.mu.RLock()
	defer b.mu.RUnlock()
	list := make([]*Session, 0, len(b.sessions))
	for _, s := range b.sessions {
		list = append(list, s)
	}
	if b.o.schedule != nil { // so that a seed repeats the order
		slices.SortFunc(list, func(a, c *Session) int { return strings.Compare(a.name, c.name) })
	}
	return list
}

func (b *Bus) allGroups() []*group {
	b.mu.RLock()
	defer b.mu.RUnlock()
	list := make([]*group, 0, len(b.groups))
	for _, g := range b.groups {
		list = append(list, g)
	}
	if b.o.schedule != nil {
		slices.SortFunc(list, func(a, c *group) int { return strings.Compare(a.key, c.key) })
	}
	return list
}
