// This file explains why a chip or line can't be opened: who holds it, and what to do.

package gpio

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/postbus/postbus/devices/internal/node"
)

var udev = node.Rule{Nodes: `SUBSYSTEM=="gpio", KERNEL=="gpiochip*"`, Group: "gpio", File: "60-gpio.rules", Then: "restart the machine", Needs: 0o060}

// denied adds to a failed open who has permission.
func denied(path string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return udev.Denied(path, err)
	}
	return fmt.Errorf("opening the chip: %w", err)
}

// refused adds to a failed request who holds the lines.
func (c *chip) refused(lines []found, err error) error {
	if !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("requesting %s of %s: %w", lineList(lines), c.name, err)
	}
	var holders []string
	for _, l := range lines {
		info, ierr := c.info(l.offset)
		if ierr != nil || info.Flags&flagUsed == 0 {
			continue
		}
		who := text(info.Consumer[:])
		if who == "" {
			who = "the kernel"
		}
		if pid, program := holder(c.name, l.offset); pid != 0 {
			who = fmt.Sprintf("%s (process %d, %s)", who, pid, program)
		}
		holders = append(holders, fmt.Sprintf("%s is held by %s", l.name, who))
	}
	if holders == nil {
		holders = []string{"it was held a moment ago"}
	}
	return fmt.Errorf("%s of %s is busy: %s: %w", lineList(lines), c.name, strings.Join(holders, ", "), err)
}

func lineList(lines []found) string {
	var list []string
	for _, l := range lines {
		list = append(list, l.name)
	}
	return "line " + strings.Join(list, ", ")
}

// holder finds the process that holds a line, where the kernel (since 5.19) and our permissions
// show it.
func holder(chip string, offset int) (pid int, program string) {
	files, _ := filepath.Glob("/proc/[0-9]*/fdinfo/*")
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil || !strings.Contains(string(data), "gpio-chip:\t"+chip+"\n") || !strings.Contains(string(data)+"\n", fmt.Sprintf("gpio-line:\t%d\n", offset)) {
			continue
		}
		dir := filepath.Dir(filepath.Dir(f))
		pid, _ = strconv.Atoi(filepath.Base(dir))
		comm, _ := os.ReadFile(dir + "/comm")
		return pid, strings.TrimSpace(string(comm))
	}
	return 0, ""
}
