package expr

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/expr-lang/expr/builtin"
)

type levels []string

func (l levels) String() string { return strings.Join(l, "/") }

func sample() *Vars {
	return &Vars{
		Event: map[string]any{
			"temp": 18.2, "cpu": 20.5, "n": 7, "big": int64(1700000000000), "on": true, "name": "Kitchen", "text": "23.5",
			"topic": levels{"home", "hall", "doorbell"}, "payload": []byte(`{"a":1}`), "raw": []byte{0, 0xff, 16},
			"at": time.Date(2026, 3, 1, 12, 30, 0, 0, time.UTC), "took": 1500 * time.Millisecond,
			"tags": []string{"b", "a", "b"}, "list": []any{3, 1.5, int64(2)}, "none": nil,
			"json": map[string]any{"pressed": true, "deep": map[string]any{"x": 1.0}, "commits": []any{"a", "b"}},
		},
		Last:  map[string]any{"cpu": 19.0},
		State: map[string]any{"count": 2},
		Now:   time.Date(2026, 3, 1, 13, 0, 0, 0, time.UTC),
		Host:  "pi",
		Env:   map[string]string{"ROOM": "attic"},
	}
}

var sampleScope = Scope{Env: []string{"ROOM"}}

var evaluations = map[string]any{
	// arithmetic
	`1 + 2`: int64(3), `1 + 2.5`: 3.5, `7 / 2`: 3.5, `7 % 4`: int64(3), `7.5 % 2`: 1.5, `2 ** 10`: 1024.0, `-event.n`: int64(-7), `event.n * 2`: int64(14),
	`9223372036854775807 + 1`: json.Number("9223372036854775808"), `-9223372036854775807 - 2`: json.Number("-9223372036854775809"), `4611686018427387904 * 2`: json.Number("9223372036854775808"),
	`event.big + 1`: int64(1700000000001), `1700000000000 == event.big`: true, `0xFFFFFFFFFF`: int64(0xFFFFFFFFFF), `3_000_000_000`: int64(3000000000), `2 ** 1e9 > 1`: true,
	`event.temp - last.cpu`: -0.8000000000000007, `abs(event.cpu - (last.cpu ?? 0)) >= 2`: false, `sum([1, 2.5])`: 3.5,
	`round(20.5)`: int64(21), `round(20.456, 2)`: 20.46, `round(3)`: int64(3), `floor(-1.5)`: int64(-2), `ceil(1.2)`: int64(2), `abs(-3)`: int64(3), `abs(-3.5)`: 3.5,
	`min(3, 1.5)`: 1.5, `max([1, [9, 2]], 3)`: int64(9), `mean([1, 2])`: 1.5, `median([3, 1, 2])`: 2.0, `clamp(12, 0, 10)`: int64(10), `clamp(-1, 0, 10)`: int64(0),
	`scale(5, 0, 10, 0, 100)`: 50.0, `int("42")`: int64(42), `int(3.9)`: int64(3), `float(event.text)`: 23.5, `float("1")`: 1.0, `bool("on")`: true,
	`bitand(6, 3)`: int64(2), `bitshl(1, 70)`: int64(0), `bitshl(1, 4)`: int64(16), `bitnot(0)`: int64(-1), `bitxor(5, 1)`: int64(4),
	`sqrt(16)`: 4.0, `round(sin(0.5), 6)`: 0.479426, `cos(0)`: 1.0, `round(tan(1), 6)`: 1.557408, `round(asin(1), 6)`: 1.570796, `acos(1)`: 0.0,
	`round(atan(1), 6)`: 0.785398, `round(atan2(1, -1), 6)`: 2.356194, `round(log(10), 6)`: 2.302585, `log10(1000)`: 3.0, `log2(event.n + 1)`: 3.0, `exp(0)`: 1.0,
	`pow(2, 0.5) == sqrt(2)`: true, `pow(2, 10)`: 1024.0, `sign(-2.5)`: int64(-1), `sign(0)`: int64(0), `sign(123456789012345678901234567890)`: int64(1), `log10(100000000000000000000000000000000000000000)`: 41.0,
	`format("%05.1f", event.temp)`: "018.2", `format("%d %s: %t, %q %%", event.n, event.topic, event.on, "a\"b")`: `7 home/hall/doorbell: true, "a\"b" %`, `format("%-5s|%+d|% d|%6.2e|%g", "ä", 5, 3.0, 12345.678, 1e21)`: "ä    |+5| 3|1.23e+04|1e+21", `format("%x %04x %x %x", event.raw, 255, -1, 123456789012345678901234567890)`: "00ff10 00ff -1 18ee90ff6c373e0ee4e3f0ad2", `format("%.3s %s", "äöüß", [1, {a: 2}])`: `äöü [1,{"a":2}]`, `format("%d", 123456789012345678901234567890)`: "123456789012345678901234567890",
	`format("plain")`: "plain", `format("%s", now)`: "2026-03-01T13:00:00Z", `format("%100d", 1) == repeat(" ", 99) + "1"`: true,
	// logic and comparison
	`event.on and not false`: true, `event.temp > 20 || event.n == 7`: true, `1 < 2 < 3`: true, `event.n == 7.0`: true, `event.temp == nil`: false, `event.nope == nil`: true,
	`event.on ? "y" : "n"`: "y", `if event.on { 1 } else { 2 }`: int64(1), `event.name ?? "x"`: "Kitchen", `last.x ?? 0`: int64(0), `event.a.b.c`: nil, `event.a["b"][0]`: nil,
	`event?.a?.b`: nil, `event.json?.deep.x`: 1.0, `state.count + 1`: int64(3), `host`: "pi", `env.ROOM`: "attic", `env["ROOM"]`: "attic",
	`"b" < "c"`: true, `event.topic == "home/hall/doorbell"`: true, `"home/hall/doorbell" == event.topic`: true, `event.topic != "x"`: true, `event.payload == '{"a":1}'`: true,
	`event.topic[1]`: "hall", `event.topic[-1]`: "doorbell", `event.topic[1:]`: []any{"hall", "doorbell"}, `event.topic + "/x"`: "home/hall/doorbell/x", `len(event.topic)`: int64(3),
	`event.topic startsWith "home/"`: true, `event.topic matches "^home/.+/doorbell$"`: true, `event.name not matches "^x"`: true, `event.nope matches "x"`: false, `event.name contains "itch"`: true, `event.name endsWith "n"`: true,
	`2 in event.list`: true, `"a" in event.tags`: true, `"temp" in event`: true, `"hall" in event.topic`: true, `3 in 1..1000000000`: true, `3.5 in 1..10`: false, `1 not in [2]`: true, `[1, {a: 2}] == [1.0, {a: 2.0}]`: true, `{a: 1} == {a: 2}`: false,
	// texts
	`"a" + "b"`: "ab", `upper("aä")`: "AÄ", `lower("AB")`: "ab", `trim(" a ")`: "a", `trim("xax", "x")`: "a", `trimPrefix("abc", "a")`: "bc", `trimSuffix("abc", "c")`: "ab",
	`split("a,b,c", ",")`: []any{"a", "b", "c"}, `split("a,b,c", ",", 2)`: []any{"a", "b,c"}, `splitAfter("a,b", ",")`: []any{"a,", "b"}, `split("", ",")`: []any{""}, `split("äb", "")`: []any{"ä", "b"}, `split("a", "", 0)`: []any{},
	`replace("aaa", "a", "b")`: "bbb", `replace("aaa", "a", "b", 1)`: "baa", `replace("ab", "", "-")`: "-a-b-", `repeat("ab", 3)`: "ababab", `repeat("", 1000000000000)`: "", `join(["a", 1, 2.5], "-")`: "a-1-2.5", `join(event.tags)`: "bab",
	`indexOf("äbc", "c")`: int64(2), `lastIndexOf("abab", "b")`: int64(3), `indexOf("a", "x")`: int64(-1), `hasPrefix(event.name, "Kit")`: true, `hasSuffix("ab", "b")`: true, `len("äö")`: int64(2), `"äöü"[1]`: "ö", `"äöü"[1:]`: "öü", `"abc"[:-1]`: "ab", `"abc"[5:9]`: "",
	`hex(event.raw)`: "00ff10", `hex(255)`: "ff", `toBase64("hi")`: "aGk=", `fromBase64("aGk=")`: "hi", `string(3.0)`: "3", `string(3000000.0)`: "3000000", `string([1, "a"])`: `[1,"a"]`,
	`toJSON({b: 1, a: [nil, true, "x\n"]})`: `{"a":[null,true,"x\n"],"b":1}`, `fromJSON(event.payload).a`: int64(1), `fromJSON('[1.5, "\u00e4", {}, [], true, false, null, -2e3]')`: []any{1.5, "ä", map[string]any{}, []any{}, true, false, nil, -2000.0}, `event.raw[1]`: int64(255), `len(event.raw[1:])`: int64(2),
	"`raw \\n`": `raw \n`, `"\u0041"`: "A", `type(event.payload)`: "bytes", `type(1.5)`: "float", `type(now)`: "time", `type(event.topic)`: "array", `type(nil)`: "nil",
	// lists and maps
	`all(event.list, # > 1)`: true, `any(event.list, # > 2)`: true, `none([1], # > 2)`: true, `one([1, 2], # > 1)`: true, `filter(1..5, # % 2 == 0)`: []any{int64(2), int64(4)}, `map(1..3, # * #index)`: []any{int64(0), int64(2), int64(6)},
	`count([true, false])`: int64(1), `count(1..10, # > 3)`: int64(7), `find([1, 2, 3], # > 1)`: int64(2), `findIndex([1, 2], # > 5)`: nil, `findLast([1, 2, 3], # < 3)`: int64(2), `findLastIndex([1, 2, 3], # < 3)`: int64(1), `find([1], # > 1)`: nil,
	`sum(1..100)`: int64(5050), `sum([{x: 1}, {x: 2}], .x)`: int64(3), `reduce(1..4, #acc * #)`: int64(24), `reduce(1..4, #acc + #, 10)`: int64(20), `groupBy([1, 2, 3], # % 2)`: map[string]any{"1": []any{int64(1), int64(3)}, "0": []any{int64(2)}},
	`sortBy([{x: 2}, {x: 1}], .x)[0].x`: int64(1), `sortBy([1, 3, 2], #, "desc")`: []any{int64(3), int64(2), int64(1)}, `sort(["b", "a"])`: []any{"a", "b"}, `sort([1, 2], "desc")`: []any{int64(2), int64(1)}, `event.list | filter(# > 1.6) | len()`: int64(2),
	`keys({b: 1, a: 2})`: []any{"a", "b"}, `values({b: 1, a: 2})`: []any{int64(2), int64(1)}, `toPairs({a: 1})`: []any{[]any{"a", int64(1)}}, `fromPairs([["a", 1]])`: map[string]any{"a": int64(1)},
	`reverse([1, 2])`: []any{int64(2), int64(1)}, `uniq([1, 1.0, "a", "a"])`: []any{int64(1), "a"}, `concat([1], [2])`: []any{int64(1), int64(2)}, `[1] + [2]`: []any{int64(1), int64(2)}, `flatten([1, [2, [3]]])`: []any{int64(1), int64(2), int64(3)},
	`first([])`: nil, `first([1])`: int64(1), `last([1, 2])`: int64(2), `last(event.tags)`: "b", `get([1], 5)`: nil, `get(event, "n")`: 7, `get("abc", 1)`: "b", `take([1, 2], 1)`: []any{int64(1)}, `[1, 2, 3][1:2]`: []any{int64(2)}, `2..1`: []any{}, `{a: 1}.a`: int64(1), `{(1): 2}["1"]`: int64(2),
	`let x = 2; x * x`: int64(4), `map([1, 2], let y = #; y + 1)`: []any{int64(2), int64(3)}, `map([[1], [2, 3]], sum(#))`: []any{int64(1), int64(5)}, `any([[1]], {let o = #; any(o, # == len(o))})`: true, `1; 2`: int64(2), `event.json.commits | len()`: int64(2),
	// times
	`now - event.at`: 30 * time.Minute, `now - event.at > duration("10m")`: true, `now.Hour()`: int64(13), `now.Weekday() == "Sunday"`: true, `now.Weekday() in 0..4`: true, `now.Month() == 3`: true, `event.at + duration("1h")`: time.Date(2026, 3, 1, 13, 30, 0, 0, time.UTC),
	`event.took.Seconds()`: 1.5, `event.took * 2`: 3 * time.Second, `event.took / duration("1s")`: 1.5, `event.at < now`: true, `date("2026-03-01") < now`: true, `date("01.03.2026", "02.01.2006").Day()`: int64(1), `now.Format("15:04")`: "13:00", `now.In(timezone("UTC")).Hour()`: int64(13),
	`string(event.took)`: "1.5s", `string(now)`: "2026-03-01T13:00:00Z", `now.Unix()`: int64(1772370000), `date("2026-03-01 10:00:00", "2006-01-02 15:04:05", "UTC").Hour()`: int64(10), `date(timezone("UTC"), "2026-03-01").Day()`: int64(1),
	`event.at == date("2026-03-01T12:30:00Z")`: true, `max(event.at, now) == now`: true, `toJSON(event.at)`: `"2026-03-01T12:30:00Z"`,
}

