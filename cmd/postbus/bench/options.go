package bench

// This file is the options that the scenarios share, with their defaults.

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"time"
)

// Options describes the load. The zero value of a field means its default; scenarios document their
// own defaults.
type Options struct {
	Target   string // tcp://host:port, ws://host:port/path or unix:///path; default tcp://127.0.0.1:1883
	User     string
	Password string

	Publishers  int           // default 4
	Subscribers int           // no default: 0 publishes only
	QoS         int           // 0, 1 or 2, for publishing and subscribing
	Size        int           // payload bytes, 24 to 1 MiB; default 128
	Window      int           // unacknowledged events of one publisher, 1 to 65535; default 1000
	Count       int           // events of all publishers together; 0: limited by Duration
	Duration    time.Duration // how long to publish
	Rate        float64       // events a second of all publishers together; 0: unlimited
	Topic       string        // default postbus-bench/ and a random name
	Idle        time.Duration // end when nothing new was received for so long; default 10 s, 3 s at QoS 0
	PID         int           // the broker's process, to report its memory and CPU time; 0: don't

	run    uint32
	target target
}

// prepare fills in the defaults and checks every field; errors name the flag.
func (o Options) prepare() (Options, error) {
	if o.Target == "" {
		o.Target = "tcp://127.0.0.1:1883"
	}
	def := func(n *int, value int) {
		if *n == 0 {
			*n = value
		}
	}
	def(&o.Publishers, 4)
	def(&o.Size, 128)
	def(&o.Window, 1000)
	if o.Idle == 0 {
		o.Idle = 10 * time.Second
		if o.QoS == 0 {
			o.Idle = 3 * time.Second
		}
	}
	switch {
	case o.QoS < 0 || o.QoS > 2:
		return o, usage("--qos %d: must be 0, 1 or 2", o.QoS)
	case o.Publishers < 1 || o.Publishers > 10_000:
		return o, usage("--publishers %d: must be 1 to 10000", o.Publishers)
	case o.Subscribers < 0 || o.Subscribers > 10_000:
		return o, usage("--subscribers %d: must be 0 to 10000", o.Subscribers)
	case o.Size < headSize || o.Size > 1<<20:
		return o, usage("--size %d: must be %d (sequence and time) to 1048576 bytes", o.Size, headSize)
	case o.Window < 1 || o.Window > 65535:
		return o, usage("--window %d: must be 1 to 65535", o.Window)
	case o.Count < 0 || uint64(o.Count) > maxSeq:
		return o, usage("--count %d: must be 1 to %d", o.Count, uint64(maxSeq))
	case o.Duration < 0 || o.Rate < 0 || o.Idle < 0 || o.PID < 0:
		return o, usage("--duration, --rate, --idle and --pid can't be negative")
	case len(o.Topic) > 60_000:
		return o, usage("--topic: %d bytes are more than a topic name holds", len(o.Topic))
	}
	var err error
	if o.target, err = parseTarget(o.Target, o.User, o.Password); err != nil {
		return o, err
	}
	var b [4]byte
	rand.Read(b[:])
	o.run = binary.BigEndian.Uint32(b[:])
	if o.Topic == "" {
		o.Topic = fmt.Sprintf("postbus-bench/%08x", o.run)
	}
	return o, nil
}

// clientID returns a client identifier within the 23 letters and digits that every server must
// accept [MQTT-3.1.3-5].
func (o Options) clientID(role string, n int) string {
	return fmt.Sprintf("bench%08x%s%d", o.run, role, n)
}

// share returns the part of Count that publisher i sends.
func (o Options) share(i int) uint64 {
	n := o.Count / o.Publishers
	if i < o.Count%o.Publishers {
		n++
	}
	return uint64(n)
}
