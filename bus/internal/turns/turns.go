// Package turns limits checks of logins, so that neither a reconnect storm nor a flood of guesses can
// exhaust what makes them: this machine's CPU and memory, or another service.
//
// Checks wait in a queue for each origin, an address and the user's name, and the origins have
// turns. One that sends wrong passwords waits longer after each, and only its newest checks wait. One
// from which that user has logged in before comes first, so that guesses from elsewhere do not keep
// a user's devices out. It imports the standard library only.
package turns

import (
	"container/list"
	"errors"
	"sync"
	"time"
)

// The bounds of a Queue.
const (
	MaxWaiting = 1024 // clients that wait for a check; each holds a connection already
	MaxQueue   = 8    // of them those of one origin
	MaxOrigins = 4096 // origins whose last result is remembered

	FirstDelay = 100 * time.Millisecond // after a wrong password; doubled for each other one
	LastDelay  = 5 * time.Second
	Forgiven   = 15 * time.Minute // after which wrong passwords no longer count
)

// ErrBusy means that too many clients wait for their check. It does not depend on the password: the
// client should try again.
var ErrBusy = errors.New("too many logins at the same time, try again")

// Verdict is the result of a check.
type Verdict int

// The verdicts.
const (
	None Verdict = iota // nothing was found out about the password
	Right
	Wrong
)

// Queue lets checks begin in their turn, a few at a time. A check has a result of type T. It is safe
// for concurrent use.
type Queue[T any] struct {
	parallel int

	mu      sync.Mutex
	running int
	waiting int                    // callers
	checks  map[[32]byte]*check[T] // that wait or run
	origins map[Origin]*history[T]
	turns   list.List   // of *history with waiting checks, in the order of their turns
	timer   *time.Timer // for the first origin that is delayed, when no other waits
	favours int         // turns in a row of origins that logged in before
	closed  bool
}

// Origin is where a login comes from.
type Origin struct {
	Site string // see remote.Site
	User string // "" for users that do not exist
}

// history is what is known of an origin.
type history[T any] struct {
	origin  Origin
	queue   []*check[T]
	turn    *list.Element // in turns; nil: nothing waits
	good    bool          // a check has succeeded
	wrong   int           // wrong passwords since
	until   time.Time     // no check begins before
	touched time.Time
}

// check is one check of a password.
type check[T any] struct {
	called  chan struct{} // closed when it is its turn, or it is given up for a newer one
	ended   chan struct{} // closed when the result is there
	result  T
	verdict Verdict
	err     error // ErrBusy: it was given up
}

// New makes a queue for at most parallel checks at a time.
func New[T any](parallel int) *Queue[T] {
	return &Queue[T]{parallel: parallel, checks: map[[32]byte]*check[T]{}, origins: map[Origin]*history[T]{}}
}

// Do waits for the origin's turn, and returns the result of run; ErrBusy is its only error. Equal
// logins at the same time, of a hundred devices with one account, or a flood with one password, have
// the same sum and are one check.
func (q *Queue[T]) Do(from Origin, sum [32]byte, run func() (T, Verdict)) (T, error) {
	c, mine, err := q.enqueue(from, sum)
	if err != nil {
		var none T
		return none, err
	}
	if !mine {
		<-c.ended
		q.leave()
		return c.result, c.err
	}
	<-c.called
	if c.err == nil {
		c.result, c.verdict = run()
	}
	q.settle(from, sum, c)
	return c.result, c.err
}

// Close gives up the checks that wait, and refuses new ones: a stop does not wait for them. Those that run
// go on.
func (q *Queue[T]) Close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for e := q.turns.Front(); e != nil; e = e.Next() {
		h := e.Value.(*history[T])
		for _, c := range h.queue {
			c.err = ErrBusy
			close(c.called)
		}
		h.queue, h.turn = nil, nil
	}
	q.turns.Init()
	if q.timer != nil {
		q.timer.Stop()
	}
}

// Sizes returns how many origins are remembered, and how many callers wait or are served.
func (q *Queue[T]) Sizes() (origins, callers int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.origins), q.waiting + q.running + q.turns.Len() + len(q.checks)
}