func TestEval(t *testing.T) {
	for src, want := range evaluations {
		p, err := Compile(src, sampleScope)
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		if got, err := p.Eval(sample()); err != nil || !same(got, want) {
			t.Errorf("%s = %#v, %v; want %#v", src, got, err, want)
		}
	}
}

// TestEveryBuiltin checks that every function of the library is either supported or refused, also
// new ones.
func TestEveryBuiltin(t *testing.T) {
	for name := range builtin.Index {
		if _, ok := refused[name]; functions[name] == nil && predicates[name] == nil && !ok {
			t.Errorf("%s is neither provided nor refused", name)
		}
	}
}

// same is DeepEqual, but []string counts as []any.
func same(a, b any) bool {
	if l, ok := a.(levels); ok {
		a = []string(l)
	}
	if x, ok := a.([]string); ok {
		list := []any{}
		for _, s := range x {
			list = append(list, s)
		}
		a = list
	}
	return reflect.DeepEqual(a, b)
}

func TestErrors(t *testing.T) {
	scope := Scope{Fields: []string{"cpu", "temp", "name", "payload", "list", "text", "topic"}, Env: []string{"ROOM"}}
	for _, c := range []struct{ src, at, want string }{ // at is the part of src that the error points at
		{`event.temp == nill`, "nill", `unknown name "nill"; did you mean nil?`},
		{`event.cpuu > 2`, "cpuu", `event has no field "cpuu"; did you mean "cpu"?`},
		{`1 + event["xyz"]`, `"xyz"`, `event has no field "xyz"; it has cpu, temp, name, payload, list, text, topic`},
		{`evnt.temp`, "evnt", `unknown name "evnt"; did you mean event?`},
		{`temp > 20`, "temp", `unknown name "temp"; did you mean event.temp?`},
		{`foo`, "foo", `unknown name "foo"; there are event, last, state, own, key, now, host, env, sun and time`},
		{`now() - event.temp`, "now", `there is no function now(); now is a variable: write now`},
		{`rond(1)`, "rond", `unknown function "rond"; did you mean round?`},
		{`ä + 1`, "ä", `unknown name "ä"; there are event, last, state, own, key, now, host, env, sun and time`},
		{`"ä" + evnt`, "evnt", `unknown name "evnt"; did you mean event?`},
		{`event.temp = 20`, "=", `"=" is not an operator; use == to compare`},
		{`event.temp & 1`, "&", `"&" is not an operator; use && or and`},
		{`event.temp | 1`, "|", `"|" without a function after it; use || or or; a single | passes a value to a function: list | count()`},
		{`event.temp > 1 AND event.cpu > 2`, "AND", `unexpected "AND"; write it in lower case: and`},
		{`NOT event.temp`, "event", `unexpected "event"; write it in lower case: not`},
		{`"abc`, `"abc`, `the text is not closed; add "`},
		{`(1 + 2`, "(", `"(" is not closed; add ")"`},
		{`[1, 2`, "[", `"[" is not closed; add "]"`},
		{`1 + 2)`, ")", `")" without an opening bracket`},
		{`(1 + 2]`, "]", `"]" where ")" is expected; "(" is open`},
		{`1 +`, "", `something is missing after "+"`},
		{``, "", `the expression is empty`},
		{`1 2`, "2", `unexpected "2"; an operator is missing before it`},
		{`event.temp <> 2`, ">", `unexpected ">"; use !=`},
		{`a ? b`, "", `something is missing after "b"`},
		{`event.cpu ?? 0 + 1`, "+", `?? is mixed with another operator; put it in parentheses: (a ?? b)`},
		{`“x”`, "“", `unexpected character "“"; use plain quotes: "`},
		{`"\d"`, "", `unknown escape in a text; write \\ for a backslash`},
		{`event.name matches event.text`, "text", `the pattern of matches is not constant; write the pattern as a text; contains, startsWith and in take any value`},
		{`event.name matches "("`, `"("`, `not a pattern: missing closing ): (`},
		{`event.name matches "((a{100}){100}){100}"`, `"((a{100}){100}){100}"`, `not a pattern: invalid repeat count: {100}`},
		{`event.name matches "(a{100}){10}"`, `"(a{100}){10}"`, `the pattern is too large; repeat less: {n,m} counts its part m times`},
		{`env`, "env", `env is not a value; write env.NAME`},
		{`env.HOME`, "HOME", `env.HOME is not allowed; allow it in the configuration`},
		{`round()`, "round", `round() with no argument; write round(x, digits)`},
		{`all(event.list)`, "", `an argument is missing`},
		{`#`, "#", `unexpected "#"`},
		{`map([1], #foo)`, "#foo", `unknown name "#foo"; there are #, #index and #acc`},
		{`map([1], #acc)`, "#acc", `#acc is allowed only in reduce`},
		{`let event = 1; 2`, "event", `"event" is a variable already; choose another name`},
		{`$env`, "$env", `unknown name "$env"`},
		{`now.Hours2()`, "Hours2", `unknown method "Hours2"; did you mean Hours?`},
		{`date("x", "y", "Nowhere/City")`, `"Nowhere/City"`, `unknown time zone "Nowhere/City"; write it like "Europe/Berlin"`},
		{`format(event.name, 1)`, "name", `the format is not constant; write it as a text: format("…")`},
		{`format("%d")`, "format", `want 1 value for the format, got no value; ` + formatHint},
		{`format("%d %%", 1, 2)`, "format", `want 1 value for the format, got 2 values; ` + formatHint},
		{`format("%v", 1)`, `"%v"`, `"%v" is not a verb of format; ` + formatHint},
		{`format("a%5ä", 1)`, `"a%5ä"`, `"%5ä" is not a verb of format; ` + formatHint},
		{`format("%*d", 1)`, `"%*d"`, `"%*" is not a verb of format; ` + formatHint},
		{`format("%[1]d", 1)`, `"%[1]d"`, `"%[" is not a verb of format; ` + formatHint},
		{`format("5 %")`, `"5 %"`, `"%" at the end of the format has no verb; ` + formatHint},
		{`format("%101d", 1)`, `"%101d"`, `the width 101 is more than the maximum of 100; ` + formatHint},
		{`format("%.99999999999999999999f", 1)`, `"%.99999999999999999999f"`, `the precision 99999999999999999999 is more than the maximum of 100; ` + formatHint},
		{`format("%#x", 1)`, `"%#x"`, `"%#x" has other flags than +, -, space and 0; ` + formatHint},
		{`sprintf("%d", 1)`, "sprintf", `there is no function sprintf(); write format(text, …)`},
		{`sqrt(1, 2)`, "sqrt", `sqrt() with 2 arguments; write sqrt(x)`},
		{strings.Repeat("(", 200) + "1" + strings.Repeat(")", 200), "(", `brackets are nested deeper than 100`},
		{strings.Repeat("-", 2000) + "1", "-", `operators are nested too deeply; simplify it`},
		{strings.Repeat("1+", 2000) + "1", strings.Repeat("1+", 2000) + "1", `the expression has too many parts; simplify it`},
		{nest("1 < (", "2", ") < 3", 20), nest("1 < (", "2", ") < 3", 20), `the expression has too many parts; simplify it`},
		{nest("(", "1", ") ?: 2", 90), nest("(", "1", ") ?: 2", 90), `the expression has too many parts; simplify it`},
		{`map([1], {a: 1})`, ":", `unexpected ":"; a map in a condition goes in parentheses: ({a: 1})`},
		{strings.Repeat("1 ", 5000), strings.Repeat("1 ", 5000), `the expression is longer than 8KiB`},
	} {
		t.Run(cut(c.src, 40), func(t *testing.T) {
			_, err := Compile(c.src, scope)
			check(t, c.src, err, c.at, c.want)
		})
	}
}

