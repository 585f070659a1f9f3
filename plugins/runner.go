package plugins

// This file is one source's lifetime: it is opened, runs, and is restarted with a growing wait when
// it ends. A panic or a hang affects this source only.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

const (
	openTime   = 10 * time.Second // time limit for a source to start
	stopTime   = 5 * time.Second  // and to end
	backoffMin = time.Second
	backoffMax = time.Minute
	steady     = time.Minute // after this time a source's next wait is the shortest again
	maxStuck   = 4           // maximum number of a plugin's previous sources that may not have ended
)

// runner runs one source of one generation.
type runner struct {
	p      *plugin
	spec   *sourceSpec
	env    *env
	fenced atomic.Bool // it may no longer emit
	ctx    context.Context
	cancel context.CancelFunc
	tried  chan struct{} // closed after the first attempt to open it
	ended  chan struct{}

	caughtUp func() // it has mapped what was published before it ran

	mu       sync.Mutex
	err      error // why it is not running, or the problem that it reports
	waiting  bool  // waits for the next attempt
	retryAt  time.Time
	began    time.Time
	degraded error
}

func (p *plugin) newRunner(s *sourceSpec) *runner {
	r := &runner{p: p, spec: s, tried: make(chan struct{}), ended: make(chan struct{}), caughtUp: func() {}}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.env = &env{p: p, log: p.secretLog().With("source", s.kind.Name), options: s.options, scripts: s.scripts, uses: s.uses, degraded: r.degrade}
	return r
}

func (r *runner) degrade(err error) {
	err = r.p.s.withPermissionHint(r.spec.kind.Name, err)
	r.mu.Lock()
	changed := (err == nil) != (r.degraded == nil) || err != nil && err.Error() != r.degraded.Error()
	r.degraded = err
	r.mu.Unlock()
	if changed {
		r.p.changed()
	}
}

// open makes the source and lets it acquire its resources.
func (r *runner) open(ctx context.Context) (any, error) {
	if n := r.p.stuck.Load(); n >= maxStuck {
		return nil, fmt.Errorf("%d previous sources of this plugin have not ended; restart postbus", n)
	}
	options, secrets, err := resolve(r.spec.options, r.spec.urls, r.p.s.o.SecretDirs)
	if err != nil {
		return nil, err
	}
	r.p.hide(secrets)
	var src any
	if err := safely(func() error { src = r.spec.kind.NewSource(options, r.env); return nil }); err != nil {
		return nil, err
	}
	o, ok := src.(kind.Opener)
	if !ok {
		return src, nil
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(r.p.s.o.hang, openTime))
	defer cancel()
	done := make(chan error, 1)
	r.p.stuck.Add(1)
	go func() {
		err := safely(func() error { return o.Open(ctx) })
		r.p.stuck.Add(-1)
		done <- err
	}()
	select {
	case err = <-done:
	case <-ctx.Done():
		select {
		case err = <-done: // it noticed that ctx ended
		case <-time.After(time.Second):
			go func() { // if it returns later, it must release its resources
				if err := <-done; err == nil {
					_ = r.shut(src)
				}
			}()
			return nil, fmt.Errorf("it did not start within %s", openTime)
		}
	}
	if err != nil {
		_ = r.shut(src) // partly open
		return nil, err
	}
	return src, nil
}

func (r *runner) shut(src any) error {
	if c, ok := src.(io.Closer); ok {
		return safely(c.Close)
	}
	return nil
}

// start runs the source that open made. With nil it opens the source first, as often as necessary.
func (r *runner) start(src any) {
	go func() {
		defer close(r.ended)
		defer r.caughtUp()
		tried := sync.OnceFunc(func() { close(r.tried) })
		defer tried()
		wait, lastLogged := backoffMin, ""
		for r.ctx.Err() == nil {
			var err error
			if src == nil {
				src, err = r.open(r.ctx)
			}
			tried()
			began := time.Now()
			if src != nil {
				running := func() { r.note(nil, time.Time{}, began) }
				if _, waits := src.(kind.Consumer); waits { // an event that is published now would not reach it
					r.env.consuming, r.env.caughtUp = running, r.caughtUp
				} else {
					running()
					r.caughtUp()
				}
				err = r.once(src)
				if cerr := r.shut(src); cerr != nil && err == nil {
					err = cerr
				}
				src = nil
			}
			if r.ctx.Err() != nil {
				return
			}
			if err == nil {
				err = errors.New("it ended unexpectedly")
			}
			if time.Since(began) >= steady {
				wait, lastLogged = backoffMin, ""
			}
			err = r.p.s.withPermissionHint(r.spec.kind.Name, err)
			d := wait*3/4 + rand.N(wait/2)
			wait = min(2*wait, backoffMax)
			text, level := r.p.redact(err.Error()), slog.LevelWarn
			if text == lastLogged {
				level = slog.LevelDebug // a device that is offline for a week would fill the log
			}
			lastLogged = text
			r.p.log.Log(r.ctx, level, "source not running", "source", r.spec.kind.Name, "err", text, "again_in", d.Round(time.Millisecond))
			r.note(err, time.Now().Add(d), time.Time{})
			select {
			case <-time.After(d):
			case <-r.ctx.Done():
			}
		}
	}()
}

// once runs the source until it returns.
func (r *runner) once(src any) error {
	post := func(ctx context.Context, at time.Time, fields map[string]any, done func(error)) error {
		if r.spec.record {
			return r.p.mapper.record(ctx, r, at, fields, done)
		}
		return r.p.mapper.post(ctx, r, at, fields, done)
	}
	return safely(func() error {
		switch s := src.(type) {
		case kind.Stream:
			return s.Stream(r.ctx, post)
		case kind.Source:
			return s.Run(r.ctx, func(ctx context.Context, at time.Time, fields map[string]any) error {
				return settled(ctx, func(done func(error)) error { return post(ctx, at, fields, done) })
			})
		}
		return fmt.Errorf("the kind %s is not a source", r.spec.kind.Name)
	})
}

func (r *runner) note(err error, retryAt, began time.Time) {
	r.mu.Lock()
	r.err, r.retryAt, r.waiting, r.began = err, retryAt, err != nil, began
	if err != nil {
		r.degraded = nil
	}
	r.mu.Unlock()
	r.p.changed()
}

// stop ends the source and waits for a limited time. A source that does not end is abandoned: it
// can no longer emit, and it is counted.
func (r *runner) stop() error {
	r.cancel()
	patience := r.p.s.patience()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-r.ended:
		r.fenced.Store(true)
		return nil
	case <-timer.C:
	}
	r.fenced.Store(true)
	r.p.stuck.Add(1)
	go func() {
		<-r.ended
		r.p.stuck.Add(-1)
	}()
	return fmt.Errorf("source %s did not end within %s; it is abandoned and can no longer publish",
		r.spec.kind.Name, patience)
}

// panicked is a panic as an error.
type panicked struct {
	value any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// safely converts a panic to an error.
func safely(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &panicked{v, debug.Stack()}
		}
	}()
	return f()
}
