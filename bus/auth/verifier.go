// This file limits password checks, so that neither a reconnect storm nor a flood of guesses can
// exhaust the machine's CPU and memory.

package auth

import (
	"container/list"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"runtime"
	"sync"
	"time"
)

const (
	cacheSize  = 1024 // remembered successful checks, about 64 KiB
	maxWaiting = 1024 // clients that wait for a check; each holds a connection already
	maxQueue   = 8    // of them those of one origin
	maxOrigins = 4096 // origins whose last result is remembered

	firstDelay = 100 * time.Millisecond // after a wrong password; doubled for each other one
	lastDelay  = 5 * time.Second
	forgiven   = 15 * time.Minute // after which wrong passwords no longer count
)

// ErrBusy means that too many clients wait for their password check. It does not depend on the
// password: the client should try again.
var ErrBusy = errors.New("too many logins at the same time, try again")

// Verifier checks passwords, few at a time because each takes 19 MiB, and remembers the successful
// ones so that a device that reconnects costs microseconds. It outlives policies: make one for each
// process. It is safe for concurrent use.
//
// Checks wait in a queue for each origin, an address and the user's name, and the origins have
// turns. One that sends wrong passwords waits longer after each, and only its newest checks wait. One
// from which that user has logged in before comes first, so that guesses from elsewhere do not keep
// a user's devices out.
type Verifier struct {
	check    func(h phc, password string) bool // phc.verify; the tests count its calls
	parallel int
	secret   [32]byte // keys the cache, so that a memory dump yields no fast hash for guessing

	mu      sync.Mutex
	seen    map[[32]byte]int // the index of the password
	ring    [][32]byte       // seen in order of arrival; the oldest is replaced
	next    int
	running int
	waiting int                 // callers
	checks  map[[32]byte]*check // that wait or run
	origins map[origin]*history
	turns   list.List   // of *history with waiting checks, in the order of their turns
	timer   *time.Timer // for the first origin that is delayed, when no other waits
	favours int         // turns in a row of origins that logged in before
}

// origin is where a login comes from.
type origin struct {
	site string // see remote.Site
	user string // "" for users that do not exist
}

// history is what is known of an origin.
type history struct {
	origin  origin
	queue   []*check
	turn    *list.Element // in turns; nil: nothing waits
	good    bool          // a check has succeeded
	wrong   int           // wrong passwords since
	until   time.Time     // no check begins before
	touched time.Time
}

// check is one check of a password.
type check struct {
	called chan struct{} // closed when it is its turn, or it is given up for a newer one
	ended  chan struct{} // closed when the result is there
	match  int           // the index of the password that is right; -1: none
	ok     bool          // it has not expired
	err    error         // ErrBusy: it was given up
}

// NewVerifier makes a verifier that checks at most parallel passwords at a time; 0 means half
// the processors, at least one and at most four.
func NewVerifier(parallel int) *Verifier {
	if parallel <= 0 {
		parallel = min(max(runtime.GOMAXPROCS(0)/2, 1), 4)
	}
	v := &Verifier{check: phc.verify, parallel: parallel, seen: map[[32]byte]int{}, checks: map[[32]byte]*check{}, origins: map[origin]*history{}}
	if _, err := rand.Read(v.secret[:]); err != nil {
		panic("auth: no random numbers: " + err.Error()) // crypto/rand never fails on supported systems
	}
	return v
}

// verify waits for its turn, and returns the index of the password that is right; -1: none. It may
// have expired. ErrBusy is its only error. Equal logins at the same time, of a hundred devices with one
// account, or a flood with one password, are one check.
//
// A check computes a hash for each password of the user, and as many more of decoy that there are
// rounds, which is the largest number of passwords that any user has: at most MaxPasswords. So the time
// of a refusal is the same for all users, existing or not, and tells at most that largest number.
// A check ends early for a password that is right. That tells its place in the list, to a client
// that knows the password. One that has expired takes the time of a wrong one.
func (v *Verifier) verify(from origin, user, password string, a *account, rounds int, decoy phc) (int, error) {
	sum := v.sum(user, password, a.key)
	c, mine, err := v.enqueue(from, sum, a.usable)
	switch {
	case err != nil:
		return -1, err
	case c.called == nil:
		return c.match, nil // it is known
	case !mine:
		<-c.ended
		v.leave()
		return c.match, c.err
	}
	<-c.called
	if c.err == nil {
		c.match, c.ok = v.try(password, a, rounds, decoy)
		if c.ok {
			v.remember(sum, c.match)
		}
	}
	v.settle(from, sum, c)
	return c.match, c.err
}

// try is one check: the index of the password that is right, and whether it has not expired.
func (v *Verifier) try(password string, a *account, rounds int, decoy phc) (match int, ok bool) {
	match = -1
	for i := range rounds {
		if i >= len(a.credentials) {
			v.check(decoy, password)
		} else if v.check(a.credentials[i].phc, password) {
			if match = i; a.credentials[i].live() {
				return match, true
			}
		}
	}
	return match, false
}

