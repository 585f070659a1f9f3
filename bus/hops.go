package bus

// This file says where a record holds an event's hops, for package broker, which makes and reads records
// itself.

import "github.com/postbus/postbus/bus/journal"

// HopsShift is the position of the hops, 0 to MaxHops, in a record's flags.
const HopsShift = shiftHops

// HopsOf returns the number of plugins and bridges that an event came through, 0 to MaxHops.
func HopsOf(r *journal.Record) byte { return r.Flags >> shiftHops }
