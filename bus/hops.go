package bus

// This file is the position of an event's hops in a record, for package broker, which encodes and
// decodes records itself.

import "github.com/postbus/postbus/bus/journal"

// HopsShift is the position of the hops, 0 to MaxHops, in a record's flags.
const HopsShift = shiftHops

// HopsOf returns the number of plugins and bridges that an event came through, 0 to MaxHops.
func HopsOf(r *journal.Record) byte { return r.Flags >> shiftHops }
