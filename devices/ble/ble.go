// Package ble is the kind `ble`: measurements that Bluetooth devices advertise, received by BlueZ.
//
// What it promises:
//
//   - An event for each measurement. Devices send each several times; a format that numbers its
//     packets makes one event of them. A format without numbers makes an event of every
//     advertisement.
//   - The table of devices holds at most maxDevices, with maxSeen payloads each. A new device
//     replaces the one that was silent for longest, which is counted and logged.
//   - An advertisement that comes while too many are queued is counted as lost. One that can't be
//     decoded is counted and logged.
//   - It is degraded while BlueZ is absent, has no adapter, or the adapter is powered off, and
//     continues by itself.
//
// It connects to no device and decrypts nothing. It scans actively, so that devices send their names.
// Linux only.
package ble

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"github.com/postbus/postbus/plugins/kind"
)

// sample is a commented plugin file with the source.
//
//go:embed sample.yaml
var sample string

// about is what the source does, for the documentation.
const about = "Receives what Bluetooth LE devices advertise: thermometers and other sensors with BTHome v2 (Shelly BLU, and many others), RuuviTag (data format 5), Xiaomi thermometers with the firmware of " +
	"atc1441 or pvvx, and iBeacons. A measurement that a device numbers is one event, however often it is sent. Data that is encrypted is not decoded: each such device makes one event with `encrypted`. " +
	"It costs one connection to the message bus, and 3 MiB at most: it remembers 2,048 devices, and forgets the one that was silent for longest for a new one. At most 4,096 advertisements wait to be stored; more are counted as lost. Linux only, with BlueZ (`sudo apt-get install bluez`). It connects to no device, needs no pairing, and on most systems no permissions; on some it must be in the group `bluetooth`."

// Options of the source.
type Options struct {
	Adapter string            `key:"adapter" doc:"the Bluetooth adapter, as hci0; empty for the first"`
	Devices []string          `key:"devices" doc:"only devices with these addresses, as A4:C1:38:00:00:01; empty for all"`
	Names   map[string]string `key:"names" doc:"names for devices in events: address to name"`
	Formats []string          `key:"formats" doc:"which formats are events; raw: data that is in none of the other formats; empty for all but raw" oneof:"bthome|ruuvi|ibeacon|atc|pvvx|raw"`
	MinRSSI int               `key:"min_rssi" doc:"ignores weaker advertisements, in dBm: -70 is about the same room" min:"-127" max:"20"`
	Bus     string            `key:"bus" doc:"the message bus's address, as unix:path=/run/dbus/system_bus_socket; empty for the system's"`
}

// defaults returns the options of a file that sets none.
func defaults() Options { return Options{MinRSSI: -127} }

// Check checks the addresses.
func (o Options) Check() []error {
	var errs []error
	check := func(key, text string) {
		if _, ok := addressOf(text); !ok {
			errs = append(errs, kind.Wrong(key, fmt.Sprintf("%q is not the address of a Bluetooth device", text), "write six numbers in quotes, as \"A4:C1:38:00:00:01\"; `bluetoothctl devices` lists them"))
		}
	}
	for _, d := range o.Devices {
		check("devices", d)
	}
	for d := range o.Names {
		check("names", d)
	}
	if o.Adapter != "" && strings.ContainsAny(o.Adapter, "/ ") {
		errs = append(errs, kind.Wrong("adapter", fmt.Sprintf("%q is not the name of an adapter", o.Adapter), "as hci0; `postbus devices` lists them"))
	}
	return errs
}

// eventFields documents the fields of an event.
type eventFields struct {
	Address      string         `key:"address" doc:"the device's address, as A4:C1:38:00:00:01"`
	Name         string         `key:"name" doc:"its name from names; otherwise the one that it advertises, or its address"`
	RSSI         int            `key:"rssi" doc:"how strong it was received, in dBm; nil if unknown"`
	Format       string         `key:"format" doc:"bthome, ruuvi, ibeacon, atc, pvvx or raw"`
	Values       map[string]any `key:"values" doc:"the measurements by name, as temperature (°C), humidity and battery (%), pressure (hPa), voltage (V), acceleration_x (ruuvi: g), and those of BTHome: motion (true or false), button (press), …; a second one of a kind is temperature_2"`
	Counter      int            `key:"counter" doc:"the number that the device gave the measurement; nil without one"`
	Encrypted    bool           `key:"encrypted" doc:"whether the device encrypts its measurements, so that values is empty"`
	Rest         string         `key:"rest" doc:"bthome: what followed the values and is not known, in hexadecimal; nil if all is known"`
	UUID         string         `key:"uuid" doc:"ibeacon: its UUID; otherwise nil"`
	Major        int            `key:"major" doc:"ibeacon: the first number; otherwise nil"`
	Minor        int            `key:"minor" doc:"ibeacon: the second number; otherwise nil"`
	Power        int            `key:"power" doc:"ibeacon: how strong it is received at one metre, in dBm; otherwise nil"`
	Manufacturer int            `key:"manufacturer" doc:"raw: the number of the company; nil for service data"`
	Service      string         `key:"service" doc:"raw: the UUID of the service; nil for a manufacturer's data"`
	Data         string         `key:"data" doc:"raw: the bytes in hexadecimal; otherwise nil"`
}

// formats returns the formats that are events.
func (o Options) formats() []string {
	if len(o.Formats) > 0 {
		return o.Formats
	}
	return []string{formatBTHome, formatRuuvi, formatIBeacon, formatATC, formatPVVX}
}

// filter is what the options let through, with addresses in their usual form.
type filter struct {
	devices []string // empty: all
	names   map[string]string
	formats []string
	minRSSI int
}

func (o Options) filter() filter {
	f := filter{names: map[string]string{}, formats: o.formats(), minRSSI: o.MinRSSI}
	for _, text := range o.Devices {
		a, _ := addressOf(text)
		f.devices = append(f.devices, a)
	}
	for text, name := range o.Names {
		a, _ := addressOf(text)
		f.names[a] = name
	}
	return f
}

func (f filter) wants(address string) bool {
	return len(f.devices) == 0 || slices.Contains(f.devices, address)
}

// addressOf returns an address in its usual form, which BlueZ uses: AA:BB:CC:DD:EE:FF.
func addressOf(text string) (string, bool) {
	if len(text) != 17 {
		return "", false
	}
	for i := range len(text) {
		c := text[i]
		digit := c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
		if i%3 == 2 && c != ':' || i%3 != 2 && !digit {
			return "", false
		}
	}
	return strings.ToUpper(text), true
}
