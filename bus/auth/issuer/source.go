// This file keeps the keys of one issuer: it reads or fetches them, and remembers the last good ones.

package issuer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/postbus/postbus/bus/internal/remote"
	"github.com/postbus/postbus/bus/quiet"
)

const (
	fetchEvery  = time.Hour   // when all is well
	fetchAgain  = time.Minute // at the earliest: after a failure, or for a key that is not known
	fetchWithin = 10 * time.Second
	maxWaiting  = 256 // logins that wait for an attempt
)

// source is a JWKS and where it comes from. Its goroutine is the only one that reads or fetches.
type source struct {
	location string
	shown    string // location for the log
	get      func(context.Context) ([]byte, error)
	keep     func([]byte) error // remembers a good JWKS; nil: it need not be, because it is a file
	log      *slog.Logger
	quiet    *quiet.Log

	wanted chan struct{} // a key is missing
	stop   context.CancelFunc
	ended  chan struct{}

	mu       sync.Mutex
	keys     *keySet       // nil: none were ever there
	began    time.Time     // the last attempt
	running  bool          // it has not ended
	waiting  int           // logins that wait for its end
	finished chan struct{} // closed at the end of the attempt that runs, or of the next
	failure  error         // of the last attempt
	ignored  string        // what was last logged as ignored
}

func newSource(location string, log *slog.Logger, q *quiet.Log) *source {
	return &source{location: location, shown: remote.WithoutQuery(location), log: log, quiet: q, wanted: make(chan struct{}, 1), ended: make(chan struct{}), finished: make(chan struct{})}
}

// start begins to keep the keys fresh. first means that there is nothing to wait for before the first
// attempt; else the next one is due in an hour.
func (s *source) start(first bool) {
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.mu.Lock()
	s.running = first
	s.mu.Unlock()
	go s.run(ctx, first)
}

// close ends the goroutine, and an attempt that runs.
func (s *source) close() {
	s.stop()
	<-s.ended
}

func (s *source) run(ctx context.Context, first bool) {
	defer close(s.ended)
	wait := fetchEvery
	for now := first; ; now = true {
		if now {
			wait = fetchEvery
			if s.attempt(ctx) != nil {
				wait = fetchAgain
			}
		}
		due := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-due.C:
		case <-s.wanted:
			s.mu.Lock()
			pause := time.Until(s.began.Add(fetchAgain))
			s.mu.Unlock()
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
		due.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// attempt reads or fetches the keys once, and lets those continue who wait for them.
func (s *source) attempt(ctx context.Context) error {
	s.mu.Lock()
	s.began, s.running = time.Now(), true
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, fetchWithin)
	defer cancel()
	data, err := s.get(ctx)
	var keys *keySet
	if err == nil {
		keys, err = parseKeys(data)
	}
	if err == nil {
		s.use(keys)
		if s.keep != nil {
			if err := s.keep(data); err != nil {
				s.quiet.Warn(s.log, s.location, "the keys of an issuer can't be kept for the next start", "keys", s.shown, "err", err)
			}
		}
	}
	if err != nil && ctx.Err() != context.Canceled {
		s.quiet.Warn(s.log, s.location, "the keys of an issuer could not be fetched", "keys", s.shown, "err", clip(err.Error()), "known", s.known())
	}
	select {
	case <-s.wanted: // this attempt is the answer
	default:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure, s.running = err, false
	close(s.finished)
	s.finished = make(chan struct{})
	return err
}

// use makes keys the current ones. What is ignored in them is logged once.
func (s *source) use(keys *keySet) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = keys
	text := fmt.Sprint(keys.ignored)
	if len(keys.ignored) > 0 && text != s.ignored {
		s.log.Warn("some keys of an issuer are ignored", "keys", s.shown, "ignored", keys.ignored)
	}
	s.ignored = text
}

func (s *source) known() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys != nil
}

// key returns the key for a token. It waits for an attempt that runs or may begin, if the key is not
// known yet. Else, and if very many wait already, it returns at once, and asks for an attempt as soon
// as one is allowed. The error wraps ErrKeys if no keys are known at all.
func (s *source) key(kid, alg string) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, err := s.findLocked(kid, alg)
	if !errors.Is(err, errUnknownKey) && !errors.Is(err, ErrKeys) {
		return key, err
	}
	finished := s.wantLocked()
	if finished == nil || s.waiting >= maxWaiting {
		return nil, err
	}
	s.waiting++
	s.mu.Unlock()
	select {
	case <-finished:
	case <-s.ended:
	}
	s.mu.Lock()
	s.waiting--
	return s.findLocked(kid, alg)
}

func (s *source) findLocked(kid, alg string) (any, error) {
	switch {
	case s.keys != nil:
		return s.keys.find(kid, alg)
	case s.failure != nil:
		return nil, fmt.Errorf("%w: try again later", ErrKeys)
	}
	return nil, ErrKeys
}

// wantLocked asks for an attempt. If one runs or may begin now, it returns what is closed at its end.
func (s *source) wantLocked() (finished <-chan struct{}) {
	if !s.running {
		select {
		case s.wanted <- struct{}{}:
		default:
		}
		if time.Since(s.began) < fetchAgain {
			return nil
		}
		s.running = true // it is about to begin
	}
	return s.finished
}
