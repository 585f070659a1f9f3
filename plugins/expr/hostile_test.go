package expr

// hostile_test.go: no expression and no event may take long or much memory.

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// hostileMemory is wider than the package's bound, because the parser and the race detector need
// memory too. Steps bound the time of an evaluation, which TestLimits checks; the real time is
// logged with -v.
const hostileMemory = 12 << 20

func hostileVars() *Vars {
	numbers := make([]any, 1000)
	texts := make([]any, 1000)
	many := make([]any, 300_000)
	words := make([]string, 100_000)
	maps := make([]any, 1000)
	big := strings.Repeat("a", 1<<20)
	for i := range numbers {
		numbers[i] = float64(i % 7)
		texts[i] = big // the same megabyte, a thousand times
		maps[i] = map[string]any{"k": fmt.Sprint(i), "v": numbers}
	}
	for i := range many {
		many[i] = 0.0
	}
	for i := range words {
		words[i] = "same prefix, long enough to cost something"
	}
	var deep, deepMap any = 1.0, 1.0
	for range 10_000 {
		deep, deepMap = []any{deep}, map[string]any{"a": deepMap}
	}
	keys := map[string]any{}
	for i := range 50_000 {
		keys[fmt.Sprint("key", i)] = 1.0
	}
	return &Vars{Event: map[string]any{
		"l": numbers, "texts": texts, "many": many, "words": words, "maps": maps, "big": big, "bytes": []byte(big), "deep": deep, "deepMap": deepMap, "keys": keys,
		"json": strings.Repeat("[", 500_000) + strings.Repeat("]", 500_000), "zeros": "[0" + strings.Repeat(",{}", 300_000) + "]", "escapes": `"` + strings.Repeat(`\u0041`, 170_000) + `"`,
		"control": strings.Repeat("\x01", 1<<20), "levels": levels(words), "long": strings.Repeat("x", 1000), "digits": strings.Repeat("9", 1<<20), "spaces": strings.Repeat(" ", 1<<20),
	}, Now: time.Unix(1, 0)}
}

// lets declares v0 as first and v1… as next of the one before, and returns the last.
func lets(n int, first, next string) string {
	s := "let v0 = " + first + "; "
	for i := 1; i <= n; i++ {
		s += fmt.Sprintf("let v%[1]d = "+next+"; ", i, i-1)
	}
	return s + fmt.Sprint("v", n)
}

func nest(open, inner, close string, n int) string {
	return strings.Repeat(open, n) + inner + strings.Repeat(close, n)
}

