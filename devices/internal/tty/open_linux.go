// This file opens a port on Linux. The library configures it; reading and writing are ours. The
// library's reads go through select(2), which can't take a descriptor above 1,023 (a bus with many
// clients has those), and its writes can't be interrupted.

package tty

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"go.bug.st/serial"
	"golang.org/x/sys/unix"

	"github.com/postbus/postbus/plugins/kind"
)

// Port is an open port. Deadlines and Close end Read and Write.
type Port struct {
	*os.File
	Path   string // as /dev/ttyUSB0, by whatever name it was opened
	Opened time.Time

	undirected *rs485 // what Close restores; nil: nothing
}

// Open finds a port, opens it and excludes all other programs, except root's.
func Open(n Name, s Setting) (*Port, error) {
	path, err := find(n, machine())
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0) // without O_NONBLOCK the open may wait for a carrier
	if err != nil {
		return nil, refused(path, err)
	}
	p := &Port{File: f, Path: path, Opened: time.Now()}
	if taken, err := p.get(unix.TIOCGEXCL); err == nil && taken != 0 { // root is not excluded
		f.Close()
		return nil, refused(path, &os.PathError{Op: "open", Path: path, Err: unix.EBUSY})
	}
	set, err := serial.Open(path, s.mode())
	if err != nil {
		f.Close()
		return nil, refused(path, err)
	}
	set.Close() // the settings remain as long as f is open
	if s.RS485 {
		if err := p.direct(); err != nil {
			f.Close()
			return nil, err
		}
	}
	if err := p.set(unix.TIOCEXCL, 0); err != nil {
		p.undirect()
		f.Close()
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	_ = p.set(unix.TCFLSH, unix.TCIFLUSH) // bytes received at another speed
	return p, nil
}

// Control calls do with the port's descriptor, which do must not retain.
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

// Close admits other programs again, also to a pseudo terminal, which outlives postbus.
func (p *Port) Close() error {
	p.undirect()
	_ = p.set(unix.TIOCNXCL, 0)
	return p.File.Close()
}

// Drain waits until all written bytes have left the machine's buffer, or until the deadline. The
// kernel's own tcdrain can't be interrupted, and would block forever on a device that accepts
// nothing.
func (p *Port) Drain(ctx context.Context, until time.Time) error {
	for pause := time.Millisecond; ; pause = min(2*pause, 20*time.Millisecond) {
		n, err := p.get(unix.TIOCOUTQ)
		if err != nil || n == 0 {
			return err
		}
		if time.Now().After(until) {
			return os.ErrDeadlineExceeded
		}
		if err := kind.Sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// Discard discards written bytes that were not sent yet.
func (p *Port) Discard() { _ = p.set(unix.TCFLSH, unix.TCOFLUSH) }

// Away reports whether an error of Write says that the port was unplugged, and nothing was written.
func Away(err error) bool {
	return errors.Is(err, unix.EIO) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) || errors.Is(err, os.ErrClosed)
}
