package plugins

// This file fires the timers of a plugin's entries when they are due. Timers that came due while the plugin
// was not running wait until the events that were published meanwhile have been mapped: one of them may
// have ended the wait.

import (
	"context"
	"sync"
	"time"
)

// lookAgain is how long the timekeeper sleeps at most: a machine that was suspended, or a clock that
// stopped with it, delays a timer by no more than this.
const lookAgain = 15 * time.Second

// timekeeper is the part of a mapper that knows what is due. Its goroutine runs while the spec has timers.
type timekeeper struct {
	alarm chan struct{} // has a token when a timer may be due earlier than planned

	timeMu sync.Mutex // guards the following fields; nothing is called with it held
	cancel context.CancelFunc
	ended  chan struct{}
	behind int // sources that have not caught up
}

// timed reports whether entries have timers.
func (s *Spec) timed() bool {
	for _, r := range s.rules {
		if r.wait.kind != waitNone || r.keepLast {
			return true
		}
	}
	return false
}

// resume starts the timekeeper if there is something to do.
func (m *mapper) resume(timed bool) {
	t := &m.timekeeper
	t.timeMu.Lock()
	running := t.cancel != nil
	switch {
	case timed && !running:
		var ctx context.Context
		ctx, t.cancel = context.WithCancel(context.Background())
		t.ended = make(chan struct{})
		go m.keepTime(ctx, t.ended)
		t.timeMu.Unlock()
	case !timed && running:
		t.timeMu.Unlock()
		m.pause()
	default:
		t.timeMu.Unlock()
		m.wakeTimekeeper()
	}
}

// pause stops firing, as while a plugin is disabled.
func (m *mapper) pause() {
	t := &m.timekeeper
	t.timeMu.Lock()
	cancel, ended := t.cancel, t.ended
	t.cancel, t.ended = nil, nil
	t.timeMu.Unlock()
	if cancel != nil {
		cancel()
		<-ended
	}
}

// fallBehind makes the timers wait until the returned function is called.
func (m *mapper) fallBehind() (caughtUp func()) {
	m.timeMu.Lock()
	m.behind++
	m.timeMu.Unlock()
	return sync.OnceFunc(func() {
		m.timeMu.Lock()
		m.behind--
		m.timeMu.Unlock()
		m.wakeTimekeeper()
	})
}

// wakeTimekeeper lets it look again.
func (m *mapper) wakeTimekeeper() {
	select {
	case m.alarm <- struct{}{}:
	default:
	}
}

// keepTime fires timers until ctx ends.
func (m *mapper) keepTime(ctx context.Context, ended chan struct{}) {
	defer close(ended)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.alarm:
		case <-timer.C:
		}
		wait := lookAgain
		for {
			m.timeMu.Lock()
			behind := m.behind > 0
			m.timeMu.Unlock()
			if behind {
				break
			}
			if wait = m.plan(); wait > 0 {
				break
			}
			if !m.fireNext(ctx) {
				return
			}
		}
		timer.Reset(wait)
	}
}

// plan returns how long the timekeeper may sleep; 0: a timer is due.
func (m *mapper) plan() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now().Up
	m.planned = now + lookAgain
	if up, ok := m.engine.alarms.next(); ok {
		m.planned = min(m.planned, up)
	}
	return max(0, m.planned-now)
}

// sooner reports whether a timer is due before the timekeeper looks again. The caller holds mu.
func (m *mapper) sooner() bool {
	up, ok := m.engine.alarms.next()
	return ok && up < m.planned
}

// firingSize is what a timer's outcome counts among the events that wait for the disk, in bytes.
const firingSize = 1 << 10

// fireNext fires the first timer that is due. It returns false when ctx has ended.
func (m *mapper) fireNext(ctx context.Context) bool {
	if m.enter(ctx, nil, firingSize) != nil {
		return false
	}
	defer m.turn.Unlock()
	now := m.now()
	m.mu.Lock()
	v := m.variables(now.Wall)
	st, list, ok := m.engine.due(now, v)
	if ok {
		m.count.fired.Add(1)
		_ = m.judge([]*ruleState{st}, list) // it is counted
	}
	m.mu.Unlock()
	if ok && m.tracing.Load() {
		v.Event = st.seen
		m.trace(v, list, []*ruleState{st})
	}
	m.flow.put(m.events(list), outgoing{bytes: firingSize, done: func(error) {}}) // if it does not become durable, it fires again after the restart
	return true
}
