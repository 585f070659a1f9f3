// This file remembers devices, and tells repeated packets.

package ble

import (
	"container/list"
	"log/slog"
	"math/bits"
)

// The bounds of the table of devices.
const (
	maxDevices = 2048
	maxSeen    = 8   // payloads of a device, one for each service and manufacturer
	maxName    = 248 // bytes of a name, the longest in the Bluetooth Core Specification
)

// device is what is known of a device.
type device struct {
	address string
	name    string // that it advertises
	rssi    any    // an int; nil if unknown
	seen    []seen // the oldest first
}

// seen is the last payload of a service or manufacturer.
type seen struct {
	key         string
	fingerprint uint64
	id          uint64 // of the reading, if once is true
	once        bool
}

// last returns the last payload of a key.
func (d *device) last(key string) (seen, bool) {
	for _, s := range d.seen {
		if s.key == key {
			return s, true
		}
	}
	return seen{}, false
}

// remember stores the last payload of a key. It forgets the oldest for a new key.
func (d *device) remember(now seen) {
	for i := range d.seen {
		if d.seen[i].key == now.key {
			d.seen[i] = now
			return
		}
	}
	if len(d.seen) == maxSeen {
		d.seen = append(d.seen[:0], d.seen[1:]...)
	}
	d.seen = append(d.seen, now)
}

// devices is the table, in the order in which they were last received.
type devices struct {
	byAddress map[string]*list.Element
	order     *list.List // of *device, the longest silent first
	forgotten tally
}

func newDevices(log *slog.Logger) *devices {
	return &devices{byAddress: map[string]*list.Element{}, order: list.New(),
		forgotten: tally{log, "more Bluetooth devices than can be remembered: those silent for longest are forgotten, and a repeated packet of theirs is an event again; name the wanted ones in devices", 0}}
}

func (t *devices) full() bool { return t.order.Len() >= maxDevices }

// get returns a device that was just received, which replaces the longest silent if it is new and the table full.
func (t *devices) get(address string) *device {
	if e, ok := t.byAddress[address]; ok {
		t.order.MoveToBack(e)
		return e.Value.(*device)
	}
	if t.full() {
		oldest := t.order.Front()
		delete(t.byAddress, oldest.Value.(*device).address)
		t.order.Remove(oldest)
		t.forgotten.add("")
	}
	d := &device{address: address}
	t.byAddress[address] = t.order.PushBack(d)
	return d
}

// tally counts something, and logs the first, second, fourth and so on, so that a flood can't fill the log.
type tally struct {
	log  *slog.Logger
	text string
	n    int
}

func (t *tally) add(reason string) {
	t.n++
	if bits.OnesCount(uint(t.n)) != 1 {
		return
	}
	if reason == "" {
		t.log.Warn(t.text, "count", t.n)
	} else {
		t.log.Warn(t.text, "count", t.n, "reason", reason)
	}
}
