// Package tty is serial ports, for the kinds that use one: names of ports, the list of ports, and
// an open port.
//
// What it promises:
//
//   - A port is named by its path, by its name in /dev/serial/by-id or by its USB ids, and found at
//     whatever path it appears.
//   - Reading and writing end at a deadline and with Close, whatever the port does.
//   - No other program can open a port that is open here, except as root.
//   - An error says what to do: which ports exist, who has this one, which group may open it. The
//     error of a port that does not exist is [Absent], and [Watch] tells when to look again.
//
// USB ids, by-id names, the port's holders and Watch are on Linux only. The kinds decide when to
// look for a port again.
package tty

import "go.bug.st/serial"

// Setting is the configuration of a port. Settings can be compared.
type Setting struct {
	Baud     int    // bits per second
	DataBits int    // 5 to 8
	StopBits int    // 1 or 2
	Parity   string // none, even, odd, mark or space
	DTR, RTS bool   // whether these lines are on while the port is open
	RS485    bool   // whether the driver switches the direction of an RS-485 line by RTS, while the port is open; Linux only
}

// mode converts the setting to the library's type.
func (s Setting) mode() *serial.Mode {
	m := &serial.Mode{BaudRate: s.Baud, DataBits: s.DataBits, StopBits: serial.OneStopBit,
		Parity: map[string]serial.Parity{"even": serial.EvenParity, "odd": serial.OddParity, "mark": serial.MarkParity, "space": serial.SpaceParity}[s.Parity]}
	if s.StopBits == 2 {
		m.StopBits = serial.TwoStopBits
	}
	if !s.DTR || !s.RTS { // both are on by default, and a pseudo terminal has neither
		m.InitialStatusBits = &serial.ModemOutputBits{DTR: s.DTR, RTS: s.RTS}
	}
	return m
}

// Absent is the error of a port that does not exist now.
type Absent struct{ error }

func (a Absent) Unwrap() error { return a.error }
