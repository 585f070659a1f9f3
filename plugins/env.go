package plugins

// This file implements kind.Env, which says what each method promises.

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/topic"
	"github.com/postbus/postbus/plugins/kind"
)

// env is one source's or action's view of the program.
type env struct {
	p         *plugin
	log       *slog.Logger
	options   any    // as in the file
	scripts   string // the contents that were approved
	degraded  func(error)
	consuming func()   // called when Consume has subscribed; may be nil
	uses      []string // filters of topics whose events are heard for "uses"
	caughtUp  func()   // called when Consume has delivered all events from before it subscribed; may be nil
}

var _ kind.Env = (*env)(nil)

func (e *env) Log() *slog.Logger { return e.log }

func (e *env) Dir() string { return e.p.s.o.Dir }

func (e *env) Data() string { return e.p.s.o.Data }

func (e *env) Source() string { return sourceName(e.p.id) }

func (e *env) Origin() string {
	epoch := e.p.s.bus.Epoch()
	return hex.EncodeToString(epoch[:])
}

func (e *env) ID() string { return e.p.id }

func (e *env) Degraded(err error) { e.degraded(err) }

func (e *env) MayRun() error {
	now, err := contents(e.options, e.p.s.o.Dir)
	if err != nil {
		return err
	}
	if now == e.scripts {
		return nil
	}
	var changed []string
	for line := range strings.Lines(now) {
		if !strings.Contains(e.scripts, line) {
			_, name := scriptOf(line)
			changed = append(changed, name)
		}
	}
	return fmt.Errorf("the content of %s is not the approved one: postbus plugin approve %s", strings.Join(changed, ", "), e.p.id)
}

func (e *env) Lost(n int, reason string) {
	if n > 0 {
		e.p.mapper.lose(n, reason)
	}
}

func (e *env) Publish(ctx context.Context, name string, payload []byte, qos int, retain bool) error {
	e.p.mapper.mu.Lock()
	spec := e.p.mapper.engine.spec
	e.p.mapper.mu.Unlock()
	switch {
	case name == "" || name[0] == '$':
		return kind.Permanent(errors.New("topics that begin with $ are reserved, and a topic cannot be empty"))
	case spec != nil && !spec.permissions.mayPublish(name):
		return kind.Permanent(errors.New("the topic " + name + " is not listed in permissions.publish"))
	}
	if err := topic.CheckName(name); err != nil {
		return kind.Permanent(err)
	}
	from := kind.CauseOf(ctx)
	_, err := e.p.s.bus.Publish(ctx, bus.Event{Topic: name, Payload: payload, QoS: byte(qos), Retain: retain, Source: sourceName(e.p.id), Hops: from.Hops, Cause: from.Seq})
	if err == nil {
		e.p.mapper.count.published.Add(1)
	}
	return err
}

func (e *env) Consume(ctx context.Context, name string, filters []string, each func(m map[string]any, done func(error))) error {
	own := filters
	for _, f := range e.uses {
		if !slices.Contains(filters, f) {
			filters = append(filters[:len(filters):len(filters)], f)
		}
	}
	sub, err := e.p.s.bus.Subscribe(ctx, cursorName(e.p.id, name), filters...)
	if err != nil {
		return err
	}
	defer sub.Close()
	if e.consuming != nil {
		e.consuming()
	}
	var out sync.WaitGroup
	var acks sync.Mutex
	defer func() {
		settled := make(chan struct{})
		go func() { out.Wait(); close(settled) }()
		timer := time.NewTimer(e.p.s.patience() * 4 / 5)
		defer timer.Stop()
		select {
		case <-settled:
		case <-timer.C:
		}
	}()
	ended := make(chan struct{})
	defer close(ended)
	if e.caughtUp != nil {
		out.Go(func() {
			select {
			case <-sub.CaughtUp():
				e.caughtUp()
			case <-ended:
			}
		})
	}
	for {
		ev, err := sub.Next(ctx)
		if err != nil {
			return err
		}
		if ev.Missed > 0 {
			e.p.mapper.count.lost.Add(ev.Missed)
		}
		out.Add(1)
		var once sync.Once
		done := func(err error) {
			once.Do(func() {
				if err == nil {
					acks.Lock()
					err = sub.Ack(ev)
					acks.Unlock()
					if err != nil {
						e.log.Debug("acknowledged too late, the event will be delivered again",
							"topic", ev.Topic, "seq", ev.Seq, "err", err)
					}
				}
				out.Done()
			})
		}
		if len(e.uses) > 0 {
			alone := !matchesAny(own, ev.Topic)
			answer := done
			if !alone {
				answer = func(error) {} // the mapped event is answered
			}
			if err := e.p.mapper.hear(ctx, &ev, answer); err != nil {
				done(err)
				continue
			}
			if alone {
				continue
			}
		}
		each(message(&ev), done)
	}
}

func (e *env) Handle(path string, public bool, h http.Handler) (remove func(), err error) {
	if e.p.s.o.Handle == nil {
		return nil, errors.New("the bus has no HTTP listener (listen.http is off)")
	}
	return e.p.s.o.Handle(e.p.id, path, public, h)
}

// held is a resource that allows one owner.
type held struct {
	thing io.Closer
	users int
}

func (e *env) Hold(key string, open func() (io.Closer, error)) (io.Closer, func(), error) {
	p := e.p
	p.holdMu.Lock()
	defer p.holdMu.Unlock()
	h := p.held[key]
	if h == nil {
		thing, err := open()
		if err != nil {
			return nil, nil, err
		}
		h = &held{thing: thing}
		p.held[key] = h
	}
	h.users++
	var once sync.Once
	return h.thing, func() {
		once.Do(func() {
			p.holdMu.Lock()
			defer p.holdMu.Unlock()
			h.users--
			p.closeUnusedLocked()
		})
	}, nil
}

// keepHeld keeps unused resources open while f runs: between the old source and the new one.
// Actions that share a resource wait, see ownersOf.
func (p *plugin) keepHeld(f func()) {
	over := make(chan struct{})
	p.holdMu.Lock()
	p.handing = over
	p.holdMu.Unlock()
	defer func() {
		p.holdMu.Lock()
		defer p.holdMu.Unlock()
		p.handing = nil
		close(over)
		p.closeUnusedLocked()
	}()
	f()
}

// closeUnusedLocked closes unused resources. The caller holds holdMu.
func (p *plugin) closeUnusedLocked() {
	if p.handing != nil {
		return
	}
	for key, h := range p.held {
		if h.users == 0 {
			delete(p.held, key)
			if err := h.thing.Close(); err != nil {
				p.log.Debug("close", "what", key, "err", err)
			}
		}
	}
}
