package plugins

// This file is "on_answer" of an action: entries like those of "publish", for the answer to its job. They are
// rules of the same engine, whose event is that of the job with the answer as its field answer. A job counts
// as done when what they publish is durable.

import (
	"context"
	"reflect"
	"slices"
	"strings"

	"github.com/postbus/postbus/config/yamlnode"
	"github.com/postbus/postbus/plugins/expr"
	"github.com/postbus/postbus/plugins/kind"
)

// answerField is the field of the event that holds the answer.
const answerField = "answer"

// onAnswer reads the entries. scope is that of the file.
func (f *fileReader) onAnswer(n yamlnode.Node, a *actionSpec, label string, scope expr.Scope) {
	if a.kind.Answer == nil {
		var have []string
		for _, name := range names(f.Catalog.actions) {
			if f.Catalog.actions[name].Answer != nil {
				have = append(have, name)
			}
		}
		n.FailKey("these actions have one: "+strings.Join(have, ", "), "the action %s has no answer", a.kind.Name)
		return
	}
	before := f.scope
	defer func() { f.scope = before }()
	for _, d := range fieldsOf(reflect.TypeOf(a.kind.Answer)) {
		scope.Answer = append(scope.Answer, d.key)
	}
	f.scope = scope
	from := len(f.spec.rules)
	f.rules(n, label+".on_answer", func(n yamlnode.Node, r *rule) {
		r.answerTo = a.key
		f.publish(n, r)
		if r.topic != nil && r.body == nil {
			if whole, ok := template(n, "${answer}", f.scope); ok {
				body := expr.FromTemplate(whole)
				r.body = &body
			}
		}
	})
	var u expr.Uses
	for _, r := range f.spec.rules[from:] {
		u.Merge(r.uses)
		if r.keyed && r.perKind == perTopic {
			u.Merge(expr.Uses{Fields: []string{"name", "topic"}})
		}
	}
	a.answers, a.eventWhole = true, u.Whole
	a.eventFields = slices.DeleteFunc(u.Fields, func(field string) bool { return field == answerField })
}

// answerEvent is the event of the entries for an answer.
func answerEvent(event, answer map[string]any) map[string]any {
	fields := make(map[string]any, len(event)+1)
	for k, v := range event {
		fields[k] = v
	}
	fields[answerField] = answer
	return fields
}

// encodeFields encodes fields of an event for a queued job.
func encodeFields(fields map[string]any) ([]byte, error) {
	if len(fields) == 0 {
		return nil, nil
	}
	return encodeCBOR.Marshal(plainValue(fields))
}

func decodeFields(b []byte, types map[string]reflect.Type) (map[string]any, error) {
	if len(b) == 0 {
		return nil, nil
	}
	var fields map[string]any
	if err := decodeCBOR.Unmarshal(b, &fields); err != nil {
		return nil, err
	}
	return typed(fields, types), nil
}

// answered is kind.Job.Answer.
func (w *worker) answered(j *queued) func(context.Context, map[string]any) error {
	return func(ctx context.Context, fields map[string]any) error {
		return w.p.mapper.answer(ctx, w.spec.key, j.job.Event, fields, origin{hops: j.event.Hops, cause: j.event.Seq})
	}
}

// answer maps the answer to a job, and returns when all outcomes are durable.
func (m *mapper) answer(ctx context.Context, action string, event []byte, answer map[string]any, from origin) error {
	return settled(ctx, func(done func(error)) error { return m.putAnswer(ctx, action, event, answer, from, done) })
}

func (m *mapper) putAnswer(ctx context.Context, action string, event []byte, answer map[string]any, from origin, done func(error)) error {
	size := sizeOf(answer, 3) + len(event)
	if err := m.enter(ctx, nil, size); err != nil {
		return err
	}
	defer m.turn.Unlock()
	now := m.now()
	m.mu.Lock()
	fields, err := decodeFields(event, m.engine.spec.types)
	if err != nil {
		m.mu.Unlock()
		m.flow.room.give(1, size)
		return kind.Permanent(err)
	}
	v := m.variables(now.Wall)
	v.Event = answerEvent(fields, answer)
	list := m.engine.answer(action, v, input{at: now, from: from})
	states := m.engine.answers[action]
	_ = m.judge(states, list) // it is counted
	sooner := m.sooner()
	m.mu.Unlock()
	if m.tracing.Load() {
		m.trace(v, list, states)
	}
	if sooner {
		m.wakeTimekeeper()
	}
	m.flow.put(m.events(list), outgoing{bytes: size, done: done})
	return nil
}

// answer folds the answer to a job of an action into outcomes, as event does.
func (e *engine) answer(action string, v *expr.Vars, in input) []outcome {
	return e.offerTo(e.answers[action], v, in)
}

// asked maps the answer to a job that a test's event made, in virtual time.
func (l *lab) asked(o *outcome, answer map[string]any) []outcome {
	a := o.rule.action
	v := l.variables(answerEvent(selected(o.event, a.eventFields, a.eventWhole), answer))
	list := slices.Clone(l.engine.answer(a.key, v, input{at: l.now, from: origin{hops: o.from.hops}}))
	l.engine.memory = v.State
	l.done()
	return list
}

// answers reads the answers of a test: of each action, by its key.
func (f *fileReader) answers(n yamlnode.Node) map[string]map[string]any {
	out := map[string]map[string]any{}
	var keys []string
	fields := map[string][]string{}
	for _, r := range f.spec.rules {
		if r.action != nil && r.action.answers {
			keys = append(keys, r.action.key)
			fields[r.action.key] = keysOf(r.action.kind.Answer)
		}
	}
	m, _ := n.Map(keys...)
	for i := range m.Len() {
		key, v := m.Entry(i)
		am, ok := v.Map(fields[key]...)
		if !ok {
			continue
		}
		answer := map[string]any{}
		for j := range am.Len() {
			name, item := am.Entry(j)
			if x, ok := plain(item); ok {
				answer[name] = x
			}
		}
		out[key] = answer
	}
	return out
}
