package plugins

// This file is "record": a source whose events go into the journal as they come, and are mapped from there. So they
// are mapped once after a crash, can be replayed, and are the first cause of what comes of them.

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/config/yamlnode"
	"github.com/postbus/postbus/plugins/kind"
)

// recordedTopic is where the events of a plugin's recorded sources are.
func recordedTopic(id string) string { return "$bus/plugins/" + id + "/events" }

// recordCursor names the cursor that maps them: no action can have that name.
const recordCursor = "source/recorded"

// recordedKind is the source that maps recorded events.
var recordedKind = kind.StreamOf("recorded", "", "", recordedOptions{}, nil, func(o recordedOptions, env kind.Env) journalSource {
	return journalSource{env, recordCursor, o}
})

// recordedOptions are of a file with recorded sources.
type recordedOptions struct {
	id    string
	types map[string]reflect.Type // of the fields
}

// Filters returns the topic of the recorded events.
func (o recordedOptions) Filters() []string { return []string{recordedTopic(o.id)} }

// recordedSeq and recordedAgain are fields that inputOf takes out of an event.
const (
	recordedSeq   = "$seq"
	recordedAgain = "$redelivered"
)

// Read returns the fields of a recorded event.
func (o recordedOptions) Read(m map[string]any, _ string) (at time.Time, fields map[string]any, ok bool) {
	body, _ := m["payload"].([]byte)
	var e recordedEvent
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if retained, _ := m["retained"].(bool); retained || d.Decode(&e) != nil || e.Fields == nil {
		return at, nil, false
	}
	fields = unwrap(e.Fields).(map[string]any)
	for name, x := range fields {
		fields[name] = asDeclared(o.types[name], plainNumber(x))
	}
	fields[recordedSeq], fields[recordedAgain] = m["seq"], m["redelivered"]
	return e.At, fields, true
}

// recordedEvent is the payload of a recorded event.
type recordedEvent struct {
	Source string         `json:"source"` // the kind
	At     time.Time      `json:"at"`
	Fields map[string]any `json:"fields"`
}

// recorded reads "record" of a source.
func (f *fileReader) recorded(v yamlnode.Node, s *sourceSpec) {
	on, ok := v.Bool()
	if !ok || !on {
		return
	}
	_, topics := s.options.(kind.Reader)
	switch {
	case topics:
		v.FailKey("leave it out", "the events of %s are in the journal already", s.kind.Name)
	case s.kind.Answers:
		v.FailKey("leave it out", "the sender of an event of %s waits for its outcome", s.kind.Name)
	case s.kind.Passthrough:
		v.FailKey("leave it out", "the events of %s are published as they come", s.kind.Name)
	default:
		s.record = true
	}
}

// mapRecorded adds the source that maps recorded events, if there are any.
func (f *fileReader) mapRecorded() {
	for _, s := range f.spec.sources {
		if s.record {
			o := recordedOptions{f.spec.ID, f.spec.types}
			f.spec.sources = append(f.spec.sources, &sourceSpec{kind: recordedKind, options: o, hash: Hash(fmt.Appendf(nil, "recorded %v", o.types))})
			return
		}
	}
}

// record is post for an event that is recorded.
func (m *mapper) record(ctx context.Context, from *runner, at time.Time, fields map[string]any, done func(error)) error {
	if at.IsZero() {
		at = m.now().Wall
	}
	body, err := json.Marshal(recordedEvent{from.spec.kind.Name, at, wrap(plainValue(fields)).(map[string]any)})
	if err != nil {
		return err
	}
	size := len(body)
	if err := m.enter(ctx, from, size); err != nil {
		return err
	}
	defer m.turn.Unlock()
	m.flow.put([]bus.Event{{Topic: recordedTopic(m.id), Payload: body, QoS: 1, Source: m.source}}, outgoing{bytes: size, done: done})
	return nil
}
