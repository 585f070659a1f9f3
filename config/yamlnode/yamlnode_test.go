package yamlnode

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	yaml "go.yaml.in/yaml/v3"
)

func mustParse(t *testing.T, text string) *Doc {
	t.Helper()
	d, err := Parse("f", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestSyntaxPlaces marks the position with ‸ in the text. It fails if a new version of the YAML
// package hides its marks.
func TestSyntaxPlaces(t *testing.T) {
	for name, text := range map[string]string{
		"first line":                "a: b‸: c\n",
		"third line":                "a: 1\nb: 2\nc: d‸: e\n",
		"mapping indent":            "a:\n    b: 1\n  ‸c: 2\n",
		"list indent":               "a:\n  - b\n ‸- c\n",
		"no colon":                  "a: 1\n‸b\nc: 1\n",
		"no colon at the end":       "a: 1\n‸b\n",
		"open quote":                "a: 1\nb: ‸\"x\nc: 1\n",
		"open quote, first line":    "b: ‸'x\nc: 1\n",
		"open bracket":              "a: 1\nb: ‸[x,\nc: 1\nd: 2\n",
		"open brace":                "a: 1\nb: ‸{x: 1,\nc: 1\nd: 2\n",
		"missing comma":             "a: 1\nb: [x, \"y\" ‸\"z\"]\n",
		"stray bracket":             "a: 1\nb: x\nc: ‸]\n",
		"stray comma":               "a: 1\nb: [x, ‸, y]\n",
		"tab":                       "a:\n‸\tb: 1\n",
		"tab after spaces":          "a:\n  ‸\tb: 1\n",
		"at sign":                   "a: 1\nb: ‸@x\n",
		"unknown alias":             "a: 1\nb: [x, ‸*y]\n",
		"escape":                    "a: 1\nb: \"C:‸\\data\"\n",
		"after wide characters":     "a: 1\nb: [ü, \"日本\" ‸\"z\"]\n",
		"after CRLF":                "a: 1\r\nb: c‸: d\r\n",
		"after lone CR":             "a: 1\rb: c‸: d\r",
		"after a block of text":     "a: |\n  x\n\n  y\nb: c‸: d\n",
		"after comments":            "# x\n\n# y\na: 1\nb: c‸: d\n",
		"second document":           "a: 1\n‸---\nb: 1\n",
		"control character":         "a: 1\nb: x‸\x01\n",
		"bad UTF-8":                 "a: 1\nb: ü‸\xff\n",
		"after a byte order mark":   "\ufeffa: b‸: c\n",
		"error in second document":  "a: 1\n---\nb: c‸: d\n",
		"bad indent under a list":   "a:\n  - b: 1\n     c‸: 2\n",
		"unfinished mapping at end": "a: 1\nb: {\n‸",
	} {
		t.Run(name, func(t *testing.T) {
			before, _, _ := strings.Cut(strings.TrimPrefix(text, "\ufeff"), "‸")
			lines := splitLines(strings.ToValidUTF8(before, "?"))
			wantLine, wantCol := len(lines), len([]rune(lines[len(lines)-1]))+1
			_, err := Parse("f", []byte(strings.Replace(text, "‸", "", 1)))
			var errs Errors
			if !errors.As(err, &errs) {
				t.Fatalf("no error")
			}
			if errs[0].Line != wantLine || errs[0].Col != wantCol {
				t.Errorf("want %d:%d, got:\n%s", wantLine, wantCol, errs.Render())
			}
		})
	}
}

// checkPlaces checks positions: at the reported position of a plain value, the text must contain
// it.
func checkPlaces(t *testing.T, d *Doc) {
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		if n == nil {
			return
		}
		if n.Kind == yaml.ScalarNode && n.Style == 0 && n.Value != "" && n.Anchor == "" && !d.bad[n] && !strings.ContainsAny(n.Value, " \n\r\u0085\u2028\u2029") {
			if n.Line < 1 || n.Line > len(d.lines) {
				t.Fatalf("%q is said to be on line %d of %d", n.Value, n.Line, len(d.lines))
			}
			line := []rune(d.lines[n.Line-1])
			if n.Column < 1 || n.Column > len(line) || !strings.HasPrefix(string(line[n.Column-1:]), n.Value) {
				t.Fatalf("%q is said to be at %d:%d, where there is %q", n.Value, n.Line, n.Column, string(line))
			}
		}
		for i, c := range n.Content {
			if n.Kind == yaml.MappingNode && d.bad[n.Content[i&^1]] {
				continue // the value of a refused key is not checked
			}
			if !d.bad[n] {
				walk(c)
			}
		}
	}
	walk(d.root)
}

func TestGetters(t *testing.T) {
	d := mustParse(t, `
text: hello
quoted: "12"
int: 12
float: 1.5
yes: true
wait: 90s
size: 1KiB
word: b
list: [x, y]
map: {a: 1, b: 2}
none:
`)
	m, ok := d.Root().Map("text", "quoted", "int", "float", "yes", "wait", "size", "word", "list", "map", "none")
	if !ok {
		t.Fatal(d.Errors())
	}
	get := func(key string) Node {
		n, ok := m.Get(key)
		if !ok {
			t.Fatalf("no %s", key)
		}
		return n
	}
	check := func(name string, got any, ok bool, want any) {
		t.Helper()
		if !ok || got != want {
			t.Errorf("%s: %v, %v; want %v\n%v", name, got, ok, want, d.Errors())
		}
	}
	s, ok := get("text").Text()
	check("text", s, ok, "hello")
	s, ok = get("quoted").Text()
	check("quoted", s, ok, "12")
	i, ok := get("int").Int(0, 12)
	check("int", i, ok, int64(12))
	f, ok := get("float").Float(1, 2)
	check("float", f, ok, 1.5)
	b, ok := get("yes").Bool()
	check("bool", b, ok, true)
	w, ok := get("wait").Duration(0, time.Hour)
	check("duration", w, ok, 90*time.Second)
	z, ok := get("size").Size(0, 1<<20)
	check("size", z, ok, int64(1024))
	s, ok = get("word").OneOf("a", "b")
	check("word", s, ok, "b")
	items, ok := get("list").List()
	check("list", len(items), ok, 2)
	check("path", items[1].Path(), true, "list[1]")
	free, ok := get("map").Map()
	key, value := free.Entry(1)
	check("map", fmt.Sprint(free.Len(), key, value.Path()), ok, "2bmap.b")
	check("none", get("none").IsNull(), true, true)
	if line, col := get("size").Place(); line != 8 || col != 7 {
		t.Errorf("size at %d:%d", line, col)
	}
	if _, has := m.Get("other"); has || d.Errors() != nil {
		t.Errorf("errors: %v", d.Errors())
	}
}

func TestGettersRefuse(t *testing.T) {
	type get = func(Node) bool
	integer := func(n Node) bool { _, ok := n.Int(-5, 5); return ok }
	float := func(n Node) bool { _, ok := n.Float(-5, 5); return ok }
	boolean := func(n Node) bool { _, ok := n.Bool(); return ok }
	text := func(n Node) bool { _, ok := n.Text(); return ok }
	for _, c := range []struct {
		value, want string
		get         get
	}{
		{"6", `want a whole number from -5 to 5, got "6"`, integer},
		{"05", "the number 05 has a leading zero; some programs read that as octal", integer},
		{"+5", `want a whole number from -5 to 5, got "+5"`, integer},
		{"1.0", `want a whole number from -5 to 5, got "1.0"`, integer},
		{"'1'", "want a whole number from -5 to 5, got text", integer},
		{"[1]", "want a whole number from -5 to 5, got a list", integer},
		{".inf", `want a number from -5 to 5, got ".inf"`, float},
		{"nan", `want a number from -5 to 5, got "nan"`, float},
		{"0x1p2", `want a number from -5 to 5, got "0x1p2"`, float},
		{"yes", `want true or false, got "yes"`, boolean},
		{"'true'", "want true or false, got text", boolean},
		{"007", "want text, got a number", text},
		{"true", "want text, got a true/false value", text},
		{"2024-01-01", "want text, got a date", text},
		{"~", "want text, got nothing", text},
		{"{a: 1}", "want text, got a mapping", text},
	} {
		d := mustParse(t, "k: "+c.value)
		m, _ := d.Root().Map("k")
		n, _ := m.Get("k")
		ok := c.get(n)
		if errs := d.Errors(); ok || len(errs) != 1 || errs[0].Reason != c.want || errs[0].Key != "k" || errs[0].Col != 4 {
			t.Errorf("%s: %v, %v; want %s", c.value, ok, errs, c.want)
		}
	}
}

// TestRefusedNodesAreReportedOnce: a refused node is one error, whatever getters are called on it
// later.
func TestRefusedNodesAreReportedOnce(t *testing.T) {
	for _, text := range []string{"k: &a x", "k: !!str 5", "k: !x [1]", "k: ! 5", "a: &b 1\nk: *b\n"} {
		d := mustParse(t, text)
		before := len(d.Errors())
		m, _ := d.Root().Map()
		n, _ := m.Get("k")
		n.Text()
		n.Int(0, 1)
		n.Bool()
		n.List()
		n.Map("x")
		n.OneOf("a")
		n.Size(0, 1)
		n.Duration(0, 1)
		if got := len(d.Errors()); got != before || before == 0 {
			t.Errorf("%s: %d errors, then %d", text, before, got)
		}
	}
}

func TestDuration(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "0d": 0, "7d": 7 * day, "1d12h": 36 * time.Hour, "1.5h": 90 * time.Minute, "10ms": 10 * time.Millisecond, "-1h": -time.Hour, "-1d1h": -25 * time.Hour,
	} {
		if got, err := ParseDuration(s); got != want || err != nil {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "5", "d", "1w", "1d1", "-", "1h-1m", "--1h", "1d-1h", "+1h", "9999999999999999999d", "106752d", "106751d24h", "1 h", "1D", "1.5d"} {
		if got, err := ParseDuration(s); err == nil {
			t.Errorf("%q was read as %v", s, got)
		}
	}
	for d, want := range map[time.Duration]string{0: "0s", 7 * day: "7d", day: "24h", time.Hour: "1h", 90 * time.Second: "1m30s", 10 * time.Minute: "10m", 36 * time.Hour: "36h"} {
		if got := FormatDuration(d); got != want {
			t.Errorf("%v is written %q, want %q", d, got, want)
		}
		if back, err := ParseDuration(FormatDuration(d)); back != d || err != nil {
			t.Errorf("%v comes back as %v, %v", d, back, err)
		}
	}
}

func TestSize(t *testing.T) {
	for s, want := range map[string]int64{
		"0": 0, "4096": 4096, "1B": 1, "1KiB": 1024, "1kB": 1000, "1KB": 1000, "1.5MiB": 3 << 19, "500MB": 500e6, "1 GiB": 1 << 30, "2TiB": 2 << 40, "0.125kB": 125,
	} {
		if got, err := ParseSize(s); got != want || err != nil {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "MiB", "1M", "1G", "1mib", "1.5", "1.5B", "1.MiB", "-1", "1e3", "9999999999TiB", "9223372036854775808", "1.2345MiB", "1_000", "0x10"} {
		if got, err := ParseSize(s); err == nil {
			t.Errorf("%q was read as %v", s, got)
		}
	}
	for n, want := range map[int64]string{0: "0", 1 << 30: "1GiB", 500e6: "500MB", 1500: "1500", 64 << 20: "64MiB", 1000: "1kB"} {
		if got := FormatSize(n); got != want {
			t.Errorf("%d is written %q, want %q", n, got, want)
		}
	}
}

func TestMask(t *testing.T) {
	for line, want := range map[string]string{
		`password: hunter2`:                           `password: *******`,
		`  - {name: pi, password: "a, b}", deny: []}`: `  - {name: pi, password: *******, deny: []}`,
		`{password: abc, name: x}`:                    `{password: ***, name: x}`,
		`api_key: x`:                                  `api_key: *`,
		`{nkey: SUAX, creds: "a.creds"}`:              `{nkey: ****, creds: *********}`,
		`["tls://ann:pä@a", "tls://b@c", tls://d]`:    `["tls://******@a", "tls://*@c", tls://d]`,
		`a: tls://b # ann@example.org`:                `a: tls://b # ann@example.org`,
		`monkey: x`:                                   `monkey: x`,
		`mqtt_password: ü`:                            `mqtt_password: *`,
		`password: "open`:                             `password: *****`,
		`password: "a\"b" # c`:                        `password: ****** # c`,
		`name: pi`:                                    `name: pi`,
		`password:`:                                   `password:`,
	} {
		if got := mask(line); got != want {
			t.Errorf("%s\n got %s\nwant %s", line, got, want)
		}
	}
	if got := mask(`x: {password: 'it''s secret: really', a: 1}`); strings.Contains(got, "it") || strings.Contains(got, "really") {
		t.Errorf("doubled quote: %s", got)
	}
}

func TestRenderCaret(t *testing.T) {
	d := mustParse(t, "\"日本\": [x]\nb: \"\t\" # tab\n")
	m, _ := d.Root().Map()
	n, _ := m.Get("日本")
	n.Text()
	want := "f:1:7: \"日本\": want text, got a list\n    \"日本\": [x]\n          ^"
	if got := d.Errors().Render(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := pad("\tab", 2) + "^"; got != "\t ^" {
		t.Errorf("tabs are not kept: %q", got)
	}
	if e := (&Error{File: "f", Reason: "r"}); e.Render() != "f: r" {
		t.Errorf("%q", e.Render())
	}
	es := Errors{{File: "f", Line: 1, Col: 2, Key: "k", Reason: "r"}, {File: "f", Reason: "s"}}
	if es.Error() != "f:1:2: k: r (and 1 more)" {
		t.Errorf("%q", es.Error())
	}
	var e *Error
	if !errors.As(error(es), &e) || e.Key != "k" {
		t.Error("errors.As finds no *Error")
	}
}

func TestControlCharactersDoNotReachTheTerminal(t *testing.T) {
	d := mustParse(t, "\"\\e[31m\": \"\\a\"\nx: \u202ey\n")
	d.Root().Map("known")
	if s := d.Errors().Render(); strings.ContainsAny(s, "\x1b\a\u202e") {
		t.Errorf("%q", s)
	}
}

// TestHostileFilesAreFast parses a megabyte that makes parsers slow or deep, and half of it: twice
// as much text is not more than twice the work, measured by allocations. The time is logged.
func TestHostileFilesAreFast(t *testing.T) {
	repeat := func(s string) func(int) string {
		return func(size int) string { return strings.Repeat(s, size/len(s)) }
	}
	around := func(before, s, after string) func(int) string {
		return func(size int) string { return before + strings.Repeat(s, size/2/len(s)) + after }
	}
	type work struct{ allocations, bytes uint64 }
	measure := func(text string) (w work, took time.Duration) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := time.Now()
		d, err := Parse("f", []byte(text))
		if err == nil {
			d.Root().Map("known", "other")
			d.Errors().Render()
		}
		took = time.Since(start)
		runtime.ReadMemStats(&after)
		return work{after.Mallocs - before.Mallocs, after.TotalAlloc - before.TotalAlloc}, took
	}
	for name, text := range map[string]func(size int) string{
		"brackets": repeat("["), "braces": repeat("{"), "dashes": repeat("- "), "questions": repeat("? "), "colons": repeat(": "), "mappings": repeat("a: "),
		"comments": repeat("#\n"), "keys": repeat("a: 1\n"), "long key": repeat("a"), "long text": around("a: ", "b", ""), "quotes": repeat(`"`),
		"anchors": repeat("&a "), "tags": repeat("!a "), "documents": repeat("---\n"), "list": around("a: [", "x,", "]"), "bars": repeat("|\n"),
		"percent": repeat("%YAML 1.2\n"), "tabs": repeat("\t"), "newlines": repeat("\n"), "flow keys": around("{", "a: 1,", "}"),
		"nested 60":        repeat(strings.Repeat("[", 60) + "x" + strings.Repeat("]", 60) + "\n"),
		"comments between": repeat("a:\n# x\n"), "comment runs": repeat("- a # x\n"), "bare tags": around("[", "! x,", "]"),
		"aliases": around("a: &a x\nb: [", "*a,", "]"), "errors everywhere": repeat("- *\n"), "foot comments": repeat("- a\n\n# x\n\n"),
		"pairs": func(size int) string { return strings.Repeat("[", size/2) + strings.Repeat("]", size/2) },
		"deep block": func(size int) string {
			var b strings.Builder
			for i := 0; b.Len() < size-3000; i++ {
				b.WriteString(strings.Repeat(" ", i%1400) + "a:\n")
			}
			return b.String()
		},
		"different keys": func(size int) string {
			var b strings.Builder
			for i := 0; b.Len() < size-20; i++ {
				fmt.Fprintf(&b, "k%d: 1\n", i)
			}
			return b.String()
		},
	} {
		half, _ := measure(text(MaxSize / 2))
		whole, took := measure(text(MaxSize))
		t.Logf("%-20s %8d allocations, %5d MiB, %8v", name, whole.allocations, whole.bytes>>20, took.Round(time.Millisecond))
		// Slices and maps double as they grow, so that a half may have cost little more than a
		// quarter.
		if whole.allocations > 5*half.allocations/2+10_000 || whole.bytes > 3*half.bytes+4<<20 {
			t.Errorf("%s: half of it costs %+v, the whole %+v", name, half, whole)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"a: 1\n", "a: [x, {b: c}]\n", "- |\n  x\n- >-\n  y\n", "a: &x b\nc: *x\n", "? a\n: b\n", "a: \"x\n  y\"\n", "# c\na: 1 # d\n\n# e\n", "a:\r\n  - b\r\n", "\ufeffa: \u2028b", "!!set {a}", "--- a\n...\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		start := time.Now()
		d, err := Parse("f", data)
		if took := time.Since(start); took > time.Minute { // it hangs
			t.Fatalf("took %v", took)
		}
		if err != nil {
			var errs Errors
			if !errors.As(err, &errs) || len(errs) == 0 || errs[0].Line == 0 && len(data) <= MaxSize {
				t.Fatalf("no place: %v", err)
			}
			errs.Render()
			return
		}
		checkPlaces(t, d)
		if m, ok := d.Root().Map(); ok {
			for i := range m.Len() {
				_, n := m.Entry(i)
				n.Text()
				n.Int(0, 9)
				n.Duration(0, 1)
				n.Size(0, 1)
				n.List()
			}
		}
		for _, e := range d.Errors() {
			if e.Line < 1 || e.Line > len(d.lines) || e.Col < 1 {
				t.Fatalf("outside of the text: %+v", e)
			}
		}
		d.Errors().Render()
	})
}