func check(t *testing.T, src string, err error, at, want string) {
	t.Helper()
	e, ok := err.(*Error)
	if !ok {
		t.Fatalf("error %v", err)
	}
	if e.Error() != want {
		t.Errorf("message %s\n   want %s", e, want)
	}
	if e.Offset < 0 || e.Length < 0 || e.Offset+e.Length > len(src) {
		t.Fatalf("at %d+%d of %d bytes", e.Offset, e.Length, len(src))
	}
	if got := src[e.Offset : e.Offset+e.Length]; at != "" && got != at {
		t.Errorf("points at %q, want %q", got, at)
	}
}

func TestEvalErrors(t *testing.T) {
	unhurried(t)
	for _, c := range []struct{ src, at, want string }{
		{`event.nope + 1`, "nope", `event.nope is missing (nil)`},
		{`1 - event.a.b`, "b", `event.a.b is missing (nil)`},
		{`event.nope > 20`, "nope", `event.nope is missing (nil)`},
		{`event.text > 20`, ">", `event.text is "23.5", a text, can't compare it with 20, a number; float(…) makes a number of a text`},
		{`event.text * 2`, "text", `event.text is "23.5", a text; want a number; float(…) makes a number of a text`},
		{`"a" + 5`, "+", `can't add "a", a text and 5, a number; string(…) makes a text, float(…) a number`},
		{`1 / 0`, "/", `division by zero: 0 is 0`},
		{`event.n % (1 - 1)`, "%", `division by zero: 1 - 1 is 0`},
		{`event.topic[3]`, "[", `event.topic has no element 3`},
		{`[1][-2]`, "[", `[1] has no element -2`},
		{`event.n.x`, "x", `event.n is 7, a number and has no field "x"`},
		{`event.payload.a`, "a", `event.payload is "{\"a\":1}", bytes and has no field "a"; fromJSON(…) reads JSON`},
		{`now.Hour`, "Hour", `now is 2026-03-01T13:00:00Z, a time; Hour is a method; write Hour()`},
		{`event.nope and true`, "nope", `event.nope is missing (nil)`},
		{`not event.n`, "n", `event.n is 7, a number; want true or false`},
		{`event.n ? 1 : 2`, "n", `event.n is 7, a number; want true or false`},
		{`all(event.json, true)`, "json", `event.json is a map; want a list; use keys(…), values(…) or toPairs(…)`},
		{`all(event.nope, true)`, "nope", `event.nope is missing (nil)`},
		{`"a" in "abc"`, "in", `"abc" is a text; in is for lists and maps; use contains: text contains part`},
		{`event.tags contains "a"`, "contains", `event.tags is a list; contains is for texts; use in: element in list`},
		{`float("abc")`, `"abc"`, `"abc" is "abc", not a number`},
		{`int(1e30)`, "1e30", `1e30 is 1e+30, too large for an integer`},
		{`fromJSON("{")`, `"{"`, `"{" is not JSON: "{"`},
		{`duration("1 hour")`, `"1 hour"`, `"1 hour" is not a duration; write it like "1m30s"`},
		{`date("yesterday")`, `"yesterday"`, `"yesterday" is not a date; write it like "2006-01-02 15:04:05"`},
		{`repeat("a", 2000000)`, `repeat("a", 2000000)`, `result is larger than 1MiB`},
		{`sort([1, "a"])`, "[", `can't order "a", a text and 1, a number`},
		{`reduce([], # + 1)`, "reduce", `reduce of an empty list; give it a first value: reduce(list, #acc + #, 0)`},
		{`sqrt(0 - event.n)`, "sqrt", `sqrt(-7) is NaN, which is not a number`},
		{`log(0)`, "log", `log(0) is -Inf, which is not a number`},
		{`exp(event.n * 1000)`, "exp", `exp(7000) is +Inf, which is not a number`},
		{`pow(0, -1)`, "pow", `pow(0, -1) is +Inf, which is not a number`},
		{`acos(2)`, "acos", `acos(2) is NaN, which is not a number`},
		{`sign(2 ** 1e9 - 2 ** 1e9)`, "-", `2 ** 1e9 - 2 ** 1e9 is NaN, which is not a number`},
		{`sin(event.text)`, "text", `event.text is "23.5", a text; want a number; float(…) makes a number of a text`},
		{`sin(event.nope)`, "nope", `event.nope is missing (nil)`},
		{`format("%d", 1.5)`, "1.5", `1.5 is 1.5, a number; want a whole number`},
		{`format("%d", event.name)`, "name", `event.name is "Kitchen", a text; want a whole number`},
		{`format("%s", event.nope)`, "nope", `event.nope is missing (nil)`},
		{`format("%.1f", event.text)`, "text", `event.text is "23.5", a text; want a number; float(…) makes a number of a text`},
		{`format("%f", 2 ** 1e9)`, "**", `2 ** 1e9 is +Inf, which is not a number`},
		{`format("%t", event.n)`, "n", `event.n is 7, a number; want true or false`},
		{`format("%x", 1.5)`, "1.5", `1.5 is 1.5, a number; want a whole number`},
		{`repeat("a", -1)`, "-", `repeat -1 times`},
		{`round(event.name)`, "name", `event.name is "Kitchen", a text; want a number; float(…) makes a number of a text`},
		{`all(1..1000, all(1..1000, # >= 0))`, `all(1..1000, all(1..1000, # >= 0))`, `took more than 200,000 steps; simplify it or split the list`},
	} {
		t.Run(cut(c.src, 40), func(t *testing.T) {
			p, err := Compile(c.src, sampleScope)
			if err != nil {
				t.Fatal(err)
			}
			v, err := p.Eval(sample())
			if err == nil {
				t.Fatalf("is %v", v)
			}
			check(t, c.src, err, c.at, c.want)
		})
	}
}

