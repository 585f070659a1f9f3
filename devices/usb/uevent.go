// This file parses a uevent, a message of the kernel: "add@/devices/…" and texts KEY=value, each
// ended by a zero byte.

package usb

import (
	"bytes"
	"path"
	"strings"
)

// uevent is the relevant part of a uevent.
type uevent struct {
	action string // add, remove, bind, change …
	port   string // 1-1.4
}

// readUevent parses a message that is about a USB device, and not about an interface of one or
// anything else.
func readUevent(message []byte) (u uevent, ok bool) {
	head, fields, _ := bytes.Cut(message, []byte{0})
	if !bytes.Contains(head, []byte{'@'}) { // udev's own messages begin with "libudev"
		return u, false
	}
	keys := map[string]string{}
	for text := range bytes.SplitSeq(fields, []byte{0}) {
		if k, v, ok := strings.Cut(string(text), "="); ok {
			keys[k] = v
		}
	}
	if keys["SUBSYSTEM"] != "usb" || keys["DEVTYPE"] != "usb_device" || keys["DEVPATH"] == "" {
		return u, false
	}
	u = uevent{keys["ACTION"], path.Base(keys["DEVPATH"])}
	return u, u.action != "" && u.port != "." && u.port != "/" && u.port != ".."
}
