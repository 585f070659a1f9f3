package exec

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"unicode"

	"github.com/postbus/postbus/plugins/kind"
)

type m = map[string]any

func TestReadParams(t *testing.T) {
	for _, c := range []struct {
		name   string
		params any
		want   string // "key: reason" of the errors, "" for none
	}{
		{"none", nil, ""},
		{"all", m{"a": m{"type": "text", "max": 10, "dash": true, "pattern": "x+"}, "b": m{"type": "int", "min": -3, "max": 3.0}, "c": m{"oneof": []any{"on", "off", 3, true}}}, ""},
		{"a list", []any{"a"}, "params: this is not a mapping"},
		{"a bad name", m{"A-b": m{"type": "text"}}, `params.A-b: "A-b" is not a parameter's name`},
		{"a word", m{"a": "text"}, "params.a: the parameter's type is missing"},
		{"no type", m{"a": m{"max": 3}}, "params.a: its type is missing"},
		{"a strange type", m{"a": m{"type": "float"}}, "params.a.type: float is not a type"},
		{"a type that is a number", m{"a": m{"type": 3}}, "params.a.type: 3 is not a type"},
		{"both", m{"a": m{"type": "text", "oneof": []any{"x"}}}, "params.a.type: oneof excludes type"},
		{"an unknown key", m{"a": m{"type": "text", "min": 3}}, `params.a.min: unknown key "min"`},
		{"max is text", m{"a": m{"type": "text", "max": "x"}}, "params.a.max: x is not a whole number from 1 to 32768"},
		{"max is huge", m{"a": m{"type": "text", "max": 1 << 20}}, "params.a.max: 1048576 is not"},
		{"min above max", m{"a": m{"type": "int", "min": 4, "max": 3}}, "params.a.min: min, 4, is more than max, 3"},
		{"an empty list", m{"a": m{"oneof": []any{}}}, "params.a.oneof: it must be a list"},
		{"a list of lists", m{"a": m{"oneof": []any{[]any{}}}}, "params.a.oneof: it must be a list"},
		{"no list", m{"a": m{"oneof": "on"}}, "params.a.oneof: it must be a list"},
		{"a bad pattern", m{"a": m{"type": "text", "pattern": "("}}, "params.a.pattern: ( is not a regular"},
		{"a pattern that climbs out", m{"a": m{"type": "text", "pattern": "a)|(b"}}, "params.a.pattern: a)|(b is not a regular"},
		{"dash", m{"a": m{"type": "text", "dash": "yes"}}, "params.a.dash: yes is not true or false"},
	} {
		_, errs := readParams(c.params)
		var got string
		for _, e := range errs {
			got += e.(*kind.OptionError).Key() + ": " + e.Error()
		}
		if c.want == "" && got != "" || !strings.HasPrefix(got, c.want) || len(errs) > 1 {
			t.Errorf("%s: %q", c.name, got)
		}
	}
}

func TestCheckUse(t *testing.T) {
	text := m{"x": m{"type": "text"}}
	for _, c := range []struct {
		name    string
		command []string
		params  any
		want    string
	}{
		{"fine", []string{"notify-send", "--", "{x}"}, text, ""},
		{"no parameters", []string{"date", "{}", "{X}", "a{x}"}, nil, ""},
		{"within an item", []string{"curl", "--data={x}", "{x}"}, text, "is part of"},
		{"the program", []string{"{x}"}, text, "can't be the program"},
		{"not declared", []string{"date", "{y}"}, nil, "there is no parameter for {y}"},
		{"not used", []string{"date"}, text, "no item of the command is {x}"},
		{"a shell", []string{"sh", "-c", "{x}"}, text, "would be a program"},
		{"a shell by its path, with another flag", []string{"/bin/bash", "-ec", "{x}"}, text, "would be a program"},
		{"a shell behind another program", []string{"env", "A=b", "sh", "-c", "{x}"}, text, "would be a program"},
		{"an argument of a script is fine", []string{"sh", "-c", `echo "$1"`, "sh", "{x}"}, text, ""},
		{"Python", []string{"python3", "-c", "{x}"}, text, "would be a program"},
		{"PowerShell", []string{"PowerShell.exe", "-Command", "{x}"}, text, "would be a program"},
		{"a batch file", []string{"./x.BAT", "{x}"}, text, "batch file"},
		{"ssh", []string{"ssh", "host", "say", "{x}"}, text, "a shell on the other side"},
		{"ssh with a pattern", []string{"ssh", "host", "say", "{x}"}, m{"x": m{"type": "text", "pattern": "[a-z]+"}}, ""},
		{"ssh with a number", []string{"ssh", "host", "say", "{x}"}, m{"x": m{"type": "int"}}, ""},
	} {
		o := actionDefaults()
		o.Command, o.Params = c.command, c.params
		errs := o.Check()
		if c.want == "" && errs != nil || c.want != "" && (len(errs) != 1 || !strings.Contains(errs[0].Error(), c.want)) {
			t.Errorf("%s: %v", c.name, errs)
		}
	}
}

