package plugins

// This file lists the timers of a plugin that are pending.

import (
	"slices"
	"time"
)

// PendingTimers are the timers of one plugin, or of all.
type PendingTimers struct {
	Total  int            `json:"total"`
	Timers []PendingTimer `json:"timers"` // the first that are due, in their order
}

// PendingTimer is one of them.
type PendingTimer struct {
	Plugin string    `json:"plugin"`
	Rule   string    `json:"rule"`
	Line   int       `json:"line"`
	Key    string    `json:"key,omitempty"`
	Why    string    `json:"why"` // as in "for 10m"
	Since  time.Time `json:"since"`
	Due    time.Time `json:"due"`
}

// Timers lists up to n pending timers, those of one plugin or, if id is empty, of all. ok: there is such a
// plugin.
func (s *Supervisor) Timers(id string, n int) (list PendingTimers, ok bool) {
	list.Timers = []PendingTimer{}
	ok = id == ""
	for _, p := range s.all() {
		if id != "" && p.id != id {
			continue
		}
		ok = true
		timers := p.mapper.pendingTimers()
		list.Total += len(timers)
		list.Timers = append(list.Timers, timers...)
		slices.SortFunc(list.Timers, func(a, b PendingTimer) int { return a.Due.Compare(b.Due) })
		list.Timers = list.Timers[:min(n, len(list.Timers))]
	}
	for i := range list.Timers {
		t := &list.Timers[i]
		if p := s.plugin(t.Plugin); p != nil {
			t.Key = p.redact(t.Key)
		}
	}
	return list, ok
}

// pendingTimers lists the timers that are armed. Their times are those of the wall clock as it is now.
func (m *mapper) pendingTimers() (list []PendingTimer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	for _, a := range m.engine.alarms {
		t, r := a.timer(), a.key.rule
		p := PendingTimer{Plugin: m.id, Rule: r.label, Line: r.line, Key: a.key.key, Why: r.wait.text, Since: t.since, Due: now.Wall.Add(t.due.Up - now.Up).Round(time.Millisecond)}
		if a.slot == rateTimer {
			p.Why = "rate"
		}
		list = append(list, p)
	}
	return list
}

// kept is how much the entries keep.
func (m *mapper) kept() (keys, timers, bytes int, evicted uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := &m.engine.keys
	return t.count, len(m.engine.alarms), t.bytes, t.evicted
}
