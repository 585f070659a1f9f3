// Package usb is the kind `usb`: USB devices that are plugged in and pulled out.
//
// What it promises: an event for each device that is plugged in or pulled out, with its
// description. A removed device is described too, since devices are remembered. After the kernel
// dropped uevents (thousands at once) the source compares the present devices; a device that was
// plugged in and pulled out meanwhile is counted as lost, at least once. It needs no permissions.
// In a container the kernel may send no uevents: it sends them to the network namespace of the
// host.
//
// It uses no device: the kinds serial, input and others do.
package usb

import (
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/postbus/postbus/plugins/kind"
)

// sample is a commented plugin file with the source.
//
//go:embed sample.yaml
var sample string

// about is what the source does, for the documentation.
const about = "Reports USB devices that are plugged in or unplugged, with ids, name, serial number, class and port. It can be restricted to a vendor, product, serial " +
	"number or class. With `initial` the devices that are present at the start are events, too. Linux only, by the kernel's uevents; it needs no permissions."

// ID is a vendor's or product's number: four hexadecimal digits.
type ID string

// UnmarshalText reads four hexadecimal digits, also after 0x.
func (i *ID) UnmarshalText(text []byte) error {
	s := strings.TrimPrefix(strings.ToLower(string(text)), "0x")
	n, err := strconv.ParseUint(s, 16, 16)
	if err != nil {
		return kind.Wrong("", fmt.Sprintf("%q is not an id of a USB device", text), `write four hexadecimal digits, as "0403"; lsusb lists them`)
	}
	*i = ID(fmt.Sprintf("%04x", n))
	return nil
}

// Options of the source.
type Options struct {
	Vendor  ID     `key:"vendor" doc:"only devices of this vendor: four hexadecimal digits in quotes, as \"0403\""`
	Product ID     `key:"product" doc:"only this product: four hexadecimal digits in quotes"`
	Serial  string `key:"serial" doc:"only the device with this serial number"`
	Class   string `key:"class" doc:"only devices of this class, or with an interface of it" oneof:"audio|communications|hid|physical|image|printer|storage|hub|smartcard|security|video|health|diagnostic|wireless|miscellaneous|application|vendor"`
	Hubs    bool   `key:"hubs" doc:"whether hubs are events"`
	Initial bool   `key:"initial" doc:"whether the devices that are present at the start are events, with the action present"`
	Sys     string `key:"sys" doc:"where sysfs is mounted, for containers that mount the machine's elsewhere"`
}

// defaults returns the options of a file that sets none.
func defaults() Options { return Options{Sys: "/sys"} }

// Check checks the options against each other.
func (o Options) Check() []error {
	if o.Product != "" && o.Vendor == "" {
		return []error{kind.Wrong("product", "product needs vendor, because every vendor numbers its own products", "set vendor as well")}
	}
	return nil
}

// eventFields documents the fields of an event.
type eventFields struct {
	Action       string   `key:"action" doc:"add, remove, or present for a device that is plugged in at the start"`
	Vendor       string   `key:"vendor" doc:"the vendor's number: four hexadecimal digits, as 0403"`
	Product      string   `key:"product" doc:"the product's number: four hexadecimal digits"`
	Name         string   `key:"name" doc:"the product name; vendor:product when it has none"`
	Manufacturer string   `key:"manufacturer" doc:"the manufacturer; nil when the device names none"`
	Serial       string   `key:"serial" doc:"its serial number; nil when it has none"`
	Class        string   `key:"class" doc:"its class, as hid or storage; the first one when it has several"`
	Classes      []string `key:"classes" doc:"the classes of all its interfaces"`
	Path         string   `key:"path" doc:"its port, as 1-1.4: the bus and the port of each hub on the way; a port keeps its path"`
	Bus          int      `key:"bus" doc:"the number of the bus"`
	Number       int      `key:"number" doc:"the number of the device on the bus; a new one each time it is plugged in"`
}

// Source watches the USB ports. An instance runs once: New, Open, Run, Close.
type Source struct {
	o       Options
	env     kind.Env
	uevents *uevents
	known   map[string]device // by their path
}

// New makes a source of checked options.
func New(o Options, env kind.Env) *Source { return &Source{o: o, env: env} }

// wants reports whether the file asks for a device.
func (s *Source) wants(d device) bool {
	o := s.o
	switch {
	case o.Vendor != "" && string(o.Vendor) != d.Vendor, o.Product != "" && string(o.Product) != d.Product, o.Serial != "" && o.Serial != d.Serial:
		return false
	case !o.Hubs && o.Class != "hub" && d.Class == "hub":
		return false
	}
	return o.Class == "" || slices.Contains(d.Classes, o.Class)
}

func (d device) fields(action string) map[string]any {
	f := map[string]any{"action": action, "vendor": d.Vendor, "product": d.Product, "name": d.Name, "manufacturer": nil, "serial": nil,
		"class": d.Class, "classes": slices.Clone(d.Classes), "path": d.Path, "bus": d.Bus, "number": d.Number}
	if d.Manufacturer != "" {
		f["manufacturer"] = d.Manufacturer
	}
	if d.Serial != "" {
		f["serial"] = d.Serial
	}
	return f
}

// Describe lists the devices that are plugged in, as they are written in a file.
func Describe() []string {
	var out []string
	for _, d := range list("/sys") {
		s := fmt.Sprintf("vendor: %q, product: %q", d.Vendor, d.Product)
		if d.Serial != "" {
			s += fmt.Sprintf(", serial: %q", d.Serial)
		}
		out = append(out, fmt.Sprintf("%s  # %s, %s, port %s", s, d.Name, d.Class, d.Path))
	}
	return out
}
