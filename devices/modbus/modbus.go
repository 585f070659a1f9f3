// Package modbus is the kind `modbus`: registers of a meter, an inverter or a controller, read at
// an interval and written by events, over TCP, over a serial line (RTU), or RTU over TCP.
//
// What the source promises:
//
//   - An event for each poll, with a field for each register that the file names. A register that
//     could not be read is nil and its error is in errors, in words; the other registers are still
//     read. One poll runs at a time: when it takes longer than every, the polls that are due
//     meanwhile are skipped.
//   - Adjacent registers are read in one request. Where a device refuses that, each is read
//     separately from then on.
//   - An unreachable device is retried with a growing backoff. A silent unit among several is asked
//     less often, so that the others are read in time.
//   - An answer is matched to its request: over TCP by its number, over RTU by unit, function,
//     length and checksum, and by waiting for late answers. Other input, noise included, is
//     ignored.
//
// What the action promises: an event is acknowledged when the device has confirmed the write. A
// value that the register can't hold, and a write that the device refuses permanently, become dead
// letters at once.
//
// A source and an action of one plugin file that name the same device or line share one connection,
// and take turns.
//
// The protocol is that of modbus.org: "MODBUS Application Protocol Specification V1.1b3", "MODBUS
// Messaging on TCP/IP Implementation Guide V1.0b" and "MODBUS over Serial Line V1.02".
package modbus

import (
	"cmp"
	_ "embed"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/postbus/postbus/devices/internal/tty"
	"github.com/postbus/postbus/plugins/kind"
)

// sample is a commented plugin file with the source.
//
//go:embed sample.yaml
var sample string

// about is what the source does, for the documentation.
const about = "Reads registers of a Modbus device at an interval, over TCP, a serial line (RTU) or RTU over TCP: one event for each poll, or only when a value changed, with a field for each register. " +
	"Adjacent registers are read in one request; the file sets types, byte orders, scale and offset. What can't be read is nil and reported in `errors`; an absent device or port is " +
	"retried. Several units on one line take turns, and so does the action `modbus` of the same file. It runs on every platform (a port by its USB ids on Linux); for a serial line postbus " +
	"must be in the group `dialout`."

// Options of the source.
type Options struct {
	TCP          Address       `key:"tcp" doc:"the device or gateway, as 192.168.1.7 or meter.lan:1502; the default port is 502"`
	RTUOverTCP   Address       `key:"rtu_over_tcp" doc:"in place of tcp: a gateway that forwards the bytes of a serial line, as 192.168.1.7:4196"`
	Serial       *Serial       `key:"serial" doc:"in place of tcp: a serial line (RTU)"`
	Unit         int           `key:"unit" doc:"unit number of the device; over TCP many devices accept any number" min:"0" max:"255"`
	Every        time.Duration `key:"every" doc:"time between two polls" min:"50ms" max:"24h"`
	Timeout      time.Duration `key:"timeout" doc:"maximum time for an answer, and for connecting" min:"10ms" max:"1m"`
	Retries      int           `key:"retries" doc:"how often a request is repeated without a valid answer" min:"0" max:"10"`
	Pause        time.Duration `key:"pause" doc:"time between an answer and the next request, for devices that need it" min:"0s" max:"10s"`
	Gap          int           `key:"gap" doc:"how many registers between two listed ones may be read to save a request" min:"0" max:"100"`
	MaxRegisters int           `key:"max_registers" doc:"maximum number of registers in a request; some devices accept fewer than 125" min:"1" max:"125"`
	Report       string        `key:"report" doc:"always: each poll is an event; change: only if a value, or the set of registers that can't be read, differs from the previous event" oneof:"always|change"`
	Registers    []Register    `key:"registers" doc:"the registers to read" need:"yes"`
}

// Serial describes a serial line.
type Serial struct {
	Port     tty.Name `key:"port" doc:"the port: a path, as /dev/ttyUSB0 or COM3; its name in /dev/serial/by-id; or a USB device, as usb:0403:6001 or usb:0403:6001:SERIAL" need:"yes"`
	Baud     int      `key:"baud" doc:"bits per second; 9600 when not set" min:"300" max:"4000000"`
	Parity   string   `key:"parity" doc:"parity bit of a character; none when not set" oneof:"none|even|odd"`
	StopBits int      `key:"stop_bits" doc:"stop bits of a character; 1 when not set" min:"1" max:"2"`
	RS485    bool     `key:"rs485" doc:"whether the driver switches an RS-485 transceiver to sending by RTS, as HATs for the Raspberry Pi need; not for adapters that switch by themselves; Linux only"`
	Echo     bool     `key:"echo" doc:"whether the adapter receives what it sends"`
}

