// This file is the action: a line that is held as an output from NewAction to Close.

package gpio

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Action is one output line. It is held by a goroutine of its own, so that the line has its initial value before the
// first event and is found again when its chip was away.
type Action struct {
	o        ActionOptions
	env      ActionEnv
	consumer string
	dev      string
	cancel   context.CancelFunc
	ended    chan struct{}

	mu     sync.Mutex
	closed bool
	r      *request    // nil while there is no line
	pulse  *time.Timer // nil when none is under way
	wanted int         // the last level that was set, for a chip that comes back
	set    bool        // an event has set wanted
}

// retry is how often an absent line is looked for, beside the kernel's news of chips.
const retry = 5 * time.Second

// NewAction makes an action, which begins to hold its line; the options were checked. Close ends it.
func NewAction(o ActionOptions, env ActionEnv) *Action { return newAction(o, env, "/dev") }

func newAction(o ActionOptions, env ActionEnv, dev string) *Action {
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
	news := make(chan struct{}, 1)
	w.start(func() {
		select {
		case news <- struct{}{}:
		default:
		}
	})
	said := "nothing"
	for ctx.Err() == nil {
		a.mu.Lock()
		if a.r != nil {
			if _, err := a.r.values(); err != nil {
				a.drop()
			}
		}
		err := a.acquire()
		a.mu.Unlock()
		if now := fmt.Sprint(err); now != said {
			a.env.Degraded(err)
			said = now
		}
		wait := alive
		if err != nil {
			wait = retry
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-t.C:
		case <-news:
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

// acquire requests the line unless it is held. mu is held.
func (a *Action) acquire() error {
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
	as := setting{flags: a.setting(0).flags &^ (flagOutput | flagOpenDrain | flagOpenSource)} // the direction stays what it is
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

// drop lets go of a line whose chip is gone. mu is held.
func (a *Action) drop() {
	a.r.Close()
	a.r = nil
	a.endPulse()
	a.set = false // it comes back with its initial value
}

func (a *Action) endPulse() {
	if a.pulse != nil {
		a.pulse.Stop()
		a.pulse = nil
	}
}

// Do sets the line. It ends a pulse that is under way.
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
	if err := a.acquire(); err != nil {
		return err
	}
	a.endPulse()
	if err := a.apply(level); err != nil {
		return err
	}
	if args.Pulse > 0 {
		var t *time.Timer
		t = time.AfterFunc(args.Pulse, func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			if a.pulse != t { // another order came first
				return
			}
			a.pulse = nil
			if err := a.apply(1 - level); err != nil {
				a.env.Degraded(fmt.Errorf("ending a pulse: %w", err))
			}
		})
		a.pulse = t
	}
	return nil
}

// apply sets the level of the line that is held. mu is held.
func (a *Action) apply(level int) error {
	if err := a.r.setValue(level); err != nil {
		err = fmt.Errorf("setting %s: %w", lineList(a.r.lines), err)
		a.drop()
		return err
	}
	a.wanted, a.set = level, true
	return nil
}

// Close sets the safe value and lets go of the line.
func (a *Action) Close() error {
	a.cancel()
	<-a.ended
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	pulse := a.pulse != nil
	a.endPulse()
	if a.r == nil {
		return nil
	}
	var err error
	if a.o.Safe != Keep || pulse { // nobody would end the pulse any more
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