func TestFill(t *testing.T) {
	params, errs := readParams(m{"title": m{"type": "text", "max": 5}, "level": m{"type": "int", "min": -1, "max": 10}, "mode": m{"oneof": []any{"on", "off", 3, true}},
		"word": m{"type": "text", "pattern": "a|bc", "dash": true}, "n": m{"type": "int"}})
	if errs != nil {
		t.Fatal(errs)
	}
	for _, c := range []struct {
		name  string
		value any
		want  string
		err   string
	}{
		{"title", "a b;$x", "", "more than 5"}, {"title", "äöüß€", "äöüß€", ""}, {"title", "", "", ""}, {"title", `";$(`, `";$(`, ""},
		{"title", "-x", "", "begins with -"}, {"title", "a-", "a-", ""}, {"title", "a\x00", "", "control character"}, {"title", "a\n", "", "control character"},
		{"title", "a\u0085", "", "control character"}, {"title", "\x7f", "", "control character"}, {"title", "a\xff", "", "not UTF-8"}, {"title", 1.5, "1.5", ""},
		{"title", true, "true", ""}, {"title", []any{}, "", "is not a text"}, {"title", m{}, "", "is not a text"}, {"title", math.NaN(), "", "is not a text"},
		{"level", 3, "3", ""}, {"level", 3.0, "3", ""}, {"level", "3", "3", ""}, {"level", int64(-1), "-1", ""}, {"level", 3.5, "", "not a whole number"},
		{"level", -2, "", "-2 is not from -1 to 10"}, {"level", 11, "", "11 is not from"}, {"level", "03", "", "not a whole number"}, {"level", "3; rm", "", "not a whole number"},
		{"level", "", "", "not a whole number"}, {"level", true, "", "not a whole number"}, {"level", 1e300, "", "not a whole number"}, {"level", uint64(math.MaxUint64), "", "not a whole number"},
		{"n", -1, "", "-1 is not from 0"}, // it would look like an option
		{"mode", "on", "on", ""}, {"mode", 3, "3", ""}, {"mode", true, "true", ""}, {"mode", "ON", "", `"ON" is not one of on, off, 3, true`}, {"mode", strings.Repeat("x", 100), "", "…"},
		{"word", "a", "a", ""}, {"word", "bc", "bc", ""}, {"word", "ab", "", "doesn't match"}, {"word", "xbc", "", "doesn't match"}, {"word", "a\n", "", "control"}, {"word", "-", "", "doesn't match"},
		{"title", nil, "", "with.title is missing"},
	} {
		args, err := fill([]string{"x", "{" + c.name + "}", "{}"}, params, m{c.name: c.value})
		if c.err == "" && (err != nil || !reflect.DeepEqual(args, []string{"x", c.want, "{}"})) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s = %v: %q, %v", c.name, c.value, args, err)
		}
	}
	for want, with := range map[string]any{"with.other: there is no such": m{"title": "x", "other": 1}, "with.title is missing": nil, "with is not a mapping": "x"} {
		if _, err := fill([]string{"x", "{title}"}, params, with); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", with, err)
		}
	}
}

func FuzzArgument(f *testing.F) {
	f.Add("-x")
	f.Add("a\x00b")
	p := param{kind: "text", max: 20}
	f.Fuzz(func(t *testing.T, s string) {
		args, err := fill([]string{"x", "{a}", "end"}, map[string]param{"a": p}, m{"a": s})
		if err != nil {
			return
		}
		if len(args) != 3 || args[1] != s || strings.HasPrefix(s, "-") || strings.ContainsFunc(s, unicode.IsControl) || len(s) > 20*4 {
			t.Errorf("%q: %q", s, args)
		}
	})
}
