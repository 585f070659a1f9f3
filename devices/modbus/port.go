// This file is a serial line: a port whose characters have eight bits.

package modbus

import (
	"errors"
	"fmt"

	"github.com/postbus/postbus/devices/internal/tty"
)

// line is an open port.
type line struct{ *tty.Port }

func dialPort(s setting) (conn, error) {
	p, err := tty.Open(s.port, tty.Setting{Baud: s.baud, DataBits: 8, StopBits: s.stop, Parity: s.parity, DTR: true, RTS: true, RS485: s.rs485})
	if err != nil {
		if a := (tty.Absent{}); errors.As(err, &a) {
			err = fmt.Errorf("%w; waiting for it", err)
		}
		return nil, err
	}
	return line{p}, nil
}

// Close discards unsent bytes, because a device that accepts nothing would delay closing for half a
// minute.
func (l line) Close() error {
	l.Discard()
	return l.Port.Close()
}
