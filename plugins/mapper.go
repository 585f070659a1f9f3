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
	"github.com/postbus/postbus/plugins/internal/clock"
)

// errStopped is the error for a source that was replaced or stopped.
var errStopped = errors.New("the source was stopped")

// counters are shown by `plugin list`. They never decrease.
type counters struct {
	in, filtered, errors, dropped, published   atomic.Uint64
	done, failed, expired, dead, retried, lost atomic.Uint64
	sent, fired                                atomic.Uint64
}

// mapper connects a plugin's sources with its flow. The sources call post; the generation is
// swapped between events.
type mapper struct {
	id, host string
	source   string // the source name of its events
	env      map[string]string
	count    counters
	tracing  atomic.Bool
	trace    func(v *expr.Vars, list []outcome, states []*ruleState)
	flow     flow
	now      clock.Now

	turn   sync.Mutex      // held while one event is mapped, which defines the order
	closed bool            // guarded by turn, as are the following fields
	named  map[string]bool // topics that were announced to Home Assistant
	vars   expr.Vars       // scratch, as is ready
	ready  []bus.Event

	timekeeper // see keepTime

	mu      sync.Mutex // guards the following fields, never held while waiting
	engine  engine
	planned time.Duration // when the timekeeper looks again
	lastE   error
	lastAt  time.Time
	spoiled spoiled
	failed  uint64 // consecutive events, up to the last one, for which a rule failed
	lost    uint64 // and which had no outcome
}

func newMapper(id, host string, env map[string]string, b *bus.Bus, log *slog.Logger, now clock.Now) *mapper {
	m := &mapper{id: id, host: host, source: sourceName(id), env: env, named: map[string]bool{}, now: now}
	m.engine = engine{id: id, source: m.source, boot: clock.Boot()}
	m.timekeeper.alarm = make(chan struct{}, 1)
	m.flow.start(b, log, &m.count, m.spoil, m.lose)
	return m
}

// close ends the mapper after its sources have ended. It waits for queued events, up to patience,
// as long as the disk answers.
func (m *mapper) close(patience time.Duration) {
	m.pause()
	m.turn.Lock()
	m.closed = true
	m.turn.Unlock()
	m.flow.close(patience)
}

// swap sets next as the generation that maps, between two events. Rules that remain keep their
// state. Its results are those of engine.use.
func (m *mapper) swap(next *Spec) (timers int, unread error) {
	m.turn.Lock()
	m.mu.Lock()
	timers, unread = m.engine.use(next, m.now())
	m.named = map[string]bool{}
	m.mu.Unlock()
	m.flow.put(m.events(nil), outgoing{}) // what the entries keep has changed with them
	m.turn.Unlock()
	m.resume(next.timed())
	return timers, unread
}

// post maps an event. It returns when the outcomes are queued for the disk, in the order of the
// calls. done is called when they are durable. from is the event's source.
func (m *mapper) post(ctx context.Context, from *runner, at time.Time, fields map[string]any, done func(error)) error {
	size := sizeOf(fields, 3)
	if err := m.enter(ctx, from, size); err != nil {
		return err
	}
	defer m.turn.Unlock()
	events, fault := m.one(from, at, fields)
	m.flow.put(events, outgoing{bytes: size, done: done, answers: from.spec.kind.Answers, fault: fault})
	return nil
}

// enter waits until there is room on the way to the disk, and locks turn. from is the event's source; nil: it has
// none. With an error nothing is taken or locked.
func (m *mapper) enter(ctx context.Context, from *runner, size int) error {
	if err := m.flow.room.take(ctx, size); err != nil {
		return err
	}
	m.turn.Lock()
	if from != nil && from.fenced.Load() || m.closed {
		m.turn.Unlock()
		m.flow.room.give(1, size)
		return errStopped
	}
	return nil
}

