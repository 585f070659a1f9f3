package bus

// This file is the fold: what each record of the bus's own state means, the snapshot of it, and the
// replay at the start.

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/postbus/postbus/bus/journal"
)

// Kinds of records beside events. Source is the session's name; the payload is JSON.
const (
	kindOpen        journal.Kind = 2 + iota // a client connected
	kindSubscribe                           // []Filter
	kindUnsubscribe                         // []string
	kindClose                               // its connection ended
	kindDrop                                // the session ended
	kindCursors                             // []storedCursor: where sessions are
	kindRelease                             // ID: the receiving half of a QoS 2 publish ended
	kindWill                                // its will was published
	kindSession                             // storedSession: in snapshots
	kindGroup                               // storedCursor of a group: in snapshots
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

// aboutRecord is the payload of kindWill and kindDrop. Such a record, and kindClose, may be overtaken
// by the client's return: it counts only when the session was not opened again after Opened.
type aboutRecord struct {
	Opened uint64 `json:"o,omitempty"`
}

type storedCursor struct {
	Name     string `json:"n"`
	Position uint64 `json:"p"`
	Gap      uint64 `json:"g,omitempty"`
	Absent   int64  `json:"a,omitempty"` // minutes
	Unsure   uint64 `json:"u,omitempty"` // events up to here may have been sent to a client of whom there is no other record
	Settled  uint64 `json:"r,omitempty"` // subscriptions up to here have had their retained messages
}

type storedSub struct {
	Filter
	From  uint64 `json:"from"`
	Until uint64 `json:"until,omitempty"`
	Owed  bool   `json:"owed,omitempty"`
}

type storedSession struct {
	storedCursor
	User     string            `json:"u,omitempty"`
	Expiry   uint32            `json:"e,omitempty"`
	Online   bool              `json:"o,omitempty"`
	Opened   uint64            `json:"op,omitempty"`
	MaySent  uint64            `json:"un,omitempty"`
	Will     *Will             `json:"w,omitempty"`
	Received []uint16          `json:"rec,omitempty"`
	Lost     map[string]uint64 `json:"l,omitempty"`
	Subs     []storedSub       `json:"s,omitempty"`
}

type storedGroup struct {
	storedCursor
	From uint64 `json:"from"`
}

// apply folds one record. replaying: nobody is attached, and stored places count. Only dispatch and
// replay call it.
func (b *Bus) apply(r *journal.Record, replaying bool) {
	if r.Kind == journal.KindEvent {
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
			b.retained.set(r)
		}
		return
	}
	if err := b.applyState(r, replaying); err != nil {
		b.logger.Error("state record not understood", "seq", r.Seq, "kind", r.Kind, "session", string(r.Source), "err", err)
	}
}

func (b *Bus) applyState(r *journal.Record, replaying bool) error {
	name := string(r.Source)
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
		b.placeCursors(cs, replaying)
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
			s.unsure = max(s.unsure, c.Parted)
		}
	case kindDrop:
		if ok, err := s.concerns(r); !ok {
			return err
		}
		b.forget(s)
	case kindRelease:
		s.mu.Lock()
		delete(s.received, r.ID)
		s.mu.Unlock()
	case kindWill:
		if ok, err := s.concerns(r); !ok {
			return err
		}
		s.mu.Lock()
		s.will, s.willSaid = nil, nil
		s.mu.Unlock()
	default:
		return fmt.Errorf("kind %d is unknown", r.Kind)
	}
	return nil
}

// concerns reports whether a record is about the session as it was opened last.
func (s *Session) concerns(r *journal.Record) (bool, error) {
	var about aboutRecord
	err := json.Unmarshal(r.Payload, &about)
	return err == nil && about.Opened == s.opened, err
}

func (b *Bus) openSession(name string, o openRecord, seq uint64) {
	s := b.session(name)
	if s != nil && (o.Clean || s.expiry == 0) { // without an expiry it ended with its connection
		b.forget(s)
		s = nil
	}
	if s == nil {
		s = b.newSession(name, seq)
		s.durable = true
		b.mu.Lock()
		b.sessions[name] = s
		b.mu.Unlock()
	}
	s.mu.Lock()
	s.user, s.expiry, s.will = o.User, o.Expiry, o.Will
	s.online, s.absentFor, s.opened, s.silent = true, 0, seq, false
	s.willSaid, s.endSaid, s.closeSaid = nil, nil, nil
	s.mu.Unlock()
}

