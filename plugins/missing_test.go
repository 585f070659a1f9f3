package plugins

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/expr"
)

// mapEntry maps one event by a file with one entry, and describes the outcome.
func mapEntry(t *testing.T, entry string, fields, state map[string]any) (string, *expr.Vars) {
	t.Helper()
	_, catalog := newProbes(t)
	c := &Checker{Catalog: catalog, Host: "pi"}
	s, errs := c.Check("a", "a.yaml", []byte("source: {probe: {name: a}}\n"+entry))
	if errs != nil {
		t.Fatalf("%s: %v", entry, errs)
	}
	l := newLab(s, expr.Vars{State: state, Now: time.Unix(0, 0)})
	list, verdicts := l.event(fields)
	v := l.variables(fields)
	if len(list) > 0 {
		return list[0].String(), v
	}
	return strings.TrimPrefix(verdicts[0], s.rules[0].label+" "), v
}

// TestNothingIsNoOrder: an absent, unreadable or NaN value neither deletes nor empties nor removes
// anything; a literal does.
func TestNothingIsNoOrder(t *testing.T) {
	event := func() map[string]any {
		return map[string]any{"value": 7, "text": "", "seen": math.NaN(), "json": map[string]any{
			"null": nil, "list": []any{1, nil}, "inf": math.Inf(1), "empty": "", "zero": 0, "no": false, "text": "on"}}
	}
	const emptied = `error: payload: it is empty, and an empty retained payload deletes the retained value; to delete it, write payload: "" in an entry of its own, with a when`
	for entry, want := range map[string]string{
		// An entry of publish.
		"publish: [{topic: t, retain: true, payload: \"${event.json.gone}\"}]":            "error: payload: event.json.gone is missing (nil)",
		"publish: [{topic: t, payload: \"${event.json.gone}\"}]":                          "error: payload: event.json.gone is missing (nil)",
		"publish: [{topic: t, retain: true, payload: \"${event.json.null}\"}]":            "error: payload: event.json.null is missing (nil)",
		"publish: [{topic: t, retain: true, payload: \"${event.seen}\"}]":                 "error: payload: event.seen is NaN, which is not a number",
		"publish: [{topic: t, retain: true, payload: \"${event.json.inf}\"}]":             "error: payload: event.json.inf is +Inf, which is not a number",
		"publish: [{topic: t, retain: true, payload: \"t=${event.json.gone}\"}]":          "error: payload: event.json.gone is missing (nil)",
		"publish: [{topic: t, retain: true, payload: \"${string(event.json.gone)}\"}]":    "error: payload: event.json.gone is missing (nil)",
		"publish: [{topic: t, retain: true, payload: \"${join(event.json.list)}\"}]":      "error: payload: element 1 of event.json.list is missing (nil)",
		"publish: [{topic: t, retain: true, payload: \"${event.json.list[1]}\"}]":         "error: payload: event.json.list[1] is missing (nil)",
		"publish: [{topic: t, retain: true, payload: \"${first([])}\"}]":                  "error: payload: first([]) is missing (nil)",
		"publish: [{topic: t, retain: true, payload: \"${event.json.no ? 1 : nil}\"}]":    "error: payload: event.json.no ? 1 : nil is missing (nil)",
		"publish: [{topic: t, retain: true, payload: {v: \"${event.seen}\"}}]":            "error: payload: NaN can't be written as a number",
		"publish: [{topic: t, retain: true, payload: \"${event.text}\"}]":                 emptied,
		"publish: [{topic: t, retain: true, payload: \"${event.json.empty}\"}]":           emptied,
		"publish: [{topic: t, retain: true, payload: \"${event.json.gone ?? ''}\"}]":      emptied,
		"publish: [{topic: t, retain: true, payload: \"${event.text}${event.text}\"}]":    emptied,
		"publish: [{topic: \"t/${event.json.gone}\"}]":                                    "not allowed: topic: event.json.gone is missing (nil)",
		"publish: [{topic: t, retain: true, payload: \"\"}]":                              "t = ",
		"publish: [{topic: t, retain: true, payload: null}]":                              "t = ",
		"publish: [{topic: t, payload: \"${event.text}\"}]":                               "t = ",
		"publish: [{topic: t, retain: true, payload: \"${event.json.zero}\"}]":            "t = 0",
		"publish: [{topic: t, retain: true, payload: \"${event.json.no}\"}]":              "t = false",
		"publish: [{topic: t, retain: true, payload: \"${event.json.gone ?? 5}\"}]":       "t = 5",
		"publish: [{topic: t, retain: true, payload: {v: \"${event.json.gone}\", w: 1}}]": `t = {"v":null,"w":1}`,
		"publish: [{topic: t, retain: true, payload: [\"${event.json.gone}\", 1]}]":       `t = [null,1]`,
		// An action.
		"actions: [{note: {title: \"${event.json.gone}\"}}]":                                                  "error: note: title: event.json.gone is missing (nil)",
		"actions: [{note: {title: x, level: \"${event.json.gone}\"}}]":                                        "error: note: level: event.json.gone is missing (nil)",
		"actions: [{note: {title: x, \"on\": \"${event.json.null}\"}}]":                                       "error: note: on: event.json.null is missing (nil)",
		"actions: [{note: {title: x, level: \"${event.seen}\"}}]":                                             "error: note: level: event.seen is NaN, which is not a number",
		"actions: [{note: {title: x, words: [a, \"${event.json.gone}\"]}}]":                                   "error: note: words[1] is missing (nil)",
		"actions: [{note: {title: x, words: \"${event.json.list}\"}}]":                                        "error: note: words[1] is missing (nil)",
		"actions: [{note: {title: x, data: {a: {b: \"${event.seen}\"}}}}]":                                    "error: note: data.a.b is NaN, which is not a number",
		"actions: [{note: {title: x, payload: \"${event.json.gone}\", retain: true}}]":                        "error: note: payload: event.json.gone is missing (nil)",
		"actions: [{note: {title: x, payload: \"${event.text}\", retain: true}}]":                             "error: note: " + emptied[len("error: "):],
		"actions: [{note: {title: x, payload: \"${event.text}\", retain: \"${event.value == 7}\"}}]":          "error: note: " + emptied[len("error: "):],
		"actions: [{note: {title: x, payload: null, retain: true}}]":                                          `note {"payload":null,"retain":true,"title":"x"}`,
		"actions: [{note: {title: x, payload: \"\", retain: true}}]":                                          `note {"payload":"","retain":true,"title":"x"}`,
		"actions: [{note: {title: x, payload: \"${event.text}\"}}]":                                           `note {"payload":"","title":"x"}`,
		"actions: [{note: {title: x, data: {a: \"${event.json.gone}\", b: [null, \"${event.json.list}\"]}}}]": `note {"data":{"a":null,"b":[null,[1,null]]},"title":"x"}`,
		"actions: [{note: {title: x, words: \"${filter(event.json.list, # != nil) | map(string(#))}\"}}]":     `note {"title":"x","words":["1"]}`,
		// The state.
		"publish: [{topic: t, payload: x, set: {kept: \"${event.json.gone}\"}}]": "error: set: kept: event.json.gone is missing (nil)",
		"publish: [{topic: t, payload: x, set: {kept: \"${event.seen}\"}}]":      "error: set: kept: event.seen is NaN, which is not a number",
		"publish: [{set: {kept: \"is ${event.json.gone}\"}}]":                    "error: set: kept: event.json.gone is missing (nil)",
	} {
		got, v := mapEntry(t, entry+"\n", event(), map[string]any{"kept": "before"})
		if got, _, _ = strings.Cut(got, "; filter("); strings.Contains(got, "write ${") {
			got, _, _ = strings.Cut(got, "; write ${")
		}
		if got != want {
			t.Errorf("%s\n%s; want\n%s", entry, got, want)
		}
		if v.State["kept"] != "before" {
			t.Errorf("%s: the state is %v", entry, v.State)
		}
	}
	if _, v := mapEntry(t, "publish: [{set: {kept: null}}]\n", event(), map[string]any{"kept": "before"}); len(v.State) != 0 {
		t.Errorf("a literal null forgets a name, got %v", v.State)
	}
}

