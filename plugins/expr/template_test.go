package expr

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestTemplate(t *testing.T) {
	for text, want := range map[string]struct {
		value any
		text  string
	}{
		``:                          {``, ``},
		`plain $5 $$ {x}`:           {`plain $5 $$ {x}`, `plain $5 $$ {x}`},
		`devices/${host}/cpu`:       {`devices/pi/cpu`, `devices/pi/cpu`},
		`${event.n}`:                {7, `7`},
		`${event.temp}`:             {18.2, `18.2`},
		`[${event.nope ?? ""}]`:     {`[]`, `[]`},
		`a $${host} b`:              {`a ${host} b`, `a ${host} b`},
		`$$${host}`:                 {`$${host}`, `$${host}`},
		`${event.n}${event.n}`:      {`77`, `77`},
		`${{a: "}"}.a}`:             {`}`, `}`},
		`${"a" + '}' + "\"}"}!`:     {`a}"}!`, `a}"}!`},
		"${`}`}":                    {`}`, `}`},
		`${1 /* } */ + 1}`:          {int64(2), `2`},
		`${event.topic}`:            {levels{"home", "hall", "doorbell"}, `home/hall/doorbell`},
		`x/${event.topic[1]}`:       {`x/hall`, `x/hall`},
		`ä${"ö"}ü`:                  {`äöü`, `äöü`},
		`${event.list} ${event.on}`: {`[3,1.5,2] true`, `[3,1.5,2] true`},
		`at ${event.at}`:            {`at 2026-03-01T12:30:00Z`, `at 2026-03-01T12:30:00Z`},
		`${event.payload}`:          {[]byte(`{"a":1}`), `{"a":1}`},
	} {
		tmpl, err := ParseTemplate(text, sampleScope)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, err := tmpl.Eval(sample()); err != nil || !reflect.DeepEqual(got, want.value) {
			t.Errorf("%s is %#v, %v; want %#v", text, got, err, want.value)
		}
		if got, err := tmpl.Text(sample()); err != nil || got != want.text {
			t.Errorf("%s as text is %q, %v; want %q", text, got, err, want.text)
		}
	}
}

func TestTemplateErrors(t *testing.T) {
	for _, c := range []struct{ text, at, want string }{
		{`devices/${hst}/x`, "hst", `unknown name "hst"; did you mean host?`},
		{`ä/${ event.x + }`, "", `something is missing after "+"`},
		{`a ${host`, "${", "${ is not closed; add }, or write $${ for a literal ${"},
		{`a ${} b`, "${}", "nothing between ${ and }; write $${ for a literal ${"},
		{`a ${"x} b`, `"x} b`, `the text is not closed; add "`},
		{`${host} ${1 +* 2}`, "*", `unexpected "*"; a value is missing after "+"`},
		{`${host // x}`, "// x}", `the comment hides the rest, with the }; write /* … */`},
		{`${${host}}`, "$", `unknown name "$"; inside an expression, write no ${…}`},
	} {
		_, err := ParseTemplate(c.text, sampleScope)
		check(t, c.text, err, c.at, c.want)
	}
	tmpl, err := ParseTemplate(`ä ${host} ${event.nope + 1}`, sampleScope)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tmpl.Text(sample())
	check(t, `ä ${host} ${event.nope + 1}`, err, "nope", "event.nope is missing (nil)")
}

