package bus

// This file writes snapshots of the state, and reads them at the start.

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"github.com/postbus/postbus/bus/journal"
	"github.com/postbus/postbus/bus/topic"
)

type storedCursor struct {
	Name     string `json:"n"`
	Position uint64 `json:"p"`
	Gap      uint64 `json:"g,omitempty"`
	Absent   int64  `json:"a,omitempty"` // minutes
	Unsure   uint64 `json:"u,omitempty"` // events up to here may have been sent to a client whose connection has no record
	Settled  uint64 `json:"r,omitempty"` // subscriptions up to here have got their retained messages
}

type storedSub struct {
	Filter
	From            uint64 `json:"from"`
	Until           uint64 `json:"until,omitempty"`
	RetainedPending bool   `json:"owed,omitempty"`
}

type storedSession struct {
	storedCursor
	User     string            `json:"u,omitempty"`
	Expiry   uint32            `json:"e,omitempty"`
	Online   bool              `json:"o,omitempty"`
	Closing  *closeRecord      `json:"c,omitempty"` // the connection ended, but the disk has no record of it yet
	Opened   uint64            `json:"op,omitempty"`
	MaySent  uint64            `json:"un,omitempty"`
	Will     *Will             `json:"w,omitempty"`
	Received []uint16          `json:"rec,omitempty"`
	Lost     map[string]uint64 `json:"l,omitempty"`
	Subs     []storedSub       `json:"s,omitempty"`
}

type storedGroup struct {
	storedCursor
	From uint64            `json:"from"`
	Lost map[string]uint64 `json:"l,omitempty"`
}

func (c *cursor) restorePosition(sc storedCursor) {
	if sc.Position+1 < c.next {
		return
	}
	c.next, c.gap, c.stored = sc.Position+1, sc.Gap, sc
	c.maybeSent = max(c.maybeSent, sc.Unsure)
	c.pruneLocked()
}

// replay reads the newest snapshot and the records behind it; it returns where dispatch continues.
func (b *Bus) replay(ctx context.Context) (uint64, error) {
	at, snapshot, err := b.journal.ReadSnapshot(func(r *journal.Record, off int64) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return b.restore(r, off)
	})
	if err != nil {
		return 0, err
	}
	b.retained.snapshot = snapshot
	b.floor = at + 1
	b.visible.Store(at)
	b.completed.Store(at)
	reader := b.journal.Reader(at + 1)
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
		if _, err := b.apply(&r, true); err != nil {
			return 0, fmt.Errorf("%w: a newer version of postbus wrote it; start that version", err)
		}
		b.visible.Store(r.Seq)
		b.completed.Store(r.Seq)
	}
	b.retained.was = nil
	end := b.journal.Durable() // the last records may be damaged, and are skipped
	b.visible.Store(max(at, end))
	b.completed.Store(max(at, end))
	for _, s := range b.all() {
		if s.phase == phaseOpen {
			// The bus stopped while the client was connected: it may have received any event up to
			// here.
			s.maybeSent = end
			s.phase = phaseAbsent
		}
		s.offlineUntil = end
	}
	b.journal.Needed(b.neededFrom())
	b.reportHoles(at)
	return reader.Position(), nil
}

// reportHoles reports what a start can't know because records behind the snapshot are missing.
func (b *Bus) reportHoles(at uint64) {
	lost := false
	for _, h := range b.journal.Holes() {
		if h.To <= at {
			continue // the snapshot has what followed from those records; sessions count what they miss when they read
		}
		lost = true
		from := max(h.From, at+1)
		b.logger.Error("sessions, subscriptions and retained values are as they were before the missing records: what changed in between is lost",
			"from_seq", from, "to_seq", h.To, "records", h.To-from+1)
		b.ReportLoss("", "missing state", h.To-from+1)
	}
	if lost {
		b.reportStale(at)
	}
}

// reportStale names retained topics whose newest value may be among the missing records behind at.
func (b *Bus) reportStale(at uint64) {
	var topics []string
	n, all := 0, compile("#")
	for after, done := "", false; !done; {
		var found []retainedEntry
		found, after, done = b.retained.next(&all, after, scanBatch)
		for _, e := range found {
			if !b.journal.MayHold(max(at, e.seq)+1, []byte(e.topic)) {
				continue
			}
			if n++; len(topics) < staleNamed {
				topics = append(topics, e.topic)
			}
		}
	}
	if n > 0 {
		b.logger.Error("retained values may have newer ones among the missing records", "topics", n, "some", topics)
	}
}

