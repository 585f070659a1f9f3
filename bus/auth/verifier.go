// This file limits password checks, so that neither a reconnect storm nor a flood of guesses can
// exhaust the machine's CPU and memory.

package auth

import (
	"crypto/rand"
	"runtime"
	"sync"

	"github.com/postbus/postbus/bus/internal/remote"
	"github.com/postbus/postbus/bus/internal/turns"
)

const cacheSize = 1024 // remembered successful checks, about 64 KiB

// ErrBusy means that too many clients wait for their password check. It does not depend on the
// password: the client should try again.
var ErrBusy = turns.ErrBusy

// Verifier checks passwords, few at a time because each takes 19 MiB, and remembers the successful
// ones so that a device that reconnects costs microseconds. Package turns decides in which order. A
// Verifier outlives policies: make one for each process. It is safe for concurrent use.
type Verifier struct {
	check func(h phc, password string) bool // phc.verify; the tests count its calls
	// sum identifies a login. The user's hashes are part of it, so that an old password is no longer known
	// after a change.
	sum   func(parts ...string) [32]byte
	queue *turns.Queue[int]

	mu   sync.Mutex
	seen map[[32]byte]int // the index of the password
	ring [][32]byte       // seen in order of arrival; the oldest is replaced
	next int
}

// NewVerifier makes a verifier that checks at most parallel passwords at a time; 0 means half
// the processors, at least one and at most four.
func NewVerifier(parallel int) *Verifier {
	if parallel <= 0 {
		parallel = min(max(runtime.GOMAXPROCS(0)/2, 1), 4)
	}
	return &Verifier{check: phc.verify, sum: turns.NewSum(), queue: turns.New[int](parallel), seen: map[[32]byte]int{}}
}

// Close gives up the checks that wait, and refuses new ones with ErrBusy.
func (v *Verifier) Close() { v.queue.Close() }

// verify waits for its turn, and returns the index of the password that is right; -1: none. It may
// have expired. ErrBusy is its only error.
//
// A check computes a hash for each password of the user, and as many more of decoy that there are
// rounds, which is the largest number of passwords that any user has: at most MaxPasswords. So the time
// of a refusal is the same for all users, existing or not, and tells at most that largest number.
// A check ends early for a password that is right. That tells its place in the list, to a client
// that knows the password. One that has expired takes the time of a wrong one.
func (v *Verifier) verify(from turns.Origin, user, password string, a *account, rounds int, decoy phc) (int, error) {
	sum := v.sum(user, password, a.key)
	if match, ok := v.known(sum, a); ok {
		return match, nil
	}
	match, err := v.queue.Do(from, sum, func() (int, turns.Verdict) {
		if match, ok := v.known(sum, a); ok { // an equal check has ended since
			return match, turns.Right
		}
		match, ok := v.try(password, a, rounds, decoy)
		if !ok {
			return match, turns.Wrong
		}
		v.remember(sum, match)
		return match, turns.Right
	})
	if err != nil {
		return -1, err
	}
	return match, nil
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

// Hash returns the hash of a new password, as the function Hash, when it is the turn of its user and
// address: for who sets passwords from outside. ErrBusy means to try again.
func (v *Verifier) Hash(user, address, password string) (hash string, err error) {
	// The sum is of this call only: no other can have the same result.
	_, busy := v.queue.Do(turns.Origin{Site: remote.Site(address), User: user}, v.sum(rand.Text()), func() (int, turns.Verdict) {
		hash, err = Hash(password)
		return -1, turns.Right
	})
	if busy != nil {
		return "", busy
	}
	return hash, err
}

// known returns the index of a password that was right before, if it is still usable.
func (v *Verifier) known(sum [32]byte, a *account) (match int, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	match, ok = v.seen[sum]
	return match, ok && a.usable(match)
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
