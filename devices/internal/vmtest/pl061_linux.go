// This file is the arm64 machine's GPIO chip, seen from outside: an ARM PL061 with eight lines at
// 0x9030000.

package vmtest

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// PL061 is a machine's chip. Lines are numbered from 0 to 7.
type PL061 struct {
	vm   *VM
	path string
}

// The registers that are read; ARM DDI 0190, chapter 3.
const (
	pl061        = 0x9030000
	pl061Data    = 0x3fc // the levels of all pins
	pl061Enabled = 0x410 // enabled interrupts
	pl061Pending = 0x414 // interrupts, including disabled ones
)

// PL061 finds the chip; only the machine "arm64" has one.
func (vm *VM) PL061() (PL061, error) {
	path, err := vm.Find("pl061")
	return PL061{vm, path}, err
}

// Wire sets a line to a level: 0 or 1.
func (c PL061) Wire(line, level int) error { return c.vm.Wire(c.path, line, level) }

// Level returns a line's level; that of an output is set by the guest.
func (c PL061) Level(line int) (int, error) {
	pins, err := c.register(pl061Data)
	return int(pins >> line & 1), err
}

// Toggle makes edges of a line, beginning with a rising one, with a pause after each. After each
// edge it waits until the kernel has seen it and waits for the next. The chip has one bit for an
// edge, and no kernel can count edges that are faster than the processor handles interrupts. Toggle
// fails when the guest doesn't handle an edge within 5 s.
func (c PL061) Toggle(line, times int, pause time.Duration) error {
	for i := range times {
		if err := c.Wire(line, 1-i%2); err != nil {
			return err
		}
		if err := c.taken(line); err != nil {
			return err
		}
		for end := time.Now().Add(pause); time.Now().Before(end); {
			// A sleep would last at least a millisecond.
		}
	}
	return nil
}

func (c PL061) taken(line int) error {
	for end := time.Now().Add(5 * time.Second); ; {
		pending, err := c.register(pl061Pending)
		if err != nil {
			return err
		}
		enabled, err := c.register(pl061Enabled)
		if err != nil || (pending|^enabled)>>line&1 == 0 {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("the kernel did not accept an edge of line %d", line)
		}
	}
}

func (c PL061) register(offset int) (uint64, error) {
	text, err := c.vm.Qtest(fmt.Sprintf("readl %#x", pl061+offset))
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimPrefix(text, "0x"), 16, 64)
}