// TestNothingIsNoText checks that nil and NaN in a text are errors of the event, not an empty text
// or a word.
func TestNothingIsNoText(t *testing.T) {
	v := sample()
	v.Event["nan"], v.Event["inf"] = math.NaN(), float32(math.Inf(-1))
	v.Event["holes"] = []any{"a", nil}
	for text, want := range map[string]string{
		`[${event.nope}]`:          `event.nope is missing (nil); write ${… ?? "none"} for a text in its place`,
		`${event.nope}`:            `event.nope is missing (nil); write ${… ?? "none"} for a text in its place`,
		`t=${event.nan}`:           `event.nan is NaN, which is not a number; write ${… ?? "none"} for a text in its place`,
		`t=${event.inf}`:           `event.inf is -Inf, which is not a number; write ${… ?? "none"} for a text in its place`,
		`${string(event.nope)}`:    `event.nope is missing (nil)`,
		`${string(nil)}`:           `nil can't be used here`,
		`${string(event.nan)}`:     `NaN can't be written as a number`,
		`${join(event.holes)}`:     `element 1 of event.holes is missing (nil); filter(…, # != nil) leaves it out`,
		`${join([event.nan])}`:     `NaN can't be written as a number`,
		`${groupBy([nil], #)}`:     `# is missing (nil)`,
		`${ {(event.nope): 1} }`:   `event.nope is missing (nil)`,
		`${event.holes} ${[1, 2]}`: ``,
	} {
		tmpl, err := ParseTemplate(text, sampleScope)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got := ""
		s, err := tmpl.Text(v)
		if err != nil {
			got, s = err.Error(), ""
		}
		if got != want || (want == "") != (s != "") {
			t.Errorf("%s is %q, error %q; want %q", text, s, got, want)
		}
	}
}

