package desktop

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

func TestMistakesInOptions(t *testing.T) {
	for name, c := range map[string]struct {
		errs []error
		want string // the key; empty: none
	}{
		"defaults":                  {defaults().Check(), ""},
		"idle_after":                {Options{IdleAfter: time.Minute}.Check(), ""},
		"idle_after of none":        {Options{IdleAfter: time.Minute, Watch: []string{"lock"}}.Check(), "idle_after"},
		"idle_after of nothing":     {Options{IdleAfter: time.Millisecond}.Check(), "idle_after"},
		"a display":                 {Options{Display: ":0"}.Check(), ""},
		"a display by its path":     {Options{Display: "/tmp/x:0"}.Check(), ""},
		"another machine's display": {Options{Display: "pi:0"}.Check(), "display"},
		"a display without colon":   {Options{Display: "0"}.Check(), "display"},
		"an address":                {Options{SystemBus: "unix:path=/x"}.Check(), ""},
		"a path as address":         {Options{SessionBus: "/run/user/0/bus"}.Check(), "session_bus"},
		"a sound server":            {Options{SoundServer: "/run/user/1000/pulse/native"}.Check(), ""},
		"one far away":              {Options{SoundServer: "tcp:pi:4713"}.Check(), "sound_server"},
		"one far away, of an order": {ActionOptions{Do: "mute", SoundServer: "pi"}.Check(), "sound_server"},
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
			case c.want != "" && c.errs[0].(*kind.OptionError).Key() != c.want:
				t.Errorf("%v is about %s", c.errs, c.errs[0].(*kind.OptionError).Key())
			}
		})
	}
}

func TestWhatNeedsApproval(t *testing.T) {
	for do, want := range map[string]string{"lock": "power:lock", "suspend": "power:suspend", "reboot": "power:reboot", "open": "exec:xdg-open", "media_play": "", "volume": "", "toggle_mute": "", "microphone_mute": ""} {
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
		"https://%zz":                      "not an address",
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
		if got, err := percent(c.v, 100); (err != nil) != (c.want < 0) || err == nil && got != c.want {
			t.Errorf("%v: %v %v", c.v, got, err)
		}
	}
}

func TestStep(t *testing.T) {
	for _, c := range []struct {
		v        any
		want     float64
		relative bool
		err      string
	}{
		{30, 30, false, ""}, {"150", 150, false, ""}, {"+5", 5, true, ""}, {"-5.5", -5.5, true, ""}, {"-0", 0, true, ""},
		{-5, 0, false, `"-5" is not a number from 0 to 150, nor a step as the text "+5" or "-5"`}, {151, 0, false, "not a number"}, {nil, 0, false, "percent is missing"},
		{"+", 0, false, "not a step"}, {"--5", 0, false, "not a step"}, {"+-5", 0, false, "not a step"}, {"+151", 0, false, "not a step"}, {"-NaN", 0, false, "not a step"}, {"", 0, false, "not a number"},
	} {
		n, relative, err := step(c.v)
		switch {
		case c.err == "" && (err != nil || n != c.want || relative != c.relative), c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("%v: %v %v %v", c.v, n, relative, err)
		}
	}
}
