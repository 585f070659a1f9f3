package bus

// This file reports the state of the bus: lag of sessions, losses, counters.

import (
	"cmp"
	"encoding/json"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/postbus/postbus/bus/journal"
)

// backlog caches the number of waiting events, so that the next count reads only new records.
type backlog struct {
	from, to uint64
	n        uint64
	oldest   int64
}

// lag counts the events that the consumer has not acknowledged, and returns the time of the oldest;
// zero when there is none.
func (c *cursor) lag() (events uint64, oldest time.Time) {
	const batch = 4096
	var reader *journal.Reader
	defer func() {
		if reader != nil {
			reader.Release()
		}
	}()
	for first := true; ; first = false {
		c.mu.Lock()
		if c.is(modeLive) {
			events = uint64(len(c.window))
			if events > 0 {
				oldest = c.timeOf(c.window[0].seq)
			}
			c.mu.Unlock()
			return events, oldest
		}
		k := &c.backlog
		if k.from != c.next {
			*k = backlog{from: c.next, to: c.next}
			first = true
		}
		if first {
			if reader != nil {
				reader.Release()
			}
			reader = c.bus.journal.Reader(k.to)
			reader.Match, reader.Prefixes = c.matches, c.prefixes()
		}
		done := false
		visible := c.bus.visible.Load()
		var r journal.Record
		for range batch {
			ok, err := reader.NextUntil(visible, &r)
			if !ok || err != nil {
				done = true
				break
			}
			k.to = r.Seq + 1
			if !c.bus.counts(&r) {
				continue
			}
			if m := c.match(&r); m.found && min(m.qos, r.Flags&flagQoS) > 0 {
				if k.n == 0 {
					k.oldest = r.Time
				}
				k.n++
			}
		}
		if done {
			events = k.n + uint64(len(c.window))
			switch {
			case len(c.window) > 0:
				oldest = c.timeOf(c.window[0].seq)
			case k.n > 0:
				oldest = time.Unix(0, k.oldest)
			}
		}
		c.mu.Unlock()
		if done {
			return events, oldest
		}
	}
}

func (c *cursor) timeOf(seq uint64) time.Time {
	r := c.bus.journal.Reader(seq)
	defer r.Release()
	var rec journal.Record
	if ok, err := r.Next(&rec); !ok || err != nil {
		return time.Time{}
	}
	return time.Unix(0, rec.Time)
}

// report identifies a loss: the session that lost events, and the reason.
type report struct{ session, reason string }

// ReportLoss counts lost events of a client that published them or should have got them. Once a
// second the sums are logged and published on $bus/lost.
func (b *Bus) ReportLoss(session, reason string, n uint64) {
	b.reportMu.Lock()
	defer b.reportMu.Unlock()
	b.lostAll[reason] += n
	if len(b.reports) < 10000 {
		b.reports[report{session, reason}] += n
	}
}

// flushReports logs and publishes the losses of the last second.
func (b *Bus) flushReports() {
	b.reportMu.Lock()
	reports := b.reports
	b.reports = map[report]uint64{}
	b.reportMu.Unlock()
	for r, n := range reports {
		b.logger.Warn("events lost", "session", r.session, "reason", r.reason, "events", n)
		p, err := json.Marshal(map[string]any{"session": r.session, "reason": r.reason, "events": n})
		if err != nil {
			continue
		}
		b.route(&journal.Record{Kind: journal.KindEvent, Expiry: journal.NoExpiry, Source: []byte(ownSource),
			Topic: []byte("$bus/lost"), Payload: p})
	}
}