func (b *Bus) closeSession(s *Session, c closeRecord, seq uint64) {
	s.mu.Lock()
	s.online, s.absentFor, s.leftAt, s.expiry = false, 0, time.Now(), c.Expiry
	if c.Clean {
		s.will = nil
	}
	s.absent = max(s.absent, seq)
	gone := s.expiry == 0 && s.will == nil
	s.mu.Unlock()
	if gone {
		b.forget(s)
	}
}

// forget ends a session: its subscriptions, its place, its share in groups.
func (b *Bus) forget(s *Session) {
	b.mu.Lock()
	if b.sessions[s.name] == s {
		delete(b.sessions, s.name)
		delete(b.persisted, s.name)
	}
	b.mu.Unlock()
	s.mu.Lock()
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
	s.leave()
	s.subs, s.window, s.work = nil, nil, nil
	s.foreign = 0
	s.mu.Unlock()
	for _, sub := range shared {
		b.dropFromGroup(sub)
	}
}

// subscribe makes filters stand from seq on; one that stood with the same text ends there. Of a session
// without records seq is 0: its filters stand from the place of dispatch.
func (b *Bus) subscribe(s *Session, filters []Filter, seq uint64) {
	var subs, left []*subscription
	var joined []*group
	for _, f := range filters { // groups first: a cursor's lock is not held while a group's is taken
		share, inner := splitShare(f.Filter)
		sub := &subscription{Filter: f, pattern: compile(inner), session: s, cursor: &s.cursor, from: seq}
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
	s.read()
	if seq == 0 { // not before read: what a live cursor had is not looked at again
		seq = b.completed.Load()
		for _, sub := range subs {
			sub.from = seq
		}
	}
	standing := s.standing()
	for i, f := range filters {
		old, sub, owed := standing[f.Filter], subs[i], false
		if old != nil {
			owed = old.retained > 0
			if s.end(old, seq+1) {
				left = append(left, old)
			}
		}
		standing[f.Filter] = sub
		s.subs = append(s.subs, sub)
		if sub.cursor != &s.cursor {
			continue
		}
		if f.RetainHandling == 0 || f.RetainHandling == 1 && (old == nil || owed) {
			sub.retained = 1 // owed
		}
		if s.sink.Load() != nil {
			b.index.add(sub)
			if sub.retained > 0 {
				s.owe(sub)
			}
		}
	}
	s.forgetShared(left)
	s.single.Store(len(s.subs) == 1)
	s.mu.Unlock()
	for _, sub := range left {
		b.dropFromGroup(sub)
	}
	for _, g := range joined {
		g.join()
	}
	s.kick()
}

// standing lists the filters that stand, by their text. The caller holds mu.
func (s *Session) standing() map[string]*subscription {
	m := make(map[string]*subscription, len(s.subs))
	for _, sub := range s.subs {
		if sub.until.Load() == 0 {
			m[sub.Filter.Filter] = sub
		}
	}
	return m
}

// end gives up a filter that stands. One that is shared is not kept, and true returned: its group is to
// be told. The caller holds mu and calls forgetShared at the end.
func (s *Session) end(sub *subscription, seq uint64) (shared bool) {
	if sub.cursor != &s.cursor {
		return true
	}
	sub.until.Store(seq)
	if sub.retained > 0 {
		s.work = slices.DeleteFunc(s.work, func(w retainedWork) bool {
			if w.sub == sub {
				sub.retained -= len(w.msgs) + 1
			}
			return w.sub == sub
		})
	}
	if s.sink.Load() != nil {
		s.bus.index.remove(sub)
	}
	return false
}

// forgetShared drops shared filters that were given up, and others whose place has been passed.
func (s *Session) forgetShared(left []*subscription) {
	if len(left) > 0 {
		gone := make(map[*subscription]bool, len(left))
		for _, sub := range left {
			gone[sub] = true
		}
		s.subs = slices.DeleteFunc(s.subs, func(sub *subscription) bool { return gone[sub] })
	}
	s.prune()
}

func (b *Bus) unsubscribe(s *Session, filters []string, seq uint64) {
	var left []*subscription
	s.mu.Lock()
	s.read()
	if seq == 0 {
		seq = b.completed.Load() + 1
	}
	standing := s.standing()
	for _, f := range filters {
		if old := standing[f]; old != nil {
			delete(standing, f)
			if s.end(old, seq) {
				left = append(left, old)
			}
		}
	}
	s.forgetShared(left)
	s.single.Store(len(s.subs) == 1)
	s.mu.Unlock()
	for _, sub := range left {
		b.dropFromGroup(sub)
	}
	s.kick()
}

// placeCursors takes note of positions that are durable; in a replay they are where sessions go on.
func (b *Bus) placeCursors(cs []storedCursor, replaying bool) {
	for _, sc := range cs {
		b.mu.Lock()
		b.persisted[sc.Name] = sc.Position
		b.mu.Unlock()
		if !replaying {
			continue
		}
		if s := b.session(sc.Name); s != nil {
			s.place(sc)
			s.absentFor = time.Duration(sc.Absent) * time.Minute
			for _, sub := range s.subs {
				if sub.from <= sc.Settled {
					sub.retained = 0
				}
			}
		} else if g := b.group(sc.Name); g != nil {
			g.place(sc)
		}
	}
}

func (c *cursor) place(sc storedCursor) {
	if sc.Position+1 < c.next {
		return
	}
	c.next, c.gap, c.stored = sc.Position+1, sc.Gap, sc
	c.unsure = max(c.unsure, sc.Unsure)
	c.prune()
}

// replay reads the newest snapshot and what came after; it returns where dispatch goes on.
func (b *Bus) replay(ctx context.Context) (uint64, error) {
	at, err := b.log.ReadSnapshot(func(r *journal.Record) error { return b.restore(r) })
	if err != nil {
		return 0, err
	}
	b.floor = at + 1
	b.visible.Store(at)
	b.completed.Store(at)
	reader := b.log.Reader(at + 1)
	defer reader.Release()
	var r journal.Record
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return 0, ctx.Err()
		}
		ok, err := reader.Next(&r)
		if err != nil {
			return 0, err
		}
		if !ok {
			break
		}
		b.apply(&r, true)
		b.visible.Store(r.Seq)
		b.completed.Store(r.Seq)
	}
	end := b.log.Durable()
	for _, s := range b.all() {
		if s.online {
			// The bus ended while the client was connected: it may have had anything up to here.
			s.unsure = end
			s.online = false
		}
		s.absent = end
	}
	return reader.Position(), nil
}

