package bus

// This file is the part of the model that knows which will has to come, may come or must not.

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/postbus/postbus/bus/journal"
)

type willState int

const (
	willMay willState = iota
	willMust
	willNever
)

// simWill is the will of one connection. The methods are for a nil one too.
type simWill struct {
	key      string
	client   *simClient
	delay    uint32
	state    willState
	leftAt   time.Time      // its connection ended
	due      time.Duration  // after that, and not before
	goodbye  journal.Commit // of the record that makes it void
	back     bool           // it is void because its client came back
	seen     int
	seenLife int
}

func (w *simWill) String() string {
	if w == nil {
		return "none"
	}
	return fmt.Sprintf("%q after %d s", w.key, w.delay)
}

// graceWill is how much later than due a will may come on a good disk: housekeeping is once a
// second.
const graceWill = 3 * time.Second

func (m *model) newWill(c *simClient) *simWill {
	s := m.s
	s.willN++
	w := &simWill{client: c, key: fmt.Sprintf("will %s %d", c.name, s.willN)}
	if s.chance(50) {
		w.delay = uint32(1 + s.rnd.IntN(30))
	}
	m.wills[w.key] = w
	return w
}

// left: the connection ended without a goodbye, by itself or with the bus.
func (w *simWill) left(expiry uint32) {
	if w != nil {
		w.state, w.leftAt, w.due = willMust, time.Now(), time.Duration(min(w.delay, expiry))*time.Second
	}
}

// dueNow: the session is about to end.
func (w *simWill) dueNow() {
	if w != nil {
		w.due = 0
	}
}

// doubt: what became of it is not known.
func (w *simWill) doubt() {
	if w != nil {
		w.state = willMay
	}
}

// returned: the client is connected again. It returned at some time between began and now; same says
// that the session went on.
func (w *simWill) returned(s *sim, began time.Time, same, silent bool) {
	if w == nil || w.state != willMust || w.seen > 0 {
		return
	}
	since := w.leftAt
	if s.opened.After(since) {
		since = s.opened
	}
	switch {
	case silent:
		w.state = willMay
	case same && time.Since(w.leftAt) < w.due:
		w.state, w.back = willNever, true
	case s.faults, same && w.due > 0 && began.Sub(since) < w.due+graceWill:
		w.state = willMay
	}
}

// ended: the bus is gone, and with it a goodbye that was not durable.
func (w *simWill) ended() {
	if w.state != willNever || w.back {
		return
	}
	if !w.goodbye.IsZero() {
		select {
		case <-w.goodbye.Done():
			if w.goodbye.Err() == nil {
				return
			}
		default:
		}
	}
	w.state = willMay
}

// published checks a will that is in the journal.
func (w *simWill) published(m *model, e *simEvent) {
	life := m.s.life
	if m.reopening {
		life--
	}
	switch {
	case w.state == willNever:
		m.s.fail("no will while its client is there, after a goodbye, or after the client came back in time: %q as %d", w.key, e.seq)
	case w.state == willMust && e.at < w.leftAt.Add(w.due).UnixNano():
		m.s.fail("no will before its delay has passed: %q as %d", w.key, e.seq)
	case w.seen > 0 && w.seenLife == life && !m.s.faults:
		m.s.fail("a will is published once: %q again as %d", w.key, e.seq)
	}
	w.seen++
	w.seenLife = life
}

func (m *model) checkWills() {
	for _, key := range slices.Sorted(maps.Keys(m.wills)) {
		if w := m.wills[key]; w.state == willMust && w.seen == 0 {
			m.s.fail("a will is published when its client is gone without a goodbye: %q is missing", key)
		}
	}
}
