package plugins

// This file keeps plugins at rest from costing anything: none has a ticker of its own. The supervisor
// looks once a second which plugins have something new to publish, save or log, and wakes only those.

import "time"

// activity changes with everything that a plugin publishes or saves and does not announce by
// plugin.changed.
type activity struct {
	counted uint64    // the sum of the counters, each of which only grows
	failed  time.Time // of the last error
	recent  bool      // an error is recent
	dirty   bool      // the rules' state is to be saved
	disk    *error    // why the disk refuses
}

func (m *mapper) activity() (a activity) {
	c := &m.count
	a.counted = c.in.Load() + c.filtered.Load() + c.errors.Load() + c.dropped.Load() + c.published.Load() + c.done.Load() +
		c.failed.Load() + c.expired.Load() + c.dead.Load() + c.retried.Load() + c.lost.Load() + c.sent.Load() + c.fired.Load()
	a.disk = m.flow.disk.Load()
	m.mu.Lock()
	a.failed, a.dirty, a.recent = m.lastAt, m.engine.dirty, m.spoiled.recent(m.now())
	m.mu.Unlock()
	return a
}

// reviewAll wakes the plugins that have something new.
func (s *Supervisor) reviewAll() {
	s.each(func(p *plugin) {
		now := p.mapper.activity()
		if !p.due.Swap(false) && !now.dirty && now == p.seen {
			return
		}
		p.seen = now
		select {
		case p.review <- struct{}{}:
		default:
		}
	})
}
