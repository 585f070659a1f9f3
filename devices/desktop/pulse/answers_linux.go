// This file is what a server answers, by the version that is spoken.

package pulse

import (
	"errors"
	"fmt"
)

// Server is what a server says of itself.
type Server struct {
	Name    string // as pulseaudio
	Version string
	Sink    string // the name of the default one; may be one that isn't there
	Source  string // the same
}

// Device is a sink or a source.
type Device struct {
	Index       uint32
	Name        string
	Description string   // for people
	Volumes     []uint32 // of each channel; 65536 is 100 %
	Muted       bool
	Monitor     bool // a source of what a sink plays
}

// Recording is a stream that takes sound from a source (PulseAudio: a source output).
type Recording struct {
	Name       string
	Source     uint32 // the index; None while it is connected with none
	Corked     bool   // it pauses
	Client     bool   // a program's; otherwise the server's own
	Resampler  string // "peaks" for one that shows a level
	Properties map[string]string
}

// None is the index of no device.
const None = none

// Kind is a bit of what is subscribed to.
type Kind uint32

// The kinds that are of use here.
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

// device reads a sink or a source, as far as is of use here: an answer holds just one, and newer versions have more at its end.
func (r *reading) device(source bool) (d Device) {
	d.Index, d.Name = r.u32(), r.text()
	said := r.text()
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
	for _, text := range []string{said, properties["device.description"], d.Name} {
		if d.Description == "" {
			d.Description = text
		}
	}
	return d
}

// recordings reads a list to its very end, so that what isn't understood is noticed.
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

// Errors of a server that callers tell apart.
var (
	ErrRefused = errors.New("access denied")
	ErrAbsent  = errors.New("no such device")
)

// refusal is an error's number in words.
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
