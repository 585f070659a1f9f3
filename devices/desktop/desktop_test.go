package desktop

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestMistakesInOptions(t *testing.T) {
	for name, c := range map[string]struct {
		errs []error
		want string // the key; empty: none
	}{
		"defaults":                  {Defaults().Check(), ""},
		"idle_after":                {Options{IdleAfter: time.Minute}.Check(), ""},
		"idle_after of none":        {Options{IdleAfter: time.Minute, Watch: []string{"lock"}}.Check(), "idle_after"},
		"idle_after of nothing":     {Options{IdleAfter: time.Millisecond}.Check(), "idle_after"},
		"a display":                 {Options{Display: ":0"}.Check(), ""},
		"a display by its path":     {Options{Display: "/tmp/x:0"}.Check(), ""},
		"another machine's display": {Options{Display: "pi:0"}.Check(), "display"},
		"a display without colon":   {Options{Display: "0"}.Check(), "display"},
		"an address":                {Options{SystemBus: "unix:path=/x"}.Check(), ""},
		"a path as address":         {Options{SessionBus: "/run/user/0/bus"}.Check(), "session_bus"},
		"an action":                 {ActionOptions{Do: "open", Schemes: []string{"spotify"}}.Check(), ""},
		"schemes of none":           {ActionOptions{Do: "lock", Schemes: []string{"spotify"}}.Check(), "schemes"},
		"a scheme with colon":       {ActionOptions{Do: "open", Schemes: []string{"spotify:"}}.Check(), "schemes"},
		"a program":                 {ActionOptions{Do: "open", Schemes: []string{"javascript"}}.Check(), "schemes"},
		"a session of none":         {ActionOptions{Do: "suspend", Session: "1"}.Check(), "session"},
	} {
		t.Run(name, func(t *testing.T) {
			switch {
			case c.want == "" && len(c.errs) > 0, c.want != "" && len(c.errs) != 1:
				t.Error(c.errs)
			case c.want != "" && c.errs[0].(optionError).Key() != c.want:
				t.Errorf("%v is about %s", c.errs, c.errs[0].(optionError).Key())
			}
		})
	}
}

func TestWhatNeedsApproval(t *testing.T) {
	for do, want := range map[string]string{"lock": "power:lock", "suspend": "power:suspend", "reboot": "power:reboot", "open": "exec:xdg-open", "media_play": ""} {
		if got := strings.Join(ActionOptions{Do: do}.Access(), " "); got != want {
			t.Errorf("%s: %s", do, got)
		}
	}
}

func TestAddresses(t *testing.T) {
	for url, want := range map[string]string{
		"https://example.org/a?b=c#d":      "",
		"HTTP://example.org":               "",
		"mailto:ada@example.org":           "",
		"spotify:track:1":                  "",
		"":                                 "missing",
		"example.org":                      `"" is none of http, https, mailto, spotify`,
		"file:///etc/passwd":               `"file" is none of`,
		"javascript:alert(1)":              "none of",
		"--help":                           "none of",
		"https://":                         "no host",
		"https:example.org":                "no host",
		"https://a b":                      "space",
		"https://a\nb":                     "control",
		"https://a/\xff":                   "control",
		"https://%zz":                      "no address",
		strings.Repeat("https://a/b", 900): "more than 8192",
	} {
		err := checkURL(url, []string{"spotify"})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.50q: %v", url, err)
		}
	}
}

func FuzzAddresses(f *testing.F) {
	f.Add("https://example.org/ä")
	f.Add("-x:y")
	f.Fuzz(func(t *testing.T, s string) {
		if checkURL(s, nil) == nil && (strings.HasPrefix(s, "-") || strings.ContainsAny(s, " \n\x00")) {
			t.Errorf("%q was let through", s)
		}
	})
}

func TestPercent(t *testing.T) {
	for _, c := range []struct {
		v    any
		want float64 // -1: an error
	}{{30, 30}, {int64(0), 0}, {99.5, 99.5}, {"40", 40}, {nil, -1}, {101, -1}, {-1, -1}, {math.NaN(), -1}, {"loud", -1}, {true, -1}} {
		if got, err := percent(c.v); (err != nil) != (c.want < 0) || err == nil && got != c.want {
			t.Errorf("%v: %v %v", c.v, got, err)
		}
	}
}
