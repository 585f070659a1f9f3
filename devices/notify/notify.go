// Package notify is the kind `notify`: notifications on the desktop, and their buttons.
//
// What it promises:
//
//   - The action: an event is acknowledged when the desktop has accepted the notification. Without
//     a desktop it is retried until the event expires. Texts are shown literally, not as markup.
//   - The source: an event for each button that is pressed, and for each notification that is
//     closed, among those that the actions of this process showed, from any file. Nothing is
//     stored: a press while no source runs, or after the action's file was changed, is not
//     reported.
//
// A press reaches a source as follows. Notification daemons report it to the connection that showed
// the notification, and some to no other. So the action repeats it on the session bus, and the
// source accepts it only from its own process:
//
//	daemon ── ActionInvoked(7, "open") ──▶ action ── Reported("pressed", tag, "open", "") ──▶ session bus ──▶ source
package notify

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

// sample is a commented plugin file with the source.
//
//go:embed sample.yaml
var sample string

// about is what the source does, for the documentation.
const about = "Reports pressed buttons and closed notifications, of those that the action `notify` showed, from any file of this postbus. A press while the action's " +
	"file is reloaded or postbus is stopped is not reported. Linux only, by D-Bus on the session bus; postbus has to run as the user whose desktop it is."

// actionSample is a commented plugin file with the action.
//
//go:embed action.yaml
var actionSample string

// actionAbout is what the action does, for the documentation.
const actionAbout = "Shows a notification on the desktop, with buttons whose press is an event of the source `notify`. A notification replaces the earlier one with the same `replace`, and `close` removes " +
	"it. The event is acknowledged when the desktop has accepted it; without a desktop it is retried until it expires. On Linux by org.freedesktop.Notifications on the session bus: postbus has " +
	"to run as the user whose desktop it is. On macOS and Windows only title, body and icon: no buttons, no replacing, no closing."

// Options of the source.
type Options struct {
	Tag        string `key:"tag" doc:"only notifications with this tag; empty for all"`
	Closed     bool   `key:"closed" doc:"whether a closed notification is an event"`
	SessionBus string `key:"session_bus" doc:"the address of the session bus of D-Bus; empty for the default"`
}

// defaults returns the options of a file that sets none.
func defaults() Options { return Options{} }

// Check checks the options against each other.
func (o Options) Check() []error { return checkAddress(o.SessionBus) }

// eventFields documents the fields of an event.
type eventFields struct {
	Action string `key:"action" doc:"pressed or closed"`
	Button string `key:"button" doc:"the key of the button; default for a click on the notification itself where the action has a button of that key; nil when closed"`
	Tag    string `key:"tag" doc:"the notification's tag; empty when it has none"`
	Reason string `key:"reason" doc:"why it was closed: expired, dismissed (by the user), closed (by an action) or unknown; otherwise nil"`
}

// Button is a button of a notification.
type Button struct {
	Key   string `key:"key" doc:"its name in events: letters, digits, _ and -; default is a click on the notification itself" need:"yes"`
	Label string `key:"label" doc:"its text" need:"yes"`
}

// ActionOptions are the options of the action, fixed when the file is loaded.
type ActionOptions struct {
	App        string        `key:"app" doc:"the name of the application; Linux only"`
	Buttons    []Button      `key:"buttons" doc:"its buttons, at most 8; Linux only"`
	Timeout    time.Duration `key:"timeout" doc:"when it disappears; 0: as the desktop decides; Linux only" min:"0s" max:"24h"`
	SessionBus string        `key:"session_bus" doc:"the address of the session bus of D-Bus; empty for the default"`
}

// actionDefaults returns the options of a file that sets none.
func actionDefaults() ActionOptions { return ActionOptions{App: "postbus"} }

// Check checks the options against each other.
func (o ActionOptions) Check() []error {
	errs := checkAddress(o.SessionBus)
	if len(o.Buttons) > 8 {
		errs = append(errs, kind.Wrong("buttons", fmt.Sprintf("there are %d buttons, more than 8", len(o.Buttons)), "leave some out"))
	}
	var keys []string
	for i, b := range o.Buttons {
		key := fmt.Sprintf("buttons[%d].key", i)
		if strings.ContainsFunc(b.Key, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-')
		}) {
			errs = append(errs, kind.Wrong(key, fmt.Sprintf("%q is not a key", b.Key), "letters, digits, _ and -"))
		}
		if slices.Contains(keys, b.Key) {
			errs = append(errs, kind.Wrong(key, fmt.Sprintf("two buttons have the key %q", b.Key), "give it another one"))
		}
		keys = append(keys, b.Key)
	}
	return errs
}

// Args are the arguments for one event.
type Args struct {
	Title   string `key:"title" doc:"the first line; required without close"`
	Body    string `key:"body" doc:"more text; no markup"`
	Icon    string `key:"icon" doc:"an icon's name, as dialog-warning, or the absolute path of a picture"`
	Urgency string `key:"urgency" doc:"how urgent it is; critical ones often stay until they are closed" oneof:"low|normal|critical"`
	Tag     string `key:"tag" doc:"its tag in the source's events; default: replace"`
	Replace string `key:"replace" doc:"replaces the earlier notification with the same value"`
	Close   bool   `key:"close" doc:"whether the notification with this replace is removed, and none is shown"`
}

func checkAddress(a string) []error {
	if transport, _, ok := strings.Cut(a, ":"); a != "" && (!ok || transport == "") {
		return []error{kind.Wrong("session_bus", fmt.Sprintf("%q is not the address of a message bus", a), "write it as unix:path=/run/user/1000/bus")}
	}
	return nil
}

// checked returns the arguments, cut to a size that a desktop can show.
func checked(a Args) (Args, error) {
	switch {
	case a.Close && a.Replace == "":
		return a, kind.Permanent(fmt.Errorf("close needs replace, which names the notification"))
	case !a.Close && a.Title == "":
		return a, kind.Permanent(fmt.Errorf("title is missing or empty"))
	case !slices.Contains([]string{"", "low", "normal", "critical"}, a.Urgency):
		return a, kind.Permanent(fmt.Errorf("urgency: %.40q is not low, normal or critical", a.Urgency))
	}
	a.Title, a.Body, a.Icon = shown(a.Title, 300), shown(a.Body, 4000), shown(a.Icon, 4000)
	a.Tag, a.Replace = shown(a.Tag, 300), shown(a.Replace, 300)
	if a.Tag == "" {
		a.Tag = a.Replace
	}
	return a, nil
}

// shown returns a text of at most n characters, without those that a message bus refuses.
func shown(s string, n int) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "\ufffd")
	count := 0
	for i := range s {
		if count++; count > n {
			return s[:i] + "…"
		}
	}
	return s
}