// staleNamed is how many retained topics a log line names.
const staleNamed = 10

// restore restores one record of a snapshot.
func (b *Bus) restore(r *journal.Record, off int64) error {
	switch r.Kind {
	case journal.KindEvent, journal.KindConditional, journal.KindImported, journal.KindOffered:
		b.retained.set(r, off, b.stampOf(r))
	case kindKept:
		b.retained.setKept(r, off)
	case kindSession:
		var st storedSession
		if err := json.Unmarshal(r.Payload, &st); err != nil {
			return err
		}
		s := b.newSession(st.Name, st.Position)
		s.durable, s.user, s.expiry, s.lost = true, st.User, st.Expiry, st.Lost
		s.setWillLocked(st.Will)
		s.closing = st.Closing
		if s.phase = phaseAbsent; st.Online {
			s.phase = phaseOpen
		}
		s.gap, s.stored, s.opened, s.maybeSent = st.Gap, st.storedCursor, st.Opened, max(st.MaySent, st.Unsure)
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
			group, _ := topic.SplitShare(ss.Filter.Filter)
			sub := &subscription{Filter: ss.Filter, pattern: compile(topic.Inner(ss.Filter.Filter)), session: s, from: ss.From, cursor: &s.cursor}
			sub.until.Store(ss.Until)
			if ss.RetainedPending {
				sub.retained = 1
			}
			s.addSubLocked(sub)
			if group != "" {
				g := b.addToGroup(sub, ss.From)
				// Sessions are in any order; the group is as old as its oldest member.
				g.subs[0].from, g.next = min(g.subs[0].from, ss.From), min(g.next, ss.From+1)
			}
		}
		s.single.Store(len(s.subs) == 1)
	case kindGroup:
		var sg storedGroup
		if err := json.Unmarshal(r.Payload, &sg); err != nil {
			return err
		}
		if g := b.group(sg.Name); g != nil { // all sessions precede it
			g.subs[0].from, g.next, g.gap, g.stored = sg.From, sg.Position+1, sg.Gap, sg.storedCursor
			g.lost = sg.Lost
		}
		b.persisted[sg.Name] = sg.Position
	case kindPassed:
		b.lanes.pass(r.Lane, busOf(r.Source), r.Number, r.Seq)
	case kindHighest:
		b.highest = r.Stamp
	case kindTombs:
		return b.retained.restoreTombs(r.Payload)
	case kindReplaced:
		b.retained.restoreReplaced(r)
	case kindVoid:
		var seqs []uint64
		if err := json.Unmarshal(r.Payload, &seqs); err != nil {
			return err
		}
		for _, seq := range seqs {
			b.void.add(seq)
		}
	case kindVoidRanges:
		return json.Unmarshal(r.Payload, &b.void.ranges)
	default:
		return fmt.Errorf("a record of the snapshot is of kind %d: %w: a newer version of postbus wrote it; start that version", r.Kind, errUnknownKind)
	}
	return nil
}

// state lists the records of the state in memory: sessions and groups. Dispatch calls it between
// two records.
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
		sc, durable := storedGroup{g.storedLocked(), g.subs[0].from, maps.Clone(g.lost)}, g.durable
		g.mu.Unlock()
		if durable {
			if err := add(kindGroup, sc); err != nil {
				return nil, err
			}
		}
	}
	if kind, list := b.void.stored(); kind != 0 {
		if err := add(kind, list); err != nil {
			return nil, err
		}
	}
	out = append(out, b.lanes.stored()...)
	out = append(out, b.storedStamps()...)
	b.retained.openWindow(b.completed.Load())
	return out, nil
}

