// This file explains why a port can't be opened: who has it, and what to do.

package tty

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"go.bug.st/serial"
	"golang.org/x/sys/unix"

	"github.com/postbus/postbus/devices/internal/node"
)

// refused adds to a failed open what to do.
func refused(path string, err error) error {
	var e *serial.PortError
	code := serial.PortErrorCode(-1)
	if errors.As(err, &e) {
		code = e.Code()
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return Absent{fmt.Errorf("there is no %s: %w", path, err)}
	case errors.Is(err, unix.EBUSY), code == serial.PortBusy:
		return fmt.Errorf("%s is busy: %s", path, holder(path))
	case errors.Is(err, fs.ErrPermission), code == serial.PermissionDenied:
		return denied(path, err)
	case code == serial.InvalidSerialPort:
		return fmt.Errorf("%s is not a serial port, or does not accept the settings of the file: %w", path, err)
	}
	return fmt.Errorf("opening %s: %w", path, err)
}

// denied says who may open a port.
func denied(path string, err error) error {
	return node.Rule{Nodes: `SUBSYSTEM=="tty", KERNEL=="` + filepath.Base(path) + `"`, Group: "dialout", File: "60-serial.rules", Then: "plug it in again", Needs: 0o060}.Denied(path, err)
}

// holder says who has a port open, as far as our permissions show it.
func holder(path string) string {
	if who := holders(path); len(who) > 0 {
		return "it is held by " + strings.Join(who, " and ")
	}
	return "another program holds it (sudo fuser " + path + " shows which)"
}

// holders are the processes that have a port open. Ports of this process that are closed already
// don't count.
func holders(path string) []string {
	var who []string
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, proc := range procs {
		entries, err := os.ReadDir(proc + "/fd")
		if err != nil {
			continue
		}
		for _, e := range entries {
			if to, err := os.Readlink(proc + "/fd/" + e.Name()); err != nil || to != path {
				continue
			}
			pid, _ := strconv.Atoi(filepath.Base(proc))
			if pid == os.Getpid() {
				who = append(who, "postbus itself, perhaps for another plugin")
			} else {
				comm, _ := os.ReadFile(proc + "/comm")
				who = append(who, fmt.Sprintf("%s (process %d)", strings.TrimSpace(string(comm)), pid))
			}
			break
		}
	}
	return who
}

// Others returns the other programs that have the port open as well, as root can: each receives
// some of the bytes.
func (p *Port) Others() []string {
	var out []string
	for _, who := range holders(p.Path) {
		if !strings.HasPrefix(who, "postbus itself") {
			out = append(out, who)
		}
	}
	return out
}