// enqueue returns the check of a login, and whether the caller is the one to make it. The check of a
// login that is known to be right, and whose password is usable, has no channels.
func (v *Verifier) enqueue(from origin, sum [32]byte, usable func(index int) bool) (c *check, mine bool, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if match, ok := v.seen[sum]; ok && usable(match) {
		return &check{match: match}, false, nil
	}
	h := v.historyLocked(from)
	if h == nil || v.waiting >= maxWaiting && !h.good {
		return nil, false, ErrBusy
	}
	v.waiting++
	if c := v.checks[sum]; c != nil {
		return c, false, nil
	}
	if len(h.queue) == maxQueue {
		h.queue[0].err = ErrBusy
		close(h.queue[0].called)
		h.queue = h.queue[1:]
	}
	c = &check{match: -1, called: make(chan struct{}), ended: make(chan struct{})}
	v.checks[sum] = c
	h.queue = append(h.queue, c)
	if h.turn == nil {
		h.turn = v.turns.PushBack(h)
	}
	v.startLocked()
	return c, true, nil
}

// leave is the end of a caller's wait for another's check.
func (v *Verifier) leave() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.waiting--
}

// settle records the result of a check, and lets the next begin.
func (v *Verifier) settle(from origin, sum [32]byte, c *check) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.waiting--
	delete(v.checks, sum)
	close(c.ended)
	if c.err != nil {
		return // it never began
	}
	v.running--
	if h := v.historyLocked(from); h != nil {
		if c.ok {
			h.good, h.wrong, h.until = true, 0, time.Time{}
		} else {
			h.wrong++
			h.until = time.Now().Add(min(firstDelay<<min(h.wrong-1, 10), lastDelay))
		}
	}
	v.startLocked()
}

// startLocked gives turns while there are free places.
func (v *Verifier) startLocked() {
	for v.running < v.parallel {
		h := v.chooseLocked()
		if h == nil {
			return
		}
		v.running++
		close(h.queue[0].called)
		h.queue = h.queue[1:]
		v.turns.Remove(h.turn)
		h.turn = nil
		if len(h.queue) > 0 {
			h.turn = v.turns.PushBack(h)
		}
	}
}

// maxFavours is how many turns in a row go to origins that logged in before, while others wait.
const maxFavours = 3

// chooseLocked returns the origin whose turn it is; nil when none may begin now. Then a timer calls
// when the first of those that are delayed may.
func (v *Verifier) chooseLocked() *history {
	now := time.Now()
	var known, other *history
	var first time.Time
	for e := v.turns.Front(); e != nil && (known == nil || other == nil); e = e.Next() {
		switch h := e.Value.(*history); {
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
	case known != nil && (other == nil || v.favours < maxFavours):
		v.favours++
		return known
	case other != nil:
		v.favours = 0
		return other
	case !first.IsZero():
		if v.timer != nil {
			v.timer.Stop()
		}
		v.timer = time.AfterFunc(first.Sub(now), func() {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.startLocked()
		})
	}
	return nil
}

// historyLocked returns the history of an origin, new or known. nil: there is no room for another.
func (v *Verifier) historyLocked(from origin) *history {
	now := time.Now()
	h := v.origins[from]
	if h == nil {
		if len(v.origins) >= maxOrigins && !v.forgetLocked(now) {
			return nil
		}
		h = &history{origin: from}
		v.origins[from] = h
	}
	if now.Sub(h.touched) > forgiven {
		h.wrong = 0
	}
	h.touched = now
	return h
}

// forgetLocked makes room for another origin: it forgets the one that was silent longest and has
// never logged in, or if all have, the one that was silent longest.
func (v *Verifier) forgetLocked(now time.Time) bool {
	var gone *history
	for _, h := range v.origins {
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
	delete(v.origins, gone.origin)
	return true
}

// sum identifies a login. Lengths keep ("ab", "c") and ("a", "bc") apart. The user's hashes are part of
// it, so that an old password is no longer known after a change.
func (v *Verifier) sum(parts ...string) (sum [32]byte) {
	mac := hmac.New(sha256.New, v.secret[:])
	for _, p := range parts {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		mac.Write(n[:])
		mac.Write([]byte(p))
	}
	mac.Sum(sum[:0])
	return sum
}

func (v *Verifier) remember(sum [32]byte, match int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, ok := v.seen[sum]; ok {
		return
	}
	if len(v.ring) < cacheSize {
		v.ring = append(v.ring, sum)
	} else {
		delete(v.seen, v.ring[v.next])
		v.ring[v.next] = sum
		v.next = (v.next + 1) % cacheSize
	}
	v.seen[sum] = match
}
