package bus

// This file is what a program asks of the bus beside publishing and subscribing: retained values, and
// who would get an event.

import (
	"slices"
	"strings"

	"github.com/postbus/postbus/bus/journal"
)

// Retained lists the retained events whose topics match the filter, ordered by topic.
func (b *Bus) Retained(filter string) ([]Event, error) {
	if err := CheckFilter(filter); err != nil {
		return nil, err
	}
	// Whoever saw a retained event acknowledged is to find it.
	if err := b.folded(b.ctx, b.log.Durable()); err != nil {
		return nil, err
	}
	p := compile(filter)
	var out []Event
	for _, r := range b.retained.match(&p) {
		out = append(out, eventOf(r))
	}
	slices.SortFunc(out, func(a, c Event) int { return strings.Compare(a.Topic, c.Topic) })
	return out, nil
}

// RetainedBy lists the topics and sources of the retained events whose source has the prefix.
func (b *Bus) RetainedBy(prefix string) map[string]string {
	found := map[string]string{}
	_ = b.retained.all(func(r *journal.Record) error { // our function does not fail
		if strings.HasPrefix(string(r.Source), prefix) {
			found[string(r.Topic)] = string(r.Source)
		}
		return nil
	})
	return found
}

// Audience is how many sessions, present or absent, have a subscription that matches the topic. It
// looks at every session: it is for people, not for each event.
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

// Listening reports whether somebody is there right now who would get an event of the topic. It is cheap.
func (b *Bus) Listening(topic string) bool {
	for _, s := range b.index.match([]byte(topic), nil) {
		if s.cursor.sink.Load() != nil {
			return true
		}
	}
	return false
}
