package bus

// This file is the housekeeping, once a second: it stores positions, expires sessions, publishes
// last wills that are due, reports losses, and removes old segments.

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postbus/postbus/bus/journal"
)

const housekeepEvery = time.Second

func (b *Bus) housekeep() {
	defer b.tasks.Done()
	b.step("housekeeping starts")
	tick := time.NewTicker(housekeepEvery)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-tick.C:
			b.step("housekeeping ticks")
		}
		if b.stopping() { // select may choose the tick if both were ready
			return
		}
		now := time.Now()
		b.age(now, now.Sub(last)) // monotonic: a clock that jumps expires no session
		last = now
		b.storeCursors()
		b.enforceBacklog()
		b.trimJournal(now)
		b.replaceSnapshot()
		b.flushReports()
	}
}

// age adds to the time that sessions have been offline, and writes due records: last wills, the
// ends of sessions, and records that the disk refused before. Only time during which the bus ran
// counts, because a client could not reconnect before.
func (b *Bus) age(now time.Time, d time.Duration) {
	for _, s := range b.all() {
		s.mu.Lock()
		due := s.durable && s.sink.Load() == nil
		if due && s.phase == phaseAbsent {
			s.absentFor += min(d, now.Sub(s.leftAt)) // not early [MQTT-3.1.3-9]
		}
		s.mu.Unlock()
		if due {
			s.writeDue()
		}
	}
}

// writeDue writes the due records of an offline session. Each counts only while the session has not
// been opened again, so that a client that reconnects meanwhile makes them void.
func (s *Session) writeDue() {
	s.mu.Lock()
	ending := s.endingLocked()
	s.mu.Unlock()
	var lag uint64
	if ending {
		lag, _ = s.lag()
	}
	s.mu.Lock()
	records, err := s.dueLocked(lag)
	write := err == nil && len(records) > 0
	s.writing = s.writing || write
	s.mu.Unlock()
	if write {
		_, err = s.write(records)
	}
	if err != nil && !errors.Is(err, journal.ErrClosed) {
		s.bus.logger.Warn("recording the end of a connection failed, will retry", "session", s.name, "err", err)
	}
}

// write appends records about the session. The caller has set writing.
func (s *Session) write(records []*journal.Record) (journal.Commit, error) {
	c, err := s.bus.journal.AppendAll(records...)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing, s.written = false, c
	return c, err
}

// endingLocked reports whether the session is about to expire.
func (s *Session) endingLocked() bool {
	return s.phase == phaseAbsent && !s.connectedLocked() && !s.pendingLocked() && s.expiredLocked()
}

func (s *Session) expiredLocked() bool {
	return s.expiry != NeverExpires && s.absentFor >= time.Duration(s.expiry)*time.Second
}

// dueLocked lists the records that are due: first the last will, then the record that ends the
// connection or the session.
func (s *Session) dueLocked(lag uint64) (records []*journal.Record, err error) {
	if s.connectedLocked() || s.pendingLocked() {
		return nil, nil
	}
	var last *journal.Record
	due := false
	switch {
	case s.closing != nil: // the connection ended
		due = s.will != nil && (s.will.Delay == 0 || s.closing.Expiry == 0)
		last, err = stateRecord(kindClose, s.name, s.closing)
	case s.phase == phaseAbsent:
		ended := s.expiredLocked()
		due = s.will != nil && (ended || s.absentFor >= time.Duration(s.will.Delay)*time.Second)
		if ended {
			last, err = stateRecord(kindDrop, s.name, dropRecord{Opened: s.opened, Reason: "session expired", Lost: lag})
		}
	}
	if due {
		if w := s.willLocked(); w != nil {
			records = append(records, w)
		}
	}
	if last != nil {
		records = append(records, last)
	}
	return records, err
}

// Drop ends a session that has no connection; its backlog counts as lost.
func (b *Bus) Drop(ctx context.Context, name string) error {
	return b.drop(ctx, name, "session dropped")
}

// drop ends a session. reason states why its backlog is lost; it is empty if the owner
// unsubscribed, which is no loss.
func (b *Bus) drop(ctx context.Context, name, reason string) error {
	s := b.session(name)
	if s == nil {
		return fmt.Errorf("session %q: %w", name, ErrNoSession)
	}
	lag, _ := s.lag()
	s.mu.Lock()
	drop, err := stateRecord(kindDrop, name, dropRecord{Opened: s.opened, Reason: reason, Lost: lag})
	if s.connectedLocked() {
		err = fmt.Errorf("session %q: %w", name, ErrOnline)
	}
	if err != nil {
		s.mu.Unlock()
		return err
	}
	records := []*journal.Record{drop}
	if will := s.willLocked(); will != nil { // due at the latest when the session ends [MQTT-3.1.2-8]
		records = []*journal.Record{will, drop}
	}
	s.writing = true
	s.mu.Unlock()
	w, err := s.write(records)
	if err != nil {
		return err
	}
	if err := b.await(ctx, name, w); err != nil {
		return err
	}
	if b.session(name) == s { // its client reconnected first
		return fmt.Errorf("session %q: %w", name, ErrOnline)
	}
	return nil
}

// ErrNoSession is returned for a name that no session has.
var ErrNoSession = errors.New("no such session")

// ErrOnline is returned for a session that has a connection.
var ErrOnline = errors.New("the session has a connection")

