package plugins

// This file reads an entry of "actions".

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/postbus/postbus/config/yamlnode"
	"github.com/postbus/postbus/plugins/expr"
	"github.com/postbus/postbus/plugins/kind"
)

var actionKeys = slices.Concat([]string{"when", "name", "rate", "set", "expires", "retry", "on_answer", "home_assistant"}, timingKeys)

const (
	defaultExpires  = time.Minute // so that a stale "unlock" is never executed
	defaultAttempts = 10
	endless         = math.MaxInt // attempts of a persistent action
	defaultBackoff  = "1s..30s"
)

func (f *fileReader) act(n yamlnode.Node, r *rule) {
	kinds := names(f.Catalog.actions)
	m, ok := n.Map(slices.Concat(actionKeys, kinds)...)
	if !ok {
		return
	}
	scope := f.scope
	f.common(n, m, r)
	var found []string
	for i := range m.Len() {
		if name, _ := m.Entry(i); slices.Contains(kinds, name) {
			found = append(found, name)
		}
	}
	switch {
	case len(found) == 0 && complete(n, m):
		n.FailKey("name one of: "+strings.Join(kinds, ", "), "the entry has no action")
	case len(found) > 1:
		n.FailKey("write one entry for each", "an entry has one action, got %s", strings.Join(found, " and "))
	}
	if len(found) != 1 {
		return
	}
	a := &actionSpec{kind: f.Catalog.actions[found[0]], topics: map[string]*topicSpec{}, expires: defaultExpires}
	a.retry = retrySpec{attempts: defaultAttempts, min: time.Second, max: 30 * time.Second}
	if a.kind.Persistent {
		a.expires, a.retry.attempts = 0, endless
	}
	r.action = a
	o, _ := m.Get(found[0])
	f.arguments(o, a)
	f.keys[found[0]]++
	if a.key = found[0]; f.keys[found[0]] > 1 {
		a.key = fmt.Sprintf("%s-%d", found[0], f.keys[found[0]])
	}
	if v, ok := m.Get("name"); ok {
		if s, ok := v.Text(); ok {
			if !IDForm.MatchString(s) {
				v.Fail("letters, digits, _ and -, at most 64", "%q is not a valid name", s)
			}
			a.key = s
		}
	}
	for _, other := range f.spec.rules {
		if other.action != nil && len(a.claims) > 0 && overlapping(other.action.claims, a.claims) {
			n.FailKey("merge them into one entry, with an expression for the difference",
				"two actions use %s, which allows one owner", strings.Join(a.claims, ", "))
		}
		if other.action != nil && other.action.key == a.key {
			n.FailKey("give one of them its own name: key, which also names its queue",
				"two actions are called %q", a.key)
		}
	}
	if v, ok := m.Get("expires"); ok {
		if v.IsScalar() && v.Raw().Value == "never" {
			a.expires = 0
		} else {
			a.expires, _ = v.Duration(time.Second, 10*365*24*time.Hour)
		}
	}
	a.retry = f.retry(m, a.retry)
	if v, ok := m.Get("on_answer"); ok {
		if options, _ := o.Map(slices.Concat(keysOf(a.kind.Options), keysOf(a.kind.Args))...); hasKey(options, "batch") {
			v.FailKey("leave out one of them", "an answer belongs to one event, and a batch has several")
		}
		f.onAnswer(v, a, r.label, scope)
	}
	if v, ok := m.Get("home_assistant"); ok {
		r.ha = readHomeAssistant(v, r, yamlnode.Node{}, f.spec.reads)
	}
	a.hash = Hash(fmt.Appendf(nil, "%s %#v %v %v %v %v", found[0], deep(reflect.ValueOf(a.options)), a.urls, a.retry, a.expires, a.answers))
}

// fixed returns the keys that are both options and arguments of the kind, and options here: their texts are
// the same for every event. The others are read later.
func (f *fileReader) fixed(n yamlnode.Node, k *kind.Kind, r *reader) (keys []string) {
	if !n.IsMap() || k.Args == nil {
		return nil
	}
	types := map[string]reflect.Type{}
	for _, o := range fieldsOf(reflect.TypeOf(k.Options)) {
		types[o.key] = o.typ
	}
	m, _ := n.Map(slices.Concat(keysOf(k.Args), keysOf(k.Options))...)
	for _, d := range fieldsOf(reflect.TypeOf(k.Args)) {
		if types[d.key] != d.typ { // it is no option, or an option of its own, as the keys of a mapping
			continue
		}
		if at, ok := m.Get(d.key); ok && hasExpressions(at) {
			r.later = append(r.later, d.key)
		} else {
			keys = append(keys, d.key)
		}
	}
	return keys
}