// enqueue returns the check of a login, and whether the caller is the one to make it.
func (q *Queue[T]) enqueue(from Origin, sum [32]byte) (c *check[T], mine bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	h := q.historyLocked(from)
	if h == nil || q.closed || q.waiting >= MaxWaiting && !h.good {
		return nil, false, ErrBusy
	}
	q.waiting++
	if c := q.checks[sum]; c != nil {
		return c, false, nil
	}
	if len(h.queue) == MaxQueue {
		h.queue[0].err = ErrBusy
		close(h.queue[0].called)
		h.queue = h.queue[1:]
	}
	c = &check[T]{called: make(chan struct{}), ended: make(chan struct{})}
	q.checks[sum] = c
	h.queue = append(h.queue, c)
	if h.turn == nil {
		h.turn = q.turns.PushBack(h)
	}
	q.startLocked()
	return c, true, nil
}

// leave is the end of a caller's wait for another's check.
func (q *Queue[T]) leave() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting--
}

// settle records the result of a check, and lets the next begin.
func (q *Queue[T]) settle(from Origin, sum [32]byte, c *check[T]) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting--
	delete(q.checks, sum)
	close(c.ended)
	if c.err != nil {
		return // it never began
	}
	q.running--
	if h := q.historyLocked(from); h != nil {
		switch c.verdict {
		case Right:
			h.good, h.wrong, h.until = true, 0, time.Time{}
		case Wrong:
			h.wrong++
			h.until = time.Now().Add(min(FirstDelay<<min(h.wrong-1, 10), LastDelay))
		}
	}
	q.startLocked()
}

// startLocked gives turns while there are free places.
func (q *Queue[T]) startLocked() {
	for q.running < q.parallel {
		h := q.chooseLocked()
		if h == nil {
			return
		}
		q.running++
		close(h.queue[0].called)
		h.queue = h.queue[1:]
		q.turns.Remove(h.turn)
		h.turn = nil
		if len(h.queue) > 0 {
			h.turn = q.turns.PushBack(h)
		}
	}
}

// maxFavours is how many turns in a row go to origins that logged in before, while others wait.
const maxFavours = 3

// chooseLocked returns the origin whose turn it is; nil when none may begin now. Then a timer calls
// when the first of those that are delayed may.
func (q *Queue[T]) chooseLocked() *history[T] {
	now := time.Now()
	var known, other *history[T]
	var first time.Time
	for e := q.turns.Front(); e != nil && (known == nil || other == nil); e = e.Next() {
		switch h := e.Value.(*history[T]); {
		case h.until.After(now):
			if first.IsZero() || h.until.Before(first) {
				first = h.until
			}
		case h.good && known == nil:
			known = h
		case !h.good && other == nil:
			other = h
		}
	}
	switch {
	case known != nil && (other == nil || q.favours < maxFavours):
		q.favours++
		return known
	case other != nil:
		q.favours = 0
		return other
	case !first.IsZero():
		if q.timer != nil {
			q.timer.Stop()
		}
		q.timer = time.AfterFunc(first.Sub(now), func() {
			q.mu.Lock()
			defer q.mu.Unlock()
			q.startLocked()
		})
	}
	return nil
}

// historyLocked returns the history of an origin, new or known. nil: there is no room for another.
func (q *Queue[T]) historyLocked(from Origin) *history[T] {
	now := time.Now()
	h := q.origins[from]
	if h == nil {
		if len(q.origins) >= MaxOrigins && !q.forgetLocked(now) {
			return nil
		}
		h = &history[T]{origin: from}
		q.origins[from] = h
	}
	if now.Sub(h.touched) > Forgiven {
		h.wrong = 0
	}
	h.touched = now
	return h
}

// forgetLocked makes room for another origin: it forgets the one that was silent longest and has
// never logged in, or if all have, the one that was silent longest.
func (q *Queue[T]) forgetLocked(now time.Time) bool {
	var gone *history[T]
	for _, h := range q.origins {
		if h.turn != nil || h.until.After(now) {
			continue
		}
		if gone == nil || gone.good && !h.good || gone.good == h.good && h.touched.Before(gone.touched) {
			gone = h
		}
	}
	if gone == nil {
		return false
	}
	delete(q.origins, gone.origin)
	return true
}
