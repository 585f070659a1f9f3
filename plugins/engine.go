package plugins

// This file is the engine: it folds a plugin's events and the passing of time into outcomes. It knows no
// bus and no clock of its own, so that tests in files and replays run it in virtual time.

import (
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/postbus/postbus/plugins/expr"
	"github.com/postbus/postbus/plugins/internal/clock"
)

// engine is the state of a plugin between events. Its owner calls it from one goroutine at a time.
type engine struct {
	id     string
	source string // the source name of its events
	boot   string // see clock.Boot

	spec    *Spec
	rules   []*ruleState            // of the spec's rules, in their order
	plain   []*ruleState            // those whose events are the sources'
	answers map[string][]*ruleState // those whose events are answers to jobs of an action
	memory  map[string]any
	dirty   bool // memory has changes that are not saved
	keys    keyTable
	alarms  alarms
	stored  []storedValue // states of keys, until the first spec tells whose they are

	at      clock.Instant // of the current event or timer
	changed []*keyState   // by it
	clears  []string      // topics of stored states that must be cleared
	writes  []storedValue // values of uses that must be stored
	values  values
	forgets bool      // what the entries keep is not encoded: it is stored nowhere
	list    []outcome // scratch
}

// storedValue is a stored state of a key.
type storedValue struct {
	topic string
	value []byte
	at    time.Time
}

// input is what comes with an event beside its fields.
type input struct {
	at          clock.Instant
	seq         uint64 // in the bus's journal; 0: it is not there
	redelivered bool
	from        origin // of its outcomes
}

// origin is what an outcome is traced back to.
type origin struct {
	hops  byte   // of the outcome
	cause uint64 // sequence of the event in the bus's journal; 0: it is not there
	timed bool   // a timer made the outcome of it
}

// inputOf reads it from the fields, which the source mqtt sets.
func (e *engine) inputOf(kind string, fields map[string]any, at clock.Instant) input {
	in := input{at: at, from: origin{hops: hopsAfter(fields, e.source)}}
	switch kind {
	case "mqtt":
	case recordedKind.Name:
		in.seq, _ = fields[recordedSeq].(uint64)
		in.redelivered, _ = fields[recordedAgain].(bool)
		in.from.cause = in.seq
		delete(fields, recordedSeq)
		delete(fields, recordedAgain)
		return in
	default:
		return in
	}
	in.from.cause, _ = fields["seq"].(uint64)
	if stored, _ := fields["stored"].(bool); !stored { // stored ones come in the order of topics
		in.seq = in.from.cause
		in.redelivered, _ = fields["redelivered"].(bool)
	}
	return in
}

// use sets the spec, between two events. Entries that remain keep their keys; an entry that was edited
// keeps all but its timers. It returns how many timers were dropped with edited and removed entries, and why
// the first stored state that is lost could not be read.
func (e *engine) use(next *Spec, now clock.Instant) (timers int, unread error) {
	before := e.rules
	e.rules = make([]*ruleState, len(next.rules))
	e.plain, e.answers = nil, map[string][]*ruleState{}
	byIdent := map[string]*ruleState{}
	for i, r := range next.rules {
		e.rules[i] = &ruleState{rule: r}
		byIdent[r.ident] = e.rules[i]
		if r.answerTo == "" {
			e.plain = append(e.plain, e.rules[i])
		} else {
			e.answers[r.answerTo] = append(e.answers[r.answerTo], e.rules[i])
		}
	}
	for _, old := range before {
		st := byIdent[old.rule.ident]
		for _, k := range old.keys {
			timers += e.adopt(k, st, old.rule.content)
		}
	}
	for _, v := range e.stored {
		ident, _, _ := strings.Cut(strings.TrimPrefix(v.topic, keysTopic(e.id)), "/")
		st := byIdent[ident]
		k, content, err := decodeKey(v.value, next.types, now, e.boot)
		if err != nil && unread == nil {
			unread = err
		}
		if err != nil || st == nil || !st.rule.durable {
			e.clears = append(e.clears, v.topic)
			continue
		}
		k.rule, k.entry = st.rule, st
		k.touched = now.At(v.at)
		e.keys.add(k)
		for slot, t := range k.timers {
			if t.phase == timerArmed {
				e.alarms.arm(k, slot, t)
			}
		}
		timers += e.adopt(k, st, content)
	}
	e.spec, e.stored = next, nil
	e.useValues(next)
	for _, st := range e.rules {
		if r := st.rule; r.wait.kind == waitSilent && r.perKind == perAll && r.each == nil {
			e.expect(st, now)
		}
	}
	e.settle()
	return timers, unread
}

