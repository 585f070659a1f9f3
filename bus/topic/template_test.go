package topic

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestTemplate(t *testing.T) {
	values := func(name string) string {
		return map[string]string{"user": "pi", "client": "c1", "claims.sub": "42", "claims.deep": "a/b", "claims.sys": "$SYS", "claims.plus": "+", "claims.hash": "#",
			"claims.nul": "\x00", "claims.bytes": "\xff", "claims.long": strings.Repeat("x", MaxLen)}[name]
	}
	for _, c := range []struct {
		text, filter, bad string
		widened           []string
	}{
		{"a/+/#", "a/+/#", "", nil},
		{"$bus/x", "$bus/x", "", nil},
		{"a/$x/{user}", "a/$x/{user}", "", nil},
		{"home/${user}/#", "home/pi/#", "", nil},
		{"${user}", "pi", "", nil},
		{"x${user}y${client}/${claims.sub}", "xpiyc1/42", "", nil},
		{"$bus/${client}", "$bus/c1", "", nil},
		{"/${user}/", "/pi/", "", nil},
		{"a/${claims.none}/${user}", "", "claims.none", []string{"a/+/pi"}},
		{"a/x${claims.none}x${user}", "", "claims.none", []string{"a/+"}},
		{"a/${claims.deep}", "", "claims.deep", []string{"a/+", "a/a/b"}},
		{"a/${claims.plus}/b", "", "claims.plus", []string{"a/+/b"}},
		{"a/x${claims.plus}/b", "", "claims.plus", []string{"a/+/b"}},
		{"a/${claims.hash}", "", "claims.hash", []string{"a/+", "a/#"}},
		{"a/${claims.hash}/b", "", "claims.hash", []string{"a/+/b"}},
		{"a/${claims.nul}", "", "claims.nul", []string{"a/+"}},
		{"a/${claims.bytes}", "", "claims.bytes", []string{"a/+"}},
		{"a/${claims.long}", "", "claims.long", []string{"a/+"}},
		{"${claims.sys}/x", "", "claims.sys", []string{"+/x", "$SYS/x"}},
		{"a${claims.sys}/x", "", "claims.sys", []string{"+/x"}},
		{"a/${claims.sys}", "a/$SYS", "", nil},
	} {
		p, err := ParseTemplate(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		if f, bad := p.Expand(values); f != c.filter || bad != c.bad {
			t.Errorf("%s: %.40q, bad %q", c.text, f, bad)
		}
		want := c.widened
		if want == nil {
			want = []string{c.filter}
		}
		if w := p.Widen(values); !slices.Equal(w, want) {
			t.Errorf("%s: widened to %.40q", c.text, w)
		}
		if p.String() != c.text || p.Plain() != !strings.Contains(c.text, "${") || p.Uses("user") != strings.Contains(c.text, "${user}") {
			t.Errorf("%s: %q", c.text, p.String())
		}
	}
	for text, offset := range map[string]int{"a/${user": 2, "${}": 0, "ä/${us}": 3, "${claims.}": 0, "${claims.a/b}": 0, "${user}/${User}": 8, "$${user}": 1, "$x${user}/a": 2, "${": 0, "${claims.ä}": 0} {
		_, err := ParseTemplate(text)
		var v *VariableError
		if !errors.As(err, &v) || v.Offset != offset {
			t.Errorf("%s: %v", text, err)
		}
	}
	for text, fault := range map[string]Fault{"": Empty, "a#": NotLevel, "${user}#": NotLevel, "a/+${user}": NotLevel, "#/${user}": HashNotLast, "${user}\x00": NotText} {
		_, err := ParseTemplate(text)
		var e *Error
		if !errors.As(err, &e) || e.Fault != fault || e.Text != text && text != "" {
			t.Errorf("%s: %v", text, err)
		}
	}
}