func TestBool(t *testing.T) {
	for src, want := range map[string]string{
		`event.temp > 18`: "true", `event.temp > 20`: "false", `5`: "is 5, a number; want true or false", `event.nope`: "is missing (nil); want true or false",
		`event.name`: `is "Kitchen", a text; want true or false`, `event.json`: "is a map with 3 keys; want true or false", `event.list`: "is a list with 3 elements; want true or false",
	} {
		p, err := Compile(src, Scope{})
		if err != nil {
			t.Fatal(err)
		}
		ok, err := p.Bool(sample())
		got := fmt.Sprint(ok)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", src, got, want)
		}
	}
}

func TestExplain(t *testing.T) {
	unhurried(t)
	for src, want := range map[string]string{
		`event.temp > 20`:                                  `event.temp=18.2 > 20 is false`,
		`event.on && event.temp > 20`:                      `event.temp=18.2 > 20 is false`,
		`event.temp > 20 && event.nope > 1`:                `event.temp=18.2 > 20 is false`,
		`event.temp > 20 or event.name == "Hall"`:          `event.temp=18.2 > 20 is false, event.name="Kitchen" == "Hall" is false`,
		`abs(event.cpu - (last.cpu ?? 0)) >= 2`:            `abs(event.cpu - (last.cpu ?? 0))=1.5 >= 2 is false`,
		`not event.on`:                                     `not event.on is false`,
		`event.json.released`:                              `event.json.released is nil`,
		`event.nope > 5`:                                   `event.nope is missing (nil)`,
		`event.topic == "a/b"`:                             `event.topic="home/hall/doorbell" == "a/b" is false`,
		`event.n == event.temp`:                            `event.n=7 == event.temp=18.2 is false`,
		`event.n in [1, 2]`:                                `event.n=7 in [1, 2] is false`,
		`event.big > 1800000000000`:                        `event.big=1700000000000 > 1800000000000 is false`,
		`all(1..1000, all(1..1000, true))`:                 `took more than 200,000 steps; simplify it or split the list`,
		`let x = event.temp; x > 20`:                       `let x = event.temp; x > 20 is false`,
		`any(event.list, # > 5) && all(event.list, # < 1)`: `any(event.list, # > 5) is false`,
	} {
		p, err := Compile(src, Scope{})
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Explain(sample()); got != want {
			t.Errorf("%s:\n got %s\nwant %s", src, got, want)
		}
	}
	long, err := Compile(`event.a + "`+strings.Repeat("ä", 300)+`" == "`+strings.Repeat("ö", 300)+`"`, Scope{})
	if err != nil {
		t.Fatal(err)
	}
	if s := long.Explain(&Vars{Event: map[string]any{"a": strings.Repeat("ü", 5000)}}); len(s) > MaxExplain || s != strings.ToValidUTF8(s, "") {
		t.Errorf("%d bytes: %s", len(s), s)
	}
}

func TestUses(t *testing.T) {
	p, err := Compile(`event.b > last.x and event["a"] == env.ROOM and now.Hour() > 3 and event.b < 1`, sampleScope)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := p.Uses(), (Uses{Event: true, Last: true, Now: true, Fields: []string{"a", "b"}, LastFields: []string{"x"}, Env: []string{"ROOM"}}); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	p, _ = Compile(`toJSON(event) + host + state.x`, Scope{})
	if got, want := p.Uses(), (Uses{Event: true, Host: true, State: true, Whole: true}); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}
