// This file reads the chips and lines for `postbus devices`.

package gpio

import "fmt"

// list returns every GPIO chip with its lines and their current state. Chips that can't be read are
// in the error, which may be set beside others. A machine without chips has an empty list.
func list(dev string) ([]chipState, error) {
	chips, err := openChips(dev)
	defer closeChips(chips, nil)
	var devices []chipState
	for _, c := range chips {
		d := chipState{Path: c.path, Name: c.name, Label: c.label}
		for i := range c.count {
			info, ierr := c.info(i)
			if ierr != nil {
				return devices, fmt.Errorf("reading %s: %w", c.name, ierr)
			}
			d.Lines = append(d.Lines, lineState{Offset: i, Name: text(info.Name[:]), Used: info.Flags&flagUsed != 0, Consumer: text(info.Consumer[:]),
				Output: info.Flags&flagOutput != 0, ActiveLow: info.Flags&flagActiveLow != 0})
		}
		devices = append(devices, d)
	}
	return devices, err
}
