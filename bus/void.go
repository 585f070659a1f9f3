package bus

// This file is which events of the journal don't count: those on condition that the fold refused.

import (
	"slices"

	"github.com/postbus/postbus/bus/internal/sched"
	"github.com/postbus/postbus/bus/journal"
)

// voidSet holds the sequences of conditional events that the fold refused. There are few: one for each
// last will that was written twice or overtaken by its client's return, while the journal keeps it.
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

// since forgets what lies before first, which the journal no longer holds, and lists the rest.
func (v *voidSet) since(first uint64) []uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	var out []uint64
	for seq := range v.seqs {
		if seq < first {
			delete(v.seqs, seq)
		} else {
			out = append(out, seq)
		}
	}
	slices.Sort(out)
	return out
}

// counts reports whether a folded record is an event that consumers get.
func (b *Bus) counts(r *journal.Record) bool {
	return r.Kind == journal.KindEvent || r.Kind == journal.KindConditional && !b.void.has(r.Seq)
}
