package auth

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/bus/internal/turns"
)

const checkTime = 50 * time.Millisecond

// queued makes a policy with the users pi and ann, whose password is "right", and a check that takes
// checkTime of virtual time.
func queued(t *testing.T) (p *Policy, checks *atomic.Int64) {
	v := NewVerifier(1)
	checks = new(atomic.Int64)
	v.check = func(_ phc, password string) bool {
		checks.Add(1)
		time.Sleep(checkTime)
		return password == "right"
	}
	hash := cheap(t, "right")
	p, err := NewPolicy(v, Options{Users: []User{{Name: "pi", Password: hash}, {Name: "ann", Password: hash}}})
	if err != nil {
		t.Fatal(err)
	}
	return p, checks
}

// guess sends wrong passwords, all at once.
func guess(p *Policy, wg *sync.WaitGroup, n int, user string, address func(i int) string) {
	for i := range n {
		wg.Go(func() { p.Authenticate(user, fmt.Sprint("wrong ", i), true, false, address(i)) })
	}
}

// TestGuessesDelayTheirOriginOnly: a new login from elsewhere, or of another user, is checked after
// at most a few others, and guesses become slower and slower.
func TestGuessesDelayTheirOriginOnly(t *testing.T) {
	for name, honest := range map[string]struct{ user, address string }{
		"another address":                    {"pi", "198.51.100.1:1"},
		"another user from the same address": {"ann", "192.0.2.1:9"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, checks := queued(t)
				var flood sync.WaitGroup
				guess(p, &flood, 200, "pi", func(i int) string { return fmt.Sprint("192.0.2.1:", i) })
				guess(p, &flood, 200, "nobody", func(i int) string { return fmt.Sprint("192.0.2.1:", i) })
				synctest.Wait()
				start := time.Now()
				if _, err := p.Authenticate(honest.user, "right", true, false, honest.address); err != nil {
					t.Errorf("%s from %s: %v", honest.user, honest.address, err)
				}
				if waited := time.Since(start); waited > 4*checkTime {
					t.Errorf("it waited for %s", waited)
				}
				flood.Wait()
				if n := checks.Load(); n > 2*(turns.MaxQueue+1)+1 {
					t.Errorf("%d passwords were checked", n)
				}
				before, start := checks.Load(), time.Now()
				for i := range 20 { // one after the other
					if _, err := p.Authenticate("pi", fmt.Sprint("again ", i), true, false, "192.0.2.1:1"); !errors.Is(err, ErrRefused) {
						t.Error(err)
					}
				}
				if took := time.Since(start); took < 18*turns.LastDelay || checks.Load() != before+20 {
					t.Errorf("20 more guesses took %s", took)
				}
				time.Sleep(turns.Forgiven + time.Minute)
				start = time.Now()
				p.Authenticate("pi", "once", true, false, "192.0.2.1:1")
				if took := time.Since(start); took > checkTime {
					t.Errorf("a guess after a while took %s", took)
				}
			})
		})
	}
}

// TestKnownOriginsComeFirst: guesses from very many addresses do not keep those out that logged in
// before, and they do not keep others out.
func TestKnownOriginsComeFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := queued(t)
		for _, user := range []string{"pi", "ann"} {
			if _, err := p.Authenticate(user, "right", true, false, "198.51.100.1:1"); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 2 * cacheSize { // so that the password is checked again
			p.verifier.remember(p.verifier.sum(fmt.Sprint(i)), 0)
		}
		var flood sync.WaitGroup
		guess(p, &flood, 2*turns.MaxWaiting, "pi", func(i int) string { return fmt.Sprintf("10.0.%d.%d:1", i/250, i%250) })
		synctest.Wait()
		for _, user := range []string{"pi", "ann"} {
			start := time.Now()
			if _, err := p.Authenticate(user, "right", true, false, "198.51.100.1:1"); err != nil {
				t.Error(err)
			}
			if waited := time.Since(start); waited > 3*checkTime {
				t.Errorf("%s waited for %s", user, waited)
			}
		}
		flood.Wait()
	})
}

// TestLoginsAreBounded: a flood from ever new addresses takes no memory without a bound, and leaves
// nothing behind, no goroutine either, for which synctest looks.
func TestLoginsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := queued(t)
		for round := range 6 {
			var flood sync.WaitGroup
			var busy atomic.Int64
			for i := range 2 * turns.MaxWaiting {
				flood.Go(func() {
					if _, err := p.Authenticate("pi", fmt.Sprint("w", i), true, false, fmt.Sprintf("10.%d.%d.%d:1", round, i/250, i%250)); errors.Is(err, ErrBusy) {
						busy.Add(1)
					}
				})
			}
			flood.Wait()
			if busy.Load() < turns.MaxWaiting/2 {
				t.Errorf("%d logins were refused as too many", busy.Load())
			}
		}
		if origins, callers := p.verifier.queue.Sizes(); origins > turns.MaxOrigins || callers != 0 {
			t.Errorf("%d origins, %d callers", origins, callers)
		}
	})
}

// TestHashTakesItsTurn: new passwords are hashed in the queue of the checks, few at a time.
func TestHashTakesItsTurn(t *testing.T) {
	v := NewVerifier(1)
	var wg sync.WaitGroup
	hashes := make([]string, 3)
	for i := range hashes {
		wg.Go(func() {
			var err error
			if hashes[i], err = v.Hash("ann", "192.0.2.1:9", "right"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i, h := range hashes {
		if ok, err := Verify(h, "right"); !ok || err != nil || h == hashes[(i+1)%3] {
			t.Error(h, ok, err)
		}
	}
	if _, err := v.Hash("ann", "192.0.2.1:9", ""); err == nil || errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	// While another check runs, it waits.
	started, end := make(chan struct{}), make(chan struct{})
	v.check = func(phc, string) bool { close(started); <-end; return true }
	p, err := NewPolicy(v, Options{Users: []User{{Name: "pi", Password: hashes[0]}}})
	if err != nil {
		t.Fatal(err)
	}
	wg.Go(func() { p.Authenticate("pi", "x", true, false, "192.0.2.2:9") })
	<-started
	done := make(chan error, 1)
	wg.Go(func() { _, err := v.Hash("ann", "192.0.2.1:9", "right"); done <- err })
	for _, callers := v.queue.Sizes(); callers < 2; _, callers = v.queue.Sizes() {
		time.Sleep(time.Millisecond)
	}
	v.Close() // gives up what waits
	if err := <-done; !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	close(end)
	wg.Wait()
}
