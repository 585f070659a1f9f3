// This file holds the words of a plugin file: how a port is named, and bytes.

package serial

import (
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// Port names a port: a path, a name in /dev/serial/by-id, or usb:VENDOR:PRODUCT[:SERIAL].
type Port string

const portHint = "write a path, a name in /dev/serial/by-id, or usb:0403:6001; `postbus devices` lists the ports"

// UnmarshalText reads a port's name and writes it one way: a bare ttyUSB0 is /dev/ttyUSB0, and ids are four lower digits.
func (p *Port) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	switch id, isUSB := strings.CutPrefix(s, "usb:"); {
	case s == "" || len(s) > 255 || strings.ContainsAny(s, "\x00\n"):
		return optionError{"", fmt.Sprintf("%.60q names no port", s), portHint}
	case isUSB:
		u, err := readUSB(id)
		if err != nil {
			return err
		}
		*p = Port("usb:" + u.String())
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

// usbID is a USB device: four hexadecimal digits twice, and perhaps a serial number.
type usbID struct{ vendor, product, serial string }

func (u usbID) String() string {
	if u.serial == "" {
		return u.vendor + ":" + u.product
	}
	return u.vendor + ":" + u.product + ":" + u.serial
}

func readUSB(s string) (u usbID, err error) {
	words := strings.SplitN(s, ":", 3)
	ok := len(words) >= 2
	for i := 0; i < 2 && ok; i++ {
		n, perr := strconv.ParseUint(strings.TrimPrefix(words[i], "0x"), 16, 16)
		ok = perr == nil
		words[i] = fmt.Sprintf("%04x", n)
	}
	if !ok {
		return u, optionError{"", fmt.Sprintf("%q is no USB device", s), "write usb:, the vendor's and the product's four hexadecimal digits, as usb:0403:6001; a serial number may follow"}
	}
	u.vendor, u.product = words[0], words[1]
	if len(words) == 3 {
		u.serial = words[2]
	}
	return u, nil
}

// usb is the device that the port is named by.
func (p Port) usb() (u usbID, ok bool) {
	id, ok := strings.CutPrefix(string(p), "usb:")
	if !ok {
		return u, false
	}
	u, err := readUSB(id)
	return u, err == nil
}

// isPath reports whether the name is a file's path.
func (p Port) isPath() bool { return strings.HasPrefix(string(p), "/") }

func (p Port) claim() string { return "serial:" + string(p) }

func (p Port) access() string {
	if _, ok := p.usb(); ok {
		return "device:/dev/tty*"
	}
	switch {
	case p.isPath(), strings.HasPrefix(string(p), "COM"), strings.HasPrefix(string(p), `\\`):
		return "device:" + string(p)
	}
	return "device:/dev/serial/by-id/" + string(p)
}

// Bytes is some bytes: as text, or as hex:0d0a.
type Bytes string

// UnmarshalText reads at most 64 bytes.
func (b *Bytes) UnmarshalText(text []byte) error {
	s := string(text)
	if digits, ok := strings.CutPrefix(s, "hex:"); ok {
		raw, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
		if err != nil {
			return optionError{"", fmt.Sprintf("%q is not hexadecimal: %v", s, err), "write two digits for each byte, as hex:0d0a"}
		}
		s = string(raw)
	}
	if len(s) > 64 {
		return optionError{"", fmt.Sprintf("%d bytes are more than 64", len(s)), ""}
	}
	*b = Bytes(s)
	return nil
}