func (b *Bus) all() []*Session {
	b.mu.RLock()
	defer b.mu.RUnlock()
	list := make([]*Session, 0, len(b.sessions))
	for _, s := range b.sessions {
		list = append(list, s)
	}
	return list
}

// restore takes one record of a snapshot.
func (b *Bus) restore(r *journal.Record) error {
	switch r.Kind {
	case journal.KindEvent:
		b.retained.set(r)
	case kindSession:
		var st storedSession
		if err := json.Unmarshal(r.Payload, &st); err != nil {
			return err
		}
		s := b.newSession(st.Name, st.Position)
		s.durable, s.user, s.expiry, s.online, s.will, s.lost = true, st.User, st.Expiry, st.Online, st.Will, st.Lost
		s.gap, s.stored, s.opened, s.unsure = st.Gap, st.storedCursor, st.Opened, max(st.MaySent, st.Unsure)
		s.absentFor = time.Duration(st.Absent) * time.Minute
		for _, id := range st.Received {
			if s.received == nil {
				s.received = map[uint16]bool{}
			}
			s.received[id] = true
		}
		b.sessions[st.Name] = s
		b.persisted[st.Name] = st.Position
		for _, ss := range st.Subs {
			group, inner := splitShare(ss.Filter.Filter)
			sub := &subscription{Filter: ss.Filter, pattern: compile(inner), session: s, from: ss.From, cursor: &s.cursor}
			sub.until.Store(ss.Until)
			if ss.Owed {
				sub.retained = 1
			}
			s.subs = append(s.subs, sub)
			if group != "" {
				g := b.addToGroup(sub, ss.From)
				// Sessions come in any order; the group is as old as its oldest member.
				g.subs[0].from, g.next = min(g.subs[0].from, ss.From), min(g.next, ss.From+1)
			}
		}
		s.single.Store(len(s.subs) == 1)
	case kindGroup:
		var sg storedGroup
		if err := json.Unmarshal(r.Payload, &sg); err != nil {
			return err
		}
		if g := b.group(sg.Name); g != nil { // all sessions come before
			g.subs[0].from, g.next, g.gap, g.stored = sg.From, sg.Position+1, sg.Gap, sg.storedCursor
		}
		b.persisted[sg.Name] = sg.Position
	}
	return nil
}

