// This file is the part of the action that every platform has: its options and arguments.

package desktop

import (
	_ "embed"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/postbus/postbus/plugins/kind"
)

// actionSample is a commented plugin file with the action.
//
//go:embed action.yaml
var actionSample string

// actionAbout is what the action does, for the documentation.
const actionAbout = "Controls the desktop: lock or unlock the session, suspend, hibernate, power off or reboot the machine (by logind), open a web address, control a media " +
	"player, or set the volume and mute sound or microphone. Everything but players, sound and microphone needs `postbus plugin approve`. `open` accepts http, https, mailto and the schemes that the file declares, and calls the desktop's portal, or runs " +
	"xdg-open without one. Reboot and poweroff are refused for two minutes after the machine's start, so that a redelivered event can't cause a loop. While a service is " +
	"absent the event is retried until it expires. A command may run twice if postbus or the machine stops in the middle: for volume, a number is safer than a step, and `mute` and " +
	"`unmute` are safer than `toggle_mute`. Linux only."

// ActionOptions are the options of the action, fixed when the file is loaded.
type ActionOptions struct {
	Do          string   `key:"do" doc:"the command; media_volume sets a player's own volume to percent, volume that of the default sink; mute, unmute and toggle_mute affect the default sink, microphone_… the default source" need:"yes" oneof:"lock|unlock|suspend|hibernate|poweroff|reboot|open|media_play|media_pause|media_playpause|media_next|media_previous|media_stop|media_volume|volume|mute|unmute|toggle_mute|microphone_mute|microphone_unmute|microphone_toggle_mute"`
	Schemes     []string `key:"schemes" doc:"with open: allowed schemes in addition to http, https and mailto, as spotify"`
	Session     string   `key:"session" doc:"with lock and unlock: the logind session, as loginctl lists it; empty for the session of postbus"`
	SystemBus   string   `key:"system_bus" doc:"the address of the system bus of D-Bus; empty for the default"`
	SessionBus  string   `key:"session_bus" doc:"the address of the session bus of D-Bus; empty for the default"`
	SoundServer string   `key:"sound_server" doc:"the unix socket of the sound server, as /run/user/1000/pulse/native; empty for $PULSE_SERVER or the default"`
}

// actionDefaults returns the options of a file that sets none.
func actionDefaults() ActionOptions { return ActionOptions{} }

var (
	schemeForm = regexp.MustCompile(`^[a-z][a-z0-9+.-]*$`) // RFC 3986, 3.1
	harmful    = []string{"javascript", "data", "vbscript"}
)

// Check checks the options against each other.
func (o ActionOptions) Check() []error {
	errs := checkAddresses(o.SystemBus, o.SessionBus, o.SoundServer)
	if len(o.Schemes) > 0 && o.Do != "open" {
		errs = append(errs, kind.Wrong("schemes", "schemes is for open only", "leave schemes out"))
	}
	if o.Session != "" && o.Do != "lock" && o.Do != "unlock" {
		errs = append(errs, kind.Wrong("session", "session is for lock and unlock only", "leave session out"))
	}
	for _, s := range o.Schemes {
		switch {
		case !schemeForm.MatchString(s):
			errs = append(errs, kind.Wrong("schemes", fmt.Sprintf("%q is not a scheme", s), "lower-case letters and digits, without the colon, as spotify"))
		case slices.Contains(harmful, s):
			errs = append(errs, kind.Wrong("schemes", s+": runs a program, and is not allowed", "leave it out"))
		}
	}
	return errs
}

// Access is the program, or the power operation, that the action uses. Both need an approval.
func (o ActionOptions) Access() []string {
	switch {
	case o.Do == "open":
		return []string{"exec:xdg-open"}
	case strings.HasPrefix(o.Do, "media_"), ofSound(o.Do), o.Do == "":
		return nil
	}
	return []string{"power:" + o.Do}
}

// ofSound reports whether a command is for the sound server.
func ofSound(do string) bool {
	return do == "volume" || strings.HasSuffix(do, "mute")
}

// Args are the arguments for one event.
type Args struct {
	URL     string `key:"url" doc:"with open: the address"`
	Player  string `key:"player" doc:"with media_…: the player, as vlc; empty for the playing one, or the only one"`
	Percent any    `key:"percent" doc:"with media_volume: 0 to 100; with volume: 0 to 150, or a step as the text \"+5\" or \"-5\", which is repeated if the event is redelivered"`
}

// checkURL refuses texts that are not a URL of an allowed scheme.
func checkURL(text string, more []string) error {
	refuse := func(format string, args ...any) error { return kind.Permanent(fmt.Errorf("url: "+format, args...)) }
	if text == "" {
		return refuse("it is missing")
	}
	if len(text) > 8192 {
		return refuse("it has %d bytes, more than 8192", len(text))
	}
	if strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) || r == unicode.ReplacementChar }) {
		return refuse("%.40q contains a space or a control character", text)
	}
	u, err := url.Parse(text)
	if err != nil {
		return refuse("%.40q is not an address", text)
	}
	scheme := u.Scheme // in lower case
	switch {
	case scheme == "http" || scheme == "https":
		if u.Host == "" {
			return refuse("%.40q has no host", text)
		}
	case scheme != "mailto" && !slices.Contains(more, scheme):
		return refuse("%q is none of http, https, mailto%s", scheme, strings.Join(append([]string{""}, more...), ", "))
	}
	return nil
}

// percent parses a number from 0 to limit.
func percent(v any, limit float64) (float64, error) {
	n := math.NaN()
	switch v := v.(type) {
	case float64:
		n = v
	case int:
		n = float64(v)
	case int64:
		n = float64(v)
	case string:
		if f, err := strconv.ParseFloat(v, 64); err == nil {
			n = f
		}
	case nil:
		return 0, kind.Permanent(fmt.Errorf("percent is missing"))
	}
	if !(n >= 0 && n <= limit) {
		return 0, kind.Permanent(fmt.Errorf("percent: %.40q is not a number from 0 to %v", fmt.Sprint(v), limit))
	}
	return n, nil
}

// loudest is the maximum volume that can be set, in percent, as with the sliders of desktops.
const loudest = 150

// step parses a volume: a number from 0 to 150, or a text with a sign, which is relative to the
// current volume.
func step(v any) (n float64, relative bool, err error) {
	text, _ := v.(string)
	if !strings.HasPrefix(text, "+") && !strings.HasPrefix(text, "-") {
		if n, err = percent(v, loudest); err != nil && v != nil {
			err = kind.Permanent(fmt.Errorf("%w, nor a step as the text \"+5\" or \"-5\"", err))
		}
		return n, false, err
	}
	if n, err = percent(text[1:], loudest); err != nil || strings.ContainsAny(text[1:], "+-") {
		return 0, false, kind.Permanent(fmt.Errorf("percent: %.40q is not a step; write it as the text \"+5\" or \"-5\"", text))
	}
	if text[0] == '-' {
		n = -n
	}
	return n, true, nil
}
