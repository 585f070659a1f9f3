package journal

// This file finds holes: sequences that were durable and that no file holds any more. A segment's header
// names the last sequence before it, so that the headers form a chain; meta.json and the snapshots tell
// how far the journal reached. A hole takes the place of a segment in Log.segs, so that readers meet it.

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// Hole is a range of sequences that were durable and are missing.
type Hole struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

// MayHold reports whether an event of the topic may be among the records that are missing from the sequence
// from on.
func (l *Log) MayHold(from uint64, topic []byte) bool {
	l.rd.RLock()
	defer l.rd.RUnlock()
	for _, s := range l.segs {
		if !s.missing || s.last < from {
			continue
		}
		if _, named := s.topics[string(topic)]; named || s.topics == nil {
			return true
		}
	}
	return false
}

// unknownEnd is how many sequences the newest segment is taken to hold when it is missing and nothing says
// where it ended: more than fit, so that no sequence is used again.
func (l *Log) unknownEnd() uint64 {
	return max(1<<20, 2*uint64(l.o.SegmentSize+int64(l.o.MaxPending))/recordHeader)
}

// Holes lists the holes in what is kept, oldest first.
func (l *Log) Holes() (holes []Hole) {
	l.rd.RLock()
	defer l.rd.RUnlock()
	for _, s := range l.segs {
		if s.missing {
			if n := len(holes); n > 0 && holes[n-1].To+1 == s.base {
				holes[n-1].To = s.last
				continue
			}
			holes = append(holes, Hole{s.base, s.last})
		}
	}
	return holes
}

// chain puts holes between segments where a header names a sequence that the segment before doesn't reach,
// and returns the last sequence that was durable.
func (l *Log) chain(segs []*segment) (out []*segment, tip uint64) {
	for i, s := range segs {
		if i == 0 {
			tip = s.prev // what was before may have been deleted, see Needed
		}
		if s.prev > tip {
			out = append(out, l.hole(tip+1, s.prev)...)
		}
		tip = max(tip, s.prev)
		if out = append(out, s); s.last >= s.base {
			tip = max(tip, s.last)
		}
	}
	return out, tip
}

// hole reports a hole and returns what stands for it. The index of a segment outlives its file, and then
// names the topics, so that only sessions that wanted one of them count a loss.
func (l *Log) hole(from, to uint64) (list []*segment) {
	add := func(s *segment, file string) {
		s.missing, s.sealed, s.size = true, true, 0
		list = append(list, s)
		l.log.Error("journal records are missing: no file holds them any more", "file", file, "from_seq", s.base, "to_seq", s.last,
			"records", s.last-s.base+1, "topics_known", s.topics != nil)
	}
	unknown := func(from, to uint64) {
		s := newSegment(from, from-1)
		s.last, s.topics, s.full = to, nil, true
		add(s, segmentName(from))
	}
	names, err := l.fs.List()
	if err != nil {
		names = nil // without indexes the topics are not known
	}
	for _, name := range names {
		base, ok := parseName(name, ".idx")
		if !ok || base > to {
			continue
		}
		b, err := l.readFile(name)
		if err != nil {
			continue
		}
		s := newSegment(base, base-1)
		if s.decodeIndex(b) != nil || s.last < max(from, base) {
			continue
		}
		if base > from {
			unknown(from, base-1)
		}
		s.base, s.last = max(base, from), min(s.last, to)
		s.prev = s.base - 1
		add(s, segmentName(base))
		if from = s.last + 1; from > to {
			return list
		}
	}
	unknown(from, to)
	return list
}

// Needed tells the journal which sequence its owner still needs: the oldest that Retain was ever allowed
// to delete lies before it. When older segments are missing all the same, that is a hole.
func (l *Log) Needed(from uint64) {
	l.rd.RLock()
	first := l.segs[0]
	l.rd.RUnlock()
	if from = max(from, 1); from > first.prev {
		return
	}
	holes := l.hole(from, first.prev)
	l.rd.Lock()
	defer l.rd.Unlock()
	l.segs = append(holes, l.segs...)
}

// vanished puts a hole in the place of a sealed segment whose file is gone while the journal is open. It
// returns an error when more than that is gone.
func (l *Log) vanished(seg *segment) error {
	if err := l.place(); err != nil {
		return err
	}
	l.rd.RLock()
	active := seg == l.segs[len(l.segs)-1]
	l.rd.RUnlock()
	if active {
		return fmt.Errorf("%s is not there: %w", segmentName(seg.base), ErrMisplaced)
	}
	// It may have been the active one when its file was not found, and been written again before it was sealed.
	if f, err := l.fs.Open(segmentName(seg.base), false); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = f.Close()
		}
		return err
	}
	l.rd.Lock()
	i := slices.Index(l.segs, seg)
	switch {
	case i < 0: // Retain was faster
	case seg.last < seg.base:
		l.segs = slices.Delete(l.segs, i, i+1)
	default:
		gone := *seg
		gone.missing, gone.size = true, 0
		l.segs[i] = &gone
	}
	l.rd.Unlock()
	if i >= 0 && seg.last >= seg.base {
		l.log.Error("journal records are missing: their file vanished while the bus ran", "file", segmentName(seg.base),
			"from_seq", seg.base, "to_seq", seg.last, "records", seg.last-seg.base+1, "topics_known", seg.topics != nil)
		l.restored.Add(1)
	}
	return nil
}

// skipHole passes over a hole, of which r may have wanted something: lost, up to the sequence to. The
// caller holds rd.
func (r *Reader) skipHole(s *segment) (from, to uint64) {
	if r.Prefixes != nil {
		if _, next, ok := s.skip(r.next, r.until, r.Prefixes); ok {
			r.next = min(next, s.last+1)
		}
	}
	from, to = r.next, min(s.last, r.until)
	r.next = max(r.next, to+1)
	return from, to
}
