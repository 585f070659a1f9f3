package plugins

// This file takes events from a plugin's sources and maps them one after the other; flow sends the
// outcomes to the disk.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/plugins/expr"
)

// errStopped is the error for a source that was replaced or stopped.
var errStopped = errors.New("the source was stopped")

// counters are shown by `plugin list`. They never decrease.
type counters struct {
	in, filtered, errors, dropped, published   atomic.Uint64
	done, failed, expired, dead, retried, lost atomic.Uint64
	sent                                       atomic.Uint64
}

// mapper connects a plugin's sources with its flow. The sources call post; the generation is
// swapped between events.
type mapper struct {
	id, host string
	source   string // the source name of its events
	env      map[string]string
	count    counters
	tracing  atomic.Bool
	trace    func(v *expr.Vars, list []outcome, rules []*rule, states []*ruleState)
	flow     flow

	turn   sync.Mutex      // held while one event is mapped, which defines the order
	closed bool            // guarded by turn, as are the following fields
	named  map[string]bool // topics that were announced to Home Assistant
	vars   expr.Vars       // scratch, as are list and ready
	list   []outcome
	ready  []bus.Event

	mu     sync.Mutex // guards the following fields, never held while waiting
	spec   *Spec
	states []*ruleState
	memory map[string]any
	dirty  bool // memory has changes that are not saved
	lastE  error
	lastAt time.Time
	failed uint64 // consecutive events, up to the last one, for which a rule failed
	lost   uint64 // and which had no outcome
}

func newMapper(id, host string, env map[string]string, b *bus.Bus, log *slog.Logger) *mapper {
	m := &mapper{id: id, host: host, source: sourceName(id), env: env, named: map[string]bool{}}
	m.flow.start(b, log, &m.count, m.fail, m.lose)
	return m
}

// close ends the mapper after its sources have ended. It waits for queued events, up to patience,
// as long as the disk answers.
func (m *mapper) close(patience time.Duration) {
	m.turn.Lock()
	m.closed = true
	m.turn.Unlock()
	m.flow.close(patience)
}

// swap sets next as the generation that maps, between two events. Rules that remain keep their
// state.
func (m *mapper) swap(next *Spec) {
	m.turn.Lock()
	defer m.turn.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	states := make([]*ruleState, len(next.rules))
	used := map[int]bool{}
	for i, r := range next.rules {
		states[i] = &ruleState{}
		if m.spec == nil {
			continue
		}
		for j, old := range m.spec.rules {
			if !used[j] && old.sameAs(r) {
				used[j] = true
				states[i].last, states[i].bucket = m.states[j].last, m.states[j].bucket
				break
			}
		}
	}
	m.spec, m.states = next, states
	m.named = map[string]bool{}
}

// sameAs reports whether o, a rule of the next generation, continues r.
func (r *rule) sameAs(o *rule) bool {
	switch {
	case r.action != nil || o.action != nil:
		return r.action != nil && o.action != nil && r.action.key == o.action.key
	case r.topic != nil && o.topic != nil:
		return r.topic.text == o.topic.text
	}
	return r.topic == nil && o.topic == nil && r.label == o.label
}

// post maps an event. It returns when the outcomes are queued for the disk, in the order of the
// calls. done is called when they are durable. from is the event's source.
func (m *mapper) post(ctx context.Context, from *runner, at time.Time, fields map[string]any, done func(error)) error {
	if at.IsZero() {
		at = time.Now()
	}
	size := sizeOf(fields, 3)
	if err := m.flow.room.take(ctx, size); err != nil {
		return err
	}
	m.turn.Lock()
	defer m.turn.Unlock()
	if from.fenced.Load() || m.closed {
		m.flow.room.give(1, size)
		return errStopped
	}
	events, fault := m.one(from, at, fields)
	p := outgoing{bytes: size, done: done, answers: from.spec.kind.Answers}
	if len(events) == 0 {
		p.fault = fault
	}
	m.flow.put(events, p)
	return nil
}

// announce publishes events that result from the file itself.
func (m *mapper) announce(ctx context.Context, events []bus.Event) error {
	size := 0
	for _, e := range events {
		size += len(e.Topic) + len(e.Payload)
	}
	if err := m.flow.room.take(ctx, size); err != nil {
		return err
	}
	m.turn.Lock()
	defer m.turn.Unlock()
	m.flow.put(events, outgoing{bytes: size})
	return nil
}

// one maps an event; fault is the error of a rule that failed. The caller holds turn, and the
// result is valid for that long.
func (m *mapper) one(from *runner, at time.Time, fields map[string]any) (events []bus.Event, fault error) {
	m.mu.Lock()
	v := &m.vars
	*v = expr.Vars{Event: fields, State: m.memory, Now: at, Host: m.host, Env: m.env}
	list, fault := m.outcomes(from, v)
	if reflect.ValueOf(v.State).Pointer() != reflect.ValueOf(m.memory).Pointer() { // a changed state is a new map
		m.memory, m.dirty = v.State, true
	}
	states, rules := m.states, m.spec.rules
	m.mu.Unlock()
	if m.tracing.Load() {
		m.trace(v, list, rules, states)
	}
	return m.events(list, at, m.hops(fields)), fault
}

