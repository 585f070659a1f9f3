// This file lists chips and lines for `postbus devices`.

package gpio

import (
	"fmt"
	"strings"
)

// chipState is a GPIO chip.
type chipState struct {
	Path  string // /dev/gpiochip0
	Name  string // gpiochip0; may change at the next start
	Label string // pinctrl-bcm2711; what to write as chip
	Lines []lineState
}

// lineState is the current state of a line.
type lineState struct {
	Offset    int    // its number on the chip
	Name      string // what to write as line; empty when the board's maker named none
	Used      bool   // a program or driver holds it
	Consumer  string // its holder, where it is known
	Output    bool
	ActiveLow bool
}

// Describe lists the chips as text: one for each chip and for each of its lines.
func Describe() []string {
	chips, err := list("/dev")
	var out []string
	for _, d := range chips {
		out = append(out, fmt.Sprintf("chip: %s  # %s, %d lines", d.Label, d.Name, len(d.Lines)))
		for _, l := range d.Lines {
			name := l.Name
			if name == "" {
				name = fmt.Sprint(l.Offset)
			}
			words := []string{fmt.Sprintf("number %d", l.Offset), "input"}
			if l.Output {
				words[1] = "output"
			}
			if l.ActiveLow {
				words = append(words, "active low")
			}
			if l.Used {
				who := l.Consumer
				if who == "" {
					who = "the kernel"
				}
				words = append(words, "held by "+who)
			}
			out = append(out, fmt.Sprintf("  line: %s  # %s", name, strings.Join(words, ", ")))
		}
	}
	if err != nil {
		out = append(out, "# "+err.Error())
	}
	return out
}
