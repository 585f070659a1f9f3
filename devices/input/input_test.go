package input

import (
	"fmt"
	"strings"
	"testing"

	"github.com/postbus/postbus/plugins/kind"
)

func TestOptionsSayWhatIsWrong(t *testing.T) {
	types := []string{"key"}
	for name, c := range map[string]struct {
		o    Options
		want string
	}{
		"unknown":     {Options{Types: types, Keys: []string{"KEY_NOPE"}}, `keys: there is no key "KEY_NOPE"`},
		"short":       {Options{Types: types, Keys: []string{"playpause"}}, `keys: there is no key "playpause" (write KEY_PLAYPAUSE)`},
		"small":       {Options{Types: types, Keys: []string{"rel_dial"}}, `keys: there is no key "rel_dial" (write REL_DIAL)`},
		"no types":    {Options{}, "types: no type is listed"},
		"all is fine": {Options{Types: types, Keys: []string{"KEY_A", "BTN_LEFT", "BTN_MOUSE", "SW_LID", "REL_DIAL", "ABS_X"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, err := range c.o.Check() {
				e := err.(*kind.OptionError)
				s := e.Key() + ": " + e.Error()
				if strings.HasPrefix(e.Hint(), "write ") {
					s += " (" + e.Hint() + ")"
				}
				got = append(got, s)
			}
			if s := strings.Join(got, "\n"); s != c.want {
				t.Errorf("got %s, want %s", s, c.want)
			}
		})
	}
}

func TestNames(t *testing.T) {
	c := readCodes()
	for want, at := range map[string]id{"KEY_PLAYPAUSE": {"key", 164}, "BTN_LEFT": {"key", 272}, "REL_DIAL": {"rel", 7}, "SW_LID": {"sw", 0}, "KEY_760": {"key", 760}, "ABS_X": {"abs", 0}} {
		if got := c.name(at.typ, at.code); got != want {
			t.Errorf("%v is %s, want %s", at, got, want)
		}
	}
	if n := strings.Count(codesText, "\n"); n != len(c.numbers) {
		t.Errorf("%d of %d lines were read", len(c.numbers), n)
	}
}

func TestClaims(t *testing.T) {
	if got := fmt.Sprint(Options{Device: "x"}.Claims(), Options{Device: "x", Grab: true}.Claims(), Options{Device: "/dev/input/event1"}.Access()); got != "[] [input:x] [device:/dev/input/event1]" {
		t.Error(got)
	}
}