// event folds an event into outcomes, which are valid until the next call.
func (e *engine) event(v *expr.Vars, in input) []outcome {
	return e.offerTo(e.plain, v, in)
}

// offerTo gives an event to some of the entries.
func (e *engine) offerTo(states []*ruleState, v *expr.Vars, in input) []outcome {
	e.list, e.at = e.list[:0], in.at
	for _, st := range states {
		e.offer(st, v, in)
	}
	v.Named = nil
	e.settle()
	return e.list
}

// maxEach is the maximum number of elements of "each".
const maxEach = 1000

// offer gives an event to an entry, element by element if it says so.
func (e *engine) offer(st *ruleState, v *expr.Vars, in input) {
	r := st.rule
	st.at, st.seen, st.seenLast, st.seenState, st.err = v.Now, v.Event, nil, v.State, nil
	v.Named, v.Last, v.Own, v.Key = nil, nil, nil, ""
	if r.each == nil {
		e.item(st, v, in, timer{})
		return
	}
	x, err := r.each.Eval(v)
	if err != nil {
		st.fail(verdictError, fmt.Errorf("each: %w", err))
		return
	}
	list := reflect.ValueOf(x)
	switch {
	case x == nil || list.Kind() == reflect.Slice && list.Len() == 0:
		st.tell("there is no element")
		return
	case list.Kind() != reflect.Slice || list.Type().Elem().Kind() == reflect.Uint8:
		st.fail(verdictError, fmt.Errorf("each: want a list, got %s", kindOf(x)))
		return
	case list.Len() > maxEach:
		st.fail(verdictError, fmt.Errorf("each: the list has %d elements, at most %d are allowed", list.Len(), maxEach))
		return
	}
	for i := range list.Len() {
		el := timer{each: true, item: list.Index(i).Interface(), index: i}
		v.Named = map[string]any{"item": el.item, "index": int64(i)}
		e.item(st, v, in, el)
	}
}

// item folds an event, or one element of it.
func (e *engine) item(st *ruleState, v *expr.Vars, in input, el timer) {
	r := st.rule
	if !r.keyed {
		if st.admits(v) {
			e.act(st, nil, v, in.from, in.at.Wall, false)
		}
		return
	}
	name, err := r.keyOf(v)
	if err != nil {
		st.fail(verdictError, fmt.Errorf("per: %w", err))
		return
	}
	k := st.keys[name]
	if k == nil { // it is made when the entry has something to keep
		v.Last, v.Own, v.Key = nil, nil, name
		if st.admits(v) {
			k = e.key(st, name, in.at)
			k.seq, k.item = in.seq, el.index
			e.admitted(st, k, v, in, el)
		}
		return
	}
	if in.at.Up-k.touched.Up > e.spec.perIdle && !k.pending() {
		e.reset(k)
	}
	e.keys.use(k, in.at)
	if in.redelivered && in.seq != 0 && (in.seq < k.seq || in.seq == k.seq && el.index <= k.item) {
		st.tell("processed before")
		return
	}
	for slot := range k.timers { // what was due before this event comes before it
		if t := &k.timers[slot]; t.phase == timerArmed && t.due.Up <= in.at.Up {
			e.fire(k, slot, in.at, v)
		}
	}
	if in.seq != 0 {
		k.seq, k.item = in.seq, el.index
	}
	v.Last, v.Own, v.Key = k.last, k.own, k.key
	st.seenLast = k.last
	t := &k.timers[waitTimer]
	if r.wait.cancel != nil && t.phase == timerArmed {
		switch ends, err := r.wait.cancel.Bool(v); {
		case err != nil:
			st.fail(verdictError, fmt.Errorf("cancel: %w", err))
			return
		case ends:
			e.alarms.disarm(k, waitTimer)
			e.change(k)
			st.tell("the wait was cancelled")
			return
		}
	}
	if st.admits(v) {
		e.admitted(st, k, v, in, el)
	} else if st.verdict == verdictFilter && r.wait.kind == waitFor && t.phase != timerIdle {
		e.alarms.disarm(k, waitTimer)
		e.change(k)
	}
}

