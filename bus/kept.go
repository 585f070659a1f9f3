package bus

// This file is kept values: retained values of the bus's own, each of which becomes durable together
// with the event that changes it. Both are in one record of the journal, so that after a crash there
// is never one without the other. docs/adr/0021-kept-values.md says what they are for.

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/postbus/postbus/bus/journal"
	"github.com/postbus/postbus/bus/topic"
)

// KeptPrefix is how the topics of kept values begin. Clients can neither read nor publish such
// topics. Values below it, kept or retained, count for no limit, so that a client that fills the
// limits stops no plugin.
const KeptPrefix = "$plugin/"

// MaxKept is the maximum size of a kept value in bytes. Limits.MaxPayload does not bound it.
const MaxKept = 16 << 20

// Kept is a value that becomes durable together with an event. It is the last value of its topic,
// which Retained and RetainedValue return; subscriptions never get it. A topic has one value, kept or
// of a retained event: the later one replaces the earlier.
type Kept struct {
	Topic string // begins with KeptPrefix
	Value []byte // up to MaxKept bytes; empty: the topic has no value any more
}

// isKept reports whether a topic is one of the bus's own.
func isKept(topic []byte) bool { return bytes.HasPrefix(topic, []byte(KeptPrefix)) }

// checkKept returns what is wrong with the kept value of r.
func checkKept(r *journal.Record) error {
	if len(r.KeptTopic) == 0 && len(r.Kept) == 0 {
		return nil
	}
	name := string(r.KeptTopic)
	switch {
	case !strings.HasPrefix(name, KeptPrefix):
		return fmt.Errorf("kept value at %q: its topic must begin with %s", name, KeptPrefix)
	case len(r.Kept) > MaxKept:
		return fmt.Errorf("kept value at %q: it has %d bytes, at most %d are accepted", name, len(r.Kept), MaxKept)
	case r.Flags&flagRetain != 0 && bytes.Equal(r.Topic, r.KeptTopic):
		return fmt.Errorf("kept value at %q: the retained event of the same topic would replace it", name)
	}
	if err := topic.CheckName(name); err != nil {
		return fmt.Errorf("kept value: %w", err)
	}
	return nil
}

// sendKept writes the kept value of an event that is not in the journal, and then routes the event.
func (b *Bus) sendKept(e *Event) (Pending, error) {
	r := e.Record()
	if err := b.admit(r); err != nil { // before the value is written: both or neither
		return Pending{}, err
	}
	if err := checkKept(r); err != nil {
		return Pending{}, err
	}
	if err := b.journal.Err(); err != nil { // little free space, which refuses events alone
		return Pending{}, err
	}
	alone := keptAlone(r)
	p, err := b.journal.Append(&alone)
	if err != nil {
		return Pending{}, err
	}
	b.published.Add(1)
	b.route(r)
	return p, nil
}

// keptAlone returns the kept value of r as a record of its own, as snapshots hold it. It shares r's
// memory.
func keptAlone(r *journal.Record) journal.Record {
	return journal.Record{Seq: r.Seq, Time: r.Time, Kind: kindKept, Expiry: journal.NoExpiry, Source: r.Source,
		KeptTopic: r.KeptTopic, Kept: r.Kept}
}

// withoutKept returns r without its kept value. It shares r's memory.
func withoutKept(r *journal.Record) journal.Record {
	w := *r
	w.KeptTopic, w.Kept = nil, nil
	return w
}

// keptAsRetained returns the kept value of r in the form of a retained event. It shares r's memory.
func keptAsRetained(r *journal.Record) journal.Record {
	return journal.Record{Seq: r.Seq, Time: r.Time, Kind: journal.KindEvent, Flags: flagRetain | 1, Expiry: journal.NoExpiry,
		Source: r.Source, Topic: r.KeptTopic, Payload: r.Kept}
}
