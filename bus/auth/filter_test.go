package auth

import (
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
	for _, good := range []string{"#", "+", "/", "a/#", "+/a/+", "$SYS/#", "a//b", "ü/+", strings.Repeat("a", 65535)} {
		if err := CheckFilter(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "a#", "#/a", "a+/b", "##", "a/#/b", "a\x00", "$share/g/a", strings.Repeat("a", 65536)} {
		if CheckFilter(bad) == nil {
			t.Errorf("%.20q was accepted", bad)
		}
	}
}

func TestInnerAndReserved(t *testing.T) {
	for in, want := range map[string]string{
		"a/b": "a/b", "$share/g/a/#": "a/#", "$replay/10m/home/+": "home/+", "$share/g/$replay/1h/x": "x",
		"$share/g": "", "$share/g/": "", "$replay/10m": "", "$SYS/#": "$SYS/#", "$share/g/$SYS/#": "$SYS/#",
	} {
		if got, ok := Inner(in); got != want || ok != (want != "") {
			t.Errorf("Inner(%q) = %q, %v", in, got, ok)
		}
	}
	for topic, want := range map[string]bool{"$SYS": true, "$SYS/a": true, "$bus/a": true, "$bus": true, "$busy/a": false, "a/$SYS": false, "": false, "$share/x": true} {
		if Reserved(topic) != want {
			t.Errorf("Reserved(%q) = %v", topic, !want)
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

// topics is every topic of up to four levels over a small alphabet: enough to find a witness for any
// two filters of up to three levels over the same alphabet.
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
	for _, topic := range topics {
		ma, mb := naiveMatch(a, topic), naiveMatch(b, topic)
		if got := Match(a, topic); got != ma {
			t.Fatalf("Match(%q, %q) = %v", a, topic, got)
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

func FuzzMatch(f *testing.F) {
	f.Add("a/+/#", "a/b/c")
	f.Add("$SYS/#", "$SYS")
	f.Add("+//", "//")
	f.Fuzz(func(t *testing.T, filter, topic string) {
		got := Match(filter, topic)
		Overlaps(filter, topic)
		Covers(filter, topic)
		Inner(filter)
		if CheckFilter(filter) != nil || topic == "" || strings.ContainsAny(topic, "+#") || len(topic) > 1000 {
			return
		}
		if want := naiveMatch(filter, topic); got != want {
			t.Fatalf("Match(%q, %q) = %v", filter, topic, got)
		}
		// A topic is a filter that matches only itself.
		if CheckFilter(topic) == nil {
			if Overlaps(filter, topic) != got || Covers(filter, topic) != got {
				t.Fatalf("%q, %q: Match %v, Overlaps %v, Covers %v", filter, topic, got, Overlaps(filter, topic), Covers(filter, topic))
			}
		}
		s, err := newSet([]string{filter})
		if err != nil {
			t.Fatal(err)
		}
		if s.match(topic) != got {
			t.Fatalf("compiled %q on %q: %v", filter, topic, !got)
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
