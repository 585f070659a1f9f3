package bus

// This file is the housekeeping, once a second: places are stored, sessions expire, wills come due,
// losses are reported, old segments go.

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postbus/postbus/bus/journal"
)

const keepEvery = time.Second

func (b *Bus) keep() {
	defer b.tasks.Done()
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-tick.C:
		}
		if b.stopping() { // where both were ready
			return
		}
		now := time.Now()
		b.age(now, now.Sub(last)) // monotonic: a clock that jumps expires nobody
		last = now
		b.storeCursors()
		b.enforceBacklog()
		b.retain(now)
		b.flushReports()
	}
}

// age lets absent sessions grow older, publishes wills that are due and ends sessions that expired.
// Only time during which the bus ran counts: who could not come back is not punished.
func (b *Bus) age(now time.Time, d time.Duration) {
	for _, s := range b.all() {
		s.mu.Lock()
		s.unsaid()
		if s.online || !s.durable || s.sink.Load() != nil {
			s.mu.Unlock()
			continue
		}
		s.absentFor += min(d, now.Sub(s.leftAt)) // not early [MQTT-3.1.3-9]
		ended := s.expiry != NeverExpires && s.absentFor >= time.Duration(s.expiry)*time.Second
		will := s.will
		due := will != nil && s.willSaid == nil && (ended || s.absentFor >= time.Duration(will.Delay)*time.Second)
		drop := ended && (will == nil || due) && s.endSaid == nil
		s.mu.Unlock()
		if due {
			if err := b.publishWill(s); err != nil {
				b.logger.Warn("will not published yet", "session", s.name, "err", err)
				continue
			}
		}
		if drop {
			b.expire(s)
		}
	}
}

// unsaid forgets that a record was written that the disk refused afterwards, so that it is written
// again. The caller holds mu.
func (s *Session) unsaid() {
	refused := func(c *journal.Commit) bool {
		if c == nil {
			return false
		}
		select {
		case <-c.Done():
			return c.Err() != nil
		default:
			return false
		}
	}
	if refused(s.willSaid) {
		s.willSaid = nil
	}
	if refused(s.endSaid) {
		s.endSaid = nil
	}
	if refused(s.closeSaid) && s.online && s.sink.Load() == nil {
		if _, c, err := s.bus.appendJSON(kindClose, s.name, s.closing); err == nil {
			s.closeSaid = c
		}
	}
}

// publishWill publishes a session's will and notes that it is done; between the two a crash repeats it.
func (b *Bus) publishWill(s *Session) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.will
	if w == nil || s.willSaid != nil {
		return nil
	}
	e := Event{Topic: w.Topic, Payload: w.Payload, QoS: w.QoS, Retain: w.Retain, Source: s.name,
		Expiry: time.Duration(w.Expiry) * time.Second, Properties: w.Properties}
	r := e.Record()
	if e.QoS == 0 && !e.Retain {
		defer b.PublishNow(r)
	} else if _, _, err := b.log.AppendReserved(r); err != nil { // accepted when the client connected
		return err
	} else {
		b.published.Add(1)
	}
	_, c, err := b.appendJSON(kindWill, s.name, aboutRecord{s.opened})
	if err == nil {
		s.willSaid = c
	}
	return err
}

// expire ends a session for good and says what was lost with it.
func (b *Bus) expire(s *Session) {
	lag, _ := s.lag()
	s.mu.Lock()
	_, c, err := b.appendJSON(kindDrop, s.name, aboutRecord{s.opened})
	s.endSaid = c
	s.mu.Unlock()
	if err != nil {
		return
	}
	b.logger.Info("session expired", "session", s.name, "undelivered", lag)
	if lag > 0 {
		b.ReportLoss(s.name, "session expired", lag)
	}
}

// Drop ends a session that has no connection; its backlog counts as lost.
func (b *Bus) Drop(ctx context.Context, name string) error {
	lag, err := b.drop(ctx, name)
	if err == nil && lag > 0 {
		b.ReportLoss(name, "session dropped", lag)
	}
	return err
}

