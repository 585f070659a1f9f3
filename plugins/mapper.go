package plugins

// This file takes events from a plugin's sources, maps them one after the other, and sends what comes
// of them. A second goroutine waits for the disk and seals each event's fate in the same order.

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/plugins/expr"
)

const (
	maxFlight      = 4096    // events of a plugin that wait for the disk
	maxFlightBytes = 4 << 20 // and what they hold, unless it is one
)

// errStopped is what a source gets that was replaced or stopped.
var errStopped = errors.New("the source was stopped")

// counters are what `plugin list` shows. Each only grows.
type counters struct {
	in, filtered, errors, dropped, published   atomic.Uint64
	done, failed, expired, dead, retried, lost atomic.Uint64
}

// mapper is the middle of a plugin. Its sources call post; its generation is swapped between events.
type mapper struct {
	id, host string
	env      map[string]string
	bus      *bus.Bus
	log      *slog.Logger
	count    counters
	tracing  atomic.Bool
	trace    func(v *expr.Vars, list []outcome, rules []*rule, states []*ruleState)
	disk     atomic.Pointer[error]       // why the bus takes nothing just now
	last     atomic.Pointer[bus.Pending] // sent last; nil once what the disk refused is mended

	turn   sync.Mutex      // held while one event is mapped and sent: this is the order
	closed bool            // guarded by turn, as is what follows
	named  map[string]bool // topics that were announced to Home Assistant
	before []ruleState     // scratch, as are list and ready
	list   []outcome
	ready  []bus.Event

	mu     sync.Mutex // guards what follows, never held while waiting
	spec   *Spec
	states []*ruleState
	memory map[string]any
	dirty  bool // memory changed since it was saved
	lastE  error
	lastAt time.Time

	room   flight
	queue  chan sealed
	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup
}

// sealed is an event whose outcome is on its way to the disk.
type sealed struct {
	first sent // most events have one outcome, and then nothing is allocated
	more  []sent
	n     int
	bytes int
	done  func(error)
}

func (s *sealed) add(x sent) {
	if s.n++; s.n == 1 {
		s.first = x
		return
	}
	s.more = append(s.more, x)
}

type sent struct {
	event   bus.Event
	pending bus.Pending
}

func newMapper(id, host string, env map[string]string, b *bus.Bus, log *slog.Logger) *mapper {
	m := &mapper{id: id, host: host, env: env, bus: b, log: log, queue: make(chan sealed, maxFlight), named: map[string]bool{}}
	m.room.cond.L = &m.room.mu
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.tasks.Add(1)
	go m.seal()
	return m
}

// close ends the mapper; its sources have ended before. What is on its way is waited for as long as the
// disk answers.
func (m *mapper) close(patience time.Duration) {
	m.turn.Lock()
	m.closed = true
	close(m.queue)
	m.turn.Unlock()
	timer := time.AfterFunc(patience, m.cancel)
	m.tasks.Wait()
	timer.Stop()
	m.cancel()
}

// swap makes next the generation that maps, between two events. Rules that stay keep what they remember.
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

// sameAs reports whether a rule of the next generation stands where this one stood.
func (r *rule) sameAs(o *rule) bool {
	switch {
	case r.action != nil || o.action != nil:
		return r.action != nil && o.action != nil && r.action.key == o.action.key
	case r.topic != nil && o.topic != nil:
		return r.topic.text == o.topic.text
	}
	return r.topic == nil && o.topic == nil && r.label == o.label
}

// post maps an event. It returns when what came of it is on its way to the disk, in the order of the
// calls; done is called when it is there. from is the source that it came from.
func (m *mapper) post(ctx context.Context, from *runner, at time.Time, fields map[string]any, done func(error)) error {
	if at.IsZero() {
		at = time.Now()
	}
	size := sizeOf(fields, 3)
	if err := m.room.take(ctx, size); err != nil {
		return err
	}
	m.turn.Lock()
	out := sealed{bytes: size, done: done}
	err := m.one(ctx, from, at, fields, &out)
	if err == nil {
		m.queue <- out // has room: see flight
	}
	m.turn.Unlock()
	if err != nil {
		m.room.give(1, size)
	}
	return err
}

