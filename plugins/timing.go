package plugins

// This file reads the keys of an entry that concern time and keys: what it distinguishes events by, and
// when it acts.

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/postbus/postbus/config/yamlnode"
	"github.com/postbus/postbus/plugins/expr"
)

// perKind is what an entry distinguishes events by.
type perKind byte

const (
	perTopic perKind = iota // by the event's topic, if it has one
	perAll                  // by nothing
	perText                 // by the value of a text
)

// waitKind is what an entry waits for before it acts.
type waitKind byte

const (
	waitNone   waitKind = iota
	waitFor             // its condition has held for a time
	waitAfter           // a time has passed since its condition held last
	waitSettle          // likewise: the last event of a burst
	waitSilent          // no event came for a time
	waitWindow          // the numbers of a span of time are complete, or at each event
)

// waits are the kinds of which an entry has one at most.
var waits = []waitKind{waitFor, waitAfter, waitSettle, waitSilent, waitWindow}

var waitNames = map[waitKind]string{waitFor: "for", waitAfter: "after", waitSettle: "settle", waitSilent: "silent", waitWindow: "window"}

func (k waitKind) String() string { return waitNames[k] }

// waitSpec is for, after, settle, silent or window.
type waitSpec struct {
	kind    waitKind
	d       time.Duration
	text    string        // for people: for 10m
	cancel  *expr.Program // of after
	recover bool          // of silent
	window  *windowSpec
}

// changedSpec is "changed".
type changedSpec struct {
	value   *expr.Program
	by      float64       // numbers must differ by this much; 0: by anything
	atLeast time.Duration // an equal value passes after this time; 0: never
}

// timingKeys are the keys that concern time and keys.
var timingKeys = []string{"per", "set_own", "changed", "by", "at_least", "for", "after", "cancel", "settle", "silent", "recover", "window", "having", "keep", "each"}

const (
	minWait = time.Millisecond
	maxWait = 366 * 24 * time.Hour
)

// absent tells what provides the variables that not every expression has.
var absent = map[string]string{
	"since":     waitsHint,
	"held":      waitsHint,
	"late":      waitsHint,
	"window":    windowHint,
	"uses":      "write uses: {mode: home/mode} beside source",
	"tables":    "write tables: {rooms: rooms.csv} beside source",
	"recovered": "write silent: 10m and recover: true",
	"item":      "write each: event.json.list",
	"index":     "write each: event.json.list",
	"answer":    "on_answer of an action has it",
}

const waitsHint = "the outcome of an entry with for, after, settle or silent has it; its conditions come before the wait"

// entryScopes returns what an entry's expressions may read: those about the event, and those of the outcome,
// which may come later.
func (f *fileReader) entryScopes(m yamlnode.Map) (event, outcome expr.Scope) {
	event, outcome = f.scope, f.scope
	event.Absent, outcome.Absent = absent, absent
	names := maps.Clone(f.scope.Named)
	if names == nil {
		names = map[string]expr.Type{}
	}
	if _, ok := m.Get("each"); ok {
		names["item"], names["index"] = "", expr.TypeNumber
	}
	event.Named = maps.Clone(names)
	for _, k := range waits {
		if _, ok := m.Get(k.String()); ok && k == waitWindow {
			event.Absent = maps.Clone(absent)
			event.Absent["window"] = "write having: window.mean > 3; the other conditions come before the window"
			names["window"], names["late"] = expr.TypeMap, expr.TypeDuration
			outcome.Members = maps.Clone(outcome.Members)
			if outcome.Members == nil {
				outcome.Members = map[string][]string{}
			}
			outcome.Members["window"] = windowNames
		} else if ok {
			names["since"], names["held"], names["late"] = expr.TypeTime, expr.TypeDuration, expr.TypeDuration
		}
	}
	if _, ok := m.Get("silent"); ok {
		names["recovered"] = expr.TypeBool
	}
	outcome.Named = names
	return event, outcome
}