// TestNothingKeepsTheRetainedValue: on a running bus the value remains, the error is counted, and
// the next valid value is published.
func TestNothingKeepsTheRetainedValue(t *testing.T) {
	w := newWorld(t, Options{})
	w.write("a.yaml", "source: {probe: {name: a}}\npublish: [{topic: kept, payload: \"${event.json.t}\", retain: true}]\n")
	kept := func() string {
		list, err := w.bus.Retained("kept")
		if err != nil || len(list) != 1 {
			t.Fatalf("%d retained values, %v", len(list), err)
		}
		return string(list[0].Payload)
	}
	w.probes.post(t, "a", map[string]any{"json": map[string]any{"t": 21.5}})
	for _, json := range []any{nil, map[string]any{}, map[string]any{"t": nil}, map[string]any{"t": math.NaN()}, map[string]any{"t": ""}} {
		w.probes.post(t, "a", map[string]any{"json": json})
	}
	if got := kept(); got != "21.5" {
		t.Errorf("the retained value is %q", got)
	}
	w.is("a", StateDegraded, func(s Status) bool { return s.Counters.Errors == 5 && strings.Contains(s.LastError, "is empty") })
	w.probes.post(t, "a", map[string]any{"json": map[string]any{"t": 22}})
	if got := kept(); got != "22" {
		t.Errorf("the next good value is %q", got)
	}
}
