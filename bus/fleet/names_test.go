package fleet

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// token is what nats-server takes as a token of a subject without doubt.
var token = regexp.MustCompile(`^[A-Za-z0-9_=-]+$`)

func TestEscape(t *testing.T) {
	for level, want := range map[string]string{
		"": "=", "attic": "attic", "A-z_09": "A-z_09", "a b": "a=20b", "=": "=3D", "a.b": "a=2Eb", "*": "=2A", ">": "=3E",
		"+": "=2B", "#": "=23", "ü": "=C3=BC", "\x00": "=00", "$SYS": "=24SYS",
	} {
		if got := escape(level); got != want {
			t.Errorf("escape(%q) is %q, want %q", level, got, want)
		}
		if got, err := unescape(want); got != level || err != nil {
			t.Errorf("unescape(%q) is %q, %v, want %q", want, got, err, level)
		}
	}
}

func TestUnescapeRefuses(t *testing.T) {
	for _, token := range []string{"a=", "=2", "a=2", "=GG", "==", "=2=", "=-1"} {
		if got, err := unescape(token); err == nil {
			t.Errorf("unescape(%q) is %q, want an error", token, got)
		}
	}
}

func FuzzEscape(f *testing.F) {
	f.Add("attic", "Attic")
	f.Add("", "=")
	f.Add("a.b*>", "a=2Eb")
	f.Fuzz(func(t *testing.T, a, b string) {
		e := escape(a)
		if !token.MatchString(e) {
			t.Errorf("escape(%q) is %q, no token of a subject", a, e)
		}
		if back, err := unescape(e); back != a || err != nil {
			t.Errorf("%q became %q, and %q again: %v", a, e, back, err)
		}
		if a != b && e == escape(b) {
			t.Errorf("%q and %q are both %q", a, b, e)
		}
		_, _ = unescape(b) // it does not panic
		if lane := laneName("0123456789-0", 8, a); len(lane) > maxLaneName || !strings.HasPrefix(lane, "0123456789-0.") {
			t.Errorf("the lane of %q is %q", a, lane)
		}
	})
}

func TestLaneName(t *testing.T) {
	long := strings.Repeat("x", 200)
	for _, c := range []struct {
		topic  string
		levels int
		want   string
	}{
		{"home/attic/temp", 0, "s"},
		{"home/attic/temp", 1, "s.home"},
		{"home/attic/temp", 2, "s.home.attic"},
		{"home/attic/temp", 8, "s.home.attic.temp"},
		{"home", 2, "s.home"},
		{"home/", 2, "s.home.="},
		{"/home", 2, "s.=.home"},
		{"//", 8, "s.=.=.="},
		{"a.b/*/>", 3, "s.a=2Eb.=2A.=3E"},
		{strings.Repeat("x", maxLaneName-2), 1, "s." + strings.Repeat("x", maxLaneName-2)},
		{"a/" + long, 1, "s.a"},
	} {
		if got := laneName("s", c.levels, c.topic); got != c.want {
			t.Errorf("%d levels of %q: %q, want %q", c.levels, c.topic, got, c.want)
		}
	}
}

// TestLongLaneNames: they are replaced by a hash, which no level of a topic can be mistaken for.
func TestLongLaneNames(t *testing.T) {
	long := strings.Repeat("ü", 100)
	a, b := laneName("s", 2, long+"/a"), laneName("s", 2, long+"/b")
	form := regexp.MustCompile(`^s\.==[0-9a-f]{32}$`)
	if !form.MatchString(a) || !form.MatchString(b) || a == b {
		t.Errorf("the lanes are %q and %q", a, b)
	}
	if again := laneName("s", 2, long+"/a/c"); again != a {
		t.Errorf("topics of one lane are in %q and %q", a, again)
	}
	if other := laneName("r", 2, long+"/a"); !strings.HasPrefix(other, "r.==") || other[1:] == a[1:] {
		t.Errorf("another share has the lane %q beside %q", other, a)
	}
	if forged := laneName("s", 1, a[2:]); forged == a {
		t.Errorf("a topic chooses the lane %q", a)
	}
	// The key of the longest lane of the longest bus is one that the bus accepts.
	key := laneKey([16]byte{}, strings.Repeat("b", 64), strings.Repeat("x", maxLaneName))
	if len(key) > 255 {
		t.Errorf("the key has %d bytes", len(key))
	}
}

func TestLaneKeys(t *testing.T) {
	one, two := [16]byte{1}, [16]byte{2}
	keys := map[string]string{}
	for name, key := range map[string][]byte{
		"a":             laneKey(one, "attic", "a-0"),
		"another epoch": laneKey(two, "attic", "a-0"),
		"another bus":   laneKey(one, "desk", "a-0"),
		"another lane":  laneKey(one, "attic", "a-1"),
		"a longer bus":  laneKey(one, "attica", "-0"),
	} {
		if other, has := keys[string(key)]; has {
			t.Errorf("%s and %s have the same key", name, other)
		}
		keys[string(key)] = name
	}
}

func TestSubjects(t *testing.T) {
	for subject, want := range map[string][2]string{
		"pbf.home.attic.a-0":        {"attic", "a-0"},
		"pbf.home.attic.a-0.x.=":    {"attic", "a-0.x.="},
		subjectOf("home", "d", "l"): {"d", "l"},
		CheckSubject("home", "d"):   {"d", "check"},
	} {
		bus, lane, ok := splitSubject("home", subject)
		if !ok || bus != want[0] || lane != want[1] {
			t.Errorf("%s is %q, %q, %v", subject, bus, lane, ok)
		}
	}
	for _, subject := range []string{"", "pbf.home", "pbf.home.", "pbf.home.attic", "pbf.home.attic.", "pbf.home..a", "pbf.homes.attic.a", "pbw.home.attic.a", "xpbf.home.attic.a"} {
		if bus, lane, ok := splitSubject("home", subject); ok {
			t.Errorf("%q is %q, %q", subject, bus, lane)
		}
	}
}

// unescape reverts escape.
func unescape(token string) (string, error) {
	if token == "=" {
		return "", nil
	}
	var b strings.Builder
	for i := 0; i < len(token); i++ {
		if token[i] != '=' {
			b.WriteByte(token[i])
			continue
		}
		if i+3 > len(token) {
			return "", fmt.Errorf("token %q ends within an escape", token)
		}
		c, err := hex.DecodeString(token[i+1 : i+3])
		if err != nil {
			return "", fmt.Errorf("token %q: %w", token, err)
		}
		b.Write(c)
		i += 2
	}
	return b.String(), nil
}
