// This file is what `postbus devices` lists.

package input

import (
	"fmt"
	"strings"
)

// deviceInfo is an input device.
type deviceInfo struct {
	Path  string   // /dev/input/event3; may change at the next start
	ByID  string   // its stable name in /dev/input/by-id; empty when it has none
	Name  string   // its product name; empty when it may not be opened
	Keys  []string // the types of its records: key, rel, abs, sw
	Error error    // why it can't be opened
}

// Describe lists the devices as they are written in a file.
func Describe() []string {
	var out []string
	for _, d := range list("/dev/input") {
		if d.Error != nil {
			out = append(out, "# "+d.Error.Error())
			continue
		}
		s := fmt.Sprintf("device: %q  # %s", d.Name, d.Path)
		if d.ByID != "" {
			s += ", " + d.ByID
		}
		out = append(out, s+"; "+strings.Join(d.Keys, ", "))
	}
	return out
}
