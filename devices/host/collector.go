// This file isolates one reading that may hang.

package host

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// read fills in the fields of one thing. It sets each of its fields, to nil when the value can't be
// read. One goroutine at a time calls it.
type read func(ctx context.Context) (map[string]any, error)

var errLate = errors.New("it doesn't answer")

type reading struct {
	fields map[string]any
	err    error
}

// collector runs a read in a goroutine, at most one at a time. Only one goroutine may call its
// methods.
type collector struct {
	name  string
	read  read
	named bool // the user asked for it
	keys  []string
	busy  bool
	out   chan reading // of capacity 1: the goroutine never blocks on us
}

func newCollector(name string, r read, named bool) *collector {
	return &collector{name: name, read: r, named: named, keys: keysOf[name], out: make(chan reading, 1)}
}

// start begins a reading unless the last one is still running.
func (c *collector) start(ctx context.Context) {
	if c.busy {
		select {
		case <-c.out: // it was too late for its event
			c.busy = false
		default:
			return
		}
	}
	c.busy = true
	go func() {
		var r reading
		defer func() {
			if p := recover(); p != nil {
				r = reading{err: fmt.Errorf("reading it failed: %v", p)}
			}
			c.out <- r
		}()
		r.fields, r.err = c.read(ctx)
	}()
}

// wait returns the reading, or nil for all of its fields when the reading is late. late is the
// timer of the whole round: it has fired or will.
func (c *collector) wait(ctx context.Context, late *time.Timer, fields map[string]any) error {
	for _, k := range c.keys {
		fields[k] = nil
	}
	take := func(r reading) error {
		c.busy = false
		for k, v := range r.fields {
			fields[k] = v
		}
		return r.err
	}
	select {
	case r := <-c.out:
		return take(r)
	default:
	}
	select {
	case r := <-c.out:
		return take(r)
	case <-late.C:
		late.Reset(0) // for the collectors that follow
		return errLate
	case <-ctx.Done():
		return ctx.Err()
	}
}

// awaitEnd waits for the goroutine at the end.
func (c *collector) awaitEnd(late *time.Timer) {
	if !c.busy {
		return
	}
	select {
	case <-c.out:
		c.busy = false
	case <-late.C:
		late.Reset(0)
	}
}