// timing reads the keys. Their expressions have one of the two scopes of entryScopes.
func (f *fileReader) timing(n yamlnode.Node, m yamlnode.Map, r *rule, event, outcome expr.Scope) {
	r.content = Hash([]byte(n.Content()))[:16]
	if v, ok := m.Get("each"); ok {
		r.each = expression(v, "each", f.scope)
	}
	f.per(m, r, event)
	if v, ok := m.Get("changed"); ok {
		if p := expression(v, "changed", outcome); p != nil {
			r.changed = &changedSpec{value: p}
		}
	}
	f.changes(m, r)
	f.wait(n, m, r, event)
	f.having(m, r, outcome)
	f.keep(m, r)
}

// per reads what the entry distinguishes events by.
func (f *fileReader) per(m yamlnode.Map, r *rule, scope expr.Scope) {
	if len(f.filters) == 0 || len(f.filters) == 1 && !strings.ContainsAny(f.filters[0], "+#") {
		r.perKind = perAll // there is one topic, or none
	}
	v, ok := m.Get("per")
	if !ok {
		return
	}
	s, ok := v.Text()
	switch {
	case !ok:
		return
	case s == "all":
		r.perKind, r.perSaid = perAll, true
		return
	case s == "topic":
		r.perKind, r.perSaid = perTopic, true
		return
	case !strings.Contains(s, "${"):
		v.Fail(`write per: "${event.topic[1]}", per: topic or per: all`, "%q is the same for every event", s)
		return
	}
	if t, ok := template(v, s, scope); ok {
		r.perKind, r.per, r.perSource, r.perSaid = perText, t, s, true
	}
}

func (f *fileReader) changes(m yamlnode.Map, r *rule) {
	for _, key := range []string{"by", "at_least"} {
		if v, ok := m.Get(key); ok {
			if _, has := m.Get("changed"); !has {
				v.FailKey("write changed: event.value", "%s belongs to changed, which is not there", key)
			}
		}
	}
	if r.changed == nil {
		return
	}
	if v, ok := m.Get("by"); ok {
		if x, ok := v.Float(0, math.MaxFloat64); ok {
			if x == 0 {
				v.Fail("leave it out: then any other value counts", "0 is no difference")
			}
			r.changed.by = x
		}
	}
	if v, ok := m.Get("at_least"); ok {
		r.changed.atLeast, _ = v.Duration(minWait, maxWait)
	}
}

// wait reads for, after, settle, silent and window, of which an entry has one.
func (f *fileReader) wait(n yamlnode.Node, m yamlnode.Map, r *rule, scope expr.Scope) {
	for _, k := range waits {
		v, ok := m.Get(k.String())
		if !ok {
			continue
		}
		if r.wait.kind != waitNone {
			v.FailKey("write an entry for each", "an entry has either %s or %s", r.wait.kind, k)
			continue
		}
		r.wait.kind = k
		if k == waitWindow {
			f.window(v, r, scope)
			continue
		}
		r.wait.d, _ = v.Duration(minWait, maxWait)
		r.wait.text = k.String() + " " + yamlnode.FormatDuration(r.wait.d)
	}
	if _, has := m.Get("when"); r.wait.kind == waitFor && !has {
		n.FailKey("write when: event.json.open", "for needs when: the condition that must hold for that long")
	}
	if v, ok := m.Get("cancel"); ok {
		if r.wait.kind != waitAfter {
			v.FailKey("write after: 5m", "cancel belongs to after, which is not there")
		} else {
			r.wait.cancel = expression(v, "cancel", scope)
		}
	}
	if v, ok := m.Get("recover"); ok {
		if r.wait.kind != waitSilent {
			v.FailKey("write silent: 10m", "recover belongs to silent, which is not there")
		} else {
			r.wait.recover, _ = v.Bool()
		}
	}
	if v, ok := m.Get("each"); ok && r.wait.kind == waitSilent && r.perKind != perText {
		v.FailKey(`write per: "${item.id}"`, "silent needs a key for each element")
	}
}

