package plugins

// This file maps events in virtual time, for tests in files and for recorded events. It publishes nothing.

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/plugins/expr"
	"github.com/postbus/postbus/plugins/internal/clock"
)

// lab is a plugin without a bus.
type lab struct {
	engine engine
	now    clock.Instant
	vars   expr.Vars // host and env
}

// newLab makes a plugin with the state, the time, the host and the environment of v.
func newLab(s *Spec, v expr.Vars) *lab {
	l := &lab{now: clock.Instant{Wall: v.Now}, vars: expr.Vars{Host: v.Host, Env: v.Env}}
	l.engine = engine{id: s.ID, source: sourceName(s.ID), memory: v.State}
	l.engine.use(s, l.now)
	l.done()
	return l
}

// preset sets what the entries keep for the key of an event.
func (l *lab) preset(event, last, own map[string]any) {
	v := l.variables(event)
	for _, st := range l.engine.rules {
		if !st.rule.keyed || st.rule.each != nil {
			continue
		}
		if name, err := st.rule.keyOf(v); err == nil {
			k := l.engine.key(st, name, l.now)
			k.last, k.own = last, own
		}
	}
}

// variables are those of an event at this time.
func (l *lab) variables(event map[string]any) *expr.Vars {
	v := l.vars
	v.Event, v.State, v.Now, v.Shared = event, l.engine.memory, l.now.Wall, l.engine.shared(l.now.Wall)
	return &v
}

// done takes over what an event or a timer changed, which is stored nowhere.
func (l *lab) done() {
	for _, k := range l.engine.changed {
		k.encoded, k.stored = nil, false
	}
	l.engine.changed, l.engine.clears, l.engine.writes = l.engine.changed[:0], l.engine.clears[:0], l.engine.writes[:0]
}

// until lets time pass, and returns what the timers made.
func (l *lab) until(t time.Time) (list []outcome) {
	end := l.now.Up + t.Sub(l.now.Wall)
	for {
		up, ok := l.engine.alarms.next()
		if !ok || up > end {
			break
		}
		l.now = l.now.Add(up - l.now.Up)
		v := l.variables(nil)
		_, made, _ := l.engine.due(l.now, v)
		list = append(list, slices.Clone(made)...)
		l.engine.memory = v.State
		l.done()
	}
	if end > l.now.Up {
		l.now = l.now.Add(end - l.now.Up)
	}
	return list
}

// event maps an event. verdicts tells of each entry without an outcome why.
func (l *lab) event(fields map[string]any) (list []outcome, verdicts []string) {
	if l.hear(fields) {
		return nil, []string{"the event is for uses only"}
	}
	list = l.fold("", l.now.Wall, fields)
	v := l.variables(fields)
	for _, st := range l.engine.plain {
		if st.verdict != verdictPassed || st.rule.topic == nil && st.rule.action == nil {
			verdicts = append(verdicts, fmt.Sprintf("%s %s", st.rule.label, st.rule.explain(st, v)))
		}
	}
	return list, verdicts
}

// fold maps an event of a source of this kind, of the time at.
func (l *lab) fold(kind string, at time.Time, fields map[string]any) []outcome {
	if at.IsZero() {
		at = l.now.Wall
	}
	v := l.variables(fields)
	v.Now, v.Shared = at, l.engine.shared(at)
	in := l.engine.inputOf(kind, fields, l.now.At(at))
	list := slices.Clone(l.engine.event(v, in))
	l.engine.memory = v.State
	l.done()
	s := l.engine.spec
	if s.passes() && slices.ContainsFunc(s.sources, func(src *sourceSpec) bool { return src.kind.Passthrough }) {
		list = append(list, through(fields, in.from, at))
	}
	return list
}

// hear folds an event of a topic that the file uses. alone: no filter of the source matches it.
func (l *lab) hear(fields map[string]any) (alone bool) {
	s := l.engine.spec
	if len(s.uses) == 0 || len(s.reads) == 0 || fields["topic"] == nil {
		return false
	}
	ev := bus.Event{Topic: expr.Text(fields["topic"]), Payload: bodyOf(fields), Time: l.now.Wall}
	ev.Retain, _ = fields["retain"].(bool)
	if !l.engine.values.wanted(ev.Topic) {
		return false
	}
	_ = l.engine.hear(&ev) // what is too large has no value
	l.done()
	return !matchesAny(s.reads, ev.Topic)
}

// set makes values the latest of topics.
func (l *lab) set(values map[string][]byte) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		_ = l.engine.hear(&bus.Event{Topic: name, Payload: values[name], Time: l.now.Wall})
	}
	l.done()
}

// bodyOf is the payload of an event in a test, of which any form may be given.
func bodyOf(fields map[string]any) []byte {
	if b, ok := fields["bytes"].([]byte); ok {
		return b
	}
	if x := fields["text"]; x != nil {
		return []byte(expr.Text(x))
	}
	return bodyOfValue(fields["json"])
}

// bodyOfValue is the payload that has a value: a text as it is, others as JSON.
func bodyOfValue(x any) []byte {
	switch x := x.(type) {
	case nil:
		return nil
	case string:
		return []byte(x)
	}
	b, err := json.Marshal(wrap(x))
	if err != nil {
		return nil
	}
	return b
}

// Replay maps recorded events one after the other, as a running plugin would, and describes the
// outcomes of each. It publishes nothing and applies no rates.
func (s *Spec) Replay(host string, env map[string]string) func(event map[string]any) []string {
	free := *s
	free.rules = nil
	for _, r := range s.rules {
		c := *r
		c.rate, c.keepLast = nil, false
		free.rules = append(free.rules, &c)
	}
	types := s.types
	var l *lab
	return func(event map[string]any) (lines []string) {
		for k, x := range event {
			event[k] = asDeclared(types[k], x)
		}
		at, recorded := event["time"].(time.Time)
		if !recorded {
			at = time.Now()
		}
		if l == nil {
			l = newLab(&free, expr.Vars{Now: at, Host: host, Env: env})
		}
		for _, o := range l.until(at) {
			lines = append(lines, fmt.Sprintf("%s %s (its time had come)", o.rule.label, &o))
		}
		list, _ := l.event(event)
		for _, st := range l.engine.plain {
			acted := false
			for i := range list {
				if o := &list[i]; o.rule == st.rule {
					lines, acted = append(lines, st.rule.label+" "+o.String()), true
				}
			}
			if !acted {
				lines = append(lines, st.rule.label+" "+st.rule.explain(st, l.variables(event)))
			}
		}
		return lines
	}
}