// storeCursors writes the changed positions in one record. It does not wait until the record is
// durable: after a crash deliveries are repeated, and none is skipped.
func (b *Bus) storeCursors() {
	var changed []storedCursor
	last := uint64(0) // sequence of the last record of positions, when it is durable
	select {
	case <-b.cursorsAt.Done():
		if b.cursorsAt.Err() == nil {
			last = b.cursorsAt.Seq()
		}
	default:
	}
	// A live cursor also moves past the record of positions: that alone must not cause another
	// record.
	quiet := last != 0 && b.journal.Next() == last+1
	worth := false
	note := func(c *cursor, absent time.Duration) {
		sc := c.storedLocked()
		sc.Absent = int64(absent / time.Minute)
		if sc.Absent-c.stored.Absent < 10 && sc.Absent >= c.stored.Absent {
			sc.Absent = c.stored.Absent // a precision of ten minutes is enough, and writes nothing on an idle bus
		}
		if b.persistedAt(c.name) == sc.Position && sc == c.stored {
			return
		}
		was := c.stored
		was.Position = sc.Position
		worth = worth || !quiet || was != sc || sc.Position+1 < last
		c.stored = sc
		changed = append(changed, sc)
		c.pruneLocked()
	}
	for _, s := range b.all() {
		s.mu.Lock()
		if s.durable {
			note(&s.cursor, s.absentFor)
		}
		s.mu.Unlock()
	}
	for _, g := range b.allGroups() {
		g.mu.Lock()
		if g.durable {
			note(&g.cursor, 0)
		}
		g.mu.Unlock()
	}
	if !worth {
		return
	}
	r, err := stateRecord(kindCursors, "", changed)
	if err != nil {
		b.logger.Error("storing positions failed", "err", err)
		return
	}
	if c, err := b.journal.Append(r); err == nil {
		b.cursorsAt = c
	}
}

func (b *Bus) persistedAt(name string) uint64 {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.persisted[name]
}

// replaceSnapshot has dispatch write a snapshot when files of the journal had vanished: the snapshots may
// be among them. It folds an empty record of positions, so that dispatch comes by.
func (b *Bus) replaceSnapshot() {
	restored := b.journal.Restored()
	if restored == b.restored {
		return
	}
	r, err := stateRecord(kindCursors, "", []storedCursor{})
	if err != nil {
		return
	}
	b.snapshotDue.Store(true)
	if _, err := b.journal.Append(r); err == nil { // otherwise in a second
		b.restored = restored
	}
}

// trimJournal deletes segments that neither the retention nor a cursor needs.
func (b *Bus) trimJournal(now time.Time) {
	l := b.limits.Load()
	b.journal.Retain(min(b.neededFrom(), b.pinnedFrom()), l.RetentionAge, l.RetentionSize, now)
}

// neededFrom returns the first sequence that a start or a session may still need.
func (b *Bus) neededFrom() uint64 {
	b.mu.RLock()
	need := b.floor
	b.mu.RUnlock()
	consider := func(c *cursor) {
		c.mu.Lock()
		pos := c.positionLocked()
		from := ^uint64(0) // what came before the oldest filter is of no use
		for _, s := range c.subs {
			if s.QoS > 0 && s.cursor == c {
				from = min(from, s.from)
			}
		}
		durable := c.durable
		c.mu.Unlock()
		if from == ^uint64(0) {
			return
		}
		if durable {
			b.mu.RLock()
			if p, ok := b.persisted[c.name]; ok {
				pos = min(pos, p)
			}
			b.mu.RUnlock()
		}
		need = min(need, max(pos, from)+1)
	}
	for _, s := range b.all() {
		consider(&s.cursor)
	}
	for _, g := range b.allGroups() {
		consider(&g.cursor)
	}
	return need
}

// enforceBacklog drops the oldest events of sessions that lag behind the limit, and reports them as
// lost.
func (b *Bus) enforceBacklog() {
	limit := b.limits.Load().SessionBacklog
	if limit == 0 {
		return
	}
	for _, s := range b.all() {
		b.cutBacklog(&s.cursor, limit)
	}
	for _, g := range b.allGroups() {
		b.cutBacklog(&g.cursor, limit)
	}
}

// cutBatch is how many records are read before others get the cursor's lock.
const cutBatch = 1024

func (b *Bus) cutBacklog(c *cursor, limit uint64) {
	lag, _ := c.lag()
	if lag <= limit {
		return
	}
	over := lag - limit
	c.mu.Lock()
	if c.sink.Load() == nil { // deliveries in flight to an offline consumer are the oldest
		for i := range c.window {
			if e := &c.window[i]; !e.done && e.retained == nil && over > 0 {
				c.loseEntryLocked(i, "backlog limit")
				over--
			}
		}
		c.trimLocked()
	}
	c.mu.Unlock()
	for over > 0 {
		cut, more := b.cutSome(c, over)
		over -= cut
		if !more {
			return
		}
	}
}

// cutSome drops up to n events among the next records of a cursor. more: further records may
// follow.
func (b *Bus) cutSome(c *cursor, n uint64) (cut uint64, more bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.is(modeLive) {
		return 0, false
	}
	r := b.journal.Reader(c.next)
	defer r.Release()
	r.Match, r.Prefixes, r.Lost = c.matches, c.prefixes(), c.loseRangeLocked
	var rec journal.Record
	visible := b.visible.Load()
	more = true
	for range cutBatch {
		if cut == n {
			break
		}
		ok, err := r.NextUntil(visible, &rec)
		if !ok || err != nil {
			more = false
			break
		}
		if b.counts(&rec) {
			if m := c.match(&rec); m.found && min(m.qos, rec.Flags&flagQoS) > 0 {
				cut++
			}
		}
		c.next = rec.Seq + 1
	}
	if c.reader != nil { // the pump's
		c.reader.Release()
		c.reader = nil
	}
	if cut > 0 {
		c.loseLocked("backlog limit", cut)
	}
	return cut, more
}
