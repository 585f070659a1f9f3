// This file lets a port's driver switch the direction of an RS-485 line:
// Documentation/driver-api/serial/serial-rs485.rst.

package tty

import (
	"context"
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rs485 is struct serial_rs485 of linux/serial.h.
type rs485 struct {
	flags                 uint32
	beforeSend, afterSend uint32 // delays in milliseconds
	_                     [5]uint32
}

const (
	rs485Enabled   = 1 << 0
	rs485OnSend    = 1 << 1 // RTS is on while the port sends,
	rs485AfterSend = 1 << 2 // or while it doesn't
)

func (p *Port) rs485(request uintptr, r *rs485) error {
	return p.Control(func(fd int) error {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(r))); errno != 0 {
			return errno
		}
		return nil
	})
}

// direct lets the driver switch the direction, until Close. Where the driver already does, as a
// board's device tree can set, that stays unchanged.
func (p *Port) direct() error {
	var before rs485
	err := p.rs485(unix.TIOCGRS485, &before)
	if err == nil && before.flags&rs485Enabled != 0 {
		return nil
	}
	now := before
	now.flags = now.flags&^rs485AfterSend | rs485Enabled | rs485OnSend
	if err == nil {
		err = p.rs485(unix.TIOCSRS485, &now) // returns what the driver made of it
	}
	switch {
	case errors.Is(err, unix.ENOTTY), err == nil && now.flags&rs485Enabled == 0:
		return fmt.Errorf("rs485 of %s: this port's driver has no RS-485 mode; leave it out for an adapter that switches by itself", p.Path)
	case err != nil:
		return fmt.Errorf("rs485 of %s: %w", p.Path, err)
	}
	p.undirected = &before
	return nil
}

// undirect restores the state before direct, after all written bytes have been sent: otherwise the
// line would fall silent in the middle of them.
func (p *Port) undirect() {
	if p.undirected != nil {
		_ = p.Drain(context.Background(), time.Now().Add(time.Second))
		_ = p.rs485(unix.TIOCSRS485, p.undirected)
	}
}