// admitted folds an event for which the entry's condition holds.
func (e *engine) admitted(st *ruleState, k *keyState, v *expr.Vars, in input, el timer) {
	switch st.rule.wait.kind {
	case waitNone:
		e.act(st, k, v, in.from, in.at.Wall, false)
	case waitWindow:
		e.fold(st, k, v, in, el)
	default:
		e.wait(st, k, v, in, el)
	}
}

// keyOf returns the event's key.
func (r *rule) keyOf(v *expr.Vars) (string, error) {
	var key string
	switch r.perKind {
	case perTopic:
		if name, ok := v.Event["name"].(string); ok {
			key = name
		} else if t := v.Event["topic"]; t != nil {
			key = expr.Text(t)
		}
	case perText:
		var err error
		if key, err = r.per.Text(v); err != nil {
			return "", err
		}
	}
	if len(key) > maxKeyText {
		return "", fmt.Errorf("the key has %d bytes, at most %d are allowed", len(key), maxKeyText)
	}
	return key, nil
}

// admits reports whether an event passes the entry's condition and is no loop.
func (st *ruleState) admits(v *expr.Vars) bool {
	if st.rule.when != nil {
		pass, err := st.rule.when.Bool(v)
		if err != nil {
			st.fail(verdictError, fmt.Errorf("when: %w", err))
			return false
		}
		if !pass {
			st.verdict = verdictFilter
			return false
		}
	}
	if err := loopError(v.Event); err != nil {
		st.fail(verdictError, err)
		return false
	}
	return true
}

// act makes the outcome and remembers what follows from it. at is when it should have been made. free: the
// rate has been waited for.
func (e *engine) act(st *ruleState, k *keyState, v *expr.Vars, from origin, at time.Time, free bool) {
	r := st.rule
	if w := r.wait.window; w != nil && w.having != nil {
		switch holds, err := w.having.Bool(v); {
		case err != nil:
			st.fail(verdictError, fmt.Errorf("having: %w", err))
			return
		case !holds:
			st.tell("filtered: having: " + w.having.Explain(v))
			return
		}
	}
	var value any
	if r.changed != nil {
		var err error
		if value, err = r.changed.value.Eval(v); err != nil {
			st.fail(verdictError, fmt.Errorf("changed: %w", err))
			return
		}
		value = fingerprint(value)
		if !r.changed.passes(k, value, v.Now) {
			st.tell("unchanged: " + r.changed.value.String() + " is " + clip(expr.Text(value), 60))
			return
		}
	}
	o, refused := r.outcome(e.spec, v, from, at)
	if refused != nil {
		st.fail(refused.verdict, refused.error)
		return
	}
	state, own, refused := r.remember(v)
	if refused != nil {
		st.fail(refused.verdict, refused.error)
		return
	}
	if r.rate != nil && !free && !e.withinRate(st, k, v, from) {
		return
	}
	if free {
		k.bucket.take(r.rate, e.at.Up)
	}
	if state != nil {
		v.State = state
	}
	if k != nil {
		if own != nil {
			k.own, v.Own = own, own
			e.change(k)
		}
		if r.changed != nil {
			k.passed, k.passedAt = value, v.Now
			e.change(k)
		}
		if r.usesLast {
			k.last = selected(v.Event, r.lastFields, r.lastWhole)
			e.change(k)
		}
	}
	st.verdict = verdictPassed
	if r.topic == nil && r.action == nil {
		return
	}
	if r.topic != nil {
		st.topic = o.topic
	}
	o.key, o.from, o.at = k, from, at
	if k != nil && k.dirty {
		k.outcome = len(e.list)
	}
	e.list = append(e.list, o)
}

// withinRate takes from the rate. With keep: last an event beyond it waits.
func (e *engine) withinRate(st *ruleState, k *keyState, v *expr.Vars, from origin) bool {
	r := st.rule
	t := &k.timers[rateTimer]
	waiting := r.keepLast && t.phase == timerArmed
	if !waiting && k.bucket.take(r.rate, e.at.Up) {
		return true
	}
	if !r.keepLast {
		st.verdict = verdictRate
		st.limited++
		return false
	}
	var el timer
	if item, ok := v.Named["item"]; ok {
		index, _ := v.Named["index"].(int64)
		el.each, el.item, el.index = true, item, int(index)
	}
	next := r.later(v, from, el)
	next.since, next.due = v.Now, t.due
	if !waiting {
		next.due = e.at.Add(k.bucket.wait(r.rate))
	}
	e.alarms.arm(k, rateTimer, next)
	e.change(k)
	st.waits("waits for the rate", next.due.Wall)
	return false
}