// outcomes applies every rule. The caller holds mu.
func (m *mapper) outcomes(from *runner, v *expr.Vars) (list []outcome, fault error) {
	m.count.in.Add(1)
	list = m.list[:0]
	filtered := false
	for i, r := range m.spec.rules {
		st := m.states[i]
		o, ok := r.apply(m.spec, st, v)
		switch st.verdict {
		case verdictFilter:
			filtered = true
		case verdictRate:
			m.count.dropped.Add(1)
		case verdictError, verdictRefused:
			m.count.errors.Add(1)
			fault = &ruleError{r, st.err}
			m.lastE, m.lastAt = fault, v.Now
		}
		if ok {
			list = append(list, o)
		}
	}
	if from.spec.kind.Passthrough && m.spec.passes() {
		list = append(list, through(v.Event)) // from another bus: its bridge ends loops
	}
	if len(list) == 0 && filtered {
		m.count.filtered.Add(1)
	}
	if m.failed++; fault == nil {
		m.failed = 0
	}
	if m.lost++; fault == nil || len(list) > 0 {
		m.lost = 0
	}
	m.list = list
	return list, fault
}

// passRule is the rule of events that are published unchanged.
var passRule = &rule{label: "passthrough"}

// through publishes an event that is already a message.
func through(fields map[string]any) outcome {
	r := *passRule
	switch q := fields["qos"].(type) {
	case int:
		r.qos = byte(min(max(q, 0), 2))
	case int64: // of a test in a file
		r.qos = byte(min(max(q, 0), 2))
	}
	r.retain, _ = fields["retain"].(bool)
	r.expiry, _ = fields["expiry"].(time.Duration)
	o := outcome{rule: &r, topic: expr.Text(fields["topic"])}
	if p, ok := fields["properties"].([]byte); ok {
		o.props = p
	}
	switch p := fields["payload"].(type) {
	case []byte:
		o.payload = p
	default:
		o.payload = []byte(expr.Text(p))
	}
	return o
}

// ruleError names the rule that failed.
type ruleError struct {
	rule *rule
	err  error
}

func (e *ruleError) Error() string { return e.rule.label + ": " + e.err.Error() }
func (e *ruleError) Unwrap() error { return e.err }

// Permanent reports true: the same event would fail again.
func (e *ruleError) Permanent() bool { return true }

// events converts outcomes to events of the bus.
func (m *mapper) events(list []outcome, at time.Time, hops byte) []bus.Event {
	out := m.ready[:0]
	for i := range list {
		o := &list[i]
		e := bus.Event{Topic: o.topic, Payload: o.payload, QoS: o.rule.qos, Retain: o.rule.retain, Expiry: o.rule.expiry, Properties: o.props, Source: m.source, Hops: hops}
		if a := o.rule.action; a != nil && a.expires > 0 {
			left := a.expires - time.Since(at)
			if left <= 0 {
				m.count.expired.Add(1)
				continue
			}
			e.Expiry = max(left.Round(time.Second), time.Second)
		}
		if h := o.rule.ha; h != nil && o.rule.topic != nil && o.rule.topic.constant == "" && m.announceOnce(o.topic) {
			topic, payload := h.discovery(m.id, m.host, o.topic, o.topic, m.spec.reads)
			out = append(out, bus.Event{Topic: topic, Payload: payload, QoS: 1, Retain: true, Source: m.source})
		}
		out = append(out, e)
	}
	m.ready = out
	return out
}

// maxNamed is the maximum number of a plugin's topics that are announced to Home Assistant.
const maxNamed = 10_000

func (m *mapper) announceOnce(topic string) bool {
	if m.named[topic] || len(m.named) >= maxNamed {
		return false
	}
	m.named[topic] = true
	return true
}

func sourceName(id string) string { return "plugin:" + id }

// fail records an error that belongs to no rule.
func (m *mapper) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lastE, m.lastAt = err, time.Now()
}

// lose counts and reports events of sources that are lost.
func (m *mapper) lose(n int, reason string) {
	m.count.dropped.Add(uint64(n))
	m.fail(fmt.Errorf("%d lost: %s", n, reason))
	m.flow.bus.ReportLoss(m.source, reason, uint64(n))
}

// sizeOf estimates an event's size in bytes; of deep trees it counts the first levels.
func sizeOf(v any, depth int) int {
	const word = 16
	switch x := v.(type) {
	case string:
		return word + len(x)
	case []byte:
		return word + len(x)
	case map[string]any:
		n := word
		for k, e := range x {
			n += len(k) + word
			if depth > 0 {
				n += sizeOf(e, depth-1)
			}
		}
		return n
	case []any:
		n := word
		for _, e := range x {
			n += word
			if depth > 0 {
				n += sizeOf(e, depth-1)
			}
		}
		return n
	}
	return word
}