var hostile = map[string]string{
	"quantifiers 2 deep":        `all(event.l, all(event.l, # >= 0))`,
	"quantifiers 3 deep":        `all(event.l, all(event.l, all(event.l, # >= 0)))`,
	"quantifiers 5 deep":        nest(`all(event.l, `, `true`, `)`, 5),
	"quantifiers 40 deep":       nest(`none(event.l, `, `false`, `)`, 40),
	"map in map in map":         `map(event.l, map(event.l, map(event.l, #)))`,
	"doubling text":             `reduce(1..28, #acc + #acc, "aaaaaaaaaa")`,
	"doubling list":             `reduce(1..28, #acc + #acc, [1])`,
	"doubling concat":           `reduce(1..28, concat(#acc, #acc), [1])`,
	"list of itself twice":      `reduce(1..60, [#acc, #acc], 1)`,
	"map of itself twice":       `reduce(1..60, ({a: #acc, b: #acc}), 1)`,
	"toJSON of itself twice":    `toJSON(reduce(1..60, [#acc, #acc], 1))`,
	"equality of itself twice":  `reduce(1..60, [#acc, #acc], 1) == reduce(1..60, [#acc, #acc], 1)`,
	"flatten of itself twice":   `flatten(reduce(1..60, [#acc, #acc], 1))`,
	"max of itself twice":       `max(reduce(1..60, [#acc, #acc], 1))`,
	"string of itself twice":    `string(reduce(1..60, ({a: #acc, b: #acc}), 1))`,
	"uniq of itself twice":      `uniq([reduce(1..60, [#acc, #acc], 1), reduce(1..60, [#acc, #acc], 1)])`,
	"in of itself twice":        `reduce(1..60, [#acc, #acc], 1) in [reduce(1..60, [#acc, #acc], 1)]`,
	"key of itself twice":       `groupBy([reduce(1..60, [#acc, #acc], 1)], #)`,
	"toJSON doubling":           `reduce(1..28, toJSON([#acc, #acc]), "a")`,
	"toJSON of quotes":          `reduce(1..28, toJSON(#acc), "\"")`,
	"toJSON in a loop":          `map(event.l, toJSON(event.maps))`,
	"string(map) in a loop":     `all(event.l, string(event.keys) != "")`,
	"let chain doubles text":    lets(60, `"aaaaaaaaaaaaaaaa"`, `v%[2]d + v%[2]d`),
	"let chain doubles lists":   lets(60, `[1]`, `[v%[2]d, v%[2]d]`),
	"let chain doubles JSON":    lets(60, `[1]`, `toJSON([v%[2]d, v%[2]d])`),
	"huge range":                `1..600000000000`,
	"range of all integers":     `-9223372036854775807..9223372036854775807`,
	"many ranges":               `map(1..1000, 1..60000)`,
	"nested ranges":             `sum(1..60000, sum(1..60000))`,
	"huge repeat":               `repeat("a", 1000000000000)`,
	"repeat of a megabyte":      `repeat(event.big, 1000)`,
	"repeat in a loop":          `map(event.l, repeat("abc", 300000))`,
	"join of megabytes":         `join(event.texts)`,
	"join with a long glue":     `join(event.many, event.long)`,
	"replace that grows":        `replace(event.big, "a", event.big)`,
	"replace of nothing":        `replace(event.big, "", "xxxxxxxx")`,
	"replace in a loop":         `all(event.l, replace(event.big, "a", "b") != "")`,
	"split into letters":        `split(event.big, "")`,
	"split in a loop":           `map(event.l, split(event.long, ""))`,
	"format of texts":           `map(event.l, format("%s%100q", event.big, event.big))`,
	"format of quotes":          `reduce(1..28, format("%q%+q", #acc, #acc), "\"ä")`,
	"format of hex":             `reduce(1..28, format("% x", #acc), "aaaa")`,
	"format of many numbers":    `all(1..60000, format("%100.100f%100.100e%100d", # * 1.1, # ** 90, #) != "")`,
	"format of a large integer": `all(1..60000, format("%d%x", reduce(1..60, #acc * 9223372036854775807), reduce(1..60, #acc * 9223372036854775807)) != "")`,
	"mathematics in a loop":     `all(1..60000, sin(#) + exp(sqrt(log(# + 1))) + pow(#, 1.5) + atan2(#, 2) < 1e99)`,
	"contains in a loop":        `all(event.l, not (event.big contains "b"))`,
	"indexOf in a loop":         `all(event.l, indexOf(event.big, "aaaaaaaab") < 0)`,
	"lastIndexOf in a loop":     `all(event.l, lastIndexOf(event.big, "b") < 0)`,
	"hasPrefix in a loop":       `all(event.many, hasPrefix(event.big, event.big))`,
	"upper in a loop":           `all(event.l, upper(event.big) != "")`,
	"upper that grows":          `upper(repeat("ɐ", 500000))`,
	"trim in a loop":            `all(event.many, trim(event.spaces) == "")`,
	"trim with a set":           `all(event.l, trim(event.big, "abcdefghijklmnopqrstuvwxyzä") == "")`,
	"len of a text in a loop":   `all(event.many, len(event.big) > 0)`,
	"index of a text in a loop": `all(event.many, event.big[-1] == "a")`,
	"slices of a text":          `all(event.many, len(event.big[1:]) > 0)`,
	"bytes as text in a loop":   `all(event.many, event.bytes != "x")`,
	"equal megabytes":           `all(event.texts, all(event.texts, # == event.texts[0]))`,
	"compare megabytes":         `all(event.many, event.big <= event.big)`,
	"quadratic in":              `all(event.many, # in event.many or true)`,
	"quadratic in, not found":   `all(event.many, "x" not in event.words)`,
	"quadratic uniq":            `uniq(map(1..60000, #))`,
	"deep equality":             `event.deep == event.deep`,
	"deep equality of maps":     `event.deepMap == event.deepMap`,
	"equal lists in a loop":     `all(event.l, event.maps == event.maps)`,
	"deep payload as JSON":      `toJSON(event.deep)`,
	"deep payload of maps":      `toJSON(event.deepMap)`,
	"deep payload as it is":     `event.deep`,
	"deep flatten":              `flatten(event.deep)`,
	"deep mean":                 `mean(event.deep)`,
	"deep made here":            `toJSON(reduce(1..30000, [#acc], 1))`,
	"whole event":               `event`,
	"whole event as JSON":       `toJSON(event)`,
	"sort in a loop":            `all(event.l, sort(event.many[:60000]) != nil)`,
	"sort of many":              `sort(event.many[:60000])`,
	"sort of megabytes":         `sort(event.texts)`,
	"sort of words":             `sort(event.words[:30000])`,
	"sortBy of megabytes":       `sortBy(event.texts, #)`,
	"sortBy in sortBy":          `sortBy(event.l, sortBy(event.l, -#)[0])`,
	"groupBy":                   `groupBy(1..60000, #)`,
	"groupBy megabytes":         `groupBy(event.texts, #)`,
	"groupBy in a loop":         `map(event.l, groupBy(event.l, #))`,
	"reduce that merges maps":   `reduce(1..1000, fromPairs(concat(toPairs(#acc), [[string(#), #acc]])), {})`,
	"fromPairs in a loop":       `map(event.l, fromPairs(toPairs(event.keys)))`,
	"keys in a loop":            `map(event.l, keys(event.keys))`,
	"values in a loop":          `map(event.l, values(event.keys))`,
	"reverse in a loop":         `map(event.l, reverse(event.many[:60000]))`,
	"take in a loop":            `map(event.many[:60000], take(event.many, 10))`,
	"concat in a loop":          `map(event.l, concat(event.many[:30000], event.many[:30000]))`,
	"concat of many":            `concat(` + strings.Repeat(`event.many, `, 100) + `event.many)`,
	"median in a loop":          `map(event.l, median(event.many))`,
	"flatten in a loop":         `map(event.l, flatten([event.l, event.l]))`,
	"levels as text in a loop":  `all(event.many, event.levels != "x")`,
	"words as list in a loop":   `all(event.l, all(event.words[:30000], true))`,
	"fromJSON deep":             `fromJSON(event.json)`,
	"fromJSON of many maps":     `fromJSON(event.zeros)`,
	"fromJSON of escapes":       `fromJSON(event.escapes)`,
	"fromJSON in a loop":        `map(event.l, fromJSON('[1,{"a":[1,2,3]}]'))`,
	"fromJSON of small escapes": `fromJSON("[" + repeat('"\\u0041",', 40000) + "1]")`,
	"control characters":        `toJSON(event.control)`,
	"base64 in a loop":          `map(event.l, toBase64(event.big[:700000]))`,
	"base64 and back":           `reduce(1..1000, fromBase64(toBase64(#acc)), event.long)`,
	"hex doubling":              `reduce(1..40, hex(#acc), "abc")`,
	"regexp, long text":         `event.big matches "^(a|b|ab)*c$"`,
	"regexp, large and long":    `event.big matches "(x+x+)+y|[a-z]{50}[0-9]{50}"`,
	"regexp in a loop":          `all(event.many, event.long matches "(x|y)*z" or true)`,
	"regexp of a literal":       `all(event.many, not (event.big matches "b"))`,
	"digits as a number":        `all(event.many, int(event.digits) > 0)`,
	"date in a loop":            `all(event.many, date("Monday, 02-Jan-06 15:04:05 MST") < now)`,
	"date of a megabyte":        `date(event.big)`,
	"duration of a megabyte":    `duration(event.digits)`,
	"format in a loop":          `map(event.many[:60000], now.Format("Monday, January 2 2006 15:04:05.000000000 MST"))`,
	"exponents":                 `reduce(1..60000, #acc ** 1e9, 2)`,
	"integer overflow":          `reduce(1..60000, #acc * 31 + 7, 1)`,
	"boxed integers":            `map(1..60000, # * 1000000)`,
	"find in a loop":            `all(event.many, find(event.many, # == 1) == nil)`,
	"key of a megabyte":         `all(event.many, event.keys[event.big] == nil)`,
	"map keys of a megabyte":    `map(event.many[:60000], ({(event.big): 1}))`,
	"has key of a megabyte":     `all(event.many, event.big not in event.keys)`,
	"get of a megabyte":         `all(event.many, get(event.keys, event.big) == nil)`,
	"maps in a loop":            `map(event.many[:60000], ({a: 1, b: 2, c: 3, d: 4, e: 5, f: 6, g: 7, h: 8, i: 9}))`,
	"bytes in a loop":           `map(event.many[:60000], b"0123456789012345678901234567890123456789")`,
	"error message of much":     `event.keys + event.many`,
	"compare chain":             nest(`1 < (`, `2`, `) < 3`, 5),
	"string slices":             `reduce(1..60000, #acc[:-1], event.big)`,
	"list slices":               `reduce(1..60000, #acc[1:], event.many)`,
	"letters in a loop":         `map(event.l, split(event.long, "")[0])`,
	"small lists as JSON":       `toJSON(map(1..60000, [#, [#]]))`,
	"small maps as JSON":        `toJSON(map(1..20000, ({a: #})))`,
	"floats as JSON":            `toJSON(map(1..60000, # / 7))`,
	"dates that fail":           `map(event.l, get([date("2026-01-01T00:00:00+01:00")], 0))`,
	"typed slices":              `all(event.l, len(event.levels[:30000]) > 0)`,
}

