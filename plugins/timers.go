package plugins

// This file is the timers of a plugin's entries.

import (
	"container/heap"
	"time"

	"github.com/postbus/postbus/plugins/internal/clock"
)

// timerPhase is a timer's state.
type timerPhase byte

const (
	timerIdle  timerPhase = iota
	timerArmed            // it has a due time
	timerFired            // it was due, and waits for what ends that
)

// Timers of a key.
const (
	waitTimer = iota // of for, after, settle, silent
	rateTimer        // of rate with keep: last
	timerSlots
)

// timer is one timer of a key, with the event that it is for.
type timer struct {
	phase timerPhase
	event map[string]any // the fields that the outcome needs; nil: there was none
	item  any            // of "each"
	index int
	each  bool
	since time.Time
	due   clock.Instant
	from  origin
	place int // in the heap, counted from 1; 0: it is not there
}

// alarm is an armed timer in the heap.
type alarm struct {
	key  *keyState
	slot int
}

func (a alarm) timer() *timer { return &a.key.timers[a.slot] }

// alarms is a heap of the armed timers, the first one due first.
type alarms []alarm

func (a alarms) Len() int           { return len(a) }
func (a alarms) Less(i, j int) bool { return a[i].timer().due.Up < a[j].timer().due.Up }
func (a alarms) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].timer().place, a[j].timer().place = i+1, j+1
}

// Push and Pop are for package heap only.
func (a *alarms) Push(x any) {
	*a = append(*a, x.(alarm))
	x.(alarm).timer().place = len(*a)
}

func (a *alarms) Pop() any {
	last := (*a)[len(*a)-1]
	(*a)[len(*a)-1] = alarm{}
	*a = (*a)[:len(*a)-1]
	last.timer().place = 0
	return last
}

// arm starts a timer, or moves it.
func (a *alarms) arm(k *keyState, slot int, t timer) {
	t.phase, t.place = timerArmed, k.timers[slot].place
	k.timers[slot] = t
	if t.place > 0 {
		heap.Fix(a, t.place-1)
	} else {
		heap.Push(a, alarm{k, slot})
	}
}

// disarm ends a timer; it returns 1 if it was armed.
func (a *alarms) disarm(k *keyState, slot int) (n int) {
	if place := k.timers[slot].place; place > 0 {
		heap.Remove(a, place-1)
		n = 1
	}
	k.timers[slot] = timer{}
	return n
}

// next returns the time of the first timer.
func (a alarms) next() (up time.Duration, ok bool) {
	if len(a) == 0 {
		return 0, false
	}
	return a[0].timer().due.Up, true
}
