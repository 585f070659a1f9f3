// This file limits password checks, so that neither a reconnect storm nor a flood of guesses can
// exhaust the machine's CPU and memory.

package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
)

const (
	cacheSize  = 1024 // remembered successful checks, about 64 KiB
	maxWaiting = 1024 // clients that wait for a check; each holds a connection already
)

// ErrBusy means that too many clients wait for their password check. It does not depend on the
// password: the client should try again.
var ErrBusy = errors.New("too many logins at the same time, try again")

// Verifier checks passwords, few at a time because each takes 19 MiB, and remembers the successful
// ones so that a device that reconnects costs microseconds. It outlives policies: make one for each
// process. It is safe for concurrent use.
type Verifier struct {
	check   func(h phc, password string) bool // phc.verify; the tests count its calls
	slots   chan struct{}
	waiting atomic.Int64
	secret  [32]byte // keys the cache, so that a memory dump yields no fast hash for guessing

	mu   sync.Mutex
	seen map[[32]byte]struct{}
	ring [][32]byte // seen in order of arrival; the oldest is replaced
	next int
}

// NewVerifier makes a verifier that checks at most parallel passwords at a time; 0 means half
// the processors, at least one and at most four.
func NewVerifier(parallel int) *Verifier {
	if parallel <= 0 {
		parallel = min(max(runtime.GOMAXPROCS(0)/2, 1), 4)
	}
	v := &Verifier{check: phc.verify, slots: make(chan struct{}, parallel), seen: make(map[[32]byte]struct{})}
	if _, err := rand.Read(v.secret[:]); err != nil {
		panic("auth: no random numbers: " + err.Error()) // crypto/rand never fails on supported systems
	}
	return v
}

// verify waits for a slot; ErrBusy is its only error.
func (v *Verifier) verify(user, password, hash string, h phc) (bool, error) {
	sum := v.sum(user, password, hash)
	if v.known(sum) {
		return true, nil
	}
	if v.waiting.Add(1) > maxWaiting {
		v.waiting.Add(-1)
		return false, ErrBusy
	}
	v.slots <- struct{}{}
	v.waiting.Add(-1)
	defer func() { <-v.slots }()
	// If a hundred devices with one account reconnect at once, the first check suffices for all.
	if v.known(sum) {
		return true, nil
	}
	if !v.check(h, password) {
		return false, nil
	}
	v.remember(sum)
	return true, nil
}

// sum identifies a login. Lengths keep ("ab", "c") and ("a", "bc") apart. The hash is part of it,
// so that the old password is no longer known after a change.
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

func (v *Verifier) known(sum [32]byte) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, ok := v.seen[sum]
	return ok
}

func (v *Verifier) remember(sum [32]byte) {
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
	v.seen[sum] = struct{}{}
}
