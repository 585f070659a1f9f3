package plugins

// This file clears the remains of plugins that no longer publish them: retained events, queues of
// actions and state. It waits for a grace period, so that a file that is renamed or saved again has
// no visible effect.

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/postbus/postbus/bus"
)

// sweeper records since when a topic or a queue has had no owner.
type sweeper struct {
	armed  bool
	looked time.Time
	orphan map[string]time.Time
	looks  atomic.Int64
}

// arm requests a sweep: the topics that a plugin publishes may have changed.
func (w *sweeper) arm() { w.armed = true }

// sweepEvery is the minimum time between two scans of all retained events.
const sweepEvery = time.Second

func (s *Supervisor) sweepNow(now time.Time) {
	w := &s.sweep
	if !w.armed || now.Sub(w.looked) < min(sweepEvery, s.o.Grace/4) {
		return
	}
	w.looked = now
	defer w.looks.Add(1)
	before := w.orphan
	w.orphan = map[string]time.Time{}
	keep := func(key string) (due bool) {
		since, ok := before[key]
		if !ok {
			since = now
		}
		if now.Sub(since) >= s.o.Grace {
			return true
		}
		w.orphan[key] = since
		return false
	}
	s.clearTopics(w, before, keep)
	for _, name := range s.queues() {
		if keep("queue " + name) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			if err := s.bus.Unsubscribe(ctx, name); err != nil && !errors.Is(err, bus.ErrNoSession) {
				w.orphan["queue "+name] = before["queue "+name]
			}
			cancel()
		}
	}
	w.armed = len(w.orphan) > 0
}

// clearTopics clears the topics without an owner whose time has come. It waits for the disk for a limited time.
func (s *Supervisor) clearTopics(w *sweeper, before map[string]time.Time, keep func(string) bool) {
	sent := map[string]bus.Pending{}
	own := 0
	for topic, source := range s.bus.RetainedByPlugins() {
		if s.owned(topic, strings.TrimPrefix(source, "plugin:")) || !keep(topic) {
			continue
		}
		p, err := s.bus.Send(bus.Event{Topic: topic, QoS: 1, Retain: true, Source: source})
		if err != nil {
			w.orphan[topic] = before[topic] // the disk refuses: retry later
			continue
		}
		if sent[topic] = p; strings.HasPrefix(topic, "$plugin/") {
			own++ // state, of which there may be thousands
			continue
		}
		s.o.Logger.Info("retained message cleared: no plugin publishes its topic any more", "topic", topic, "was_of", source)
	}
	if own > 0 {
		s.o.Logger.Info("state of removed plugins cleared", "values", own)
	}
	timeout := time.After(time.Second)
	for topic, p := range sent {
		select {
		case <-p.Done():
			if p.Err() != nil {
				w.orphan[topic] = before[topic]
			}
		case <-timeout:
			return // it is on its way
		}
	}
}

// owned reports whether a plugin may publish a retained topic. Until a file's first valid version,
// that is unknown, and its retained events remain.
func (s *Supervisor) owned(topic, by string) bool {
	if k := s.files[by]; k != nil && k.good == nil && !k.disabled {
		return true
	}
	if tail, ok := strings.CutPrefix(topic, "$plugin/"); ok {
		id, _, _ := strings.Cut(tail, "/")
		return s.files[id] != nil
	}
	for _, k := range s.files {
		if k.good != nil && k.good.owns(topic) {
			return true
		}
	}
	return false
}

// queues lists the durable cursors of plugins without a file.
func (s *Supervisor) queues() []string {
	var out []string
	for _, name := range s.bus.Names("plugin/") {
		id, _, _ := strings.Cut(strings.TrimPrefix(name, "plugin/"), "/")
		if s.files[id] == nil {
			out = append(out, name)
		}
	}
	return out
}
