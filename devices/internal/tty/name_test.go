package tty

import (
	"testing"

	"go.bug.st/serial"
)

func TestNames(t *testing.T) {
	for in, want := range map[string]string{
		"/dev/ttyUSB0": "/dev/ttyUSB0", "/dev//ttyUSB0": "/dev/ttyUSB0", "ttyUSB0": "/dev/ttyUSB0", "COM3": "COM3", "cu.usbserial-1": "/dev/cu.usbserial-1",
		"usb-FTDI_FT232R_USB_UART_A50285BI-if00-port0": "usb-FTDI_FT232R_USB_UART_A50285BI-if00-port0",
		"usb:0403:6001": "usb:0403:6001", "usb:403:0x6001": "usb:0403:6001", "usb:1A86:7523": "usb:1a86:7523", "usb:0403:6001:A:B": "usb:0403:6001:A:B",
		"": "", "a/b": "", "usb:": "", "usb:0403": "", "usb:xyz:6001": "", "a\x00": "",
	} {
		var n Name
		if err := n.UnmarshalText([]byte(in)); string(n) != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", in, n, err)
		}
	}
	for name, want := range map[Name]string{
		"/dev/ttyUSB0": "serial:/dev/ttyUSB0 device:/dev/ttyUSB0", "usb:0403:6001": "serial:usb:0403:6001 device:/dev/tty*",
		"usb-X-port0": "serial:usb-X-port0 device:/dev/serial/by-id/usb-X-port0", "COM3": "serial:COM3 device:COM3",
	} {
		if got := name.Claim() + " " + name.Access(); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestSettings(t *testing.T) {
	s := Setting{Baud: 250000, DataBits: 7, StopBits: 2, Parity: "mark", DTR: true}
	m := s.mode()
	if b := m.InitialStatusBits; m.BaudRate != 250000 || m.DataBits != 7 || m.StopBits != serial.TwoStopBits || m.Parity != serial.MarkParity || b == nil || !b.DTR || b.RTS {
		t.Errorf("%+v is %+v", s, m)
	}
	s = Setting{Baud: 9600, DataBits: 8, StopBits: 1, Parity: "none", DTR: true, RTS: true}
	if m := s.mode(); *m != (serial.Mode{BaudRate: 9600, DataBits: 8}) {
		t.Errorf("%+v is %+v", s, m)
	}
}
