package bus

// This file is where a record holds an event's hops, for package broker, which makes and reads records itself.

import "github.com/postbus/postbus/bus/journal"

// HopsShift is where hops, 0 to MaxHops, stand in a record's flags.
const HopsShift = shiftHops

// HopsOf returns through how many plugins and bridges an event came, 0 to MaxHops.
func HopsOf(r *journal.Record) byte { return r.Flags >> shiftHops }
