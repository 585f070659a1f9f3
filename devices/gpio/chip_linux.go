// This file finds chips and lines, and names the existing ones in errors.

package gpio

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	ioctlChipInfo  = 0x8044b401 // GPIO_GET_CHIPINFO_IOCTL
	ioctlLineInfo  = unix.GPIO_V2_GET_LINEINFO_IOCTL
	ioctlSetConfig = 0xc110b40d // GPIO_V2_LINE_SET_CONFIG_IOCTL

	flagUsed       = 1 << 0 // GPIO_V2_LINE_FLAG_*
	flagActiveLow  = 1 << 1
	flagInput      = 1 << 2
	flagOutput     = 1 << 3
	flagRising     = 1 << 4
	flagFalling    = 1 << 5
	flagOpenDrain  = 1 << 6
	flagOpenSource = 1 << 7
	flagPullUp     = 1 << 8
	flagPullDown   = 1 << 9
	flagPullNone   = 1 << 10
)

// ioctl retries calls that a signal interrupted.
func ioctl(fd uintptr, request uint, arg unsafe.Pointer) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, uintptr(request), uintptr(arg))
		if errno == 0 {
			return nil
		}
		if errno != unix.EINTR {
			return errno
		}
	}
}

func text(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}

// chip is an open chip.
type chip struct {
	f     *os.File
	path  string
	name  string // gpiochip0
	label string
	count int
}

func openChip(path string) (*chip, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, denied(path, err)
	}
	var info unix.GPIOChipInfo
	if err := ioctl(f.Fd(), ioctlChipInfo, unsafe.Pointer(&info)); err != nil {
		f.Close()
		return nil, fmt.Errorf("%s is not a GPIO chip: %w", path, err)
	}
	return &chip{f: f, path: path, name: text(info.Name[:]), label: text(info.Label[:]), count: int(info.Lines)}, nil
}

func (c *chip) String() string { return fmt.Sprintf("%s (%s, %d lines)", c.name, c.label, c.count) }

func (c *chip) info(offset int) (unix.GPIOV2LineInfo, error) {
	info := unix.GPIOV2LineInfo{Offset: uint32(offset)}
	err := ioctl(c.f.Fd(), ioctlLineInfo, unsafe.Pointer(&info))
	return info, err
}

// openChips opens every chip once. The error contains those that can't be opened, and may be set
// beside opened chips.
func openChips(dev string) ([]*chip, error) {
	paths, _ := filepath.Glob(dev + "/gpiochip*")
	slices.SortFunc(paths, func(a, b string) int {
		if d := len(a) - len(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	var chips []*chip
	var errs []error
	for _, p := range paths {
		if st, err := os.Lstat(p); err != nil || st.Mode().Type() == fs.ModeSymlink { // a Pi 5 has an alias for old programs
			continue
		}
		c, err := openChip(p)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		chips = append(chips, c)
	}
	return chips, errors.Join(errs...)
}

func closeChips(chips []*chip, except *chip) {
	for _, c := range chips {
		if c != except {
			c.f.Close()
		}
	}
}

// found is a line that was found.
type found struct {
	offset int
	name   string // as in events
}

// find opens the one chip that has all the lines.
func find(dev string, want Chip, lines []Line) (*chip, []found, error) {
	chips, denials := openChips(dev)
	all := describe(chips)
	var candidates []*chip
	for _, c := range chips {
		if want == "" || string(want) == c.name || string(want) == c.label {
			candidates = append(candidates, c)
		}
	}
	var fits []*chip
	var where [][]found
	var errs []error
	for _, c := range candidates {
		l, err := c.find(lines)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		fits, where = append(fits, c), append(where, l)
	}
	if len(fits) == 1 {
		closeChips(chips, fits[0])
		return fits[0], where[0], nil
	}
	closeChips(chips, nil)
	what := "line " + join(lines)
	if len(lines) > 1 {
		what = "one chip with the lines " + join(lines)
	}
	switch {
	case len(fits) > 1:
		return nil, nil, fmt.Errorf("%s is on %s: write chip: and the label of one of them", what, describe(fits))
	case denials != nil:
		return nil, nil, denials
	case len(chips) == 0:
		return nil, nil, fmt.Errorf("this machine has no GPIO chip: there is no %s/gpiochip*", dev)
	case len(candidates) == 0:
		return nil, nil, fmt.Errorf("there is no chip %s; available: %s", want, all)
	}
	return nil, nil, fmt.Errorf("there is no %s: %w", what, errors.Join(errs...))
}

func describe(chips []*chip) string {
	var list []string
	for _, c := range chips {
		list = append(list, c.String())
	}
	return strings.Join(list, " and ")
}

func join(lines []Line) string {
	var list []string
	for _, l := range lines {
		list = append(list, string(l))
	}
	return strings.Join(list, ", ")
}

// find returns the lines' positions on the chip. It looks for a name first, because some chips name
// a line with a number.
func (c *chip) find(lines []Line) ([]found, error) {
	byName := map[string][]int{}
	for i := range c.count {
		info, err := c.info(i)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", c.name, err)
		}
		if name := text(info.Name[:]); name != "" {
			byName[name] = append(byName[name], i)
		}
	}
	var list []found
	for _, l := range lines {
		at := byName[string(l)]
		n, isNumber := l.number()
		switch {
		case len(at) == 1:
			list = append(list, found{at[0], string(l)})
		case len(at) > 1:
			return nil, fmt.Errorf("%s has several lines called %s: write a number of %v", c.name, l, at)
		case isNumber && n < c.count:
			list = append(list, found{n, c.lineName(n)})
		case isNumber:
			return nil, fmt.Errorf("%s has the lines 0 to %d", c, c.count-1)
		default:
			return nil, fmt.Errorf("%s has %s", c, names(byName, c.count))
		}
	}
	for i, a := range list {
		if slices.ContainsFunc(list[:i], func(b found) bool { return a.offset == b.offset }) {
			return nil, fmt.Errorf("the lines name number %d of %s twice", a.offset, c.name)
		}
	}
	return list, nil
}

func (c *chip) lineName(offset int) string {
	if info, err := c.info(offset); err == nil && text(info.Name[:]) != "" {
		return text(info.Name[:])
	}
	return fmt.Sprint(offset)
}

// names lists the lines of a chip, at most forty.
func names(byName map[string][]int, count int) string {
	if len(byName) == 0 {
		return fmt.Sprintf("no named lines: write chip: and a number from 0 to %d", count-1)
	}
	type entry struct {
		name string
		at   int
	}
	var list []entry
	for n, at := range byName {
		list = append(list, entry{n, at[0]})
	}
	slices.SortFunc(list, func(a, b entry) int { return a.at - b.at })
	const maxNames = 40
	var words []string
	for _, e := range list[:min(len(list), maxNames)] {
		words = append(words, e.name)
	}
	s := strings.Join(words, ", ")
	if len(list) > maxNames {
		s += fmt.Sprintf(" and %d more", len(list)-maxNames)
	}
	return s
}