// one maps and sends. The turn is held.
func (m *mapper) one(ctx context.Context, from *runner, at time.Time, fields map[string]any, out *sealed) error {
	if from.fenced.Load() || m.closed {
		return errStopped
	}
	m.mu.Lock()
	v := expr.Vars{Event: fields, State: m.memory, Now: at, Host: m.host, Env: m.env}
	before := m.before[:0]
	for _, st := range m.states {
		before = append(before, *st)
	}
	m.before = before
	memory, dirty := m.memory, m.dirty
	list := m.outcomes(from, &v)
	m.dirty = dirty || reflect.ValueOf(v.State).Pointer() != reflect.ValueOf(memory).Pointer() // a changed one is a new map
	m.memory = v.State
	states, rules := m.states, m.spec.rules
	m.mu.Unlock()
	if m.tracing.Load() {
		m.trace(&v, list, rules, states)
	}
	for _, e := range m.events(list, at) {
		p, err := m.send(ctx, e, m.broken)
		if err != nil { // being stopped: the event comes again, to rules that have not seen it
			m.mu.Lock()
			for i := range before {
				*states[i] = before[i]
			}
			m.memory, m.dirty = memory, dirty
			m.mu.Unlock()
			return err
		}
		if e.Topic[0] != '$' { // an action's queue is not published
			m.count.published.Add(1)
		}
		m.last.Store(&p)
		out.add(sent{e, p})
	}
	return nil
}

// outcomes asks every rule. mu is held.
func (m *mapper) outcomes(from *runner, v *expr.Vars) []outcome {
	m.count.in.Add(1)
	list := m.list[:0]
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
			m.lastE, m.lastAt = &ruleError{r, st.err}, v.Now
		}
		if ok {
			list = append(list, o)
		}
	}
	if from.spec.kind.Passthrough && m.spec.passes() {
		list = append(list, through(v.Event))
	}
	if len(list) == 0 && filtered {
		m.count.filtered.Add(1)
	}
	m.list = list
	return list
}

// passRule stands for what is published as it came.
var passRule = &rule{label: "passthrough"}

// through publishes an event that is a message as it is.
func through(fields map[string]any) outcome {
	r := *passRule
	switch q := fields["qos"].(type) {
	case int:
		r.qos = byte(min(max(q, 0), 2))
	case int64: // of a test in a file
		r.qos = byte(min(max(q, 0), 2))
	}
	r.retain, _ = fields["retain"].(bool)
	o := outcome{rule: &r, topic: expr.Text(fields["topic"])}
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

// events are outcomes as the bus takes them.
func (m *mapper) events(list []outcome, at time.Time) []bus.Event {
	out := m.ready[:0]
	for i := range list {
		o := &list[i]
		e := bus.Event{Topic: o.topic, Payload: o.payload, QoS: o.rule.qos, Retain: o.rule.retain, Expiry: o.rule.expiry, Source: sourceName(m.id)}
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
			out = append(out, bus.Event{Topic: topic, Payload: payload, QoS: 1, Retain: true, Source: sourceName(m.id)})
		}
		out = append(out, e)
	}
	m.ready = out
	return out
}

// maxNamed bounds the topics of one plugin that are announced to Home Assistant.
const maxNamed = 10_000

func (m *mapper) announceOnce(topic string) bool {
	if m.named[topic] || len(m.named) >= maxNamed {
		return false
	}
	m.named[topic] = true
	return true
}

func sourceName(id string) string { return "plugin:" + id }

