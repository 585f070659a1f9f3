// This file is the action: a line that is held as an output from NewAction to Close.

package gpio

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

// Action is one output line. A goroutine of its own holds it, so that the line has its initial
// value before the first event, and is found again after its chip was absent.
type Action struct {
	o        ActionOptions
	env      kind.Env
	consumer string
	dev      string
	cancel   context.CancelFunc
	ended    chan struct{}

	mu     sync.Mutex
	closed bool
	r      *request    // nil while the line is not held
	pulse  *time.Timer // nil when none is running
	wanted int         // the last level that was set, to restore when a chip returns
	set    bool        // an event has set wanted
}

// retry is how often an absent line is looked for, in addition to the kernel's notifications about
// chips.
const retry = 5 * time.Second

// NewAction makes an action of checked options and begins to hold its line. Close ends it.
func NewAction(o ActionOptions, env kind.Env) *Action { return newAction(o, env, "/dev") }

func newAction(o ActionOptions, env kind.Env, dev string) *Action {
	ctx, cancel := context.WithCancel(context.Background())
	a := &Action{o: o, env: env, consumer: consumer(env, o.Line), dev: dev, cancel: cancel, ended: make(chan struct{})}
	go a.keep(ctx)
	return a
}

// keep holds the line until ctx ends.
func (a *Action) keep(ctx context.Context) {
	defer close(a.ended)
	w := newWatch()
	defer w.close()
	changes := make(chan struct{}, 1)
	w.start(func() {
		select {
		case changes <- struct{}{}:
		default:
		}
	})
	for ctx.Err() == nil {
		a.mu.Lock()
		if a.r != nil {
			if _, err := a.r.values(); err != nil {
				a.dropLocked()
			}
		}
		err := a.acquireLocked()
		a.mu.Unlock()
		a.env.Degraded(err)
		wait := checkInterval
		if err != nil {
			wait = retry
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-t.C:
		case <-changes:
		}
		t.Stop()
	}
}

func (a *Action) setting(level int) setting {
	s := setting{flags: flagOutput, values: uint64(level)}
	switch a.o.Drive {
	case "open-drain":
		s.flags |= flagOpenDrain
	case "open-source":
		s.flags |= flagOpenSource
	}
	if a.o.ActiveLow {
		s.flags |= flagActiveLow
	}
	return s
}

// acquireLocked requests the line unless it is held. The caller holds mu.
func (a *Action) acquireLocked() error {
	if a.r != nil || a.closed {
		return nil
	}
	c, lines, err := find(a.dev, a.o.Chip, []Line{a.o.Line})
	if err != nil {
		return err
	}
	defer c.f.Close()
	level := a.wanted
	if !a.set {
		level = 0
		if a.o.Initial == On {
			level = 1
		}
	}
	if a.set || a.o.Initial != Keep {
		a.r, err = c.hold(lines, a.setting(level), a.consumer)
		return err
	}
	as := setting{flags: a.setting(0).flags &^ (flagOutput | flagOpenDrain | flagOpenSource)} // the direction stays unchanged
	r, err := c.hold(lines, as, a.consumer)
	if err != nil {
		return err
	}
	bits, err := r.values()
	if err == nil {
		err = r.change(a.setting(int(bits & 1)))
	}
	if err != nil {
		r.Close()
		return fmt.Errorf("keeping the value of %s: %w", lineList(lines), err)
	}
	a.r, a.wanted = r, int(bits&1)
	return nil
}

// dropLocked releases a line whose chip was removed. The caller holds mu.
func (a *Action) dropLocked() {
	a.r.Close()
	a.r = nil
	a.endPulseLocked()
	a.set = false // it returns with its initial value
}

func (a *Action) endPulseLocked() {
	if a.pulse != nil {
		a.pulse.Stop()
		a.pulse = nil
	}
}

// Do sets the line. It cancels a running pulse.
func (a *Action) Do(_ context.Context, args Args) error {
	level, err := args.level()
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return errors.New("the action is closed")
	}
	if err := a.acquireLocked(); err != nil {
		return err
	}
	a.endPulseLocked()
	if err := a.applyLocked(level); err != nil {
		return err
	}
	if args.Pulse > 0 {
		var t *time.Timer
		t = time.AfterFunc(args.Pulse, func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			if a.pulse != t { // another event was processed first
				return
			}
			a.pulse = nil
			if err := a.applyLocked(1 - level); err != nil {
				a.env.Degraded(fmt.Errorf("ending a pulse: %w", err))
			}
		})
		a.pulse = t
	}
	return nil
}

// applyLocked sets the level of the held line. The caller holds mu.
func (a *Action) applyLocked(level int) error {
	if err := a.r.setValue(level); err != nil {
		err = fmt.Errorf("setting %s: %w", lineList(a.r.lines), err)
		a.dropLocked()
		return err
	}
	a.wanted, a.set = level, true
	return nil
}

// Close sets the safe value and releases the line.
func (a *Action) Close() error {
	a.cancel()
	<-a.ended
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	pulse := a.pulse != nil
	a.endPulseLocked()
	if a.r == nil {
		return nil
	}
	var err error
	if a.o.Safe != Keep || pulse { // nothing else would end the pulse
		level := 1 - a.wanted
		switch a.o.Safe {
		case On:
			level = 1
		case Off:
			level = 0
		}
		if err = a.r.setValue(level); err != nil {
			err = fmt.Errorf("setting the safe value of %s: %w", lineList(a.r.lines), err)
		}
	}
	if cerr := a.r.Close(); err == nil {
		err = cerr
	}
	a.r = nil
	return err
}