// drop ends a session and returns how much waited for it.
func (b *Bus) drop(ctx context.Context, name string) (lag uint64, err error) {
	s := b.session(name)
	if s == nil {
		return 0, fmt.Errorf("session %q: %w", name, ErrNoSession)
	}
	lag, _ = s.lag()
	s.mu.Lock()
	about, online := aboutRecord{s.opened}, s.sink.Load() != nil
	s.mu.Unlock()
	if online {
		return 0, fmt.Errorf("session %q: %w", name, ErrOnline)
	}
	if err := b.publishWill(s); err != nil { // due at the latest when the session ends [MQTT-3.1.2-8]
		return 0, err
	}
	if err := b.change(ctx, kindDrop, name, about); err != nil {
		return 0, err
	}
	b.logger.Info("session dropped", "session", name, "undelivered", lag)
	return lag, nil
}

// ErrNoSession is returned for a name that no session has.
var ErrNoSession = errors.New("no such session")

// ErrOnline is returned for a session that has a connection.
var ErrOnline = errors.New("the session has a connection")

// storeCursors writes the places that changed, in one record. It is not waited for: after a crash
// deliveries repeat, none is skipped.
func (b *Bus) storeCursors() {
	var changed []storedCursor
	last := b.cursorsAt.Load()
	// A live cursor passes the record of positions itself: that alone must not cause the next record.
	quiet := last != 0 && b.log.Next() == last+1
	worth := false
	note := func(c *cursor, absent time.Duration) {
		sc := c.storedNow()
		sc.Absent = int64(absent / time.Minute)
		if sc.Absent-c.stored.Absent < 10 && sc.Absent >= c.stored.Absent {
			sc.Absent = c.stored.Absent // ten minutes are exact enough, and spare an idle disk
		}
		if b.persistedAt(c.name) == sc.Position && sc == c.stored {
			return
		}
		was := c.stored
		was.Position = sc.Position
		worth = worth || !quiet || was != sc || sc.Position+1 < last
		c.stored = sc
		changed = append(changed, sc)
		c.prune()
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
	if seq, _, err := b.appendJSON(kindCursors, "", changed); err == nil {
		b.cursorsAt.Store(seq)
	}
}

func (b *Bus) persistedAt(name string) uint64 {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.persisted[name]
}

// retain deletes what neither the retention nor anyone's place needs, and starts a snapshot when
// enough has come since the last.
func (b *Bus) retain(now time.Time) {
	l := b.limits.Load()
	b.log.Retain(b.needed(), l.RetentionAge, l.RetentionSize, now)
}

// needed is the first sequence that a start or a session may still read.
func (b *Bus) needed() uint64 {
	b.mu.RLock()
	need := b.floor
	b.mu.RUnlock()
	consider := func(c *cursor) {
		c.mu.Lock()
		pos := c.position()
		wants := false
		for _, s := range c.subs {
			wants = wants || s.QoS > 0 && s.cursor == c
		}
		durable := c.durable
		c.mu.Unlock()
		if !wants {
			return
		}
		if durable {
			b.mu.RLock()
			if p, ok := b.persisted[c.name]; ok {
				pos = min(pos, p)
			}
			b.mu.RUnlock()
		}
		need = min(need, pos+1)
	}
	for _, s := range b.all() {
		consider(&s.cursor)
	}
	for _, g := range b.allGroups() {
		consider(&g.cursor)
	}
	return need
}

// enforceBacklog takes the oldest events from sessions that lag too far, loudly.
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

func (b *Bus) cutBacklog(c *cursor, limit uint64) {
	lag, _ := c.lag()
	if lag <= limit {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live.Load() {
		return
	}
	over := lag - limit
	var cut uint64
	if c.sink.Load() == nil { // what is in flight with nobody there is the oldest
		for i := range c.window {
			if e := &c.window[i]; !e.done && e.retained == nil && over > 0 {
				c.loseEntry(i, "backlog limit")
				over--
			}
		}
		c.trim()
	}
	r := b.log.Reader(c.next)
	defer r.Release()
	r.Match = c.matches
	var rec journal.Record
	for visible := b.visible.Load(); cut < over; {
		ok, err := r.NextUntil(visible, &rec)
		if !ok || err != nil {
			break
		}
		if rec.Kind == journal.KindEvent {
			if m := c.match(&rec); m.found && min(m.qos, rec.Flags&flagQoS) > 0 {
				cut++
			}
		}
		c.next = rec.Seq + 1
	}
	if c.reader != nil {
		c.reader.Release()
		c.reader = nil
	}
	if cut > 0 {
		c.lose("backlog limit", cut)
	}
}