// broken reports whether the disk refused an earlier event, which seal has to send again first: the
// journal refuses with it all that were on their way.
func (m *mapper) broken() bool {
	last := m.last.Load()
	if last == nil {
		return false
	}
	select {
	case <-last.Done():
		return last.Err() != nil
	default:
		return false
	}
}

// send gives an event to the bus and tries again as long as the disk refuses, or hold says that it is not
// its turn.
func (m *mapper) send(ctx context.Context, e bus.Event, hold func() bool) (bus.Pending, error) {
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		if !hold() && (m.disk.Load() == nil || m.bus.Ready() == nil) {
			p, err := m.bus.Send(e)
			switch {
			case err == nil:
				m.disk.Store(nil)
				return p, nil
			case errors.Is(err, bus.ErrClosed):
				return p, err
			case m.bus.Ready() == nil: // the event itself is wrong: too large
				m.count.errors.Add(1)
				m.fail(err)
				return bus.Pending{}, nil
			}
			m.disk.Store(&err)
		}
		select {
		case <-ctx.Done():
			return bus.Pending{}, ctx.Err()
		case <-m.ctx.Done():
			return bus.Pending{}, errStopped
		case <-time.After(wait/2 + rand.N(wait)):
		}
	}
}

// fail notes an error that belongs to no rule.
func (m *mapper) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lastE, m.lastAt = err, time.Now()
}

// seal waits for the disk, event by event.
func (m *mapper) seal() {
	defer m.tasks.Done()
	n, bytes := 0, 0
	for s := range m.queue {
		var err error
		if s.n > 0 {
			err = m.durable(&s.first)
		}
		for i := range s.more {
			if err == nil {
				err = m.durable(&s.more[i])
			}
		}
		if s.done != nil {
			s.done(err)
		}
		n, bytes = n+1, bytes+s.bytes
		if len(m.queue) == 0 && m.broken() {
			m.last.Store(nil) // nothing is left of what was refused
		}
		if n >= maxFlight/16 || len(m.queue) == 0 { // together: the lock is everybody's
			m.room.give(n, bytes)
			n, bytes = 0, 0
		}
	}
}

// durable waits for one event and sends it again when the disk refused it. Meanwhile nothing new is
// sent (see broken), so that the order stays.
func (m *mapper) durable(s *sent) error {
	for again := false; ; again = true {
		select {
		case <-s.pending.Done():
		default:
			select {
			case <-s.pending.Done():
			case <-m.ctx.Done():
				return errStopped
			}
		}
		err := s.pending.Err()
		if err == nil {
			return nil
		}
		m.disk.Store(&err) // not changed from here on: others read it
		refused := s.pending
		m.last.Store(&refused)
		if !again {
			m.log.Warn("events not durable yet: the disk refuses", "plugin", m.id, "err", err)
		}
		var stopped error
		if s.pending, stopped = m.send(m.ctx, s.event, func() bool { return false }); stopped != nil {
			return stopped
		}
	}
}

// flight bounds what is on its way to the disk.
type flight struct {
	mu       sync.Mutex
	cond     sync.Cond
	n, bytes int
	waiting  int
}

func (f *flight) take(ctx context.Context, bytes int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.full(bytes) {
		stop := context.AfterFunc(ctx, func() {
			f.mu.Lock()
			f.cond.Broadcast()
			f.mu.Unlock()
		})
		defer stop()
		f.waiting++
		for f.full(bytes) && ctx.Err() == nil {
			f.cond.Wait()
		}
		f.waiting--
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	f.n++
	f.bytes += bytes
	return nil
}

func (f *flight) full(bytes int) bool {
	return f.n >= maxFlight || f.n > 0 && f.bytes+bytes > maxFlightBytes
}

func (f *flight) give(n, bytes int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n -= n
	f.bytes -= bytes
	if f.waiting > 0 {
		f.cond.Broadcast()
	}
}

// sizeOf is about how many bytes an event holds; deep trees count by their first levels.
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