func TestTemplateParts(t *testing.T) {
	tmpl, err := ParseTemplate(`a/${host}$${x}/${event.n}`, sampleScope)
	if err != nil {
		t.Fatal(err)
	}
	want := []Part{{Text: "a/"}, {Hole: true, Source: "host"}, {Text: "${x}/"}, {Hole: true, Source: "event.n"}}
	if got := tmpl.Parts(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	if tmpl.Constant() || tmpl.whole {
		t.Error("constant, or only a hole")
	}
}

func template(t testing.TB, text string) Value {
	t.Helper()
	x, err := ParseTemplate(text, sampleScope)
	if err != nil {
		t.Fatal(err)
	}
	return FromTemplate(x)
}

func TestValue(t *testing.T) {
	x := Map([]string{"z", "a", "l", "m"}, []Value{
		template(t, "${round(event.cpu)}"), template(t, "in ${event.name}"),
		List([]Value{Const(1), Const(nil), template(t, "${event.on}"), template(t, "plain")}),
		Map([]string{"x", "b"}, []Value{Const(1.5), Const(`q"`)}),
	})
	b, err := x.AppendJSON([]byte("> "), sample())
	if want := `> {"z":21,"a":"in Kitchen","l":[1,null,true,"plain"],"m":{"x":1.5,"b":"q\""}}`; err != nil || string(b) != want {
		t.Errorf("%s, %v; want %s", b, err, want)
	}
	v, err := x.Eval(sample())
	want := map[string]any{"z": int64(21), "a": "in Kitchen", "l": []any{1, nil, true, "plain"}, "m": map[string]any{"x": 1.5, "b": `q"`}}
	if err != nil || !reflect.DeepEqual(v, want) {
		t.Errorf("%#v, %v", v, err)
	}
	if x.Constant() || x.Whole() || !x.items[3].Constant() || x.items[3].kind != kindConst {
		t.Error("constants aren't seen")
	}
	for text, want := range map[string]string{"${event.temp}": "18.2", "on": "on", "is ${event.on}": "is true", "${event.json.commits}": `["a","b"]`} {
		w := template(t, text)
		if b, err := w.AppendText([]byte("> "), sample()); !w.Whole() || w.Constant() != (text == "on") || err != nil || string(b) != "> "+want {
			t.Errorf("%s: whole %v, constant %v, %s, %v", text, w.Whole(), w.Constant(), b, err)
		}
	}
	var zero Value
	if b, err := zero.AppendJSON(nil, sample()); err != nil || string(b) != "null" {
		t.Errorf("%s, %v", b, err)
	}
	bad := Map([]string{"a", "b"}, []Value{Const(1), template(t, "${event.nope + 1}")})
	bad = Map([]string{"x", "list"}, []Value{template(t, "${event.n}"), List([]Value{Const(1), bad})})
	var e *Error
	if b, err := bad.AppendJSON([]byte("x"), sample()); string(b) != "x" || !errors.As(err, &e) || e.Path != "list[1].b" || e.Offset != len("${event.") {
		t.Errorf("%s, %+v", b, err)
	}
	if _, err := bad.Eval(sample()); !errors.As(err, &e) || e.Path != "list[1].b" {
		t.Errorf("%+v", err)
	}
	if _, err := Const(math.NaN()).AppendJSON(nil, sample()); err == nil {
		t.Error("NaN is JSON")
	}
}

func TestValueSharesOneBudget(t *testing.T) {
	one := template(t, "${all(1..15000, # > 0)}")
	unhurried(t)
	if _, err := one.Eval(sample()); err != nil {
		t.Fatal(err)
	}
	if _, err := List([]Value{one, one, one}).Eval(sample()); !errors.Is(err, ErrLimit) {
		t.Error(err)
	}
}

func TestText(t *testing.T) {
	for want, v := range map[string]any{
		"3": 3.0, "3000000": 3e6, "0.1": 0.1, "1e+21": 1e21, "1e-7": 1e-7, "-5": int64(-5), "": nil, "true": true, "x": "x", "b": []byte("b"),
		"1.5s": 1500 * time.Millisecond, "2026-03-01T12:30:00Z": time.Date(2026, 3, 1, 12, 30, 0, 0, time.UTC), "a/b": levels{"a", "b"},
		`["a","b"]`: []string{"a", "b"}, `{"a":[1,null]}`: map[string]any{"a": []any{1, nil}}, "NaN": math.NaN(), "2.5": float32(2.5), "Monday": time.Monday, "7": uint8(7), `{"a":"b"}`: map[string]string{"a": "b"},
	} {
		if got := Text(v); got != want {
			t.Errorf("Text(%#v) = %q, want %q", v, got, want)
		}
	}
}

// TestJSONAgainstStandard compares with encoding/json, which escapes HTML unless told not to.
func TestJSONAgainstStandard(t *testing.T) {
	for _, v := range []any{
		nil, true, 0.0, -0.5, 1e21, 1e-7, 123456789.125, 5e-324, math.MaxFloat64, int64(math.MinInt64), "", "ä\x00\x1f\"\\\n\r\t\u2028<>&", "bad\xffutf8",
		[]any{}, map[string]any{}, map[string]any{"b": []any{1, "x"}, "a": map[string]any{"c": nil}}, []string{"a"}, float32(0.1),
		time.Date(2026, 3, 1, 12, 30, 0, 5, time.UTC), uint64(math.MaxUint64), []int{1, 2}, map[string]int{"a": 1},
	} {
		var want strings.Builder
		e := json.NewEncoder(&want)
		e.SetEscapeHTML(false)
		if err := e.Encode(v); err != nil {
			t.Fatal(err)
		}
		got, err := Const(v).AppendJSON(nil, &Vars{})
		if err != nil {
			t.Errorf("%#v: %v", v, err)
		}
		// U+2028 is valid JSON as it is.
		if w := strings.ReplaceAll(strings.TrimSpace(want.String()), `\u2028`, "\u2028"); string(got) != w {
			t.Errorf("%#v: %s, want %s", v, got, w)
		}
	}
}

// TestMegabytePasses checks that a payload as large as a source may deliver can be passed on.
func TestMegabytePasses(t *testing.T) {
	unhurried(t)
	zeros, objects, empty := make([]any, 500_000), make([]any, 100_000), make([]any, 300_000)
	for i := range zeros {
		zeros[i] = 0.0
	}
	for i := range objects {
		objects[i] = map[string]any{"a": 1.5}
	}
	for i := range empty {
		empty[i] = map[string]any{}
	}
	for name, v := range map[string]any{"text": strings.Repeat("x", 1<<20-2), "zeros": zeros, "objects": objects, "empty": empty, "words": strings.Fields(strings.Repeat("word ", 140_000))} {
		vars := &Vars{Event: map[string]any{"v": v}}
		var b []byte
		var err error
		took, bytes := measure(func() { b, err = template(t, "${event.v}").AppendJSON(nil, vars) })
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		t.Logf("%s: %d KiB in %v, %d KiB allocated", name, len(b)>>10, took, bytes>>10)
		if _, err := template(t, "${event.v}").Eval(vars); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestConcurrent shares one Program, Template and Value among goroutines.
func TestConcurrent(t *testing.T) {
	p, tmpl, x, v := filter0(t), topic0(t), object0(t), benchVars()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				ok, err := p.Bool(v)
				s, err2 := tmpl.Text(v)
				b, err3 := x.AppendJSON(nil, v)
				if want := `{"percent":23,"celsius":51.2,"unit":"C","room":"in the attic"}`; !ok || s != "devices/pi/attic/cpu" || string(b) != want || errors.Join(err, err2, err3) != nil {
					t.Errorf("%v %s %s %v", ok, s, b, errors.Join(err, err2, err3))
				}
				if got := p.Explain(v); got != "abs(event.cpu - (last.cpu ?? 0))=4.399999999999999 >= 2 is true" {
					t.Error(got)
				}
			}
		})
	}
	wg.Wait()
}

