// Package tty is serial ports, for the kinds that speak over one: how a port is named, which there are, and an open port.
//
// What it promises:
//
//   - A port is named by its path, by its name in /dev/serial/by-id or by its USB ids, and found wherever it lands.
//   - Reading and writing end at a deadline and with Close, whatever the port does.
//   - Nobody else can open a port that is open here, but for root.
//   - An error says what to do: which ports there are, who has this one, which group may open it. One that only says that the
//     port isn't there is [Absent], and [Watch] tells when to look again.
//
// USB ids, by-id names, who has a port and Watch are on Linux only. Who looks for a port again, and how often, is the kind's.
package tty

import "go.bug.st/serial"

// Setting is how a port is set. Settings can be compared.
type Setting struct {
	Baud     int    // bits a second
	DataBits int    // 5 to 8
	StopBits int    // 1 or 2
	Parity   string // none, even, odd, mark or space
	DTR, RTS bool   // whether these lines are on while the port is open
	RS485    bool   // whether the driver switches the direction of an RS-485 line by RTS, while the port is open; Linux only
}

// mode is the setting as the library has it.
func (s Setting) mode() *serial.Mode {
	m := &serial.Mode{BaudRate: s.Baud, DataBits: s.DataBits, StopBits: serial.OneStopBit,
		Parity: map[string]serial.Parity{"even": serial.EvenParity, "odd": serial.OddParity, "mark": serial.MarkParity, "space": serial.SpaceParity}[s.Parity]}
	if s.StopBits == 2 {
		m.StopBits = serial.TwoStopBits
	}
	if !s.DTR || !s.RTS { // both are on anyway, and a pseudo terminal has neither
		m.InitialStatusBits = &serial.ModemOutputBits{DTR: s.DTR, RTS: s.RTS}
	}
	return m
}

// Absent is an error that says that there is no such port now.
type Absent struct{ error }

func (a Absent) Unwrap() error { return a.error }
