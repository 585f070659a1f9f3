package execd

import (
	"bytes"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/plugins/payload/decode"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		line, format string
		cut          bool
		want         map[string]any
		why          string
		decode       decode.Encoding
	}{
		{`{"pm25": 12, "a": {"b": [1]}}`, "json", false, map[string]any{"pm25": int64(12), "a": map[string]any{"b": []any{int64(1)}}}, "", ""},
		{`{}`, "json", false, map[string]any{}, "", ""},
		{`12`, "json", false, map[string]any{"value": int64(12)}, "", ""},
		{`null`, "json", false, map[string]any{"value": nil}, "", ""},
		{` [1] `, "json", false, map[string]any{"value": []any{int64(1)}}, "", ""},
		{``, "json", false, nil, "", ""},
		{`hello`, "json", false, nil, "not a JSON line", ""},
		{`{"a": 1} {"b": 2}`, "json", false, nil, "not a JSON line", ""},
		{`{"a": 1`, "json", true, nil, "longer than max_line", ""},
		{`12`, "json", true, nil, "longer than max_line", ""}, // the beginning of another number
		{"hello\xff", "text", false, map[string]any{"text": "hello\uFFFD"}, "", ""},
		{"", "text", false, map[string]any{"text": ""}, "", ""},
		{"hel", "text", true, map[string]any{"text": "hel"}, "the part of a line beyond max_line", ""},
		{"a,1", "text", false, map[string]any{"text": "a,1", "json": []any{"a", "1"}}, "", "csv"},
		{`"a`, "text", false, map[string]any{"text": `"a`, "json": nil, "decode_error": "this is not CSV: parse error on line 1, column 3: extraneous or missing \" in quoted-field"}, "", "csv"},
		{"a,1", "text", true, map[string]any{"text": "a,1"}, "the part of a line beyond max_line", "csv"},
		{"[1]", "text", false, map[string]any{"text": "[1]", "json": []any{int64(1)}}, "", "json"},
	} {
		got, why := parse([]byte(c.line), c.cut, c.format, c.decode)
		if !reflect.DeepEqual(got, c.want) || why != c.why {
			t.Errorf("%s %q: %v, %q", c.format, c.line, got, why)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"a": [1, null]}`))
	f.Add([]byte(`nul`))
	f.Fuzz(func(t *testing.T, line []byte) {
		if fields, why := parse(line, false, "json", "none"); fields != nil && why != "" || fields == nil && why == "" && len(line) > 0 {
			t.Errorf("%v, %q", fields, why)
		}
		if fields, _ := parse(line, false, "text", "csv"); fields == nil {
			t.Error("no text")
		}
	})
}

func TestRestart(t *testing.T) {
	for _, c := range []struct{ text, want, err string }{
		{"1s..60s", "1s..1m", ""}, {"never", "never", ""}, {"5s", "5s..5s", ""}, {" 10ms .. 24h ", "10ms..24h", ""}, {"90s..2h", "1m30s..2h", ""},
		{"", "", "it is two times"}, {"1s..", "", "it is two times"}, {"1..60", "", "it is two times"}, {"0s..1s", "", "it is two times"}, {"1s..25h", "", "it is two times"},
		{"10s..1s", "", "the first pause, 10s, is longer"},
	} {
		var r Restart
		err := r.UnmarshalText([]byte(c.text))
		if c.err == "" && (err != nil || r.String() != c.want) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%q: %s, %v", c.text, r, err)
		}
		var again Restart
		if text, _ := r.MarshalText(); err == nil && (again.UnmarshalText(text) != nil || again != r) {
			t.Errorf("%s doesn't read back", text)
		}
	}
}

func TestPauses(t *testing.T) {
	p := Restart{Min: time.Second, Max: 5 * time.Second}.pauses()
	for i, c := range []struct{ took, want time.Duration }{
		{0, time.Second}, {0, 2 * time.Second}, {59 * time.Second, 4 * time.Second}, {0, 5 * time.Second}, {0, 5 * time.Second},
		{time.Minute, time.Second}, {0, 2 * time.Second},
	} {
		got, ok := p.next(c.took)
		if !ok || got < c.want || got > c.want*11/10 {
			t.Errorf("pause %d is %s, not %s", i, got, c.want)
		}
	}
	if _, ok := (Restart{Never: true}).pauses().next(0); ok {
		t.Error("never came")
	}
}

func TestComplaints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		c := dropLog{log: slog.New(slog.NewTextHandler(&b, nil))}
		for range 1000 {
			c.line("not a JSON line", bytes.Repeat([]byte("x"), 500))
		}
		time.Sleep(complainEvery) // of the virtual clock
		c.line("not a JSON line", []byte("y"))
		c.flush()
		if got := b.String(); strings.Count(got, "\n") != 2 || strings.Contains(got, strings.Repeat("x", 101)) || !strings.Contains(got, "more=999") {
			t.Error(got)
		}
	})
}
