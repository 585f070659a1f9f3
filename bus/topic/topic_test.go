package topic

import (
	"errors"
	"math/rand"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		want          bool
	}{
		{"#", "a", true}, {"#", "a/b/c", true}, {"#", "/", true}, {"#", "$SYS/x", false},
		{"+", "a", true}, {"+", "a/b", false}, {"+", "/", false}, {"+", "$SYS", false}, {"+/x", "$SYS/x", false},
		{"+/+", "/a", true}, {"/+", "/a", true}, {"+/", "a/", true}, {"+/", "a", false},
		{"a/#", "a", true}, {"a/#", "a/", true}, {"a/#", "a/b/c", true}, {"a/#", "ab", false},
		{"a/+/#", "a", false}, {"a/+/#", "a/b", true}, {"+/#", "a", true}, {"+/#", "$bus/x", false},
		{"$SYS/#", "$SYS/x", true}, {"$SYS/#", "$SYS", true}, {"$SYS/+", "$SYS/x", true},
		{"a/b", "a/b", true}, {"a/b", "a/B", false}, {"a", "a/", false}, {"a//b", "a//b", true}, {"a/+/b", "a//b", true},
		{"a/$x", "a/$x", true}, {"+/$x", "a/$x", true}, {"", "", false}, {"#", "", false},
	} {
		if got := Match(c.filter, c.topic); got != c.want {
			t.Errorf("Match(%q, %q) = %v", c.filter, c.topic, got)
		}
	}
}

func TestOverlapsAndCovers(t *testing.T) {
	for _, c := range []struct {
		a, b             string
		overlaps, covers bool
	}{
		{"#", "#", true, true}, {"#", "+/#", true, true}, {"+/#", "#", true, true}, {"+", "#", true, false},
		{"#", "a/b", true, true}, {"a/b", "#", true, false}, {"a/#", "a", true, true}, {"a", "a/#", true, false},
		{"a/#", "a/+", true, true}, {"a/+", "a/#", true, false}, {"a/+/#", "a/#", true, false}, {"a/#", "a/+/#", true, true},
		{"a/+", "+/b", true, false}, {"a/b", "a/c", false, false}, {"a/+/c", "a/b/+", true, false}, {"a/#", "b/#", false, false},
		{"#", "$SYS/#", false, false}, {"+/x", "$SYS/x", false, false}, {"$SYS/#", "#", false, false}, {"$SYS/#", "$SYS/+/x", true, true},
		{"+", "+/+", false, false}, {"+/+", "+", false, false}, {"+/+/#", "+", false, false}, {"+/#", "+", true, true},
		{"", "a", false, false}, {"home/#", "home/+/temp", true, true}, {"home/+/temp", "home/#", true, false},
	} {
		if got := Overlaps(c.a, c.b); got != c.overlaps {
			t.Errorf("Overlaps(%q, %q) = %v", c.a, c.b, got)
		}
		if got := Overlaps(c.b, c.a); got != c.overlaps {
			t.Errorf("Overlaps(%q, %q) = %v", c.b, c.a, got)
		}
		if got := Covers(c.a, c.b); got != c.covers {
			t.Errorf("Covers(%q, %q) = %v", c.a, c.b, got)
		}
	}
}

func TestCheckFilter(t *testing.T) {
	for _, c := range []struct {
		filter string
		fault  Fault // 0: valid
		level  int
	}{
		{"a", 0, 0}, {"#", 0, 0}, {"+", 0, 0}, {"/", 0, 0}, {"//", 0, 0}, {"a/#", 0, 0}, {"/#", 0, 0}, {"a//#", 0, 0}, {"+/a/+", 0, 0}, {"+/#", 0, 0},
		{"$SYS/#", 0, 0}, {"a//b", 0, 0}, {"ü/+", 0, 0}, {"a b", 0, 0}, {"\uFEFF", 0, 0}, {"$share/g/a", 0, 0}, {strings.Repeat("a", 65535), 0, 0},

		{"", Empty, 0}, {strings.Repeat("a", 65536), TooLong, 0},
		{"a\x00", NotText, 0}, {"\xff", NotText, 0}, {"\xED\xA0\x80", NotText, 0},
		{"#/a", HashNotLast, 0}, {"a/#/b", HashNotLast, 1}, {"#/", HashNotLast, 0},
		{"a#", NotLevel, 0}, {"##", NotLevel, 0}, {"a/b#", NotLevel, 1}, {"#a", NotLevel, 0}, {"a/#b", NotLevel, 1},
		{"a+", NotLevel, 0}, {"a+/b", NotLevel, 0}, {"+a", NotLevel, 0}, {"a/+b", NotLevel, 1}, {"++", NotLevel, 0}, {"+#", NotLevel, 0}, {"é+", NotLevel, 0},
	} {
		if got := faultOf(t, CheckFilter(c.filter)); got.Fault != c.fault || got.Level != c.level {
			t.Errorf("%.20q: fault %d at level %d, want %d at %d", c.filter, got.Fault, got.Level, c.fault, c.level)
		}
	}
}

