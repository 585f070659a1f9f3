// Package input is the kind `input`: keys, buttons, knobs and switches of keyboards, remotes and
// the like, by the kernel's evdev.
//
// What it promises:
//
//   - An event for each press, release and turn, with the kernel's time. Each press is followed by
//     a release, also when the device is unplugged in between or the kernel dropped some records;
//     dropped records are counted as lost.
//   - The source waits for an absent device, and finds it again after it was unplugged. All parts
//     of one device with the same name are read: keyboards often have several.
//   - With grab no other program receives the keys until the source ends, including the text
//     console and the desktop.
//
// A reload that changes the source closes and opens the device; a key in the milliseconds between
// may be missed.
package input

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

// sample is a commented plugin file with the source.
//
//go:embed sample.yaml
var sample string

// about is what the source does, for the documentation.
const about = "Reports keys, buttons, knobs and switches of an input device: keyboards, infrared and Bluetooth remotes, rotary encoders, lid switches. The device is named by its product name " +
	"or its path, and may be unplugged and plugged in again. With `grab` no other program receives its keys. Linux only, by evdev; postbus must be in the group `input`. A program that can read a keyboard " +
	"sees all text that is typed: use a device of its own for this."

// Options of the source.
type Options struct {
	Device string   `key:"device" doc:"its name, as Logitech Remote; its name in /dev/input/by-id; or a path, as /dev/input/by-path/…" need:"yes"`
	Keys   []string `key:"keys" doc:"only these keys, as KEY_PLAYPAUSE, BTN_LEFT, REL_DIAL, SW_LID; empty for all"`
	Types  []string `key:"types" doc:"which types are events: key, rel (knobs, wheels, mice), abs (sticks, touch), sw (switches)" oneof:"key|rel|abs|sw"`
	Repeat bool     `key:"repeat" doc:"whether the repetitions of a held key are events"`
	Grab   bool     `key:"grab" doc:"whether no other program receives the device's keys"`
}

// defaults returns the options of a file that sets none.
func defaults() Options { return Options{Types: []string{"key", "rel", "sw"}} }

// Check checks the options against each other.
func (o Options) Check() []error {
	var errs []error
	c := readCodes()
	for _, k := range o.Keys {
		if _, ok := c.numbers[k]; ok {
			continue
		}
		hint := "`postbus devices` lists a device's keys; the names are those of linux/input-event-codes.h"
		if up := strings.ToUpper(k); c.known(up) {
			hint = "write " + up
		} else if c.known("KEY_" + up) {
			hint = "write KEY_" + up
		}
		errs = append(errs, kind.Wrong("keys", fmt.Sprintf("there is no key %q", k), hint))
	}
	if len(o.Types) == 0 {
		errs = append(errs, kind.Wrong("types", "no type is listed", "leave it out, or write types: [key]"))
	}
	return errs
}

// Claims is what only one plugin can hold: a grabbed device.
func (o Options) Claims() []string {
	if !o.Grab {
		return nil
	}
	return []string{"input:" + o.Device}
}

// Access is the devices that the source uses.
func (o Options) Access() []string {
	if strings.HasPrefix(o.Device, "/") {
		return []string{"device:" + o.Device}
	}
	return []string{"device:/dev/input/*"}
}

// eventFields documents the fields of an event.
type eventFields struct {
	Key    string  `key:"key" doc:"its name, as KEY_PLAYPAUSE, REL_DIAL or SW_LID; KEY_583 for one without a name"`
	Value  string  `key:"value" doc:"press, release or repeat of a key; change for the other types"`
	Amount int     `key:"amount" doc:"for a key 1, 0 or 2; for rel the steps, negative in the other direction; for abs the position; for sw 0 or 1"`
	Held   float64 `key:"held" doc:"in a release: how long the key was pressed, in seconds; otherwise nil"`
	Code   int     `key:"code" doc:"the kernel's code of the key"`
	Type   string  `key:"type" doc:"key, rel, abs or sw"`
	Device string  `key:"device" doc:"the device's product name"`
	Time   string  `key:"time" doc:"when the kernel received it, RFC 3339 with microseconds"`
}

// Source is one device. An instance runs once: New, Stream.
type Source struct {
	o     Options
	env   kind.Env
	codes codes
	dev   string        // the folder of the devices: /dev/input
	retry time.Duration // how often to look for an absent device, in addition to the kernel's notifications
}

// New makes a source of checked options.
func New(o Options, env kind.Env) *Source {
	return &Source{o: o, env: env, codes: readCodes(), dev: "/dev/input", retry: 5 * time.Second}
}

// wants reports whether a record is an event.
func (s *Source) wants(typ string, code uint16, amount int32) bool {
	if !slices.Contains(s.o.Types, typ) || typ == "key" && amount == 2 && !s.o.Repeat {
		return false
	}
	return len(s.o.Keys) == 0 || slices.ContainsFunc(s.o.Keys, func(k string) bool { return s.codes.numbers[k] == id{typ, code} })
}

// fields returns the fields of an event. held belongs to a release.
func (s *Source) fields(device, typ string, code uint16, amount int32, at time.Time, held any) map[string]any {
	value := "change"
	if typ == "key" {
		value = map[int32]string{0: "release", 1: "press", 2: "repeat"}[amount]
	}
	return map[string]any{"key": s.codes.name(typ, code), "value": value, "amount": int(amount), "held": held, "code": int(code), "type": typ,
		"device": device, "time": at.UTC().Format("2006-01-02T15:04:05.999999Z07:00")}
}