// keep reads which event of a rate's interval is kept.
func (f *fileReader) keep(m yamlnode.Map, r *rule) {
	v, ok := m.Get("keep")
	if !ok {
		return
	}
	s, ok := v.OneOf("first", "last")
	switch {
	case !ok:
	case r.rate == nil:
		if _, has := m.Get("rate"); !has {
			v.FailKey("write rate: 1/10s", "keep belongs to rate, which is not there")
		}
	case s == "last" && r.wait.kind != waitNone:
		v.FailKey("leave out one of them", "keep: last and %s both hold an event back", r.wait.kind)
	default:
		r.keepLast = s == "last"
	}
}

// expression reads an expression that is written without ${}.
func expression(n yamlnode.Node, key string, scope expr.Scope) *expr.Program {
	if n.Refused() {
		return nil
	}
	if !n.IsScalar() {
		n.Fail(fmt.Sprintf("write %s: event.value", key), "want an expression")
		return nil
	}
	src := n.Raw().Value
	if strings.Contains(src, "${") {
		n.FailWithin(strings.Index(src, "${"), "write it without ${ and }", "%s is an expression already", key)
		return nil
	}
	p, err := expr.Compile(src, scope)
	if err != nil {
		failExpr(n, err)
		return nil
	}
	return p
}

// settings reads "set" or "set_own".
func settings(n yamlnode.Node, scope expr.Scope) (list []setting) {
	set, _ := n.Map()
	for i := range set.Len() {
		name, item := set.Entry(i)
		if fixedKey(item, name) {
			continue
		}
		if value, ok := valueOf(item, scope); ok {
			list = append(list, setting{name, value})
		}
	}
	return list
}

// destination is what distinguishes an entry from others, also in another version of the file.
func (r *rule) destination() string {
	switch {
	case r.action != nil:
		return "action " + r.action.key
	case r.answerTo != "" && r.topic != nil:
		return "answer " + r.answerTo + " topic " + r.topic.text
	case r.topic != nil:
		return "topic " + r.topic.text
	}
	return r.label
}

// resolve completes an entry after all of its keys were read. n entries before it have its destination.
func (r *rule) resolve(destination string, n int) {
	acts := r.usesLater()
	all := acts
	now := []*expr.Program{r.when, r.each, r.wait.cancel}
	if w := r.wait.window; w != nil {
		now = append(now, w.of)
		w.shape.Median = wantsMedian(acts)
	}
	for _, p := range now {
		if p != nil {
			all.Merge(p.Uses())
		}
	}
	if r.per != nil {
		all.Merge(r.per.Uses())
	}
	r.uses = all
	r.usesLast, r.lastFields, r.lastWhole = all.Last, all.LastFields, all.LastWhole
	r.usesOwn, r.usesKey, r.usesClock = all.Own || len(r.setOwn) > 0, all.Key, all.Clock
	acts.Merge(expr.Uses{Fields: all.LastFields, Whole: all.LastWhole}) // an event that is acted on later becomes last
	r.laterFields, r.laterWhole = acts.Fields, acts.Whole
	r.durable = r.usesLast || r.usesOwn || r.changed != nil || r.wait.kind != waitNone || r.keepLast
	r.keyed = r.durable || r.rate != nil || r.usesKey
	r.ident = Hash(fmt.Appendf(nil, "%s %d %d %s", destination, n, r.perKind, r.perSource))[:12]
}

// usesLater is what the entry reads when it acts, which may be later than the event.
func (r *rule) usesLater() (u expr.Uses) {
	if r.changed != nil {
		u.Merge(r.changed.value.Uses())
	}
	if w := r.wait.window; w != nil && w.having != nil {
		u.Merge(w.having.Uses())
	}
	if r.topic != nil {
		u.Merge(r.topic.template.Uses())
		if r.body == nil {
			u.Event, u.Whole = true, true
		}
	}
	if r.body != nil {
		u.Merge(r.body.Uses())
	}
	if r.action != nil {
		u.Merge(r.action.args.Uses())
		u.Merge(expr.Uses{Fields: r.action.eventFields, Whole: r.action.eventWhole})
	}
	for _, s := range slices.Concat(r.set, r.setOwn) {
		u.Merge(s.value.Uses())
	}
	return u
}