func TestCheckSubscription(t *testing.T) {
	for f, fault := range map[string]Fault{
		"a/+": 0, "$share/g/a": 0, "$share/g/#": 0, "$share/g/+/a": 0, "$share/g//": 0, "$share/$g/a": 0, "$shared/+/a": 0, "a/$share//": 0,
		"$replay/10m/a/+": 0, "$replay/7d/#": 0, "$replay/0s/a": 0, "$replays/x": 0, strings.Repeat("a", 65535): 0,

		"": Empty, "a#": NotLevel, "a\x00": NotText, strings.Repeat("a", 65536): TooLong,
		"$share": NoGroup, "$share/": NoGroup, "$share//a": NoGroup, "$share//": NoGroup, "$share/+/a": NoGroup, "$share/g#/a": NoGroup, "$share/g+": NoGroup,
		"$share/g": NoShared, "$share/g/": NoShared, "$share/g/a#": NotLevel, "$share/g/#/a": HashNotLast, "$share/\xff/a": NotText,
		"$share/g/" + strings.Repeat("a", 65535): TooLong, "$share/g/$replay/1h/a": SharedPast,
		"$replay/x/a": BadAge, "$replay/-1s/a": BadAge, "$replay/99999999d/a": BadAge, "$replay//a": BadAge, "$replay/10m": NoReplayed, "$replay/10m/": NoReplayed,
		"$replay/10m/a/#/b": HashNotLast, "$replay/10m/$share/g/a": NoReplayed, "$replay/10m/$replay/1m/a": NoReplayed,
	} {
		if got := faultOf(t, CheckSubscription(f)); got.Fault != fault {
			t.Errorf("%.40q: fault %d, want %d", f, got.Fault, fault)
		}
	}
}

func TestCheckName(t *testing.T) {
	for name, fault := range map[string]Fault{
		"a": 0, "/": 0, "$SYS/a": 0, "a b": 0, "\x01": 0, "\uFFFF": 0, "\uFEFF": 0, strings.Repeat("a", 65535): 0,
		"": Empty, "+": Wildcard, "a/#": Wildcard, "a+b": Wildcard, "\x00": NotText, "a\xff": NotText, "\xED\xBF\xBF": NotText, strings.Repeat("a", 65536): TooLong,
	} {
		got := faultOf(t, CheckName(name))
		if got.Fault != fault || fault != 0 && !got.Name {
			t.Errorf("%.20q: fault %d, want %d", name, got.Fault, fault)
		}
	}
}

// faultOf converts an error of a check to *Error; nil yields a zero one.
func faultOf(t *testing.T, err error) *Error {
	t.Helper()
	if err == nil {
		return new(Error)
	}
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("%T: %v", err, err)
	}
	return e
}

