package bus

// This file is the set of void events in the journal: conditional events that the fold refused.

import (
	"cmp"
	"slices"

	"github.com/postbus/postbus/bus/internal/sched"
	"github.com/postbus/postbus/bus/journal"
)

// voidSet holds the sequences of conditional events that the fold refused, as long as the journal has
// them, in ranges. There are few: one for each last will that was written twice or overtaken by its
// client's return, and one for events of another bus that arrived twice at the same time.
type voidSet struct {
	mu     sched.RWMutex
	ranges [][2]uint64 // first and last, in their order
}

// find returns the range that holds seq, or the place of one that would.
func (v *voidSet) find(seq uint64) (int, bool) {
	return slices.BinarySearchFunc(v.ranges, seq, func(r [2]uint64, seq uint64) int {
		if r[0] <= seq && seq <= r[1] {
			return 0
		}
		return cmp.Compare(r[0], seq)
	})
}

func (v *voidSet) add(seq uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if n := len(v.ranges); n > 0 && v.ranges[n-1][1]+1 == seq {
		v.ranges[n-1][1] = seq
		return
	}
	if i, found := v.find(seq); !found {
		v.ranges = slices.Insert(v.ranges, i, [2]uint64{seq, seq})
	}
}

func (v *voidSet) has(seq uint64) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	_, ok := v.find(seq)
	return ok
}

// stored returns the kind and the content of a snapshot's record; 0 for none. Without ranges it is one
// that earlier versions read.
func (v *voidSet) stored() (journal.Kind, any) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	var seqs []uint64
	for _, r := range v.ranges {
		if r[0] != r[1] {
			return kindVoidRanges, slices.Clone(v.ranges)
		}
		seqs = append(seqs, r[0])
	}
	if len(seqs) == 0 {
		return 0, nil
	}
	return kindVoid, seqs
}

// trim forgets sequences before first.
func (v *voidSet) trim(first uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ranges = slices.DeleteFunc(v.ranges, func(r [2]uint64) bool { return r[1] < first })
}

// counts reports whether a folded record is an event that consumers get.
func (b *Bus) counts(r *journal.Record) bool {
	return r.Kind == journal.KindEvent || r.Kind.Conditional() && !b.void.has(r.Seq)
}
