// This file opens a port on Linux. The library sets it; reading and writing are ours: its own reads go through select(2),
// which can't take a descriptor above 1,023 (a bus with many clients has those), and its writes can't be interrupted.

package tty

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"go.bug.st/serial"
	"golang.org/x/sys/unix"
)

// Port is an open port. Read and Write are ended by deadlines and by Close.
type Port struct {
	*os.File
	Path   string // as /dev/ttyUSB0, whatever it was named by
	Opened time.Time

	undirected *rs485 // what Close sets again; nil: nothing
}

// Open finds a port, opens it and keeps everybody else out, but for root.
func Open(n Name, s Setting) (*Port, error) {
	path, err := find(n, machine())
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0) // without O_NONBLOCK it may wait for a carrier
	if err != nil {
		return nil, refused(path, err)
	}
	p := &Port{File: f, Path: path, Opened: time.Now()}
	if taken, err := p.get(unix.TIOCGEXCL); err == nil && taken != 0 { // root is not kept out
		f.Close()
		return nil, refused(path, &os.PathError{Op: "open", Path: path, Err: unix.EBUSY})
	}
	set, err := serial.Open(path, s.mode())
	if err != nil {
		f.Close()
		return nil, refused(path, err)
	}
	set.Close() // the settings stay as long as f is open
	if s.RS485 {
		if err := p.direct(); err != nil {
			f.Close()
			return nil, err
		}
	}
	if err := p.set(unix.TIOCEXCL, 0); err != nil {
		p.undirect()
		f.Close()
		return nil, fmt.Errorf("keeping others out of %s: %w", path, err)
	}
	_ = p.set(unix.TCFLSH, unix.TCIFLUSH) // what came while the speed was another one
	return p, nil
}

// Control calls do with the port's descriptor, which is no one's to keep.
func (p *Port) Control(do func(fd int) error) error {
	raw, err := p.SyscallConn() // f.Fd would make reads uninterruptible
	if err != nil {
		return err
	}
	var ierr error
	if err := raw.Control(func(fd uintptr) { ierr = do(int(fd)) }); err != nil {
		return err
	}
	return ierr
}

func (p *Port) set(request uint, value int) error {
	return p.Control(func(fd int) error { return unix.IoctlSetInt(fd, request, value) })
}

func (p *Port) get(request uint) (value int, err error) {
	err = p.Control(func(fd int) error {
		value, err = unix.IoctlGetInt(fd, request)
		return err
	})
	return value, err
}

// Close lets others in again, also to a pseudo terminal, which outlives us.
func (p *Port) Close() error {
	p.undirect()
	_ = p.set(unix.TIOCNXCL, 0)
	return p.File.Close()
}

// Drain waits until what was written has left the machine's buffer, or until the deadline. The kernel's own tcdrain can't
// be interrupted, and a device that takes nothing would hold it for ever.
func (p *Port) Drain(ctx context.Context, until time.Time) error {
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		n, err := p.get(unix.TIOCOUTQ)
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

// Discard takes back what was written and not sent yet.
func (p *Port) Discard() { _ = p.set(unix.TCFLSH, unix.TCOFLUSH) }

// Away reports whether an error of Write says that the port went away, and nothing was written.
func Away(err error) bool {
	return errors.Is(err, unix.EIO) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) || errors.Is(err, os.ErrClosed)
}
