// This file parses a port's name in a plugin file.

package tty

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/postbus/postbus/plugins/kind"
)

// Name names a port: a path, as /dev/ttyUSB0 or COM3; a name in /dev/serial/by-id; or
// usb:VENDOR:PRODUCT[:SERIAL].
type Name string

const nameHint = "write a path, a name in /dev/serial/by-id, or usb:0403:6001; `postbus devices serial` lists the ports"

// UnmarshalText parses a port's name and normalises it: a bare ttyUSB0 is /dev/ttyUSB0, and ids are
// four lower-case digits.
func (n *Name) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	switch id, isUSB := strings.CutPrefix(s, "usb:"); {
	case s == "" || len(s) > 255 || strings.ContainsAny(s, "\x00\n"):
		return kind.Wrong("", fmt.Sprintf("%.60q names no port", s), nameHint)
	case isUSB:
		u, err := readUSB(id)
		if err != nil {
			return err
		}
		*n = Name("usb:" + u.String())
	case strings.HasPrefix(s, "/"):
		*n = Name(filepath.Clean(s))
	case strings.HasPrefix(s, "tty") && !strings.Contains(s, "/"), strings.HasPrefix(s, "cu."):
		*n = Name("/dev/" + s)
	case strings.Contains(s, "/"):
		return kind.Wrong("", fmt.Sprintf("%q is not an absolute path", s), nameHint)
	default: // a name in by-id, or COM3
		*n = Name(s)
	}
	return nil
}

// usbID is a USB device: two numbers of four hexadecimal digits, and perhaps a serial number.
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
		id, perr := strconv.ParseUint(strings.TrimPrefix(words[i], "0x"), 16, 16)
		ok = perr == nil
		words[i] = fmt.Sprintf("%04x", id)
	}
	if !ok {
		return u, kind.Wrong("", fmt.Sprintf("%q is not a USB device", s), "write usb:, the vendor's and the product's four hexadecimal digits, as usb:0403:6001; a serial number may follow")
	}
	u.vendor, u.product = words[0], words[1]
	if len(words) == 3 {
		u.serial = words[2]
	}
	return u, nil
}

// usb returns the device that the name identifies, if it is a USB name.
func (n Name) usb() (u usbID, ok bool) {
	id, ok := strings.CutPrefix(string(n), "usb:")
	if !ok {
		return u, false
	}
	u, err := readUSB(id)
	return u, err == nil
}

// isPath reports whether the name is a file's path.
func (n Name) isPath() bool { return strings.HasPrefix(string(n), "/") }

// Claim is what only one plugin can hold (a plugin's Claims): the name, as it is written.
func (n Name) Claim() string { return "serial:" + string(n) }

// Access is the name for permissions (a plugin's Access).
func (n Name) Access() string {
	if _, ok := n.usb(); ok {
		return "device:/dev/tty*"
	}
	switch {
	case n.isPath(), strings.HasPrefix(string(n), "COM"), strings.HasPrefix(string(n), `\\`):
		return "device:" + string(n)
	}
	return "device:/dev/serial/by-id/" + string(n)
}
