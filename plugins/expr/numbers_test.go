package expr

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/payload"
)

// TestWholeNumbersAreExact checks integers of any size, in literals, comparisons, arithmetic and
// text.
func TestWholeNumbersAreExact(t *testing.T) {
	doc, ok := payload.JSON([]byte(`{"id": 2882429806056571124, "near": 2882429806056571123, "max": 9223372036854775807, "u": 18446744073709551615,
		"huge": 123456789012345678901234567890, "edge": 9007199254740993, "dotted": 9007199254740993.0, "over": 1E400, "half": 0.5, "small": 7}`))
	if !ok {
		t.Fatal("no JSON")
	}
	v := &Vars{Event: map[string]any{"json": doc, "word": uint64(math.MaxUint64)}, Now: time.Unix(0, 0)}
	for src, want := range map[string]string{
		`event.json.id`:                                         "2882429806056571124",
		`event.json.id == 2882429806056571124`:                  "true",
		`event.json.near == 2882429806056571124`:                "false",
		`event.json.near < event.json.id`:                       "true",
		`event.json.id in [2882429806056571123]`:                "false",
		`event.json.id in [2882429806056571124]`:                "true",
		`event.json.u == 18446744073709551615`:                  "true",
		`event.json.u == event.word`:                            "true",
		`event.word`:                                            "18446744073709551615",
		`event.json.u > event.json.max`:                         "true",
		`event.json.u < 18446744073709551614`:                   "false",
		`event.json.huge`:                                       "123456789012345678901234567890",
		`event.json.huge + 1`:                                   "123456789012345678901234567891",
		`event.json.huge == 123456789012345678901234567891`:     "false",
		`-event.json.huge`:                                      "-123456789012345678901234567890",
		`abs(-event.json.huge) == event.json.huge`:              "true",
		`event.json.huge % 1000`:                                "890",
		`event.json.huge / 10`:                                  "12345678901234567890123456789",
		`event.json.id / 4`:                                     "720607451514142781",
		`event.json.edge`:                                       "9007199254740993",
		`event.json.edge == 9007199254740992.0`:                 "false",
		`9007199254740992.0 < event.json.edge`:                  "true",
		`event.json.dotted == event.json.edge`:                  "true",
		`event.json.max + 1`:                                    "9223372036854775808",
		`event.json.max + 1 - 1 == event.json.max`:              "true",
		`event.json.max * 3`:                                    "27670116110564327421",
		`sum([event.json.u, 1])`:                                "18446744073709551616",
		`max(event.json.u, event.json.max)`:                     "18446744073709551615",
		`sort([event.json.u, 5, event.json.id])`:                "[5,2882429806056571124,18446744073709551615]",
		`uniq([event.json.u, event.word])`:                      "[18446744073709551615]",
		`round(event.json.u)`:                                   "18446744073709551615",
		`int("18446744073709551615")`:                           "18446744073709551615",
		`hex(event.json.u)`:                                     "ffffffffffffffff",
		`0xffffffffffffffff`:                                    "18446744073709551615",
		`string(event.json.u)`:                                  "18446744073709551615",
		`toJSON({a: event.json.u})`:                             `{"a":18446744073709551615}`,
		`fromJSON("[18446744073709551615]")[0]`:                 "18446744073709551615",
		`type(event.json.u)`:                                    "int",
		`event.json.over`:                                       "1E400",
		`event.json.over > event.json.huge`:                     "true",
		`event.json.u > 0.5 and event.json.half < event.json.u`: "true",
		`event.json.u ?? 1`:                                     "18446744073709551615",
		`event.json.small % 4 + event.json.half`:                "3.5",
		`clamp(event.json.u, 0, 18446744073709551614)`:          "18446744073709551614",
	} {
		tmpl, err := ParseTemplate("${"+src+"}", Scope{})
		if strings.Contains(src, "{") {
			tmpl, err = ParseTemplate("${ "+src+" }", Scope{})
		}
		if err != nil {
			t.Errorf("%s: %v", src, err)
			continue
		}
		if got, err := tmpl.Text(v); err != nil || got != want {
			t.Errorf("%s = %s, %v; want %s", src, got, err, want)
		}
		if b, err := Map([]string{"v"}, []Value{FromTemplate(tmpl)}).AppendJSON(nil, v); err != nil || !json.Valid(b) {
			t.Errorf("%s as JSON is %s, %v", src, b, err)
		}
	}
}

// TestCompareMixed compares integers with fractions where a float64 can't distinguish them.
func TestCompareMixed(t *testing.T) {
	whole := func(i int64) number { return number{i: i, int: true} }
	real := func(f float64) number { return number{f: f} }
	for _, c := range []struct {
		x, y number
		want int
	}{
		{whole(1<<53 + 1), real(1 << 53), 1}, {whole(1 << 53), real(1 << 53), 0}, {whole(math.MaxInt64), real(1 << 63), -1},
		{whole(math.MinInt64), real(-1 << 63), 0}, {whole(3), real(3.5), -1}, {whole(3), real(math.Inf(1)), -1}, {whole(3), real(math.Inf(-1)), 1},
		{whole(3), real(math.NaN()), unordered}, {real(math.NaN()), digits("18446744073709551616"), unordered}, {digits("18446744073709551616"), real(1 << 64), 0},
		{digits("18446744073709551617"), real(1 << 64), 1}, {digits("-18446744073709551617"), whole(math.MinInt64), -1}, {digits("1e400"), digits("18446744073709551617"), 1},
	} {
		if got := compareNumbers(c.x, c.y); got != c.want {
			t.Errorf("%v with %v: %d, want %d", c.x.value(), c.y.value(), got, c.want)
		}
		back := -c.want
		if c.want == unordered {
			back = unordered
		}
		if got := compareNumbers(c.y, c.x); got != back {
			t.Errorf("%v with %v: %d, want %d", c.y.value(), c.x.value(), got, back)
		}
	}
}

// TestBigNumbersAreBounded checks that numbers that grow with every step end as a float64, and that
// one with a million digits is cheap.
func TestBigNumbersAreBounded(t *testing.T) {
	maxTime = time.Hour // the bound of steps is enough, also on a slow machine
	t.Cleanup(func() { maxTime = MaxTime })
	v := &Vars{Event: map[string]any{"n": json.Number(strings.Repeat("9", 900_000)), "e": json.Number("1e999999999")}}
	for src, want := range map[string]string{
		`reduce(1..800, #acc * 3, 1) > 0`: "true", `event.n > 5`: "true", `event.e > 5`: "true", `event.e == event.e`: "true", `len(string(event.n))`: "900000",
	} {
		p, err := Compile(src, Scope{})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.Eval(v); err != nil || Text(got) != want {
			t.Errorf("%s = %v, %v; want %s", src, got, err, want)
		}
	}
}
