package bus

// This file reads what a bus has to tell other buses: the events and the retained values that it
// accepted itself. What came from another bus is not among them.

import (
	"bytes"
	"context"
	"time"

	"github.com/postbus/postbus/bus/journal"
	"github.com/postbus/postbus/bus/topic"
)

// OwnEvents are events that the bus accepted itself. The records are the caller's.
type OwnEvents struct {
	Records []*journal.Record
	Next    uint64      // where the next read continues: all earlier sequences were considered
	Lost    []LostRange // among those; not all of them need to have been events
}

// LostRange is a range of sequences whose records are damaged, missing, or were deleted.
type LostRange struct{ From, To uint64 }

// ReadOwn returns the next events from a sequence on that the bus accepted itself and whose topics match
// any filter, in their order. Topics that begin with $ match none. It returns when it has maxEvents or
// maxBytes, in the encoding of the journal, or when it has seen all events that were offered to
// sessions; at least one event is returned, however large, if there is one. It reads in turns, like
// History.
func (b *Bus) ReadOwn(ctx context.Context, from uint64, filters []string, maxEvents, maxBytes int) (OwnEvents, error) {
	own, err := b.newOwnReader(filters)
	if err != nil {
		return OwnEvents{}, err
	}
	from = max(from, 1)
	until := b.visible.Load()
	if from > until {
		return OwnEvents{Next: from}, nil
	}
	read := ownRead{reader: b.journal.Reader(from), until: until, wants: own, maxEvents: max(maxEvents, 1), maxBytes: maxBytes}
	read.out.Next = from
	defer read.reader.Release()
	read.reader.Match, read.reader.Prefixes = own.match, own.prefixes
	read.reader.Lost, read.reader.Deleted = read.out.lose, read.out.lose
	for more := true; more; {
		if ctx.Err() != nil {
			return OwnEvents{}, ctx.Err()
		}
		if more, err = b.readOwn(&read); err != nil {
			return OwnEvents{}, err
		}
	}
	return read.out, nil
}

func (e *OwnEvents) lose(from, to uint64) {
	if n := len(e.Lost); n > 0 && e.Lost[n-1].To+1 == from {
		e.Lost[n-1].To = to
		return
	}
	e.Lost = append(e.Lost, LostRange{from, to})
}

// ownRead is one call of ReadOwn.
type ownRead struct {
	reader              *journal.Reader
	until               uint64 // the last sequence to read
	wants               *ownReader
	maxEvents, maxBytes int
	size                int // of out's records
	out                 OwnEvents
}

// readOwn reads the next events in one turn.
func (b *Bus) readOwn(read *ownRead) (more bool, err error) {
	b.turns.Take()
	defer b.endTurn()
	var r journal.Record
	for n, before := 0, read.size; n < historyScan && read.size-before < turnBytes; n++ {
		ok, err := read.reader.NextUntil(read.until, &r)
		if err != nil {
			return false, err
		}
		if !ok {
			read.out.Next = max(read.out.Next, min(read.reader.Position(), read.until+1))
			return false, nil
		}
		if read.wants.wants(b, &r) {
			event := withoutKept(&r)
			size := journal.EncodedSize(&event)
			if len(read.out.Records) > 0 && read.size+size > read.maxBytes {
				return false, nil
			}
			read.size += size
			read.out.Records = append(read.out.Records, cloneRecord(&r))
		}
		read.out.Next = r.Seq + 1
		if len(read.out.Records) >= read.maxEvents {
			return false, nil
		}
	}
	return true, nil
}

// ownReader tells which records are the bus's own and match any of some filters.
type ownReader struct {
	patterns []pattern
	prefixes []journal.Prefix // nil: the topics may begin in any way
}

func (b *Bus) newOwnReader(filters []string) (*ownReader, error) {
	o := &ownReader{}
	all := false
	for _, f := range filters {
		if err := topic.CheckFilter(f); err != nil {
			return nil, err
		}
		p := compile(f)
		o.patterns, o.prefixes = append(o.patterns, p), append(o.prefixes, p.prefix...)
		all = all || p.prefix == nil
	}
	if all {
		o.prefixes = nil
	} else if o.prefixes == nil { // no filter matches nothing
		o.prefixes = []journal.Prefix{}
	}
	return o, nil
}

func (o *ownReader) match(topic []byte) bool {
	if bytes.HasPrefix(topic, []byte{'$'}) {
		return false
	}
	for i := range o.patterns {
		if o.patterns[i].match(topic) {
			return true
		}
	}
	return false
}

func (o *ownReader) wants(b *Bus, r *journal.Record) bool {
	return b.counts(r) && isOwn(r) && o.match(r.Topic)
}

// isOwn reports whether this bus accepted an event itself.
func isOwn(r *journal.Record) bool {
	return len(r.Lane) == 0 && !bytes.HasPrefix(r.Source, []byte(FleetSource))
}

// OwnRetained calls each for the retained values that the bus accepted itself and whose topics match
// any filter, in the order of topics, and for the topics that were cleared, which have an empty payload,
// until each returns false. Stamp is set: a value that was accepted without one has its time. Topics
// that begin with $ match none. The records are the caller's; it reads in turns, like History.
func (b *Bus) OwnRetained(ctx context.Context, filters []string, each func(r *journal.Record) bool) error {
	own, err := b.newOwnReader(filters)
	if err != nil {
		return err
	}
	all := compile("#")
	for after, done := "", false; !done; {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var records []*journal.Record
		records, after, done = b.ownRetained(own, &all, after)
		for _, r := range records {
			if !each(r) {
				return nil
			}
		}
	}
	for _, tomb := range b.retained.tombsOf(b.tie) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if own.match([]byte(tomb.topic)) && !each(tomb.record()) {
			return nil
		}
	}
	return nil
}

// ownRetained reads the next retained values in one turn.
func (b *Bus) ownRetained(own *ownReader, all *pattern, after string) (records []*journal.Record, last string, done bool) {
	b.turns.Take()
	defer b.endTurn()
	now := time.Now()
	found, last, done := b.retained.next(all, after, historyAhead)
	for _, e := range found {
		if e.kept || e.stamp.at != 0 && e.stamp.tie != b.tie || !own.match([]byte(e.topic)) {
			continue
		}
		r := new(journal.Record)
		if !b.readRetained(e.topic, r) || !isOwn(r) || r.Expired(now) {
			continue
		}
		if r.Seq == e.seq && e.stamp.at != 0 {
			r.Stamp = e.stamp.at
		}
		if r.Stamp == 0 {
			r.Stamp = r.Time
			b.journal.RaiseStamp(r.Stamp) // the next value of the topic has to be newer
		}
		records = append(records, r)
	}
	return records, last, done
}
