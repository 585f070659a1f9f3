// Package unit is the kind `unit`: the states of systemd's units, mainly services, by D-Bus.
//
// What it promises:
//
//   - An event for each change of a watched unit's state that systemd reports, in order; nothing is
//     polled. Systemd reports states that last, and may skip one that ends at once.
//   - When the bus or systemd stops the source is degraded and reconnects by itself. Then a state
//     that differs from the last one is an event; states in between are unknown.
//   - A unit that systemd doesn't know is an error that names units with similar names. A known
//     unit that isn't loaded is watched like any other.
//
// It only reads, which every user may. It is a kind of its own, beside `host`, since it reports
// events and not values. Linux only.
package unit

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"github.com/postbus/postbus/config/suggest"
	"github.com/postbus/postbus/plugins/kind"
)

// sample is a commented plugin file.
//
//go:embed sample.yaml
var sample string

// about is what the kind does, for the documentation.
const about = "Watches units of systemd: an event when a service (or timer, mount, …) becomes active, inactive or failed, with the result and the previous state. Systemd notifies by D-Bus, nothing " +
	"is polled. A unit that doesn't exist is an error that names similar ones. After the bus or systemd has stopped, the source reconnects. Linux with systemd only; it needs no permissions."

// Options of the source.
type Options struct {
	Units   []string `key:"units" doc:"the units, as nginx.service; .service may be omitted" need:"yes"`
	Bus     string   `key:"bus" doc:"system, or user for the units of the user that runs postbus" oneof:"system|user"`
	Initial bool     `key:"initial" doc:"whether the states at the start are events"`
	Address string   `key:"address" doc:"the bus's address, as unix:path=/run/dbus/system_bus_socket; empty for the default"`
}

// defaults returns the options of a file that sets none.
func defaults() Options { return Options{Bus: "system"} }

// maxUnits bounds the units that one source watches.
const maxUnits = 256

// Check checks the options against each other.
func (o Options) Check() []error {
	var errs []error
	bad := func(reason, hint string) { errs = append(errs, kind.Wrong("units", reason, hint)) }
	switch {
	case len(o.Units) == 0:
		bad("no unit is listed", "write units: [nginx.service]; `systemctl list-units` lists them")
	case len(o.Units) > maxUnits:
		bad(fmt.Sprintf("there are %d units", len(o.Units)), fmt.Sprintf("at most %d", maxUnits))
	}
	for i, u := range o.Units {
		switch {
		case !valid(full(u)):
			bad(fmt.Sprintf("%q is not the name of a unit", u), "as nginx.service; `systemctl list-units` lists them")
		case slices.ContainsFunc(o.Units[:i], func(v string) bool { return full(v) == full(u) }):
			bad(fmt.Sprintf("%s is listed twice", full(u)), "")
		}
	}
	return errs
}

// kinds are the suffixes of units' names; systemd.unit(5).
var kinds = []string{"service", "socket", "device", "mount", "automount", "swap", "target", "path", "timer", "slice", "scope"}

// full returns a unit's name with its suffix.
func full(name string) string {
	if _, kind, ok := cutLast(name); ok && slices.Contains(kinds, kind) {
		return name
	}
	return name + ".service"
}

func cutLast(name string) (before, kind string, ok bool) {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return name, "", false
	}
	return name[:i], name[i+1:], true
}

// valid reports whether a unit could have that name.
func valid(name string) bool {
	before, _, _ := cutLast(name)
	return before != "" && len(name) <= 255 && !strings.HasSuffix(before, "@") && !strings.ContainsFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(`:-_.\@`, r)
	})
}

// eventFields documents the fields of an event.
type eventFields struct {
	Unit        string `key:"unit" doc:"the unit's name, as nginx.service"`
	State       string `key:"state" doc:"active, inactive, failed, activating, deactivating, reloading or maintenance"`
	Sub         string `key:"sub" doc:"the state specific to the type of unit, as running, exited, dead, waiting, mounted"`
	Before      string `key:"before" doc:"the previous state; nil in the first event"`
	Result      string `key:"result" doc:"why a service or another unit failed, as exit-code, signal, timeout, oom-kill; success if it did not; nil for units that have no result"`
	PID         int64  `key:"pid" doc:"the main process id of a running service; otherwise nil"`
	Exit        int    `key:"exit" doc:"exit code, or number of the signal, of the last main process that ended; nil before that"`
	Description string `key:"description" doc:"the description in the unit's file"`
	Loaded      string `key:"loaded" doc:"loaded; masked, bad-setting or error for a unit that can't be started"`
	Initial     bool   `key:"initial" doc:"whether it is the state at the start"`
}

// similar returns the names most similar to one, best first.
func similar(name string, all []string) []string {
	type match struct {
		name     string
		distance int
	}
	var list []match
	stem, _, _ := cutLast(name)
	for _, a := range all {
		s, _, _ := cutLast(a)
		d := suggest.Distance(strings.ToLower(stem), strings.ToLower(s))
		if strings.Contains(s, stem) || strings.Contains(stem, s) && len(s) > 3 {
			d = min(d, 1)
		}
		if d <= max(1, (len(stem)+1)/3) {
			list = append(list, match{a, d})
		}
	}
	slices.SortFunc(list, func(a, b match) int {
		if a.distance != b.distance {
			return a.distance - b.distance
		}
		return strings.Compare(a.name, b.name)
	})
	var out []string
	for _, m := range list[:min(len(list), 5)] {
		out = append(out, m.name)
	}
	return out
}
