package auth

import (
	"testing"

	"github.com/postbus/postbus/bus/topic"
)

func TestRulesRefuse(t *testing.T) {
	for _, bad := range []string{"", "a#", "#/a", "a\x00", "\xff", "$share/g/a"} {
		if _, err := newSet([]string{bad}); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// FuzzRules compares a set of filters, which is sorted for speed, with the filter itself.
func FuzzRules(f *testing.F) {
	f.Add("a/+/#", "a/b/c")
	f.Add("$SYS/#", "$SYS")
	f.Add("+//", "//")
	f.Fuzz(func(t *testing.T, filter, name string) {
		s, err := newSet([]string{filter})
		if err != nil || topic.CheckName(name) != nil {
			return
		}
		if want := topic.Match(filter, name); s.match(name) != want {
			t.Fatalf("%q on %q: want %v", filter, name, want)
		}
	})
}