func TestSecretsInTexts(t *testing.T) {
	scope := Scope{Secrets: true}
	v := &Vars{Event: map[string]any{"x": "${secret.door}", "n": int64(7)}}
	for text, want := range map[string]Sealed{
		"${secret.door}":                     {"", "door", ""},
		"Bearer ${ secret.api-key.v2 }":      {"Bearer ", "api-key.v2", ""},
		"${event.n}:${secret.a}${secret.b}!": {"7:", "a", "", "b", "!"},
		"${event.x} ${secret.a} $${secret.b": {"${secret.door} ", "a", " ${secret.b"},
	} {
		parsed, err := ParseTemplate(text, scope)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if parsed.Constant() {
			t.Errorf("%s is constant", text)
		}
		if got, err := parsed.Eval(v); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %#v, %v", text, got, err)
		}
		if tree, err := Map([]string{"a"}, []Value{FromTemplate(parsed)}).Eval(v); err != nil || !reflect.DeepEqual(tree, map[string]any{"a": want}) {
			t.Errorf("%s in a tree: %#v, %v", text, tree, err)
		}
		if _, err := ParseTemplate(text, Scope{}); err == nil {
			t.Errorf("%s is accepted where no secret may be", text)
		}
	}
	for _, text := range []string{"${secret}", "${secret.a + event.x}", "${upper(secret.a)}", "${secret[event.x]}", `${let y = secret.a; y}`} {
		if _, err := ParseTemplate(text, scope); err == nil || !strings.Contains(err.Error(), "cannot read a secret") {
			t.Errorf("%s: %v", text, err)
		}
	}
	if p, err := ParseTemplate("${let secret = 1; secret}", scope); err != nil {
		t.Error(err)
	} else if got, _ := p.Eval(v); got != int64(1) {
		t.Errorf("a variable called secret is %v", got)
	}
}

func TestSeal(t *testing.T) {
	for text, want := range map[string]Sealed{
		"":                              {""},
		"a ${event.x} $${secret.a}":     {"a ${event.x} ${secret.a}"},
		"key=${secret.a}&b=${secret.b}": {"key=", "a", "&b=", "b", ""},
	} {
		if got := Seal(text); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q", text, got)
		}
	}
	open := func(before, name string) (string, error) { return fmt.Sprintf("<%d %s>", len(before), name), nil }
	if got, err := Seal("k=${secret.a}&${secret.b}").Open(open); err != nil || got != "k=<2 a>&<8 b>" {
		t.Errorf("%s, %v", got, err)
	}
}

func TestEscapedHoles(t *testing.T) {
	parsed, err := ParseTemplate("a/${event.x}/${event.n}${secret.s}", Scope{Secrets: true})
	if err != nil {
		t.Fatal(err)
	}
	e := parsed.Escape(func(before, value string) string { return "<" + before + "|" + value + ">" })
	if got, err := e.Eval(&Vars{Event: map[string]any{"x": "p/q", "n": int64(7)}}); err != nil || !reflect.DeepEqual(got, Sealed{"a/<a/|p/q>/<a/_/|7>", "s", ""}) {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := e.Eval(&Vars{Event: map[string]any{"n": int64(7)}}); err == nil {
		t.Error("a missing value is escaped")
	}
}