// publishesHere reports whether an action publishes on this bus, where a secret would be stored and shown.
func publishesHere(k *kind.Kind) bool {
	return slices.ContainsFunc(fieldsOf(reflect.TypeOf(k.Args)), func(f field) bool { return f.topic == "here" })
}

// retry reads {attempts: 10, backoff: 1s..30s}; spec holds the defaults.
func (f *fileReader) retry(m yamlnode.Map, spec retrySpec) retrySpec {
	v, ok := m.Get("retry")
	if !ok {
		return spec
	}
	r, ok := v.Map("attempts", "backoff")
	if !ok {
		return spec
	}
	if a, ok := r.Get("attempts"); ok {
		n, _ := a.Int(1, 1000)
		spec.attempts = int(n)
	}
	if b, ok := r.Get("backoff"); ok {
		if s, ok := b.Text(); ok {
			low, high, ranged := strings.Cut(s, "..")
			if !ranged {
				high = low
			}
			l, lerr := yamlnode.ParseDuration(low)
			h, herr := yamlnode.ParseDuration(high)
			if lerr != nil || herr != nil || l < time.Millisecond || h < l || h > 24*time.Hour {
				b.Fail("write it as "+defaultBackoff, "%q is not a range of durations from 1ms to 24h", s)
			}
			spec.min, spec.max = l, h
		}
	}
	return spec
}

// arguments reads the mapping of an action: fixed options, and arguments that may contain ${…}.
func (f *fileReader) arguments(n yamlnode.Node, a *actionSpec) {
	v := reflect.New(reflect.TypeOf(a.kind.Options)).Elem()
	v.Set(reflect.ValueOf(a.kind.Options))
	where := map[string]yamlnode.Node{}
	args := keysOf(a.kind.Args)
	r := reader{dir: f.Dir, skip: args, urls: map[string]urlSpec{}, permissions: f.spec.permissions}
	a.urls = r.urls
	f.secretsExist(n)
	before := n.ErrorCount()
	fixed := f.fixed(n, a.kind, &r)
	r.fill(n, v, where, "")
	a.options = v.Interface()
	if n.ErrorCount() == before { // a mistake is reported once
		complain(a.options, n, where)
	}
	if t, ok := a.options.(kind.Claimer); ok {
		a.claims = t.Claims()
	}
	if r, ok := a.options.(kind.Commander); ok {
		f.spec.runs = append(f.spec.runs, r.Runs())
	}
	if !n.IsMap() {
		return
	}
	// Text in a fixed option must not look like a template, because it would not be evaluated.
	for key, at := range where {
		if at.IsScalar() && expr.HoleBeside(at.Raw().Value) >= 0 && !slices.Contains(args, key) {
			at.FailWithin(expr.HoleBeside(at.Raw().Value),
				"keys that may contain expressions: "+strings.Join(args, ", "), "%s cannot contain an expression", key)
		}
	}
	m, _ := n.Map(slices.Concat(args, keysOf(a.kind.Options))...)
	proto := reflect.New(reflect.TypeOf(a.kind.Args)).Elem()
	given := map[string]yamlnode.Node{}
	var keys []string
	var values []expr.Value
	scope := f.scope
	scope.Secrets = !publishesHere(a.kind)
	for _, d := range fieldsOf(proto.Type()) {
		if slices.Contains(fixed, d.key) {
			continue
		}
		at, there := m.Get(d.key)
		if !there {
			if d.need {
				n.FailKey("it is required: "+d.doc, "%q is missing", d.key)
			}
			continue
		}
		given[d.key] = at
		own := scope
		own.Secrets = own.Secrets && d.topic == ""
		value, ok := valueOf(at, own)
		if !ok {
			continue
		}
		if d.url != "" && at.IsScalar() {
			if t, ok := template(at, at.Raw().Value, own); ok {
				r.urlText(at, d, at.Raw().Value, t.Parts())
				value = expr.FromTemplate(t.Escape(escapeURL))
			}
		}
		if value.Constant() {
			r.value(at, d, proto.Field(d.index), map[string]yamlnode.Node{}, d.key)
		}
		if !value.Constant() {
			a.dynamic = append(a.dynamic, dynamicArg{d, value})
		}
		if d.topic != "" && at.IsScalar() {
			if t := f.topic(at, d.topic == "remote"); t != nil {
				a.topics[d.key] = t
			}
		}
		keys, values = append(keys, d.key), append(values, value)
	}
	a.args = expr.Map(keys, values)
	f.accesses(a.options, a.urls)
	if c, ok := proto.Interface().(kind.GivenChecker); ok && complete(n, m) && n.ErrorCount() == before {
		place(c.CheckGiven(keys), n, given)
	}
}

func overlapping(a, b []string) bool {
	return slices.ContainsFunc(a, func(c string) bool { return slices.Contains(b, c) })
}

func hasKey(m yamlnode.Map, key string) bool {
	_, ok := m.Get(key)
	return ok
}
