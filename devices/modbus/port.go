// This file is how a serial port is named, as in the kind `serial`, and how it is set.

package modbus

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"go.bug.st/serial"
)

// Port names a port: a path, a name in /dev/serial/by-id, or usb:VENDOR:PRODUCT[:SERIAL].
type Port string

const portHint = "write a path, a name in /dev/serial/by-id, or usb:0403:6001; `postbus devices serial` lists the ports"

// UnmarshalText reads a port's name and writes it one way: a bare ttyUSB0 is /dev/ttyUSB0, and ids are four lower digits.
func (p *Port) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	switch id, isUSB := strings.CutPrefix(s, "usb:"); {
	case s == "" || len(s) > 255 || strings.ContainsAny(s, "\x00\n"):
		return optionError{"", fmt.Sprintf("%.60q names no port", s), portHint}
	case isUSB:
		words := strings.SplitN(id, ":", 3)
		for i := 0; i < 2; i++ {
			if i >= len(words) {
				return optionError{"", fmt.Sprintf("%q is no USB device", s), portHint}
			}
			n, err := strconv.ParseUint(strings.TrimPrefix(words[i], "0x"), 16, 16)
			if err != nil {
				return optionError{"", fmt.Sprintf("%q is no USB device", s), portHint}
			}
			words[i] = fmt.Sprintf("%04x", n)
		}
		*p = Port("usb:" + strings.Join(words, ":"))
	case strings.HasPrefix(s, "/"):
		*p = Port(filepath.Clean(s))
	case strings.HasPrefix(s, "tty") && !strings.Contains(s, "/"), strings.HasPrefix(s, "cu."):
		*p = Port("/dev/" + s)
	case strings.Contains(s, "/"):
		return optionError{"", fmt.Sprintf("%q is no whole path", s), portHint}
	default: // a name in by-id, or COM3
		*p = Port(s)
	}
	return nil
}

// usb is the words of the device that the port is named by: vendor, product and perhaps a serial number.
func (p Port) usb() (words []string, ok bool) {
	id, ok := strings.CutPrefix(string(p), "usb:")
	return strings.SplitN(id, ":", 3), ok
}

func (p Port) isPath() bool { return strings.HasPrefix(string(p), "/") }

func (p Port) claim() string { return "serial:" + string(p) }

func (p Port) access() string {
	_, isUSB := p.usb()
	switch {
	case isUSB:
		return "device:/dev/tty*"
	case p.isPath(), strings.HasPrefix(string(p), "COM"), strings.HasPrefix(string(p), `\\`):
		return "device:" + string(p)
	}
	return "device:/dev/serial/by-id/" + string(p)
}

// roots are where the machine's devices are, for tests.
type roots struct{ dev, sys string }

func machine() roots { return roots{"/dev", "/sys"} }

// mode is how the port is set, as the library has it. A character has eight bits.
func (s setting) mode() *serial.Mode {
	m := &serial.Mode{BaudRate: s.baud, DataBits: 8, StopBits: serial.OneStopBit, Parity: map[string]serial.Parity{"even": serial.EvenParity, "odd": serial.OddParity}[s.parity]}
	if s.stop == 2 {
		m.StopBits = serial.TwoStopBits
	}
	return m
}