// writeRetained emits the retained messages as of the sequence at, and returns their new locations.
// They may include a value that was replaced or cleared since: that record is in the journal behind
// at, and every start replays it. Both parts are read in the order in which they are on disk.
func (b *Bus) writeRetained(at uint64, emit func(*journal.Record) (int64, error)) (values []moved, err error) {
	sources, old := b.retained.sources(at)
	write := func(r *journal.Record) error {
		b.retained.restamp(r)
		off, err := emit(r)
		values = append(values, moved{source{r.Seq, r.Kind == kindKept}, off})
		return err
	}
	reader := b.journal.Reader(0)
	defer reader.Release()
	var rec journal.Record
	for i := 0; i < len(sources); {
		seq := sources[i].seq
		reader.SkipTo(seq)
		ok, err := reader.NextUntil(seq, &rec)
		if err != nil {
			return nil, err
		}
		if ok = ok && rec.Seq == seq; !ok {
			b.logger.Error("a retained message is lost: its record in the journal is damaged", "seq", seq)
		}
		for ; i < len(sources) && sources[i].seq == seq; i++ { // a record may hold two values
			if !ok {
				continue
			}
			value := withoutKept(&rec)
			if sources[i].kept {
				value = keptAlone(&rec)
			}
			if err := write(&value); err != nil {
				return nil, err
			}
		}
	}
	if old == nil {
		return values, nil
	}
	defer old.Close()
	err = old.Each(func(r *journal.Record, off int64) error {
		if !r.Kind.Event() && r.Kind != kindKept || !b.retained.holds(r, off) {
			return nil
		}
		return write(r)
	})
	return values, err
}

func (s *Session) store() (storedSession, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.durable {
		return storedSession{}, false
	}
	st := storedSession{storedCursor: s.storedLocked(), User: s.user, Expiry: s.expiry, Online: s.phase == phaseOpen, Closing: s.closing, Opened: s.opened,
		MaySent: max(s.maybeSent, s.detachedAt), Will: s.will, Lost: maps.Clone(s.lost)}
	st.Absent = int64(s.absentFor / time.Minute)
	for id := range s.received {
		st.Received = append(st.Received, id)
	}
	for _, sub := range s.subs {
		st.Subs = append(st.Subs, storedSub{sub.Filter, sub.from, sub.until.Load(), sub.retained > 0})
	}
	return st, true
}

// storedLocked returns the cursor's position in its stored form.
func (c *cursor) storedLocked() storedCursor {
	sc := storedCursor{Name: c.name, Position: c.positionLocked(), Gap: c.unreportedGapLocked()}
	if c.unrecorded {
		sc.Unsure = max(c.maybeSent, c.next-1)
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

// maybeSnapshot starts a snapshot if the journal has grown by a segment or by four times the size
// of the last snapshot, whichever is more. Dispatch calls it; another goroutine writes the
// snapshot.
func (b *Bus) maybeSnapshot() {
	grown := b.journal.Stats().Bytes - b.snapshotAt
	if grown < max(uint64(b.o.SegmentSize), 4*b.snapshotSize.Load()) && !b.snapshotDue.Load() || !b.snapshotting.CompareAndSwap(false, true) {
		return
	}
	b.snapshotAt += grown
	b.snapshotDue.Store(false)
	at := b.completed.Load()
	records, err := b.state()
	if err != nil {
		b.logger.Error("writing the snapshot failed", "err", err)
		b.snapshotting.Store(false)
		return
	}
	b.tasks.Add(1)
	go func() {
		defer b.tasks.Done()
		defer b.snapshotting.Store(false)
		b.step("snapshot starts")
		b.writeSnapshot(at, records)
	}()
}

// snapshot writes the state as of completed, from which the next start replays.
func (b *Bus) snapshot() {
	at := b.completed.Load()
	records, err := b.state()
	if err != nil {
		b.logger.Error("writing the snapshot failed", "err", err)
		return
	}
	b.writeSnapshot(at, records)
}

func (b *Bus) writeSnapshot(at uint64, records []*journal.Record) {
	first := b.journal.First()
	defer b.retained.closeWindow()
	var values []moved
	floor, snapshot, err := b.journal.WriteSnapshot(at, func(emit func(*journal.Record) (int64, error)) (err error) {
		var size uint64
		counted := func(r *journal.Record) (int64, error) {
			size += uint64(len(r.Topic) + len(r.Props) + len(r.Payload) + len(r.KeptTopic) + len(r.Kept))
			return emit(r)
		}
		for _, r := range records {
			if _, err := counted(r); err != nil {
				return err
			}
		}
		if values, err = b.writeRetained(at, counted); err != nil {
			return err
		}
		for _, r := range b.retained.closeWindow() {
			if _, err := counted(r); err != nil {
				return err
			}
		}
		b.snapshotSize.Store(size)
		return nil
	})
	if err != nil {
		b.logger.Warn("writing the snapshot failed; the next start replays more", "err", err)
		return
	}
	b.void.trim(first) // the snapshot made the removal of older segments durable: a power cut cannot restore them
	b.retained.moveTo(snapshot, values)
	b.mu.Lock()
	b.floor = floor
	b.mu.Unlock()
}
