// This file checks the keys of an entry of fleet together, and the entries with each other.

package config

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/postbus/postbus/bus/topic"
	"github.com/postbus/postbus/config/yamlnode"
)

// Warnings are what is allowed and probably not meant, each with its position and in the order of the
// file. They keep no config from being used.
func (c *Config) Warnings() yamlnode.Errors { return c.warnings }

func (l *loader) warn(n yamlnode.Node, hint, format string, args ...any) {
	e := n.Error()
	e.Reason, e.Hint = fmt.Sprintf(format, args...), hint
	l.c.warnings = append(l.c.warnings, e)
}

// checkFleetLogin checks how an entry logs in, and whether others on the way can read the events.
func (l *loader) checkFleetLogin(m yamlnode.Map, e *FleetEntry, at fleetNodes) bool {
	ok := true
	creds, hasCreds := m.Get("creds")
	_, hasNKey := m.Get("nkey")
	if hasCreds && hasNKey {
		creds.Fail("remove one of the two", "creds and nkey: an entry logs in with one of them")
		ok = false
	}
	if ca, has := m.Get("ca"); has && !e.Encrypted() {
		ca.Fail("write tls:// or wss:// in hub", "the hub %s has no certificate that ca could check", e.Hub[0])
		ok = false
	}
	remote := slices.IndexFunc(e.Hub, func(url string) bool { return !hubLocal(url) })
	if remote < 0 {
		return ok
	}
	login := hasCreds || hasNKey
	switch hub := at.hubs[remote]; {
	case !e.Encrypted() && !login:
		hub.Fail(`write tls://…, or creds: "secret:NAME", or nkey: "secret:NAME"`,
			"%s is not encrypted, and there is neither creds nor nkey: anyone on the network could read and forge events", e.Hub[remote])
		ok = false
	case !e.Encrypted():
		l.warn(hub, "write tls://HOST:PORT, and ca: FILE if the hub's certificate is of your own authority",
			"%s is not encrypted: others on the network can read and change events", e.Hub[remote])
	case !login:
		l.warn(hub, `write creds: "secret:NAME" or nkey: "secret:NAME", and give each bus its own permissions in the hub`,
			"neither creds nor nkey: whoever reaches the hub can publish events in the name of this bus")
	}
	return ok
}

// maxCompared is how many filters of different fleets are compared with each other: each with each.
const maxCompared = 1024

// checkFleet compares the entries with each other.
func (l *loader) checkFleet() {
	filters := 0
	for i, e := range l.c.Fleet {
		filters += len(e.Share)
		if filters > maxCompared {
			l.warn(l.fleetAt[i].share, "make sure that each event is shared in one fleet", "more than %d filters in all: those of different fleets are not compared with each other", maxCompared)
			break
		}
	}
	for i := range l.c.Fleet {
		told := false // the other entries of the fleet would repeat it
		for j := range i {
			if l.c.Fleet[i].Name == l.c.Fleet[j].Name {
				told = told || !l.checkOneFleet(j, i)
			} else if filters <= maxCompared {
				l.checkFleets(j, i)
			}
		}
	}
	slices.SortStableFunc(l.c.warnings, func(a, b *yamlnode.Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
}

// checkOneFleet compares two hubs of one fleet. The numbers of a lane are the same at both hubs only
// if the bus and the filters are.
func (l *loader) checkOneFleet(i, j int) bool {
	a, b := &l.c.Fleet[i], &l.c.Fleet[j]
	ok := true
	if a.Bus != b.Bus {
		l.fleetAt[j].bus.Fail("write the same bus in both, or in neither", "the entry at %s of the fleet %q has another name for this bus", place(l.fleetAt[i].bus), a.Name)
		ok = false
	}
	if !slices.Equal(a.Share, b.Share) {
		l.fleetAt[j].share.Fail("write the same share in both; or give this entry another name, if it is another fleet",
			"the entry at %s of the fleet %q shares other events", place(l.fleetAt[i].share), a.Name)
		ok = false
	}
	for k, url := range b.Hub {
		if slices.Contains(a.Hub, url) {
			l.fleetAt[j].hubs[k].Fail("write all servers of one hub in one entry, and those of another hub in the other", "%s is a server of the entry at %s, too", url, place(l.fleetAt[i].name))
			return false
		}
	}
	return ok
}

// checkFleets warns of two fleets that have some events in common: their lanes differ, so a bus that
// is in both can't know that an event is the same. One warning for two entries is enough.
func (l *loader) checkFleets(i, j int) {
	a, b := &l.c.Fleet[i], &l.c.Fleet[j]
	if slices.Equal(a.Share, b.Share) {
		return
	}
	for k, s := range b.Share {
		for m, t := range a.Share {
			if topic.Overlaps(s.Filter, t.Filter) {
				l.warn(l.fleetAt[j].filters[k], "share each event in one fleet; or write the same share in both, then repeats are dropped",
					"%q overlaps with %q of the fleet %q at %s: a bus that is in both fleets gets these events twice", s.Filter, t.Filter, a.Name, place(l.fleetAt[i].filters[m]))
				return
			}
		}
	}
}

// place is the position of a value of the file, or the source of one that overrides it.
func place(n yamlnode.Node) string {
	if line, col := n.Place(); line > 0 {
		return fmt.Sprintf("%d:%d", line, col)
	}
	return n.Error().File
}
