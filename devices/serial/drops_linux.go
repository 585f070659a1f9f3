// This file reads the kernel's counts of errors on the wire, where the port's driver has them.

package serial

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/postbus/postbus/devices/internal/tty"
)

// icounter is struct serial_icounter_struct of linux/serial.h.
type icounter struct {
	CTS, DSR, RNG, DCD, Rx, Tx, Frame, Overrun, Parity, Brk, BufOverrun int32
	_                                                                   [9]int32
}

// drops compares the counts with the last ones. A pseudo terminal and many drivers have none, and
// report nothing.
type drops struct {
	there bool
	next  time.Time
	last  icounter
}

func (d *drops) begin(p *tty.Port) { d.there = d.read(p, &d.last) == nil }

func (d *drops) read(p *tty.Port, c *icounter) error {
	return p.Control(func(fd int) error {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCGICOUNT, uintptr(unsafe.Pointer(c))); errno != 0 {
			return errno
		}
		return nil
	})
}

// look reports new losses, at most once a second.
func (d *drops) look(p *tty.Port, lost func(n int, reason string)) {
	if !d.there || time.Now().Before(d.next) {
		return
	}
	d.next = time.Now().Add(time.Second)
	var now icounter
	if d.read(p, &now) != nil {
		return
	}
	if n := now.Overrun - d.last.Overrun + now.BufOverrun - d.last.BufOverrun; n > 0 {
		lost(int(n), "bytes arrived faster than postbus could read them")
	}
	if n := now.Frame - d.last.Frame + now.Parity - d.last.Parity; n > 0 {
		lost(int(n), "bytes were damaged on the wire, or baud and parity are wrong")
	}
	d.last = now
}
