// This file opens a port on Linux. The library sets it; reading and writing are ours: its own reads go through select(2),
// which can't take a descriptor above 1,023 (a bus with many clients has those), and its writes can't be interrupted.

package serial

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"go.bug.st/serial"
	"golang.org/x/sys/unix"
)

// line is an open port. Read and Write are ended by deadlines and by Close.
type line struct {
	*os.File
	path   string
	opened time.Time
	drops  drops
}

// openLine opens the port at a path and keeps everybody else out, but for root.
func openLine(path string, s setting) (*line, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0) // without O_NONBLOCK it may wait for a carrier
	if err != nil {
		return nil, refused(path, err)
	}
	l := &line{File: f, path: path, opened: time.Now()}
	if taken, err := l.get(unix.TIOCGEXCL); err == nil && taken != 0 { // root is not kept out
		f.Close()
		return nil, refused(path, &os.PathError{Op: "open", Path: path, Err: unix.EBUSY})
	}
	p, err := serial.Open(path, s.mode())
	if err != nil {
		f.Close()
		return nil, refused(path, err)
	}
	p.Close() // the settings stay as long as f is open
	if err := l.set(unix.TIOCEXCL, 0); err != nil {
		f.Close()
		return nil, fmt.Errorf("keeping others out of %s: %w", path, err)
	}
	_ = l.set(unix.TCFLSH, unix.TCIFLUSH) // what came while the speed was another one
	l.drops.begin(l)
	return l, nil
}

func (l *line) control(do func(fd int) error) error {
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

func (l *line) set(request uint, value int) error {
	return l.control(func(fd int) error { return unix.IoctlSetInt(fd, request, value) })
}

func (l *line) get(request uint) (value int, err error) {
	err = l.control(func(fd int) error {
		value, err = unix.IoctlGetInt(fd, request)
		return err
	})
	return value, err
}

// Close lets others in again, also to a pseudo terminal, which outlives us.
func (l *line) Close() error {
	_ = l.set(unix.TIOCNXCL, 0)
	return l.File.Close()
}

// drain waits until what was written has left the machine's buffer, or until the deadline. The kernel's own tcdrain can't
// be interrupted, and a device that takes nothing would hold it for ever.
func (l *line) drain(ctx context.Context, until time.Time) error {
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		n, err := l.get(unix.TIOCOUTQ)
		if err != nil || n == 0 {
			return err
		}
		if time.Now().After(until) {
			return os.ErrDeadlineExceeded
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
}

// discard takes back what was written and not sent yet.
func (l *line) discard() { _ = l.set(unix.TCFLSH, unix.TCOFLUSH) }

// away reports whether an error says that the port went away, and nothing was written.
func away(err error) bool {
	return errors.Is(err, unix.EIO) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) || errors.Is(err, os.ErrClosed)
}