// SessionInfo is what `postbus sessions` shows of a session.
type SessionInfo struct {
	Name       string            `json:"name"`
	User       string            `json:"user,omitempty"`
	Online     bool              `json:"online"`
	Bridge     bool              `json:"bridge,omitempty"` // the client is another broker
	Persistent bool              `json:"persistent"`
	Lag        uint64            `json:"lag"`         // events not acknowledged
	LagSeconds float64           `json:"lag_seconds"` // age of the oldest of them
	InFlight   int               `json:"in_flight"`
	Lost       map[string]uint64 `json:"lost,omitempty"` // by reason, ever
	Filters    []string          `json:"filters,omitempty"`
	Absent     float64           `json:"absent_seconds,omitempty"`
	Expiry     *uint32           `json:"expiry_seconds,omitempty"` // nil: never
}

// BridgeSink is an optional interface of a Sink. It reports whether the consumer is another broker.
type BridgeSink interface {
	Sink
	Bridge() bool
}

// bridgeStates matches the topics on which bridges report whether they are connected. The reports
// are retained, so that an offline bridge is still known as one.
const bridgeStates = "$SYS/broker/connection/+/state"

// bridges lists the client identifiers that have reported themselves as bridges.
func (b *Bus) bridges() map[string]bool {
	names := map[string]bool{}
	states, err := b.Retained(bridgeStates)
	if err != nil { // the bus is closing
		return nil
	}
	for _, e := range states {
		names[strings.Split(e.Topic, "/")[3]] = true
	}
	return names
}

// Sessions lists all sessions and shared groups, ordered by name. Counting a backlog for the first
// time reads it: see SessionsAfter.
func (b *Bus) Sessions() []SessionInfo { return b.SessionsAfter("", math.MaxInt) }

// SessionsAfter lists up to n sessions and shared groups in the order of their names, from behind a
// name on. It counts only their backlogs.
func (b *Bus) SessionsAfter(after string, n int) []SessionInfo {
	list, sessions := b.cursors()
	list = slices.DeleteFunc(list, func(c *cursor) bool { return c.name <= after })
	slices.SortFunc(list, func(a, c *cursor) int { return strings.Compare(a.name, c.name) })
	return b.infoOf(list[:min(n, len(list))], sessions)
}

// ClientsAfter lists up to n sessions of MQTT clients in the order of their names, from behind a name
// on.
func (b *Bus) ClientsAfter(after string, n int) []SessionInfo {
	list, sessions := b.cursors()
	list = slices.DeleteFunc(list, func(c *cursor) bool {
		return c.name <= after || sessions[c] == nil || strings.HasPrefix(c.name, localPrefix)
	})
	slices.SortFunc(list, func(a, c *cursor) int { return strings.Compare(a.name, c.name) })
	return b.infoOf(list[:min(n, len(list))], sessions)
}

// cursors lists those of all sessions and shared groups, and says which are a session's.
func (b *Bus) cursors() (list []*cursor, sessions map[*cursor]*Session) {
	sessions = map[*cursor]*Session{}
	for _, s := range b.all() {
		list, sessions[&s.cursor] = append(list, &s.cursor), s
	}
	for _, g := range b.allGroups() {
		list = append(list, &g.cursor)
	}
	return list, sessions
}

// SessionsBehind lists the n sessions and shared groups whose positions are the farthest behind. It
// counts only their backlogs.
func (b *Bus) SessionsBehind(n int) []SessionInfo {
	list, sessions := b.cursors()
	at := make(map[*cursor]uint64, len(list))
	for _, c := range list {
		c.mu.Lock()
		at[c] = c.positionLocked()
		c.mu.Unlock()
	}
	slices.SortFunc(list, func(a, c *cursor) int {
		return cmp.Or(cmp.Compare(at[a], at[c]), strings.Compare(a.name, c.name))
	})
	return b.infoOf(list[:min(n, len(list))], sessions)
}

// SessionNamed returns one session or shared group; false when there is none of that name.
func (b *Bus) SessionNamed(name string) (SessionInfo, bool) {
	if s := b.session(name); s != nil {
		return b.infoOf([]*cursor{&s.cursor}, map[*cursor]*Session{&s.cursor: s})[0], true
	}
	if g := b.group(name); g != nil {
		return b.infoOf([]*cursor{&g.cursor}, nil)[0], true
	}
	return SessionInfo{}, false
}

