package bus

// This file is history: events in the journal, for a subscription that begins in the past and for
// History.
//
// A subscription with a Since first gets the matching events from there up to the sequence at which
// it was made, in their order. From that sequence on it is like any other. No event is missing or
// repeated in between, because the sequence separates the two parts.

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/postbus/postbus/bus/journal"
	"github.com/postbus/postbus/bus/topic"
)

// Since is a position in the past: a time or a sequence. The zero value means no position.
type Since struct {
	Time time.Time `json:"t,omitzero"`
	Seq  uint64    `json:"s,omitempty"`
}

// IsZero reports whether there is no position.
func (s Since) IsZero() bool { return s.Time.IsZero() && s.Seq == 0 }

// ParseSince reads an age ("10m", "24h", "7d"), an RFC 3339 time, or a sequence ("123456").
func ParseSince(s string, now time.Time) (Since, error) {
	if n, err := strconv.ParseUint(s, 10, 64); err == nil && n > 0 {
		return Since{Seq: n}, nil
	}
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return Since{Time: t}, nil
	}
	age, err := topic.ParseAge(s)
	if err != nil {
		return Since{}, fmt.Errorf("since %q is neither an age (10m, 24h, 7d), nor a time (2026-01-31T12:00:00Z), nor a sequence", s)
	}
	return Since{Time: now.Add(-age)}, nil
}

// begin sets Since from the age of a $replay filter.
func (f *Filter) begin(now time.Time) {
	if age, _, ok := topic.SplitReplay(f.Filter); ok {
		d, _ := topic.ParseAge(age) // CheckSubscription has checked it
		f.Since = Since{Time: now.Add(-d)}
	}
}

// fromSeq returns the first sequence that may belong to the requested history.
func (b *Bus) fromSeq(s Since) uint64 {
	if s.Seq > 0 {
		return s.Seq
	}
	seq, _ := b.journal.SeqAt(s.Time.UnixNano())
	return seq
}

// reached reports whether the requested history has begun: at the first record of that time or
// later. All following records belong to it, even if the clock was set back meanwhile.
func (s Since) reached(begun *bool, r *journal.Record) bool {
	*begun = *begun || s.Time.IsZero() || r.Time >= s.Time.UnixNano()
	return *begun
}

// historyScan is how many records are read before others get the lock, historyAhead how many events
// are read ahead.
const (
	historyScan  = 512
	historyAhead = 16
)

// turnBytes is about how many bytes of payloads are read in one turn, for a caller that keeps them.
const turnBytes = 256 << 10

// refillRetained reads the next retained messages of a new subscription. done: there are no more.
// The caller holds the cursor's mu.
func (w *retainedWork) refillRetained(c *cursor) (done bool) {
	sub := w.sub
	found, last, done := c.bus.retained.next(&sub.pattern, w.after, historyAhead)
	for _, e := range found {
		rec := new(journal.Record)
		if e.kept || !c.bus.readRetained(e.topic, rec) {
			continue
		}
		// A newer value is delivered from the journal, unless it had QoS 0 and the consumer was
		// offline.
		if rec.Seq > sub.from && !(rec.Flags&flagQoS == 0 && rec.Seq <= c.offlineUntil) || sub.NoLocal && string(rec.Source) == sub.session.name {
			continue
		}
		w.msgs = append(w.msgs, rec)
		sub.retained++
	}
	w.after, w.retained = last, !done
	return done
}

// refill reads more history for a new subscription. done: there are no more events. The caller
// holds the cursor's mu.
func (w *retainedWork) refill(c *cursor) (done bool, err error) {
	var r journal.Record
	for range historyScan {
		if len(w.msgs) >= historyAhead {
			return false, nil
		}
		ok, err := w.reader.NextUntil(w.sub.from, &r)
		if err != nil {
			return false, err
		}
		if !ok {
			return true, nil
		}
		if c.bus.counts(&r) && w.sub.Since.reached(&w.begun, &r) && w.sub.pattern.match(r.Topic) && !(w.sub.NoLocal && string(r.Source) == w.sub.session.name) {
			w.msgs = append(w.msgs, cloneRecord(&r))
			w.sub.retained++
		}
	}
	return false, nil
}

// History calls each for the events of the journal that match the filter, from since on, in their
// order, until each returns false or there are no more. It reads in turns, see turns.go. It calls each
// outside of them and without a lock: a slow caller slows nobody.
func (b *Bus) History(ctx context.Context, filter string, since Since, each func(Event) bool) error {
	if err := topic.CheckSubscription(filter); err != nil {
		return err
	}
	p := compile(topic.Inner(filter))
	reader := b.journal.Reader(b.fromSeq(since))
	defer reader.Release()
	reader.Match, reader.Prefixes = p.match, p.prefix
	until := b.visible.Load()
	begun := false
	now := time.Now()
	wants := func(r *journal.Record) bool {
		return b.counts(r) && since.reached(&begun, r) && p.match(r.Topic) && !r.Expired(now)
	}
	for more := true; more; {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var events []Event
		var err error
		if events, more, err = b.readHistory(reader, until, wants); err != nil {
			return err
		}
		for _, e := range events {
			if !each(e) {
				return nil
			}
		}
	}
	return nil
}

// EventAt returns the event of a sequence. ok: the journal holds it, it is an event, and it was offered to sessions.
func (b *Bus) EventAt(seq uint64) (e Event, ok bool, err error) {
	reader := b.journal.Reader(seq)
	defer reader.Release()
	b.turns.Take()
	defer b.endTurn()
	var r journal.Record
	found, err := reader.NextUntil(min(seq, b.visible.Load()), &r)
	if err != nil || !found || r.Seq != seq || !b.counts(&r) {
		return Event{}, false, err
	}
	return eventOf(&r), true, nil
}

// readHistory reads the next events in one turn.
func (b *Bus) readHistory(reader *journal.Reader, until uint64, wants func(*journal.Record) bool) (events []Event, more bool, err error) {
	b.turns.Take()
	defer b.endTurn()
	var r journal.Record
	for n, size := 0, 0; n < historyScan && size < turnBytes; n++ {
		ok, err := reader.NextUntil(until, &r)
		if err != nil || !ok {
			return events, false, err
		}
		if wants(&r) {
			events = append(events, eventOf(&r))
			size += len(r.Payload)
		}
	}
	return events, true, nil
}
