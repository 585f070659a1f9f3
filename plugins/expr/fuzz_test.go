package expr

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// fuzzVars are the variables of the other tests, built once and never changed.
var fuzzVars = func() *Vars {
	v := hostileVars()
	maps.Copy(v.Event, sample().Event)
	return v
}()

func seeds(f *testing.F, around func(string) string) {
	for src := range hostile {
		f.Add(around(hostile[src]))
	}
	for _, src := range []string{
		`event.temp > 20 && event.name matches "^K" or not event.on`, `let x = event.list; map(x, # * 2) | filter(# > 3) | sum()`, `if event.on { 1 } else if false { 2 } else { 3 }`,
		`{a: 1, "b": [1, 2.5, nil], (event.name): now.Hour()}`, `event?.a?.["b"] ?? last.x ?: 5`, "`raw` + 'x\\n' + b\"\\x00\"", `reduce(1..3, #acc + #index, 0)`, `reduce(1..700, #acc * 7)`, `1_000 + 0xff + 1e3 ** -2`,
		`date("2026-01-01").AddDate(0, 1, 0) - now`, `event.topic[1:][-1] + hex(event.raw)`, `fromJSON(event.payload)["a"]`, `format("%-+05.1f|%100q|% x|%%", event.temp, event.name, event.raw) + string(sqrt(event.n) ** log(2))`, `scale(clamp(event.n, 0, 5), 0, 5, 0, 1)`, `"a" in event and 3 not in 1..2`, `::len("x")`, `#`, `((((`, `"${x}"`, `/* x */ 1 // y`, `sun.up and time.weekday in ["sat", "sun"] or sun?.elevation > -3 && time["hour"] < 7`,
	} {
		f.Add(around(src))
	}
}

func checkError(t *testing.T, src string, err error) {
	t.Helper()
	if err == nil {
		return
	}
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("%T %v", err, err)
	}
	m := e.Error()
	if e.Offset < 0 || e.Length < 0 || e.Offset+e.Length > len(src) {
		t.Errorf("%q: at %d+%d of %d bytes", m, e.Offset, e.Length, len(src))
	}
	if m == "" || strings.ContainsAny(m, "\n\r") || len(m) > 400 || !utf8.ValidString(m) {
		t.Errorf("message %q", m)
	}
	for _, noise := range []string{"Operator(", "Identifier(", "interface {}", "reflect", "runtime", "map[string]", "can't be evaluated", "can't be read", "%!"} {
		if strings.Contains(m, noise) && !strings.Contains(src, noise) {
			t.Errorf("message %q has %q", m, noise)
		}
	}
}

func FuzzCompile(f *testing.F) {
	seeds(f, func(s string) string { return s })
	f.Fuzz(func(t *testing.T, src string) {
		start := time.Now()
		p, err := Compile(src, Scope{Fields: []string{"temp"}, Open: true, Env: []string{"ROOM"}, At: []float64{52.52, 13.4}})
		checkError(t, src, err)
		if err == nil {
			took, bytes := measure(func() { _, err = p.Eval(fuzzVars) })
			checkError(t, src, err)
			if bytes > hostileMemory {
				t.Errorf("%d KiB in %v", bytes>>10, took)
			}
			_, err = p.Bool(fuzzVars)
			checkError(t, src, err)
			if s := p.Explain(fuzzVars); len(s) > MaxExplain || !utf8.ValidString(s) {
				t.Errorf("explained as %q", s)
			}
			p.Uses()
		}
		if took := time.Since(start); took > time.Minute { // it hangs
			t.Errorf("took %v", took)
		}
	})
}

func FuzzTemplate(f *testing.F) {
	seeds(f, func(s string) string { return "a/${" + s + "}$${x}${host}" })
	f.Add("${")
	f.Add("$${${{}}}")
	f.Fuzz(func(t *testing.T, text string) {
		start := time.Now()
		tmpl, err := ParseTemplate(text, Scope{})
		checkError(t, text, err)
		if err != nil {
			return
		}
		var b strings.Builder
		for _, p := range tmpl.Parts() {
			if p.Hole {
				b.WriteString("${" + p.Source + "}")
			} else {
				b.WriteString(strings.ReplaceAll(p.Text, "${", "$${"))
			}
		}
		if b.String() != text {
			t.Errorf("%q is put together as %q", text, b.String())
		}
		s, err := tmpl.Text(fuzzVars)
		checkError(t, text, err)
		if len(s) > MaxResult && !tmpl.Constant() {
			t.Errorf("%d bytes", len(s))
		}
		_, err = tmpl.Eval(fuzzVars)
		checkError(t, text, err)
		_, err = FromTemplate(tmpl).AppendJSON(nil, fuzzVars)
		checkError(t, text, err)
		if took := time.Since(start); took > time.Minute { // it hangs
			t.Errorf("took %v", took)
		}
	})
}
