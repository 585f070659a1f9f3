package plugins

// This file is "tests:" in a plugin file: events that are mapped before the file is accepted, and
// the expected outcomes of each. lab.go maps them in virtual time.

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/postbus/postbus/bus/topic"
	"github.com/postbus/postbus/config/suggest"
	"github.com/postbus/postbus/config/yamlnode"
	"github.com/postbus/postbus/plugins/expr"
	"github.com/postbus/postbus/plugins/payload"
)

// inlineTest is one test of a file.
type inlineTest struct {
	node  yamlnode.Node
	name  string // "" or with a colon at the end
	vars  expr.Vars
	uses  map[string][]byte // the latest values of topics when the test begins
	steps []step
}

// step is a moment of a test: time passes until then, and then the event arrives, if there is one.
type step struct {
	at     time.Duration // since the test began
	event  map[string]any
	answer map[string]map[string]any // to the event's jobs, by the actions' keys
	uses   map[string][]byte         // values that come before the event
	node   yamlnode.Node             // of expect
	checks bool                      // expect is there: it lists all outcomes since the previous one
	expect []expectation
}

// expectation is one expected outcome of an event. Absent fields are not compared.
type expectation struct {
	node    yamlnode.Node
	topic   *expr.Template
	payload *expr.Value
	retain  *bool
	qos     *int64
	action  string // kind or name
	args    expr.Value
}

func (f *fileReader) tests(n yamlnode.Node) {
	list, _ := n.List()
	for _, item := range list {
		m, ok := item.Map("name", "event", "answer", "last", "own", "state", "uses", "now", "expect", "steps")
		if !ok {
			continue
		}
		t := inlineTest{node: item}
		if v, ok := m.Get("name"); ok {
			if s, ok := v.Text(); ok {
				t.name = s + ": "
			}
		}
		t.vars = expr.Vars{Host: f.Host, Now: time.Now(), Env: map[string]string{}}
		if v, ok := m.Get("last"); ok {
			t.vars.Last = f.testEvent(v)
		}
		t.vars.State = testValues(m, "state")
		t.vars.Own = testValues(m, "own")
		t.uses = f.testUses(m)
		if v, ok := m.Get("now"); ok {
			t.vars.Now = readTime(v)
		} else if _, timed := m.Get("steps"); !timed && f.spec.dependsOnTime() {
			item.FailKey(`write now: "2026-06-21T12:00:00Z"`, "the test has no time, and the file uses sun or time: its result would differ from hour to hour")
		}
		if v, ok := m.Get("steps"); ok {
			if _, said := m.Get("now"); !said {
				t.vars.Now = stepsBegin
			}
			f.steps(v, m, &t)
		} else if !f.single(item, m, &t) {
			continue
		}
		f.spec.tests = append(f.spec.tests, t)
	}
}

// stepsBegin is when a test with steps begins unless it says so: a Monday.
var stepsBegin = time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)

// testValues reads the names that are kept when the test begins.
func testValues(m yamlnode.Map, key string) map[string]any {
	v, ok := m.Get(key)
	if !ok {
		return nil
	}
	x, _ := plain(v)
	values, _ := x.(map[string]any)
	return values
}

// single reads a test of one event.
func (f *fileReader) single(item yamlnode.Node, m yamlnode.Map, t *inlineTest) bool {
	s := step{event: map[string]any{}, checks: true}
	if v, ok := m.Get("event"); ok {
		s.event = f.testEvent(v)
	} else {
		item.FailKey("write event: {…}, or steps: [{at: 0s, event: {…}}]", "the test has no event")
	}
	expect, has := m.Get("expect")
	if !has {
		item.FailKey("write expect: [] for an event without an outcome",
			"the test expects nothing that can be checked")
		return false
	}
	if v, ok := m.Get("answer"); ok {
		s.answer = f.answers(v)
	}
	s.node, s.expect = expect, f.expectations(expect)
	t.steps = []step{s}
	return true
}

// steps reads a test of several moments.
func (f *fileReader) steps(n yamlnode.Node, m yamlnode.Map, t *inlineTest) {
	for _, key := range []string{"event", "answer", "expect"} {
		if v, ok := m.Get(key); ok {
			v.FailKey("write it in a step", "a test with steps has no %s of its own", key)
		}
	}
	list, _ := n.List()
	checks := false
	for _, item := range list {
		sm, ok := item.Map("at", "uses", "event", "answer", "expect")
		if !ok {
			continue
		}
		s := step{node: item}
		if v, ok := sm.Get("at"); ok {
			s.at, _ = v.Duration(0, maxWait)
		} else if complete(item, sm) {
			item.FailKey("write at: 0s", "the step has no time")
		}
		if k := len(t.steps); k > 0 && s.at < t.steps[k-1].at {
			item.FailKey("list them in their order", "the step is before the previous one")
		}
		s.uses = f.testUses(sm)
		if v, ok := sm.Get("event"); ok {
			s.event = f.testEvent(v)
		}
		if v, ok := sm.Get("answer"); ok {
			s.answer = f.answers(v)
		}
		if v, ok := sm.Get("expect"); ok {
			s.node, s.checks, s.expect = v, true, f.expectations(v)
			checks = true
		}
		t.steps = append(t.steps, s)
	}
	if !checks && !n.Refused() {
		n.FailKey("write expect: [] in the last step", "the test expects nothing that can be checked")
	}
}

