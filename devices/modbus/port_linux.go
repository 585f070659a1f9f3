// This file opens a port on Linux. The library sets it; reading and writing are ours: its own reads go through select(2),
// which can't take a descriptor above 1,023 (a bus with many clients has those), and its writes can't be interrupted.

package modbus

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"go.bug.st/serial"
	"golang.org/x/sys/unix"
)

// line is an open port.
type line struct{ *os.File }

// dialPort opens the port and keeps everybody else out, but for root.
func dialPort(s setting, r roots) (conn, error) {
	path, err := findPort(s.port, r)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0) // without O_NONBLOCK it may wait for a carrier
	if err != nil {
		return nil, refused(path, err)
	}
	l := line{f}
	taken := 0
	if l.control(func(fd int) (err error) { taken, err = unix.IoctlGetInt(fd, unix.TIOCGEXCL); return err }) == nil && taken != 0 { // root is not kept out
		f.Close()
		return nil, refused(path, unix.EBUSY)
	}
	p, err := serial.Open(path, s.mode())
	if err != nil {
		f.Close()
		return nil, refused(path, err)
	}
	p.Close() // the settings stay as long as f is open
	if err := l.control(func(fd int) error { return unix.IoctlSetInt(fd, unix.TIOCEXCL, 0) }); err != nil {
		f.Close()
		return nil, fmt.Errorf("keeping others out of %s: %w", path, err)
	}
	return l, nil
}

func (l line) control(do func(fd int) error) error {
	raw, err := l.SyscallConn() // f.Fd would make reads uninterruptible
	if err != nil {
		return err
	}
	var ierr error
	if err := raw.Control(func(fd uintptr) { ierr = do(int(fd)) }); err != nil {
		return err
	}
	return ierr
}

// Close lets others in again, also to a pseudo terminal, which outlives us. What was not sent yet is taken back: a device that
// takes nothing would hold up the closing for half a minute.
func (l line) Close() error {
	_ = l.control(func(fd int) error {
		_ = unix.IoctlSetInt(fd, unix.TCFLSH, unix.TCOFLUSH)
		return unix.IoctlSetInt(fd, unix.TIOCNXCL, 0)
	})
	return l.File.Close()
}

// findPort is the path of a port.
func findPort(p Port, r roots) (string, error) {
	if words, ok := p.usb(); ok {
		return findUSB(words, r)
	}
	path := string(p)
	if !p.isPath() {
		path = filepath.Join(r.dev, "serial/by-id", path)
	}
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("there is no %s; there are %s; it is waited for", path, present(r))
	}
	return real, err
}

func findUSB(words []string, r roots) (string, error) {
	var found []string
	entries, _ := filepath.Glob(r.sys + "/class/tty/*/device")
	for _, e := range entries {
		up, err := filepath.EvalSymlinks(e)
		if err != nil {
			continue
		}
		for ; strings.HasPrefix(up, r.sys+"/"); up = filepath.Dir(up) {
			if vendor := read(up, "idVendor"); vendor != "" {
				if vendor == words[0] && read(up, "idProduct") == words[1] && (len(words) < 3 || read(up, "serial") == words[2]) {
					found = append(found, filepath.Join(r.dev, filepath.Base(filepath.Dir(e))))
				}
				break
			}
		}
	}
	id := "usb:" + strings.Join(words, ":")
	switch len(found) {
	case 0:
		return "", fmt.Errorf("there is no port of %s; there are %s; it is waited for", id, present(r))
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%s has %d ports, %s: write the name in /dev/serial/by-id of one of them", id, len(found), strings.Join(found, ", "))
}

func read(dir, name string) string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	s := strings.TrimSpace(string(b))
	return s[:min(len(s), 256)] // a device may say anything
}

// present lists the ports that there are.
func present(r roots) string {
	var list []string
	entries, _ := filepath.Glob(r.sys + "/class/tty/*/device") // a console has none
	for _, e := range entries {
		dir := filepath.Dir(e)
		if read(dir, "type") != "0" && len(list) < 20 { // a ttyS without a chip
			list = append(list, filepath.Join(r.dev, filepath.Base(dir)))
		}
	}
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

// refused adds to a failed opening what to do.
func refused(path string, err error) error {
	var e *serial.PortError
	code := serial.PortErrorCode(-1)
	if errors.As(err, &e) {
		code = e.Code()
	}
	switch {
	case errors.Is(err, unix.EBUSY), code == serial.PortBusy:
		return fmt.Errorf("%s is busy: %s", path, holder(path))
	case errors.Is(err, fs.ErrPermission), code == serial.PermissionDenied:
		group := "dialout"
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil && st.Gid != 0 {
			group = strconv.Itoa(int(st.Gid))
			if g, gerr := user.LookupGroupId(group); gerr == nil {
				group = g.Name
			}
		}
		return fmt.Errorf("no permission for %s: add the user that runs postbus to the group %s (sudo usermod -aG %s USER) and start postbus again: %w", path, group, group, err)
	case code == serial.InvalidSerialPort:
		return fmt.Errorf("%s is no serial port, or can't be set as the file says: %w", path, err)
	}
	return fmt.Errorf("opening %s: %w", path, err)
}

// holder says who has a port open, as far as our rights let us see it.
func holder(path string) string {
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err != nil || to != path {
			continue
		}
		proc := filepath.Dir(filepath.Dir(fd))
		if pid := filepath.Base(proc); pid != strconv.Itoa(os.Getpid()) {
			return fmt.Sprintf("it is held by %s (process %s)", read(proc, "comm"), pid)
		}
		return "it is held by postbus itself, perhaps for another plugin"
	}
	return "another program holds it (sudo fuser " + path + " says which)"
}