// Address is host:port.
type Address string

// UnmarshalText reads a host and, unless it is 502, a port.
func (a *Address) UnmarshalText(text []byte) error {
	s := strings.TrimPrefix(strings.TrimSpace(string(text)), "tcp://")
	host, port, err := net.SplitHostPort(s)
	if err != nil { // no port
		host, port = strings.Trim(s, "[]"), "502"
	}
	if host == "" || port == "" || strings.ContainsAny(host, "/ ") {
		return kind.Wrong("", fmt.Sprintf("%q is not an address", text), "write a host, as 192.168.1.7, or host:port")
	}
	*a = Address(net.JoinHostPort(host, port))
	return nil
}

// defaults returns the options of a file that sets none.
func defaults() Options {
	return Options{Unit: 1, Every: 10 * time.Second, Timeout: time.Second, Retries: 1, MaxRegisters: maxWords, Report: "always"}
}

// setting is a device's address and the line's settings.
type setting struct {
	tcp, rtu   Address
	port       tty.Name // of a serial line; empty: none
	baud, stop int
	parity     string
	rs485      bool
	echo       bool
}

func settingOf(tcp, rtu Address, s *Serial) setting {
	set := setting{tcp: tcp, rtu: rtu}
	if s != nil {
		set.port, set.baud, set.parity, set.stop, set.rs485, set.echo = s.Port, s.Baud, s.Parity, s.StopBits, s.RS485, s.Echo
		set.baud, set.stop, set.parity = cmp.Or(set.baud, 9600), cmp.Or(set.stop, 1), cmp.Or(set.parity, "none")
	}
	return set
}

// key identifies the shared connection. A port's key is also its claim.
func (s setting) key() string {
	switch {
	case s.port != "":
		return s.port.Claim()
	case s.rtu != "":
		return "modbus:rtu:" + string(s.rtu)
	}
	return "modbus:tcp:" + string(s.tcp)
}

// String returns the address, for messages.
func (s setting) String() string {
	if s.port != "" {
		return string(s.port)
	}
	return string(s.tcp + s.rtu)
}

func (s setting) check() []error {
	n := 0
	for _, is := range []bool{s.tcp != "", s.rtu != "", s.port != ""} {
		if is {
			n++
		}
	}
	switch n {
	case 0:
		return []error{kind.Wrong("", "no device is set", "write tcp: 192.168.1.7, or serial: {port: /dev/ttyUSB0}")}
	case 1:
		return nil
	}
	return []error{kind.Wrong("", "tcp, rtu_over_tcp and serial exclude each other", "write one of them")}
}

func (s setting) claims() []string {
	if s.port == "" {
		return nil // several clients may use a device on the network
	}
	return []string{s.port.Claim()}
}

func (s setting) access() []string {
	if s.port != "" {
		return []string{s.port.Access()}
	}
	return []string{"host:" + string(s.tcp+s.rtu)}
}

func (o Options) setting() setting { return settingOf(o.TCP, o.RTUOverTCP, o.Serial) }

// Check checks the options against each other.
func (o Options) Check() []error {
	errs := append(o.setting().check(), checkRegisters(o.Registers, false)...)
	for i, r := range o.Registers {
		if o.setting().tcp == "" && r.unit(o.Unit) == 0 {
			errs = append(errs, kind.Wrong(fmt.Sprintf("registers[%d]", i), "unit 0 is a broadcast, which no device answers", "write unit: 1"))
		}
		if !r.bits() && r.words() > o.MaxRegisters {
			errs = append(errs, kind.Wrong(fmt.Sprintf("registers[%d]", i), fmt.Sprintf("%s has %d registers, more than max_registers, %d", r.Name, r.words(), o.MaxRegisters), "split it"))
		}
	}
	return errs
}

// Claims is what only one plugin can hold: a serial line.
func (o Options) Claims() []string { return o.setting().claims() }

// Access is the address or port that the source uses.
func (o Options) Access() []string { return o.setting().access() }

// eventFields documents the fields of an event.
type eventFields struct {
	OK     bool           `key:"ok" doc:"whether every register was read"`
	Errors map[string]any `key:"errors" doc:"the error of each register that was not read, by its name"`
	Open   struct{}       `key:"*" doc:"the value of each register, by its name; nil when it was not read"`
}