// testUses reads the values of names of "uses", or of topics.
func (f *fileReader) testUses(m yamlnode.Map) map[string][]byte {
	v, ok := m.Get("uses")
	if !ok {
		return nil
	}
	out := map[string][]byte{}
	list, _ := v.Map()
	for i := range list.Len() {
		name, item := list.Entry(i)
		x, ok := plain(item)
		if !ok {
			continue
		}
		if j := slices.IndexFunc(f.spec.uses, func(u useSpec) bool { return u.name == name }); j >= 0 {
			name = f.spec.uses[j].filter
			if strings.ContainsAny(name, "+#") {
				item.FailKey("write a topic that it matches", "the filter %q stands for several topics", name)
				continue
			}
		} else if !slices.ContainsFunc(f.spec.uses, func(u useSpec) bool { return topic.Match(u.filter, name) }) {
			item.FailKey("write a name of uses, or a topic", "no name of uses is %q, nor matches it", name)
			continue
		}
		out[name] = bodyOfValue(x)
	}
	return out
}

func (f *fileReader) expectations(n yamlnode.Node) (out []expectation) {
	wants, _ := n.List()
	for _, w := range wants {
		if e, ok := f.expectation(w); ok {
			out = append(out, e)
		}
	}
	return out
}

func readTime(n yamlnode.Node) time.Time {
	if !n.IsScalar() {
		n.Text()
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, n.Raw().Value)
	if err != nil {
		n.Fail("write it as 2026-01-31T12:00:00Z", "%q is not a time", n.Raw().Value)
	}
	return t
}

// testEvent reads an event with the types that the source declares.
func (f *fileReader) testEvent(n yamlnode.Node) map[string]any {
	m, ok := n.Map()
	out := map[string]any{}
	if !ok {
		return out
	}
	types := f.spec.types
	for i := range m.Len() {
		name, item := m.Entry(i)
		x, ok := plain(item)
		if !ok {
			continue
		}
		if !f.scope.Open && types[name] == nil {
			hint := "the fields there are: " + strings.Join(f.scope.Fields, ", ")
			if s := suggest.Nearest(name, f.scope.Fields); s != "" {
				hint = fmt.Sprintf("did you mean %q?", s)
			}
			item.FailKey(hint, "the source has no field %q", name)
			continue
		}
		out[name] = asDeclared(types[name], x)
	}
	return out
}

// asDeclared converts a value from a file to the type that the source would give it.
func asDeclared(t reflect.Type, x any) any {
	s, text := x.(string)
	switch {
	case t == nil:
	case isParts(t):
		if m, ok := x.(map[string]any); ok {
			out := maps.Clone(m)
			for _, f := range fieldsOf(t) {
				if part, has := m[f.key]; has {
					out[f.key] = asDeclared(f.typ, part)
				}
			}
			return out
		}
	case text && t == timeType:
		if at, err := time.Parse(time.RFC3339Nano, s); err == nil {
			return at
		}
	case text && t == durationType:
		if d, err := yamlnode.ParseDuration(s); err == nil {
			return d
		}
	case text && t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.String && t.PkgPath() != "":
		return reflect.ValueOf(strings.Split(s, "/")).Convert(t).Interface() // the levels of a topic
	case text && t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8:
		return []byte(s)
	}
	return x
}

func (f *fileReader) expectation(n yamlnode.Node) (expectation, bool) {
	kinds := names(f.Catalog.actions)
	var keys []string
	for _, r := range f.spec.rules {
		if r.action != nil {
			keys = append(keys, r.action.key)
		}
	}
	m, ok := n.Map(append(append([]string{"topic", "payload", "retain", "qos"}, kinds...), keys...)...)
	e := expectation{node: n}
	if !ok {
		return e, false
	}
	for i := range m.Len() {
		key, v := m.Entry(i)
		switch key {
		case "topic":
			if s, ok := v.Text(); ok {
				e.topic, _ = template(v, s, f.scope)
			}
		case "payload":
			if x, ok := valueOf(v, f.scope); ok {
				e.payload = &x
			}
		case "retain":
			if b, ok := v.Bool(); ok {
				e.retain = &b
			}
		case "qos":
			if q, ok := v.Int(0, 2); ok {
				e.qos = &q
			}
		default:
			e.action = key
			scope := f.scope
			scope.Secrets = true
			e.args, _ = valueOf(v, scope)
		}
	}
	return e, true
}

