package notify

import (
	"strings"
	"testing"

	"github.com/postbus/postbus/plugins/kind"
)

func TestMistakesInOptions(t *testing.T) {
	b := func(keys ...string) (list []Button) {
		for _, k := range keys {
			list = append(list, Button{Key: k, Label: k})
		}
		return list
	}
	for name, c := range map[string]struct {
		errs []error
		want string // the key; empty: none
	}{
		"defaults":          {defaults().Check(), ""},
		"no address":        {Options{SessionBus: "/run/user/1000/bus"}.Check(), "session_bus"},
		"action":            {actionDefaults().Check(), ""},
		"buttons":           {ActionOptions{Buttons: b("default", "open-1", "B_2")}.Check(), ""},
		"nine buttons":      {ActionOptions{Buttons: b("1", "2", "3", "4", "5", "6", "7", "8", "9")}.Check(), "buttons"},
		"a key with colon":  {ActionOptions{Buttons: b("a:b")}.Check(), "buttons[0].key"},
		"two of a key":      {ActionOptions{Buttons: b("a", "b", "a")}.Check(), "buttons[2].key"},
		"action no address": {ActionOptions{SessionBus: "x"}.Check(), "session_bus"},
	} {
		t.Run(name, func(t *testing.T) {
			switch {
			case c.want == "" && len(c.errs) > 0, c.want != "" && len(c.errs) != 1:
				t.Error(c.errs)
			case c.want != "" && c.errs[0].(*kind.OptionError).Key() != c.want:
				t.Errorf("%v is about %s", c.errs, c.errs[0].(*kind.OptionError).Key())
			}
		})
	}
}

func TestArguments(t *testing.T) {
	for name, a := range map[string]Args{"no title": {Body: "x"}, "close what": {Close: true}, "urgency": {Title: "x", Urgency: "high"}} {
		_, err := checked(a)
		if !kind.IsPermanent(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	a, err := checked(Args{Title: "a\x00b\xff", Body: strings.Repeat("ä", 5000), Replace: "door"})
	if err != nil || a.Title != "a\ufffdb\ufffd" || len([]rune(a.Body)) != 4001 || a.Tag != "door" {
		t.Errorf("%q %d %q %v", a.Title, len(a.Body), a.Tag, err)
	}
	if a, err := checked(Args{Title: "x", Tag: "a", Replace: "b"}); err != nil || a.Tag != "a" {
		t.Error(a, err)
	}
}
