package bus

// This file is for a reader that is not a session, such as the one that sends events to other buses: it
// waits for new records, and pins the journal from its position on.

import (
	"context"
	"slices"
	"time"
)

// Pin makes the journal keep its records from seq on, whatever the retention says; 0 removes the pin.
// Pins are not stored: see Options.Pins.
func (b *Bus) Pin(name string, seq uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if seq == 0 {
		delete(b.pins, name)
		return
	}
	if b.pins == nil {
		b.pins = map[string]uint64{}
	}
	b.pins[name] = seq
}

// pinAll pins everything for each name.
func (b *Bus) pinAll(names []string) {
	for _, n := range names {
		b.Pin(n, 1)
	}
}

// pinnedFrom is the first sequence that a pin holds.
func (b *Bus) pinnedFrom() uint64 {
	b.mu.RLock()
	defer b.mu.RUnlock()
	from := ^uint64(0)
	for _, seq := range b.pins {
		from = min(from, seq)
	}
	return from
}

// WaitFor returns when a record of at least the sequence seq was folded and offered to sessions.
// Otherwise the error is the context's, or ErrClosed.
func (b *Bus) WaitFor(ctx context.Context, seq uint64) error {
	done, passed := b.passes(seq)
	if passed {
		return nil
	}
	select {
	case <-done:
		return nil
	case <-b.ctx.Done():
		return ErrClosed
	case <-ctx.Done():
	}
	b.mu.Lock() // it may be long until the sequence exists
	defer b.mu.Unlock()
	b.waiters = slices.DeleteFunc(b.waiters, func(w waiter) bool { return w.done == done })
	return ctx.Err()
}

// SeqBefore returns the first sequence from which on the journal's records are not older than age and fit
// into size bytes; 0 for either is no bound. It is exact to 64 KiB of the journal, and then a little too
// early by age, too late by size.
func (b *Bus) SeqBefore(age time.Duration, size int64) uint64 {
	seq := uint64(1)
	if age > 0 {
		seq, _ = b.journal.SeqAt(time.Now().Add(-age).UnixNano())
	}
	if size > 0 {
		seq = max(seq, b.journal.SeqWithin(size))
	}
	return seq
}
