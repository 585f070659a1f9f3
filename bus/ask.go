package bus

// This file answers a program's queries besides publishing and subscribing: retained messages, and
// the sessions that would get an event.

import (
	"bytes"
	"slices"
	"strings"

	"github.com/postbus/postbus/bus/journal"
	"github.com/postbus/postbus/bus/topic"
)

// Retained lists the retained events whose topics match the filter, ordered by topic.
func (b *Bus) Retained(filter string) ([]Event, error) {
	if err := topic.CheckSubscription(filter); err != nil {
		return nil, err
	}
	// A caller whose retained event was acknowledged must find it.
	if err := b.folded(b.ctx, "", b.journal.Durable()); err != nil {
		return nil, err
	}
	p := compile(filter)
	var out []Event
	b.eachRetained(&p, func(r *journal.Record) bool {
		out = append(out, eventOf(r))
		return true
	})
	slices.SortFunc(out, func(a, c Event) int { return strings.Compare(a.Topic, c.Topic) })
	return out, nil
}

// RetainedByPlugins lists the topics and sources of the retained events whose source is a plugin.
func (b *Bus) RetainedByPlugins() map[string]string {
	found := map[string]string{}
	everything := pattern{all: true}
	for after, done := "", false; !done; {
		var entries []retainedEntry
		entries, after, done = b.retained.next(&everything, after, scanBatch)
		for _, e := range entries {
			var rec journal.Record
			if e.plugin && b.readRetained(e.topic, &rec) && bytes.HasPrefix(rec.Source, []byte(PluginSource)) {
				found[e.topic] = string(rec.Source)
			}
		}
	}
	return found
}

// Audience returns how many sessions, online or offline, have a subscription that matches the
// topic. It checks every session, so it is too slow to be called for each event.
func (b *Bus) Audience(topic string) int {
	n := 0
	for _, s := range b.all() {
		s.mu.Lock()
		if slices.ContainsFunc(s.subs, func(sub *subscription) bool {
			return sub.until.Load() == 0 && sub.pattern.match([]byte(topic))
		}) {
			n++
		}
		s.mu.Unlock()
	}
	return n
}

// Listening reports whether a connected consumer would get an event of the topic. It is cheap.
func (b *Bus) Listening(topic string) bool {
	for _, s := range b.index.match([]byte(topic), nil) {
		if s.cursor.sink.Load() != nil {
			return true
		}
	}
	return false
}