// measure returns what f took and allocated.
func measure(f func()) (time.Duration, uint64) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	f()
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	return took, after.TotalAlloc - before.TotalAlloc
}

func TestHostile(t *testing.T) {
	unhurried(t)
	v := hostileVars()
	var worst time.Duration
	var maxBytes uint64
	for name, src := range hostile {
		p, err := Compile(src, Scope{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		hole, err := ParseTemplate("x ${"+src+"}", Scope{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		whole, err := ParseTemplate("${"+src+"}", Scope{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for how, f := range map[string]func() error{
			"Eval":       func() error { _, err := p.Eval(v); return err },
			"Bool":       func() error { _, err := p.Bool(v); return err },
			"Explain":    func() error { p.Explain(v); return nil },
			"Text":       func() error { _, err := hole.Text(v); return err },
			"AppendJSON": func() error { _, err := FromTemplate(whole).AppendJSON(nil, v); return err },
		} {
			var err error
			took, bytes := measure(func() { err = f() })
			for range 5 { // the race detector drops what pools hold, at random
				if bytes > hostileMemory {
					_, bytes = measure(func() { err = f() })
				}
			}
			if took > 20*time.Millisecond || bytes > 6<<20 || testing.Verbose() && how == "Eval" {
				t.Logf("%-10s %-26s %8.1f ms %6d KiB  %v", how, name, float64(took.Microseconds())/1000, bytes>>10, cut(fmt.Sprint(err), 60))
			}
			if bytes > hostileMemory {
				t.Errorf("%s of %s took %d KiB", how, name, bytes>>10)
			}
			var e *Error
			if err != nil && (!errors.As(err, &e) || strings.Contains(err.Error(), "can't be evaluated")) {
				t.Errorf("%s of %s: %v", how, name, err)
			}
			worst, maxBytes = max(worst, took), max(maxBytes, bytes)
		}
	}
	t.Logf("%d expressions: at most %v and %d KiB", len(hostile), worst, maxBytes>>10)
}

// unhurried raises MaxTime, so that it is not the first guard on a slow machine.
func unhurried(t *testing.T) {
	maxTime = time.Hour
	t.Cleanup(func() { maxTime = MaxTime })
}

// TestLimits checks each guard by itself. In the table above several guards protect each other, so
// it would not reveal a hole in one of them.
func TestLimits(t *testing.T) {
	const steps, memory, size, nested = "took more than 200,000 steps; simplify it or split the list", "needs more than 4MiB of memory; simplify it or split the list",
		"result is larger than 1MiB", "lists and maps are nested deeper than 1,000"
	unhurried(t)
	v := hostileVars()
	for _, c := range []struct{ src, want string }{
		{`all(event.l, all(event.l, # >= 0))`, steps},
		{`all(1..20, sort(event.l) == nil or true)`, steps},
		{`all(1..20, sortBy(event.l, #) == nil or true)`, steps},
		{`all(1..2000, toJSON(event.l[:300]) != "")`, steps},
		{`all(1..200, event.maps == event.maps)`, steps},
		{`all(1..8, not (event.big contains "b"))`, steps},
		{`all(1..10, event.keys[event.big] == nil)`, steps},
		{`event.big matches "^(a|b|ab)*c$"`, steps},
		{`all(event.many, event.words[0] in event.words)`, steps},
		{`all(1..5000, uniq([[1], [2], [3], [4], [5]]) != nil)`, steps},
		{`all(1..4, upper(event.big) != "")`, steps},
		{`all(1..4, len(event.bytes + "") > 0)`, memory},
		{`map(event.l, repeat("abc", 300000))`, memory},
		{`map(1..1000, 1..10000)`, memory},
		{`map(1..60000, ({a: 1}))`, memory},
		{`fromJSON("[" + repeat("{},", 60000) + "1]")`, memory},
		{`reduce(1..28, #acc + #acc, "aaaaaaaaaa")`, size},
		{`reduce(1..28, #acc + #acc, [1])`, size},
		{`reduce(1..60, [#acc, #acc], 1)`, steps},
		{`reduce(1..60, ({a: #acc, b: #acc}), 1)`, size},
		{`toJSON(event.control)`, size},
		{`join(event.texts)`, size},
		{`event.texts`, size},
		{`replace(event.big[:600000], repeat("a", 16), repeat("a", 48))`, size},
		{`toJSON(event.deep)`, nested},
		{`toJSON(event.deepMap)`, nested},
		{`event.deep`, nested},
		{`event.deepMap`, nested},
		{`event.deep == event.deep`, nested},
		{`event.deepMap == event.deepMap`, nested},
		{`flatten(event.deep)`, nested},
		{`mean(event.deep)`, nested},
		{`fromJSON(repeat("[", 2000) + repeat("]", 2000))`, nested},
	} {
		p, err := Compile(c.src, Scope{})
		if err != nil {
			t.Fatal(err)
		}
		var result any
		took, bytes := measure(func() { result, err = p.Eval(v) })
		if err == nil || err.Error() != c.want || !errors.Is(err, ErrLimit) {
			t.Errorf("%s: %v; want %s", c.src, err, c.want)
		}
		if result != nil {
			t.Errorf("%s: a result beside the error", c.src)
		}
		if bytes > 8<<20 {
			t.Errorf("%s allocates %d KiB in %v", c.src, bytes>>10, took)
		}
	}
	maxTime = -1
	p, err := Compile(`all(1..10000, true)`, Scope{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Eval(v); err == nil || err.Error() != "took longer than 40 ms; simplify it or split the list" {
		t.Errorf("no look at the clock: %v", err)
	}
}