// TestWords checks the texts that users see.
func TestWords(t *testing.T) {
	for _, c := range []struct {
		err          error
		text, reason string // reason is text where it is empty
	}{
		{CheckName(""), "topic name is empty", "it is empty"},
		{CheckName(strings.Repeat("a", 65536)), "topic name of 65536 bytes: at most 65535 are allowed", "it has 65536 bytes, more than 65535"},
		{CheckName("a/+"), `topic name "a/+" holds a wildcard; wildcards are for filters`, `"a/+" holds a wildcard`},
		{CheckName("a\x00"), `topic name "a\x00" is not UTF-8 text without U+0000`, `"a\x00" holds a NUL character or is not UTF-8`},
		{CheckFilter(""), "topic filter is empty", "it is empty"},
		{CheckFilter("#/a"), `topic filter "#/a": # must be its last level`, `"#/a": # must be the last level`},
		{CheckFilter("a#"), `topic filter "a#": + and # must be whole levels`, `"a#": + and # must be levels of their own`},
		{CheckSubscription("$share"), `shared filter "$share" names no group`, ""},
		{CheckSubscription("$share/+/a"), `shared filter "$share/+/a" needs a group name without + and #`, ""},
		{CheckSubscription("$share/g/"), `shared filter "$share/g/" names no filter behind the group`, ""},
		{CheckSubscription("$share/g/$replay/1h/a"), `shared filter "$share/g/$replay/1h/a": a shared subscription cannot replay history`, ""},
		{CheckSubscription("$replay/soon/a"), `filter "$replay/soon/a": want $replay/AGE/FILTER with an age such as 10m, 24h or 7d, not "soon"`, ""},
		{CheckSubscription("$replay/1h/"), `filter "$replay/1h/" names no filter behind the age`, ""},
	} {
		if c.reason == "" {
			c.reason = c.text
		}
		if c.err.Error() != c.text || Reason(c.err).Error() != c.reason {
			t.Errorf("got  %s\n and %s\nwant %s", c.err, Reason(c.err), c.text)
		}
	}
	if Reason(nil) != nil {
		t.Error("nil has a reason")
	}
}

func TestParts(t *testing.T) {
	for f, want := range map[string]string{
		"a/b": "a/b", "$share/g/a/#": "a/#", "$replay/10m/home/+": "home/+", "$share/g": "", "$share/g/": "", "$share": "", "$replay/10m": "",
		"$SYS/#": "$SYS/#", "$share/g/$SYS/#": "$SYS/#", "": "",
	} {
		if got := Inner(f); got != want {
			t.Errorf("Inner(%q) = %q", f, got)
		}
	}
	if group, inner := SplitShare("$share/g/a/b"); group != "g" || inner != "a/b" {
		t.Error(group, inner)
	}
	if group, inner := SplitShare("a/b"); group != "" || inner != "a/b" {
		t.Error(group, inner)
	}
	if age, inner, ok := SplitReplay("$replay/7d/a/b"); age != "7d" || inner != "a/b" || !ok {
		t.Error(age, inner, ok)
	}
	if age, inner, ok := SplitReplay("$replay"); age != "" || inner != "$replay" || ok {
		t.Error(age, inner, ok)
	}
	for name, want := range map[string]bool{"$SYS": true, "$SYS/a": true, "$bus/a": true, "$bus": true, "$busy/a": false, "a/$SYS": false, "": false, "$share/x": true, "$replay": true} {
		if Reserved(name) != want {
			t.Errorf("Reserved(%q) = %v", name, !want)
		}
	}
	p := Compile("a/+/b/#")
	literal, ok := p.Literal()
	if stem, levels := p.Stem(); literal != "a" || !ok || stem != "a/+/b" || levels != 3 || !p.Open() {
		t.Error(literal, ok, stem, levels, p.Open())
	}
	for filter, want := range map[string]string{"#": "", "+": "", "+/a": "", "/#": "literal", "/a": "/a", "a": "a", "a/b/+": "a/b", "a//+": "a/"} {
		p := Compile(filter)
		if literal, ok := p.Literal(); literal != strings.TrimPrefix(want, "literal") || ok != (want != "") {
			t.Errorf("Literal of %s: %q, %v", filter, literal, ok)
		}
	}
}

// naiveMatch is [MQTT-4.7] word for word, on split levels.
func naiveMatch(filter, topic string) bool {
	f, t := strings.Split(filter, "/"), strings.Split(topic, "/")
	if strings.HasPrefix(topic, "$") && (f[0] == "#" || f[0] == "+") {
		return false
	}
	for i := range f {
		if f[i] == "#" {
			return len(t) >= i // the parent level too
		}
		if i >= len(t) || f[i] != "+" && f[i] != t[i] {
			return false
		}
	}
	return len(t) == len(f)
}

// topics is every topic of up to four levels over a small alphabet: enough to find a witness for
// any two filters of up to three levels over the same alphabet.
var topics = func() []string {
	var all []string
	var grow func(prefix string, depth int)
	grow = func(prefix string, depth int) {
		for _, l := range []string{"", "a", "b", "c", "$s"} {
			topic := prefix + l
			if topic != "" {
				all = append(all, topic)
			}
			if depth < 4 {
				grow(topic+"/", depth+1)
			}
		}
	}
	grow("", 1)
	return all
}()

