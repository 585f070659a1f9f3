// This file is the part of the action that every platform has: its options and arguments.

package gpio

import (
	_ "embed"
	"fmt"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

// actionSample is a commented plugin file with the action.
//
//go:embed action.yaml
var actionSample string

// actionAbout is what the action does, for the documentation.
const actionAbout = "Sets a GPIO line: `value` on or off, or on for the time of `pulse`. The line has its `initial` value as soon as the plugin is loaded and its `safe` value " +
	"when the plugin or postbus ends; after a crash or a power cut the chip decides it. An event is acknowledged when the line has its level; a pulse ends by itself, or at " +
	"the next event. A chip that appears later, or returns, is found. Linux 5.10 and later; postbus must be in the group `gpio`."

// ActionOptions are the options of the action, fixed when the file is loaded.
type ActionOptions struct {
	Line      Line   `key:"line" doc:"the line: its name, as GPIO17, or its number on the chip" need:"yes"`
	Chip      Chip   `key:"chip" doc:"the chip: its label, as pinctrl-bcm2711, or gpiochip0; required if several chips have the name, or if line is a number and there are several chips"`
	ActiveLow bool   `key:"active_low" doc:"whether on is a low voltage"`
	Drive     string `key:"drive" doc:"how the line is driven: both ways, or only to low (open-drain) or to high (open-source)" oneof:"push-pull|open-drain|open-source"`
	Initial   Level  `key:"initial" doc:"the value when the plugin is loaded: on, off, or keep for the present value"`
	Safe      Level  `key:"safe" doc:"the value when the plugin or postbus ends: on, off, or keep for the present value; keep ends a running pulse"`
}

// actionDefaults returns the options of a file that sets none.
func actionDefaults() ActionOptions {
	return ActionOptions{Drive: "push-pull", Initial: Off, Safe: Off}
}

// Claims is what only one plugin can hold: the line.
func (o ActionOptions) Claims() []string { return []string{claim(o.Chip, o.Line)} }

// Access is the devices that the action uses.
func (o ActionOptions) Access() []string { return access(o.Chip) }

// Args are the arguments for one event.
type Args struct {
	Value any           `key:"value" doc:"on, off, 1, 0, true or false; optional with pulse, and then on"`
	Pulse time.Duration `key:"pulse" doc:"after this time the line returns to the other value; 0 is never" min:"0s" max:"24h"`
}

// level returns the requested level.
func (a Args) level() (int, error) {
	if a.Value == nil && a.Pulse > 0 {
		return 1, nil
	}
	if a.Value == nil {
		return 0, kind.Permanent(fmt.Errorf("value is missing: write value: on, or pulse: 500ms"))
	}
	v, err := level(a.Value)
	if err != nil {
		return 0, kind.Permanent(fmt.Errorf("value: %w", err))
	}
	return v, nil
}