// settled calls put with a function that takes its answer, and waits for that.
func settled(ctx context.Context, put func(done func(error)) error) error {
	answer := make(chan error, 1)
	if err := put(func(err error) { answer <- err }); err != nil {
		return err
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
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

// one maps an event; fault is why it has no outcome: the error of a rule. The caller holds turn, and the
// result is valid for that long.
func (m *mapper) one(from *runner, at time.Time, fields map[string]any) (_ []bus.Event, fault error) {
	now := m.now()
	when := now.At(at)
	if at.IsZero() {
		at = now.Wall
	}
	m.mu.Lock()
	v := m.variables(at)
	v.Event = fields
	in := m.engine.inputOf(from.spec.kind.Name, fields, when)
	list := m.engine.event(v, in)
	if from.spec.kind.Passthrough && m.engine.spec.passes() {
		list = append(list, through(v.Event, in.from, at)) // from another bus: its bridge ends loops
	}
	m.count.in.Add(1)
	if fault = m.judge(m.engine.plain, list); len(list) > 0 {
		fault = nil
	}
	sooner := m.sooner()
	m.mu.Unlock()
	if m.tracing.Load() {
		m.trace(v, list, m.engine.plain)
	}
	if sooner {
		m.wakeTimekeeper()
	}
	return m.events(list), fault
}

// variables are those of an event or timer. The caller holds mu and turn.
func (m *mapper) variables(now time.Time) *expr.Vars {
	m.vars = expr.Vars{State: m.engine.memory, Shared: m.engine.shared(now), Now: now, Host: m.host, Env: m.env}
	return &m.vars
}

// judge counts what became of an event, and adopts the changed state. The caller holds mu.
func (m *mapper) judge(states []*ruleState, list []outcome) (fault error) {
	if reflect.ValueOf(m.vars.State).Pointer() != reflect.ValueOf(m.engine.memory).Pointer() { // a changed state is a new map
		m.engine.memory, m.engine.dirty = m.vars.State, true
	}
	filtered := false
	for _, st := range states {
		filtered = filtered || st.verdict == verdictFilter
		m.count.dropped.Add(uint64(st.limited))
		m.count.errors.Add(uint64(st.faults))
		if st.faults > 0 {
			fault = &ruleError{st.rule, st.err}
			m.spoilLocked(fault)
		}
		st.faults, st.limited = 0, 0
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
	return fault
}

// passRule is the rule of events that are published unchanged.
var passRule = &rule{label: "passthrough"}

// through publishes an event that is already a message.
func through(fields map[string]any, from origin, at time.Time) outcome {
	r := *passRule
	switch q := fields["qos"].(type) {
	case int:
		r.qos = byte(min(max(q, 0), 2))
	case int64: // of a test in a file
		r.qos = byte(min(max(q, 0), 2))
	}
	r.retain, _ = fields["retain"].(bool)
	r.expiry, _ = fields["expiry"].(time.Duration)
	o := outcome{rule: &r, topic: expr.Text(fields["topic"]), from: from, at: at}
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

// events converts outcomes to events of the bus. What changed in the state of a key becomes durable with
// its last outcome. The caller holds turn.
func (m *mapper) events(list []outcome) []bus.Event {
	out := m.ready[:0]
	e := &m.engine
	for _, topic := range e.clears { // first: a key that was forgotten may be back
		out = append(out, m.keptEvent(topic, nil))
	}
	for _, w := range e.writes {
		out = append(out, m.keptEvent(w.topic, w.value))
	}
	for i := range list {
		o := &list[i]
		ev := bus.Event{Topic: o.topic, Payload: o.payload, QoS: o.rule.qos, Retain: o.rule.retain, Expiry: o.rule.expiry, Properties: o.props, Source: m.source, Hops: o.from.hops, Cause: o.from.cause}
		if a := o.rule.action; a != nil && a.expires > 0 {
			left := a.expires - m.now().Wall.Sub(o.at)
			if left <= 0 {
				m.count.expired.Add(1)
				continue
			}
			ev.Expiry = max(left.Round(time.Second), time.Second)
		}
		if h := o.rule.ha; h != nil && o.rule.topic != nil && o.rule.topic.constant == "" && m.announceOnce(o.topic) {
			topic, payload := h.discovery(m.id, m.host, o.topic, o.topic, e.spec.reads)
			out = append(out, bus.Event{Topic: topic, Payload: payload, QoS: 1, Retain: true, Source: m.source})
		}
		if k := o.key; k != nil && k.outcome == i && k.encoded != nil {
			ev.Kept = bus.Kept{Topic: k.topic(m.id), Value: k.encoded}
			k.encoded = nil
		}
		out = append(out, ev)
	}
	for _, k := range e.changed {
		if k.encoded != nil {
			out = append(out, m.keptEvent(k.topic(m.id), k.encoded))
			k.encoded = nil
		}
	}
	clear(e.changed)
	clear(e.writes)
	e.changed, e.clears, e.writes = e.changed[:0], e.clears[:0], e.writes[:0]
	m.ready = out
	return out
}

// keptEvent stores the state of a key that has no outcome; without a value it is cleared.
func (m *mapper) keptEvent(topic string, value []byte) bus.Event {
	return bus.Event{Topic: topic, Payload: value, QoS: 1, Retain: true, Source: m.source}
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

// fail records an attempt that failed and will be repeated: nothing is lost yet.
func (m *mapper) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lastE, m.lastAt = err, m.now().Wall
}

// spoil records an error by which an event, or an outcome of it, is lost.
func (m *mapper) spoil(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.spoilLocked(err)
}

// lose counts and reports events of sources that are lost.
func (m *mapper) lose(n int, reason string) {
	m.count.dropped.Add(uint64(n))
	m.spoil(fmt.Errorf("%d lost: %s", n, reason))
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
