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
	phase  timerPhase
	event  map[string]any // the fields that the outcome needs; nil: there was none
	item   any            // of "each"
	index  int
	each   bool
	since  time.Time
	due    clock.Instant
	hops   byte
	source string        // who published the event
	queued time.Duration // the time of its newest entry in the heap
	inHeap bool
}

// alarm is an entry of the heap. It is outdated when the timer has another one or was disarmed.
type alarm struct {
	up   time.Duration
	key  *keyState
	slot int
}

// alarms is a heap of timers, the first one due first.
type alarms []alarm

func (a alarms) Len() int           { return len(a) }
func (a alarms) Less(i, j int) bool { return a[i].up < a[j].up }
func (a alarms) Swap(i, j int)      { a[i], a[j] = a[j], a[i] }
func (a *alarms) Push(x any)        { *a = append(*a, x.(alarm)) }
func (a *alarms) Pop() any {
	old := *a
	last := old[len(old)-1]
	old[len(old)-1] = alarm{}
	*a = old[:len(old)-1]
	return last
}

// arm enters a timer whose phase and due time are set. A later due time than before needs no entry: the
// one that is there is moved when its time comes.
func (a *alarms) arm(k *keyState, slot int) {
	t := &k.timers[slot]
	if t.inHeap && t.queued <= t.due.Up {
		return
	}
	t.queued, t.inHeap = t.due.Up, true
	heap.Push(a, alarm{t.queued, k, slot})
}

// next returns the time of the first timer.
func (a *alarms) next() (up time.Duration, ok bool) {
	for len(*a) > 0 {
		first := (*a)[0]
		t := &first.key.timers[first.slot]
		current := !first.key.gone && t.inHeap && t.queued == first.up
		switch {
		case current && t.phase == timerArmed && t.due.Up <= first.up:
			return first.up, true
		case current && t.phase == timerArmed:
			heap.Pop(a)
			t.inHeap = false
			a.arm(first.key, first.slot)
		default:
			heap.Pop(a)
			if current {
				t.inHeap = false
			}
		}
	}
	return 0, false
}

// due removes and returns the first timer that is due.
func (a *alarms) due(now time.Duration) (k *keyState, slot int, ok bool) {
	up, ok := a.next()
	if !ok || up > now {
		return nil, 0, false
	}
	first := heap.Pop(a).(alarm)
	first.key.timers[first.slot].inHeap = false
	return first.key, first.slot, true
}
