package plugins

// This file is the mapping: the outcomes of one event, rule by rule.

import (
	"fmt"
	"maps"
	"reflect"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/plugins/expr"
)

// verdict is a rule's result for an event.
type verdict byte

const (
	verdictNone    verdict = iota // the rule has received no event yet
	verdictPassed                 // the event has an outcome
	verdictFilter                 // "when" is false
	verdictRate                   // the rate is exceeded
	verdictError                  // an expression failed
	verdictRefused                // the topic is not allowed
	verdictNothing                // it has no outcome now, as told
)

// outcome is one result of an event: an event to publish, or a job for an action.
type outcome struct {
	rule    *rule
	topic   string // for an action: the topic of its queue
	payload []byte
	props   bus.Properties // of an event that is published unchanged
	args    map[string]any // for an action
	event   map[string]any // likewise: the fields that its on_answer reads
	key     *keyState      // what the entry keeps; nil: nothing
	from    origin
	at      time.Time // of the event, or when the timer was due
}

func (o *outcome) String() string {
	if o.rule.action != nil {
		return fmt.Sprintf("%s %s", o.rule.action.key, expr.Text(o.args))
	}
	return fmt.Sprintf("%s = %s", o.topic, clip(string(o.payload), 200))
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n] + "…"
}

// ruleState is a rule's state between events.
type ruleState struct {
	rule    *rule
	keys    map[string]*keyState // if the rule is keyed
	verdict verdict
	at      time.Time
	seen    map[string]any // the last event
	err     error
	told    string    // of verdictNothing
	due     time.Time // likewise: when the entry acts; zero: it does not wait
	topic   string    // the topic of the last publish
	seenLast,
	seenState map[string]any // the values of last and state at that event

	faults, limited int // of the current event: it may have several elements, and timers that are due
}

// fail records why an event has no outcome.
func (st *ruleState) fail(as verdict, err error) {
	st.verdict, st.err = as, err
	st.faults++
}

// tell likewise, where it is no error.
func (st *ruleState) tell(what string) {
	st.verdict, st.told, st.due = verdictNothing, what, time.Time{}
}

// waits records that the entry acts later.
func (st *ruleState) waits(what string, due time.Time) {
	st.verdict, st.told, st.due = verdictNothing, what, due
}

// refusal is why a rule has no outcome for an event.
type refusal struct {
	verdict verdict
	error
}

func failed(as verdict, what string, err error) *refusal {
	return &refusal{as, fmt.Errorf("%s: %w", what, err)}
}

// outcome evaluates what the rule publishes or passes to its action. at counts for the job's expiry.
func (r *rule) outcome(s *Spec, v *expr.Vars, from origin, at time.Time) (o outcome, _ *refusal) {
	o.rule = r
	var err error
	if r.topic != nil {
		if o.topic, err = r.topic.eval(v, &s.permissions); err != nil {
			return o, failed(verdictRefused, "topic", err)
		}
		if o.payload, err = r.payload(v); err == nil && r.retain && len(o.payload) == 0 && !r.body.Constant() {
			err = errEmptied
		}
		if err != nil {
			return o, failed(verdictError, "payload", err)
		}
	}
	if r.action == nil {
		return o, nil
	}
	args, err := r.action.args.Eval(v)
	if err != nil {
		return o, failed(verdictError, r.action.kind.Name, err)
	}
	o.args, _ = args.(map[string]any)
	if err := r.action.present(o.args); err != nil {
		return o, failed(verdictError, r.action.kind.Name, err)
	}
	for key, spec := range r.action.urls {
		if text, ok := o.args[key].(string); ok {
			if err := spec.check(text); err != nil {
				return o, failed(verdictRefused, key, err)
			}
		}
	}
	for key, t := range r.action.topics {
		if name, ok := o.args[key].(string); ok {
			if err := t.check(name, &s.permissions); err != nil {
				return o, failed(verdictRefused, r.action.kind.Name, err)
			}
		}
	}
	todo := job{At: at, Args: o.args}
	if r.action.answers {
		o.event = selected(v.Event, r.action.eventFields, r.action.eventWhole)
		if todo.Event, err = encodeFields(o.event); err != nil {
			return o, failed(verdictError, "on_answer", err)
		}
	}
	if !from.timed {
		todo.Seq = from.cause
		todo.Item, _ = v.Named["index"].(int64)
	}
	if o.payload, err = encodeJob(todo); err != nil {
		return o, failed(verdictError, r.action.kind.Name, err)
	}
	o.topic = queueTopic(s.ID, r.action.key)
	return o, nil
}

// remember returns the plugin's state and the key's own values after this rule; nil if they are
// unchanged. It does not modify the old ones.
func (r *rule) remember(v *expr.Vars) (state, own map[string]any, _ *refusal) {
	state, err := changedValues(r.set, v.State, v)
	if err != nil {
		return nil, nil, failed(verdictError, "set", err)
	}
	own, err = changedValues(r.setOwn, v.Own, v)
	if err != nil {
		return nil, nil, failed(verdictError, "set_own", err)
	}
	return state, own, nil
}

// changedValues returns old with the settings applied; nil if that changes nothing.
func changedValues(settings []setting, old map[string]any, v *expr.Vars) (next map[string]any, err error) {
	for _, s := range settings {
		x, err := s.value.Eval(v)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		if err := written(s.value, x); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		if reflect.DeepEqual(x, old[s.name]) {
			continue
		}
		if next == nil {
			next = make(map[string]any, len(old)+len(settings))
			maps.Copy(next, old)
		}
		if x == nil { // written as null
			delete(next, s.name)
			continue
		}
		next[s.name] = x
	}
	if n := len(next); n > maxState {
		return nil, fmt.Errorf("more than %d names", maxState)
	}
	return next, nil
}

const maxState = 1000 // the maximum number of names in a plugin's state, and of a key's own

// payload is the body of a publish: a single value as text, a tree as JSON.
func (r *rule) payload(v *expr.Vars) ([]byte, error) {
	if r.body == nil {
		return expr.Const(v.Event).AppendJSON(nil, v)
	}
	if !r.tree {
		x, err := r.body.Eval(v)
		if err != nil {
			return nil, err
		}
		if err := written(*r.body, x); err != nil {
			return nil, err
		}
		switch b := x.(type) {
		case []byte:
			return b, nil
		case map[string]any, []any:
			return expr.Const(x).AppendJSON(nil, v)
		}
		return []byte(expr.Text(x)), nil
	}
	return r.body.AppendJSON(nil, v)
}

// explain describes the rule's result for its last event.
func (r *rule) explain(st *ruleState, v *expr.Vars) string {
	switch st.verdict {
	case verdictNone:
		return "has received no event yet"
	case verdictFilter:
		then := *v
		then.Event, then.Last, then.State, then.Now = st.seen, st.seenLast, st.seenState, st.at
		return "filtered: " + r.when.Explain(&then)
	case verdictNothing:
		if !st.due.IsZero() {
			return fmt.Sprintf("%s, due at %s", st.told, st.due.Format(time.DateTime))
		}
		return st.told
	case verdictRate:
		return fmt.Sprintf("rate limited: more than %d in %s", r.rate.n, r.rate.per)
	case verdictError:
		return fmt.Sprintf("error: %v", st.err)
	case verdictRefused:
		return fmt.Sprintf("not allowed: %v", st.err)
	}
	switch {
	case r.topic != nil:
		return "published to " + st.topic
	case r.action != nil:
		return "passed to " + r.action.key
	}
	return "remembered"
}

func queueTopic(id, key string) string { return "$plugin/" + id + "/do/" + key }
