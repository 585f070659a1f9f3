// This file reads the devices' descriptors: /sys/bus/usb/devices
// (Documentation/ABI/testing/sysfs-bus-usb).

package usb

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// device is a USB device.
type device struct {
	Path                       string // the port, as 1-1.4
	Vendor, Product            string // four hexadecimal digits
	Name, Manufacturer, Serial string // Manufacturer and Serial are empty when the device has none
	Class                      string
	Classes                    []string
	Bus, Number                int
}

// list returns the devices that are plugged in. It is empty without sysfs.
func list(sys string) []device {
	paths, _ := filepath.Glob(sys + "/bus/usb/devices/*")
	var out []device
	for _, p := range paths {
		if d, ok := read(sys, filepath.Base(p)); ok {
			out = append(out, d)
		}
	}
	return out
}

// read reads the device in a port. An interface of a device, as 1-1:1.0, is not a device.
func read(sys, path string) (device, bool) {
	dir := filepath.Join(sys, "bus/usb/devices", path)
	text := func(dir, name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return ""
		}
		s := strings.ToValidUTF8(strings.TrimSpace(string(b)), "\ufffd")
		return s[:min(len(s), 512)] // a device may send anything
	}
	d := device{Path: path, Vendor: text(dir, "idVendor"), Product: text(dir, "idProduct"), Name: text(dir, "product"), Manufacturer: text(dir, "manufacturer"),
		Serial: text(dir, "serial")}
	if d.Vendor == "" || strings.Contains(path, ":") {
		return d, false
	}
	d.Bus, _ = strconv.Atoi(text(dir, "busnum"))
	d.Number, _ = strconv.Atoi(text(dir, "devnum"))
	if d.Name == "" {
		d.Name = d.Vendor + ":" + d.Product
	}
	numbers := []string{text(dir, "bDeviceClass")}
	parts, _ := filepath.Glob(filepath.Join(sys, "bus/usb/devices", path+":*"))
	for _, p := range parts {
		numbers = append(numbers, text(p, "bInterfaceClass"))
	}
	for _, n := range numbers {
		if c := className(n); c != "" && !slices.Contains(d.Classes, c) {
			d.Classes = append(d.Classes, c)
		}
	}
	if len(d.Classes) > 1 && d.Classes[0] == "miscellaneous" { // miscellaneous: the interfaces have their own classes
		d.Classes = append(d.Classes[1:], d.Classes[0])
	}
	if len(d.Classes) > 0 {
		d.Class = d.Classes[0]
	}
	return d, true
}

// complete reports whether the kernel has read all interfaces of the device in a port.
func complete(sys, path string) bool {
	dir := filepath.Join(sys, "bus/usb/devices", path)
	b, err := os.ReadFile(dir + "/bNumInterfaces")
	if err != nil {
		return true // it was removed
	}
	want, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return false // empty: not yet
	}
	parts, _ := filepath.Glob(dir + ":*")
	return len(parts) >= want
}

// className returns the name of a class of usb.org's "Defined Class Codes". It is empty for 00,
// where the interfaces have their own classes.
func className(number string) string {
	switch number {
	case "", "00":
		return ""
	case "01":
		return "audio"
	case "02", "0a":
		return "communications"
	case "03":
		return "hid"
	case "05":
		return "physical"
	case "06":
		return "image"
	case "07":
		return "printer"
	case "08":
		return "storage"
	case "09":
		return "hub"
	case "0b":
		return "smartcard"
	case "0d":
		return "security"
	case "0e":
		return "video"
	case "0f":
		return "health"
	case "dc":
		return "diagnostic"
	case "e0":
		return "wireless"
	case "ef":
		return "miscellaneous"
	case "fe":
		return "application"
	case "ff":
		return "vendor"
	}
	return fmt.Sprintf("class_%s", number)
}
