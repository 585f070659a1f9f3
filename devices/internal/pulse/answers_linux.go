// This file decodes a server's answers, by the protocol version of the connection.

package pulse

import (
	"errors"
	"fmt"
)

// Server is a server's information about itself.
type Server struct {
	Name    string // as pulseaudio
	Version string
	Sink    string // the name of the default sink; it may not exist
	Source  string // likewise of the default source
}

// Device is a sink or a source.
type Device struct {
	Index       uint32
	Name        string
	Description string   // for people
	Volumes     []uint32 // of each channel; 65536 is 100 %
	Muted       bool
	Monitor     bool // a source that records a sink's output
}

// Recording is a stream that records from a source (PulseAudio: a source output).
type Recording struct {
	Name       string
	Source     uint32 // the index; None while it is not connected
	Corked     bool   // it is paused
	Client     bool   // belongs to a program; otherwise to the server itself
	Resampler  string // "peaks" for a level meter
	Properties map[string]string
}

// None is the index of no device.
const None = none

// Kind is a bit of a subscription.
type Kind uint32

// The kinds that are used here.
const (
	Sinks      Kind = 0x01
	Sources    Kind = 0x02
	Recordings Kind = 0x08
	Servers    Kind = 0x80
)

func (r *reading) server() (s Server) {
	s.Name, s.Version = r.text(), r.text()
	r.text() // user
	r.text() // host
	r.spec()
	s.Sink, s.Source = r.text(), r.text()
	return s // the cookie and more follow
}

// device decodes the used part of a sink or a source. An answer holds just one, and newer versions
// append fields.
func (r *reading) device(source bool) (d Device) {
	d.Index, d.Name = r.u32(), r.text()
	description := r.text()
	r.spec()
	r.channelMap()
	r.u32() // module
	d.Volumes, d.Muted = r.volumes(), r.bool()
	monitored := r.u32() // of a sink: its monitor
	r.text()
	r.usec()
	r.text() // driver
	r.u32()  // flags
	properties := r.properties()
	d.Monitor = source && monitored != none
	for _, text := range []string{description, properties["device.description"], d.Name} {
		if d.Description == "" {
			d.Description = text
		}
	}
	return d
}

// recordings decodes a list to its very end, so that a misunderstanding is noticed.
func (r *reading) recordings(version uint32) (out []Recording) {
	for r.more() {
		if len(out) == maxList {
			r.fail("more than %d recordings", maxList)
			break
		}
		var o Recording
		r.u32() // its index
		o.Name = r.text()
		r.u32() // module
		o.Client = r.u32() != none
		o.Source = r.u32()
		r.spec()
		r.channelMap()
		r.usec()
		r.usec()
		o.Resampler = r.text()
		r.text() // driver
		o.Properties = r.properties()
		if version >= 19 {
			o.Corked = r.bool()
		}
		if version >= 22 {
			r.volumes()
			r.bool() // muted
			r.bool() // has a volume
			r.bool() // that can be set
			r.format()
		}
		out = append(out, o)
	}
	return out
}

// Errors of a server that callers distinguish.
var (
	ErrRefused = errors.New("access denied")
	ErrAbsent  = errors.New("no such device")
)

// refusal returns an error code in words.
func refusal(n uint32) error {
	switch n {
	case 1, 6:
		return ErrRefused
	case 5:
		return ErrAbsent
	}
	words := map[uint32]string{2: "it doesn't know the command", 3: "an argument is wrong", 4: "it exists already", 7: "the protocol was broken", 19: "it doesn't know this", 22: "the device is in use"}
	if w := words[n]; w != "" {
		return fmt.Errorf("%s (error %d)", w, n)
	}
	return fmt.Errorf("error %d", n)
}
