package plugins

// This file is what each action has to do. These figures change with time alone, so they are told to
// those who ask, and are no part of the published state.

import (
	"cmp"
	"slices"
	"time"
)

// Queue is an action's queue.
type Queue struct {
	Action string  `json:"action"`
	Jobs   uint64  `json:"jobs"`           // that are not done, with the one that is being done
	Oldest float64 `json:"oldest_seconds"` // age of the oldest of them; 0 when there is none
	Dead   uint64  `json:"dead_letters"`   // since the action was started or changed
}

// queues are those of the running version, ordered by the names of the actions.
func (p *plugin) queues() []Queue {
	p.mu.Lock()
	workers := p.workers
	p.mu.Unlock()
	var out []Queue
	for _, w := range workers {
		q := Queue{Action: w.spec.key, Dead: w.dead.Load()}
		if n, oldest := p.s.bus.Backlog(cursorName(p.id, w.spec.key)); n > 0 {
			q.Jobs, q.Oldest = n, max(0, time.Since(oldest).Round(100*time.Millisecond).Seconds())
		}
		out = append(out, q)
	}
	slices.SortFunc(out, func(a, b Queue) int { return cmp.Compare(a.Action, b.Action) })
	return out
}