// state lists the records of a snapshot: sessions, groups, retained messages. Dispatch calls it
// between two records.
func (b *Bus) state() ([]*journal.Record, error) {
	var out []*journal.Record
	add := func(kind journal.Kind, v any) error {
		p, err := json.Marshal(v)
		out = append(out, &journal.Record{Kind: kind, Payload: p})
		return err
	}
	for _, s := range b.all() {
		if st, ok := s.store(); ok {
			if err := add(kindSession, st); err != nil {
				return nil, err
			}
		}
	}
	for _, g := range b.allGroups() {
		g.mu.Lock()
		sc, durable := storedGroup{g.storedNow(), g.subs[0].from}, g.durable
		g.mu.Unlock()
		if durable {
			if err := add(kindGroup, sc); err != nil {
				return nil, err
			}
		}
	}
	err := b.retained.all(func(r *journal.Record) error {
		if !strings.HasPrefix(string(r.Topic), "$") {
			out = append(out, r)
		}
		return nil
	})
	return out, err
}

func (b *Bus) allGroups() []*group {
	b.mu.RLock()
	defer b.mu.RUnlock()
	list := make([]*group, 0, len(b.groups))
	for _, g := range b.groups {
		list = append(list, g)
	}
	return list
}

func (s *Session) store() (storedSession, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.durable {
		return storedSession{}, false
	}
	st := storedSession{storedCursor: s.storedNow(), User: s.user, Expiry: s.expiry, Online: s.online, Opened: s.opened,
		MaySent: max(s.unsure, s.parted), Will: s.will, Lost: maps.Clone(s.lost)}
	st.Absent = int64(s.absentFor / time.Minute)
	for id := range s.received {
		st.Received = append(st.Received, id)
	}
	for _, sub := range s.subs {
		st.Subs = append(st.Subs, storedSub{sub.Filter, sub.from, sub.until.Load(), sub.retained > 0})
	}
	return st, true
}

// storedNow is the cursor's place as it is written. The caller holds mu.
func (c *cursor) storedNow() storedCursor {
	sc := storedCursor{Name: c.name, Position: c.position(), Gap: c.untold()}
	if c.silent {
		sc.Unsure = max(c.unsure, c.next-1)
	}
	for _, s := range c.subs {
		sc.Settled = max(sc.Settled, s.from)
	}
	for _, s := range c.subs {
		if s.retained > 0 {
			sc.Settled = min(sc.Settled, s.from-1)
		}
	}
	return sc
}

// maybeSnapshot starts one when the journal has grown by a segment, or by four times what the last
// snapshot took, whichever is more. Dispatch calls it; the writing is done beside it.
func (b *Bus) maybeSnapshot() {
	grown := b.log.Stats().Bytes - b.snapshotAt
	if grown < max(uint64(b.o.SegmentSize), 4*b.snapshotSize.Load()) || !b.snapshotting.CompareAndSwap(false, true) {
		return
	}
	b.snapshotAt += grown
	at := b.completed.Load()
	records, err := b.state()
	if err != nil {
		b.logger.Error("snapshot not written", "err", err)
		b.snapshotting.Store(false)
		return
	}
	b.tasks.Add(1)
	go func() {
		defer b.tasks.Done()
		defer b.snapshotting.Store(false)
		b.writeSnapshot(at, records)
	}()
}

// snapshot writes the state as of completed, from which the next start replays.
func (b *Bus) snapshot() {
	at := b.completed.Load()
	records, err := b.state()
	if err != nil {
		b.logger.Error("snapshot not written", "err", err)
		return
	}
	b.writeSnapshot(at, records)
}

func (b *Bus) writeSnapshot(at uint64, records []*journal.Record) {
	floor, err := b.log.WriteSnapshot(at, func(emit func(*journal.Record) error) error {
		var size uint64
		for _, r := range records {
			size += uint64(len(r.Topic) + len(r.Props) + len(r.Payload))
			if err := emit(r); err != nil {
				return err
			}
		}
		b.snapshotSize.Store(size)
		return nil
	})
	if err != nil {
		b.logger.Warn("snapshot not written; the next start replays more", "err", err)
		return
	}
	b.mu.Lock()
	b.floor = floor
	b.mu.Unlock()
}
