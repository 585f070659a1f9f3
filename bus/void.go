package bus

// This file is the set of void events in the journal: conditional events that the fold refused.

import (
	"maps"
	"slices"

	"github.com/postbus/postbus/bus/internal/sched"
	"github.com/postbus/postbus/bus/journal"
)

// voidSet holds the sequences of conditional events that the fold refused. There are few: one for
// each last will that was written twice or overtaken by its client's return, as long as the journal
// has it.
type voidSet struct {
	mu   sched.RWMutex
	seqs map[uint64]struct{}
}

func (v *voidSet) add(seq uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.seqs == nil {
		v.seqs = map[uint64]struct{}{}
	}
	v.seqs[seq] = struct{}{}
}

func (v *voidSet) has(seq uint64) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	_, ok := v.seqs[seq]
	return ok
}

func (v *voidSet) list() []uint64 {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return slices.Sorted(maps.Keys(v.seqs))
}

// trim forgets sequences before first.
func (v *voidSet) trim(first uint64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	maps.DeleteFunc(v.seqs, func(seq uint64, _ struct{}) bool { return seq < first })
}

// counts reports whether a folded record is an event that consumers get.
func (b *Bus) counts(r *journal.Record) bool {
	return r.Kind == journal.KindEvent || r.Kind == journal.KindConditional && !b.void.has(r.Seq)
}
