// This file is what `postbus devices` lists.

package tty

import (
	"fmt"
	"strings"
)

// Device is a serial port.
type Device struct {
	Path            string // /dev/ttyUSB0; may change at the next start
	ByID            string // its stable name in /dev/serial/by-id; empty when it has none
	Vendor, Product string // of a USB device: four hexadecimal digits
	Serial          string // its serial number; empty when it has none
	Name            string // its name for itself
}

// names lists ports in a sentence.
func names(list []Device) string {
	var out []string
	for _, d := range list {
		s := d.Path
		if d.Vendor != "" {
			s += " (usb:" + d.usb().String() + ")"
		}
		out = append(out, s)
	}
	if len(out) == 0 {
		return "none"
	}
	const maxPorts = 20
	if more := len(out) - maxPorts; more > 0 {
		out = append(out[:maxPorts], fmt.Sprintf("%d more", more))
	}
	return strings.Join(out, ", ")
}

func (d Device) usb() usbID { return usbID{d.Vendor, d.Product, d.Serial} }

// Describe lists the ports as they are written in a file.
func Describe() []string { return describe(List()) }

func describe(list []Device) []string {
	var out []string
	for _, d := range list {
		port, words := d.Path, []string{}
		if d.Vendor != "" {
			port = "usb:" + d.usb().String()
			words = append(words, d.Path)
		}
		if d.ByID != "" {
			words = append(words, d.ByID)
		}
		if d.Name != "" {
			words = append(words, d.Name)
		}
		line := fmt.Sprintf("port: %q", port)
		if len(words) > 0 {
			line += "  # " + strings.Join(words, ", ")
		}
		out = append(out, line)
	}
	return out
}
