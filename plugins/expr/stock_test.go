package expr

// stock_test.go: this evaluator compared with the library's own, which defines the language.

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	stock "github.com/expr-lang/expr"
)

// deviations are the expressions of TestEval that the library evaluates differently or not at all,
// by the decision of this package that causes it.
var deviations = map[string][]string{
	"functions of this package": {`clamp(12, 0, 10)`, `clamp(-1, 0, 10)`, `scale(5, 0, 10, 0, 100)`, `hex(event.raw)`, `hex(255)`, `bool("on")`, `round(20.456, 2)`},
	"functions of mathematics, and format": {
		`sqrt(16)`, `round(sin(0.5), 6)`, `cos(0)`, `round(tan(1), 6)`, `round(asin(1), 6)`, `acos(1)`, `round(atan(1), 6)`, `round(atan2(1, -1), 6)`, `round(log(10), 6)`, `log10(1000)`, `log2(event.n + 1)`, `exp(0)`, `pow(2, 0.5) == sqrt(2)`, `pow(2, 10)`, `sign(-2.5)`, `sign(0)`, `sign(123456789012345678901234567890)`, `log10(100000000000000000000000000000000000000000)`, `format("%05.1f", event.temp)`, `format("%d %s: %t, %q %%", event.n, event.topic, event.on, "a\"b")`, `format("%-5s|%+d|% d|%6.2e|%g", "ä", 5, 3.0, 12345.678, 1e21)`, `format("%x %04x %x %x", event.raw, 255, -1, 123456789012345678901234567890)`, `format("%.3s %s", "äöüß", [1, {a: 2}])`, `format("%d", 123456789012345678901234567890)`, `format("plain")`, `format("%s", now)`, `format("%100d", 1) == repeat(" ", 99) + "1"`,
	},
	"missing things are nil": {`event.a.b.c`, `event.a["b"][0]`},
	"bytes and levels are text": {
		`event.topic == "home/hall/doorbell"`, `"home/hall/doorbell" == event.topic`, `event.topic + "/x"`, `event.topic matches "^home/.+/doorbell$"`, `event.topic startsWith "home/"`,
		`event.payload == '{"a":1}'`, `fromJSON(event.payload).a`, `type(event.topic)`, `type(event.payload)`,
	},
	"texts are counted in characters": {`indexOf("äbc", "c")`, `"äöü"[1]`, `"äöü"[1:]`, `get("abc", 1)`},
	"values as text": {
		`string([1, "a"])`, `string(3000000.0)`, `string(now)`, `toJSON({b: 1, a: [nil, true, "x\n"]})`, `join(["a", 1, 2.5], "-")`,
	},
	"a map's keys are texts":                  {`groupBy([1, 2, 3], # % 2)`, `fromPairs([["a", 1]])`, `{(1): 2}["1"]`},
	"an integer that overflows stays exact":   {`9223372036854775807 + 1`, `-9223372036854775807 - 2`, `4611686018427387904 * 2`},
	"numbers are equal by value":              {`[1, {a: 2}] == [1.0, {a: 2.0}]`, `7.5 % 2`},
	"lists add":                               {`[1] + [2]`},
	"a list without elements isn't nil":       {`split("a", "", 0)`},
	"ranges aren't made to look for a number": {`3 in 1..1000000000`, `repeat("", 1000000000000)`},
	"times": {
		`event.took / duration("1s")`, `type(now)`, `date(timezone("UTC"), "2026-03-01").Day()`, `max(event.at, now) == now`, `now.Weekday() == "Sunday"`, `now.Weekday() in 0..4`, `now.Month() == 3`,
	},
}

func TestAgainstStock(t *testing.T) {
	if strconv.IntSize == 32 {
		t.Skip("the library's integers have 32 bits here")
	}
	known := map[string]bool{}
	for _, list := range deviations {
		for _, src := range list {
			if _, ok := evaluations[src]; !ok {
				t.Errorf("%s isn't in the table", src)
			}
			known[src] = true
		}
	}
	v := sample()
	env := map[string]any{"event": v.Event, "last": v.Last, "state": v.State, "now": v.Now, "host": v.Host, "env": v.Env}
	for src := range evaluations {
		if strings.HasPrefix(src, "keys(") || strings.HasPrefix(src, "values(") {
			continue // the library returns them in random order
		}
		p, err := Compile(src, sampleScope)
		if err != nil {
			t.Fatal(err)
		}
		ours, err := p.Eval(v)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := stock.Eval(src, env)
		a, _ := json.Marshal(ours)
		b, _ := json.Marshal(theirs)
		if differs := err != nil || string(a) != string(b); differs != known[src] {
			t.Errorf("%s: here %s, in the library %s, %v", src, a, b, err)
		}
	}
}
