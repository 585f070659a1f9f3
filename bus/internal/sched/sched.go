// Package sched lets a simulation stop each goroutine of the bus between any two steps on shared
// state.
//
// Its locks and points cost one comparison with nil in a program. Under a [Schedule] each Lock,
// each Unlock and each named [Point] may let virtual time pass, for as long as the seed says, so
// that other goroutines overtake the one that stopped there. A lock that is held does not block its
// goroutine in a way that testing/synctest can't see: it is tried again as virtual time passes. Two
// goroutines that wait for each other's lock are therefore found, and reported by Schedule.Stuck.
//
// How long a goroutine stops depends on the seed, the name of the point and how often that point
// was passed, and not on the Go scheduler, so that a seed repeats an interleaving.
package sched

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// stuckAfter is how long, in virtual time, a lock may be held by others before the waiting counts
// as a deadlock. No simulated lock is held during an operation that takes seconds.
const stuckAfter = 5 * time.Minute

// Schedule decides where goroutines stop. A nil Schedule never stops one.
type Schedule struct {
	Seed  uint64
	Rate  uint64            // stops per 1,000 passed points
	Stuck func(lock string) // called when a lock was not free for minutes: a deadlock

	calm   atomic.Bool
	mu     sync.Mutex
	points map[string]*point
	booked map[int64]bool // instants at which a goroutine wakes
}

// MaxStop is the longest stop at one point, in virtual time.
const MaxStop = 20 * time.Millisecond

// Calm ends (or, with false, resumes) the long stops, so that what is under way comes to its end.
func (s *Schedule) Calm(calm bool) {
	if s != nil {
		s.calm.Store(calm)
	}
}

// Point is a point between two steps on shared state.
func (s *Schedule) Point(name string) {
	if s == nil {
		return
	}
	s.mu.Lock()
	p := s.points[name]
	if p == nil {
		if s.points == nil {
			s.points = map[string]*point{}
		}
		p = s.point(name)
		s.points[name] = p
	}
	s.mu.Unlock()
	p.stop()
}

// point is a point in the code where goroutines stop.
type point struct {
	s      *Schedule
	seed   uint64 // of the schedule and the name
	passed atomic.Uint64
}

func (s *Schedule) point(name string) *point {
	h := s.Seed
	for _, c := range []byte(name) {
		h = (h ^ uint64(c)) * 0x100000001b3
	}
	return &point{s: s, seed: h}
}

// stop lets others run. The stop is short, some nanoseconds, unless the seed chose the point: then
// its magnitude is uniform up to MaxStop. Even a short one hands the processor over, so that one
// goroutine runs at a time and the seed alone decides which.
func (p *point) stop() {
	h := p.seed + p.passed.Add(1)*0x9e3779b97f4a7c15
	for range 2 {
		h ^= h >> 32
		h *= 0xd6e8feb86659fd93
	}
	h ^= h >> 32
	d := 1 + h>>32%64
	if h%1000 < p.s.Rate && !p.s.calm.Load() {
		h /= 1000
		limit := uint64(1) << (6 + h%uint64(bits.Len64(uint64(MaxStop))-6))
		d = min(1+(h>>8)%limit, uint64(MaxStop))
	}
	p.s.sleep(time.Duration(d))
}

// sleep lets d pass, or slightly more: no two goroutines wake at the same instant.
func (s *Schedule) sleep(d time.Duration) {
	s.mu.Lock()
	now := time.Now()
	at := now.Add(d).UnixNano()
	for s.booked[at] {
		at++
	}
	if s.booked == nil {
		s.booked = map[int64]bool{}
	}
	s.booked[at] = true
	s.mu.Unlock()
	time.Sleep(time.Duration(at - now.UnixNano()))
	s.mu.Lock()
	delete(s.booked, at)
	s.mu.Unlock()
}

// lockPoints are the two points of a lock.
type lockPoints struct {
	s              *Schedule
	name           string
	before, behind *point
}

func (s *Schedule) lockPoints(name string) *lockPoints {
	if s == nil {
		return nil
	}
	return &lockPoints{s, name, s.point(name + " lock"), s.point(name + " unlock")}
}

// acquire takes a lock as virtual time passes.
func (l *lockPoints) acquire(try func() bool) {
	l.before.stop()
	wait, waited := time.Duration(50), time.Duration(0)
	for !try() {
		l.s.sleep(wait)
		if waited += wait; waited > stuckAfter {
			l.s.Stuck(l.name)
			waited = 0
		}
		wait = min(wait+wait/4, time.Millisecond)
	}
}

// Mutex is a sync.Mutex; under a schedule its Lock and Unlock are points to stop at. The zero value
// has no schedule.
type Mutex struct {
	mu     sync.Mutex
	points *lockPoints
}

// Use puts the mutex under a schedule, which may be nil. Call it before the first Lock.
func (m *Mutex) Use(s *Schedule, name string) { m.points = s.lockPoints(name) }

// Lock locks m.
func (m *Mutex) Lock() {
	if m.points == nil {
		m.mu.Lock()
		return
	}
	m.points.acquire(m.mu.TryLock)
}

// Unlock unlocks m.
func (m *Mutex) Unlock() {
	m.mu.Unlock()
	if m.points != nil {
		m.points.behind.stop()
	}
}

// RWMutex is a sync.RWMutex; under a schedule its methods are points to stop at. The zero value has
// no schedule.
type RWMutex struct {
	mu     sync.RWMutex
	points *lockPoints
}

// Use puts the mutex under a schedule, which may be nil. Call it before the first Lock.
func (m *RWMutex) Use(s *Schedule, name string) { m.points = s.lockPoints(name) }

// Lock locks m for writing.
func (m *RWMutex) Lock() {
	if m.points == nil {
		m.mu.Lock()
		return
	}
	m.points.acquire(m.mu.TryLock)
}

// Unlock unlocks m for writing.
func (m *RWMutex) Unlock() {
	m.mu.Unlock()
	if m.points != nil {
		m.points.behind.stop()
	}
}

// RLock locks m for reading.
func (m *RWMutex) RLock() {
	if m.points == nil {
		m.mu.RLock()
		return
	}
	m.points.acquire(m.mu.TryRLock)
}

// RUnlock undoes one RLock.
func (m *RWMutex) RUnlock() {
	m.mu.RUnlock()
	if m.points != nil {
		m.points.behind.stop()
	}
}
