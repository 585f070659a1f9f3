package plugins

// This file is the mapping: the outcomes of one event, rule by rule.

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
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
)

// outcome is one result of an event: an event to publish, or a job for an action.
type outcome struct {
	rule    *rule
	topic   string // for an action: the topic of its queue
	payload []byte
	props   bus.Properties // of an event that is published unchanged
	args    map[string]any // for an action
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

// ruleState is a rule's state between events. If the rule remains, the next generation of the file
// takes over its last event and its rate.
type ruleState struct {
	last    map[string]any // the last event with an outcome
	bucket  bucket
	verdict verdict
	at      time.Time
	seen    map[string]any // the last event
	err     error
	topic   string // the topic of the last publish
	seenLast,
	seenState map[string]any // the values of last and state at that event
}

// apply applies the rule to an event. ok is false when there is no outcome; st states why.
func (r *rule) apply(s *Spec, st *ruleState, v *expr.Vars) (o outcome, ok bool) {
	v.Last = st.last
	st.seen, st.at, st.err, st.seenLast, st.seenState = v.Event, v.Now, nil, st.last, v.State
	failed := func(as verdict, err error) (outcome, bool) {
		st.verdict, st.err = as, err
		return outcome{}, false
	}
	if r.when != nil {
		pass, err := r.when.Bool(v)
		if err != nil {
			return failed(verdictError, fmt.Errorf("when: %w", err))
		}
		if !pass {
			return failed(verdictFilter, nil)
		}
	}
	if err := loopError(v.Event); err != nil {
		return failed(verdictError, err)
	}
	o.rule = r
	var err error
	if r.topic != nil {
		if o.topic, err = r.topic.eval(v, &s.permissions); err != nil {
			return failed(verdictRefused, fmt.Errorf("topic: %w", err))
		}
		if o.payload, err = r.payload(v); err == nil && r.retain && len(o.payload) == 0 && !r.body.Constant() {
			err = errEmptied
		}
		if err != nil {
			return failed(verdictError, fmt.Errorf("payload: %w", err))
		}
	}
	if r.action != nil {
		args, err := r.action.args.Eval(v)
		if err != nil {
			return failed(verdictError, fmt.Errorf("%s: %w", r.action.kind.Name, err))
		}
		o.args, _ = args.(map[string]any)
		if err := r.action.present(o.args); err != nil {
			return failed(verdictError, fmt.Errorf("%s: %w", r.action.kind.Name, err))
		}
		for key, t := range r.action.topics {
			if name, ok := o.args[key].(string); ok {
				if err := t.check(name, &s.permissions); err != nil {
					return failed(verdictRefused, fmt.Errorf("%s: %w", r.action.kind.Name, err))
				}
			}
		}
		if o.payload, err = encodeJob(job{At: v.Now, Args: o.args}); err != nil {
			return failed(verdictError, fmt.Errorf("%s: %w", r.action.kind.Name, err))
		}
		o.topic = queueTopic(s.ID, r.action.key)
	}
	changed, err := r.remember(v)
	if err != nil {
		return failed(verdictError, fmt.Errorf("set: %w", err))
	}
	if r.rate != nil && !st.bucket.take(r.rate, v.Now) {
		return failed(verdictRate, nil)
	}
	if changed != nil {
		v.State = changed
	}
	st.last, st.verdict = v.Event, verdictPassed
	if r.topic != nil {
		st.topic = o.topic
	}
	return o, r.topic != nil || r.action != nil
}

// remember returns the plugin's state after this rule; nil if it is unchanged. It does not modify
// the old state.
func (r *rule) remember(v *expr.Vars) (map[string]any, error) {
	if len(r.set) == 0 {
		return nil, nil
	}
	var next map[string]any
	for _, s := range r.set {
		x, err := s.value.Eval(v)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		if err := written(s.value, x); err != nil {
			return nil, fmt.Errorf("%s: %w", s.name, err)
		}
		if reflect.DeepEqual(x, v.State[s.name]) {
			continue
		}
		if next == nil {
			next = make(map[string]any, len(v.State)+len(r.set))
			maps.Copy(next, v.State)
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

const maxState = 1000 // the maximum number of names in a plugin's state

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

// dryRun maps an event for a test: it publishes nothing and applies no rates.
func dryRun(s *Spec, v *expr.Vars) (list []outcome, verdicts []string) {
	last, state := v.Last, v.State
	for _, r := range s.rules {
		st := ruleState{last: last}
		free := *r
		free.rate = nil
		vars := *v
		vars.State = state
		o, ok := free.apply(s, &st, &vars)
		state = vars.State
		if ok {
			o.rule = r
			list = append(list, o)
		} else {
			verdicts = append(verdicts, fmt.Sprintf("%s %s", r.label, r.explain(&st, &vars)))
		}
	}
	if s.passes() && slices.ContainsFunc(s.sources, func(src *sourceSpec) bool { return src.kind.Passthrough }) {
		list = append(list, through(v.Event))
	}
	return list, verdicts
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