func randomFilter(r *rand.Rand) string {
	levels := make([]string, 1+r.Intn(3))
	for i := range levels {
		levels[i] = []string{"", "a", "b", "+", "+", "$s"}[r.Intn(6)]
	}
	if r.Intn(2) == 0 {
		levels[len(levels)-1] = "#"
	}
	return strings.Join(levels, "/")
}

func compare(t *testing.T, a, b string) {
	overlaps, covers := false, true
	p := Compile(a)
	for _, topic := range topics {
		ma, mb := naiveMatch(a, topic), naiveMatch(b, topic)
		if got := Match(a, topic); got != ma {
			t.Fatalf("Match(%q, %q) = %v", a, topic, got)
		}
		if got := p.Match([]byte(topic)); got != ma {
			t.Fatalf("Compile(%q).Match(%q) = %v", a, topic, got)
		}
		overlaps = overlaps || ma && mb
		covers = covers && (ma || !mb)
	}
	if got := Overlaps(a, b); got != overlaps {
		t.Fatalf("Overlaps(%q, %q) = %v", a, b, got)
	}
	if got := Covers(a, b); got != covers {
		t.Fatalf("Covers(%q, %q) = %v", a, b, got)
	}
}

func TestAgainstNaive(t *testing.T) {
	r := rand.New(rand.NewSource(1))
	for range 3000 {
		a, b := randomFilter(r), randomFilter(r)
		if CheckFilter(a) == nil && CheckFilter(b) == nil {
			compare(t, a, b)
		}
	}
}

// FuzzMatch compares the ways to match with [MQTT-4.7] word for word.
func FuzzMatch(f *testing.F) {
	f.Add("a/+/#", "a/b/c")
	f.Add("$SYS/#", "$SYS")
	f.Add("+//", "//")
	f.Add("$share/g/a", "$replay/1h/a")
	f.Fuzz(func(t *testing.T, filter, name string) {
		got := Match(filter, name)
		Overlaps(filter, name)
		Covers(filter, name)
		p := Compile(filter)
		compiled := p.Match([]byte(name))
		if CheckSubscription(filter) == nil && CheckFilter(Inner(filter)) != nil {
			t.Fatalf("subscription %q has the filter %q", filter, Inner(filter))
		}
		if err := CheckFilter(filter); err != nil {
			if err.Error() == "" || Reason(err).Error() == "" {
				t.Fatalf("%q has no words", filter)
			}
			return
		}
		if name == "" || HasWildcard(name) || len(name) > 1000 {
			return
		}
		if want := naiveMatch(filter, name); got != want || compiled != want {
			t.Fatalf("%q, %q: Match %v, compiled %v", filter, name, got, compiled)
		}
		// A name is a filter that matches only itself.
		if CheckName(name) == nil {
			if Overlaps(filter, name) != got || Covers(filter, name) != got {
				t.Fatalf("%q, %q: Match %v, Overlaps %v, Covers %v", filter, name, got, Overlaps(filter, name), Covers(filter, name))
			}
		}
	})
}

// FuzzRelations turns bytes into two filters and compares with all small topics.
func FuzzRelations(f *testing.F) {
	f.Add(int64(1))
	f.Fuzz(func(t *testing.T, seed int64) {
		r := rand.New(rand.NewSource(seed))
		a, b := randomFilter(r), randomFilter(r)
		if CheckFilter(a) == nil && CheckFilter(b) == nil {
			compare(t, a, b)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	name := "home/kitchen/sensors/temperature"
	for _, f := range []string{name, "#", "home/#", "home/+/sensors/+", "home/+/+/humidity"} {
		p, bytes := Compile(f), []byte(name)
		for _, c := range []struct {
			name string
			f    func()
		}{
			{"compiled", func() { p.Match(bytes) }},
			{"once", func() { Match(f, name) }},
			{"covers", func() { Covers(f, name) }},
			{"overlaps", func() { Overlaps(f, name) }},
		} {
			b.Run(c.name+"/"+f, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					c.f()
				}
			})
		}
	}
}
