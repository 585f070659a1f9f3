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

// RetainedTopics calls each with the topics that match the filter and have a retained value, and with
// the bytes of it, in their order from behind the topic after on, until each returns false. It reads
// no value, and holds no lock while it calls each.
func (b *Bus) RetainedTopics(filter, after string, each func(name string, size int) bool) error {
	if err := topic.CheckSubscription(filter); err != nil {
		return err
	}
	// A caller whose retained event was acknowledged must find it.
	if err := b.folded(b.ctx, "", b.journal.Durable()); err != nil {
		return err
	}
	p := compile(filter)
	announced := b.retained.announcedThat(&p)
	next := func(limit string, last bool) bool { // those of the bus itself, up to limit
		for len(announced) > 0 && (last || string(announced[0].Topic) < limit) {
			r := announced[0]
			announced = announced[1:]
			if string(r.Topic) > after && !each(string(r.Topic), len(r.Payload)) {
				return false
			}
		}
		return true
	}
	for at, done := after, false; !done; {
		var found []retainedEntry
		found, at, done = b.retained.next(&p, at, 64)
		for _, e := range found {
			if !next(e.topic, false) || !each(e.topic, int(e.size)) {
				return nil
			}
		}
	}
	next("", true)
	return nil
}

// RetainedValue returns the retained value of a topic; false when there is none.
func (b *Bus) RetainedValue(name string) (Event, bool) {
	b.retained.mu.RLock()
	r := b.retained.announced[name]
	b.retained.mu.RUnlock()
	if r == nil {
		r = new(journal.Record)
		if !b.readRetained(name, r) {
			return Event{}, false
		}
	}
	return eventOf(r), true
}

// RetainedValues calls each with the retained values of these topics, without those that have none, until
// it returns false. It reads in turns like History.
func (b *Bus) RetainedValues(names []string, each func(Event) bool) {
	for len(names) > 0 {
		var events []Event
		events, names = b.readValues(names)
		for _, e := range events {
			if !each(e) {
				return
			}
		}
	}
}

// readValues reads the next values in one turn.
func (b *Bus) readValues(names []string) (events []Event, rest []string) {
	b.turns.Take()
	defer b.endTurn()
	for size := 0; len(names) > 0 && len(events) < valuesAhead && size < turnBytes; names = names[1:] {
		if e, ok := b.RetainedValue(names[0]); ok {
			events = append(events, e)
			size += len(e.Payload)
		}
	}
	return events, names
}

// valuesAhead is how many retained values are read in one turn: each is read from the disk apart.
const valuesAhead = 64

// Retained lists the retained events whose topics match the filter, ordered by topic. It holds all of
// them in memory: see RetainedTopics.
func (b *Bus) Retained(filter string) ([]Event, error) {
	var out []Event
	err := b.RetainedTopics(filter, "", func(name string, _ int) bool {
		if e, ok := b.RetainedValue(name); ok {
			out = append(out, e)
		}
		return true
	})
	return out, err
}

// RetainedByPlugins lists the topics and sources of the retained events and kept values whose source is
// a plugin. Below KeptPrefix the plugin's name follows from the topic, and no value is read: there may
// be as many as all plugins have timers.
func (b *Bus) RetainedByPlugins() map[string]string {
	found := map[string]string{}
	everything := pattern{all: true}
	for after, done := "", false; !done; {
		var entries []retainedEntry
		entries, after, done = b.retained.next(&everything, after, scanBatch)
		for _, e := range entries {
			if !e.plugin {
				continue
			}
			if name, ok := strings.CutPrefix(e.topic, KeptPrefix); ok {
				name, _, _ = strings.Cut(name, "/")
				found[e.topic] = PluginSource + name
				continue
			}
			var rec journal.Record
			if b.readRetained(e.topic, &rec) && bytes.HasPrefix(rec.Source, []byte(PluginSource)) {
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

// ListeningChanges counts the changes of what Listening depends on: while it is the same, so are the
// answers.
func (b *Bus) ListeningChanges() uint64 { return b.index.changes.Load() }

// Listening reports whether a connected consumer would get an event of the topic. It is cheap.
func (b *Bus) Listening(topic string) bool {
	for _, s := range b.index.match([]byte(topic), nil) {
		if s.cursor.sink.Load() != nil {
			return true
		}
	}
	return false
}