// Backlog counts the events that a named subscription has not acknowledged, and returns the time of
// the oldest; zero when there is none, or no such subscription. The first count reads the backlog.
func (b *Bus) Backlog(name string) (events uint64, oldest time.Time) {
	if s := b.session(localPrefix + name); s != nil {
		return s.lag()
	}
	return 0, time.Time{}
}

// infoOf describes cursors. sessions are those that are a session's, not a group's.
func (b *Bus) infoOf(list []*cursor, sessions map[*cursor]*Session) []SessionInfo {
	var bridges map[string]bool
	if len(sessions) > 0 {
		bridges = b.bridges()
	}
	out := make([]SessionInfo, 0, len(list))
	for _, c := range list {
		i := c.info()
		if s := sessions[c]; s != nil {
			s.describe(&i, bridges[s.name])
		}
		out = append(out, i)
	}
	return out
}

func (c *cursor) info() SessionInfo {
	lag, oldest := c.lag()
	i := SessionInfo{Name: c.name, Lag: lag}
	if !oldest.IsZero() {
		i.LagSeconds = math.Round(time.Since(oldest).Seconds()*10) / 10
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	i.Online, i.Persistent, i.InFlight = c.sink.Load() != nil, c.durable, c.out
	if len(c.lost) > 0 {
		i.Lost = maps.Clone(c.lost)
	}
	for _, s := range c.subs {
		if s.until.Load() == 0 {
			i.Filters = append(i.Filters, s.Filter.Filter)
		}
	}
	return i
}

// describe adds what only a session has.
func (s *Session) describe(i *SessionInfo, bridge bool) {
	i.Bridge = bridge
	if sink := s.sink.Load(); sink != nil {
		if known, ok := (*sink).(BridgeSink); ok {
			i.Bridge = i.Bridge || known.Bridge()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i.User = s.user
	i.Persistent = s.durable && s.expiry > 0
	if s.expiry != NeverExpires {
		e := s.expiry
		i.Expiry = &e
	}
	if !i.Online {
		i.Absent = math.Round(s.absentFor.Seconds())
	}
}

// Stats are the bus's counters since it was opened, and its journal's.
type Stats struct {
	Published, Dropped uint64            // events accepted; QoS 0 deliveries dropped because a buffer was full
	Lost               map[string]uint64 // by reason
	Refused            map[string]uint64 // what limits refused, by their keys
	Sessions, Online   int
	Subscriptions      int
	Retained           int // values of clients and plugins, without what the bus reports about itself
	RetainedBytes      int
	Kept, KeptBytes    int // values below KeptPrefix, which limits don't count
	Journal            journal.Stats
}

// Stats returns the counters.
func (b *Bus) Stats() Stats {
	st := Stats{Published: b.published.Load(), Dropped: b.dropped.Load(), Lost: map[string]uint64{}, Refused: map[string]uint64{}, Journal: b.journal.Stats()}
	b.reportMu.Lock()
	for r, n := range b.lostAll {
		st.Lost[r] = n
	}
	maps.Copy(st.Refused, b.refusals)
	b.reportMu.Unlock()
	for _, s := range b.all() {
		st.Sessions++
		s.mu.Lock()
		if s.sink.Load() != nil {
			st.Online++
		}
		for _, sub := range s.subs {
			if sub.until.Load() == 0 {
				st.Subscriptions++
			}
		}
		s.mu.Unlock()
	}
	b.retained.mu.RLock()
	st.Retained, st.RetainedBytes = b.retained.clients.count, b.retained.clients.bytes
	st.Kept, st.KeptBytes = b.retained.plugins.count, b.retained.plugins.bytes
	b.retained.mu.RUnlock()
	return st
}