// check runs the test and reports each difference at its position.
func (t *inlineTest) check(s *Spec) {
	l := newLab(s, t.vars)
	if t.vars.Last != nil || t.vars.Own != nil {
		l.preset(t.steps[0].event, t.vars.Last, t.vars.Own)
	}
	l.set(t.uses)
	var got []outcome
	var verdicts []string
	for _, step := range t.steps {
		got = append(got, l.until(t.vars.Now.Add(step.at))...)
		l.set(step.uses)
		if step.event != nil {
			list, why := l.event(step.event)
			got, verdicts = append(got, list...), why
			for i := range list {
				if a := list[i].rule.action; a != nil && step.answer[a.key] != nil {
					got = append(got, l.asked(&list[i], step.answer[a.key])...)
				}
			}
		}
		if !step.checks {
			continue
		}
		if len(got) != len(step.expect) {
			step.node.Fail(strings.Join(verdicts, "; "), "%swant %s, got %s", t.name, count(len(step.expect)), outcomes(got))
			return
		}
		vars := l.variables(step.event)
		for i, e := range step.expect {
			if wrong := e.compare(&got[i], vars); wrong != "" {
				e.node.Fail("", "%s%s", t.name, wrong)
			}
		}
		got = nil
	}
	if len(got) > 0 {
		t.node.Fail("write expect in the last step", "%safter the last expect there is %s", t.name, outcomes(got))
	}
}

func count(n int) string {
	if n == 1 {
		return "1 event"
	}
	return fmt.Sprintf("%d events", n)
}

func outcomes(list []outcome) string {
	if len(list) == 0 {
		return "none"
	}
	var words []string
	for i := range list {
		words = append(words, list[i].String())
	}
	return strings.Join(words, " and ")
}

func (e *expectation) compare(o *outcome, v *expr.Vars) string {
	if e.action != "" {
		if o.rule.action == nil || o.rule.action.key != e.action && o.rule.action.kind.Name != e.action {
			return fmt.Sprintf("want the action %s, got %s", e.action, o)
		}
		want, err := e.args.Eval(v)
		if err != nil {
			return err.Error()
		}
		args, _ := want.(map[string]any)
		for key, w := range args {
			if may := keysOf(o.rule.action.kind.Args); !slices.Contains(may, key) {
				return fmt.Sprintf("%s is fixed in the file; what may be expected: %s", key, strings.Join(may, ", "))
			}
			if !same(w, o.args[key]) {
				return fmt.Sprintf("%s: want %s, got %s", key, expr.Text(w), expr.Text(o.args[key]))
			}
		}
		return ""
	}
	if o.rule.action != nil {
		return fmt.Sprintf("want an event, got %s", o)
	}
	if e.topic != nil {
		want, err := e.topic.Text(v)
		if err != nil {
			return err.Error()
		}
		if want != o.topic {
			return fmt.Sprintf("want the topic %q, got %q", want, o.topic)
		}
	}
	if e.payload != nil {
		want, err := e.payload.Eval(v)
		if err != nil {
			return err.Error()
		}
		if !samePayload(want, o.payload) {
			return fmt.Sprintf("want the payload %s, got %s", expr.Text(want), o.payload)
		}
	}
	if e.retain != nil && *e.retain != o.rule.retain {
		return fmt.Sprintf("want retain %v, got %v", *e.retain, o.rule.retain)
	}
	if e.qos != nil && *e.qos != int64(o.rule.qos) {
		return fmt.Sprintf("want QoS %d, got %d", *e.qos, o.rule.qos)
	}
	return ""
}

// samePayload compares a value from a file with a published payload: as JSON if it is a tree,
// otherwise as text.
func samePayload(want any, body []byte) bool {
	switch want.(type) {
	case map[string]any, []any:
		got, ok := payload.JSON(body)
		return ok && same(want, got)
	}
	return expr.Text(want) == string(body)
}

// same compares values as JSON does: 1 and 1.0 are one number.
func same(a, b any) bool {
	x, err := json.Marshal(wrap(a))
	y, err2 := json.Marshal(wrap(b))
	if err != nil || err2 != nil {
		return false
	}
	u, ok := payload.JSON(x)
	v, ok2 := payload.JSON(y)
	return ok && ok2 && expr.Equal(u, v)
}
