package journal

// This file reads records in order: from the cache while they are recent, else from disk.

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sort"
)

// Reader returns the durable records from a sequence on, in order. It is for one goroutine. It pins
// neither memory nor files after Release, and keeps its position.
type Reader struct {
	// Match, when set, lets the reader pass over sealed segments in which no event's topic matches.
	// Records of other kinds in them are passed over too.
	Match func(topic []byte) bool
	// Prefixes, when not nil, lets the reader pass over stretches without an event whose topic
	// begins with one of them. Records of other kinds in them are passed over too.
	Prefixes []Prefix
	// Lost, when set, is called during Next with ranges of sequences that are damaged or missing. Not all
	// of them need to have been events.
	Lost func(from, to uint64)
	// Deleted, when set, is called during Next with sequences that Retain has deleted. It must not call
	// the Log.
	Deleted func(from, to uint64)

	l     *Log
	next  uint64
	until uint64
	last  uint64 // of the segment, when end of scan was set
	mem   []byte // unread part of a cached group
	file  File
	seg   *segment
	scan  scanner
}

// Reader returns a reader whose first record is seq, or the oldest one that is kept.
func (l *Log) Reader(seq uint64) *Reader { return &Reader{l: l, next: seq} }

// Position is the sequence that Next looks for.
func (r *Reader) Position() uint64 { return r.next }

// SkipTo makes Next look for seq, which must not be before Position. The records in between are not
// read, and not counted as lost.
func (r *Reader) SkipTo(seq uint64) {
	if seq <= r.next {
		return
	}
	r.next = seq
	for len(r.mem) > 0 && recordSeq(r.mem) < seq {
		r.mem = r.mem[recordLen(r.mem):]
	}
	if r.seg == nil || r.file == nil {
		return
	}
	r.l.rd.RLock()
	off := r.seg.seek(seq)
	r.l.rd.RUnlock()
	if off > r.scan.off+int64(len(r.scan.buf)) {
		r.scan = scanner{f: r.file, off: off, end: r.scan.end, min: r.seg.base, back: r.scan.back}
	}
}

// lose reports sequences that are damaged or missing. No lock is held.
func (r *Reader) lose(from, to uint64) {
	if from <= to && r.Lost != nil {
		r.Lost(from, to)
	}
}

// Release frees memory and files. The reader can be used again.
func (r *Reader) Release() {
	r.mem = nil
	giveChunk(r.scan.back)
	r.scan = scanner{off: r.scan.off, end: r.scan.end, min: r.scan.min}
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
}

// Next fills rec with the next durable record; false means that there is none yet. An error is
// from the disk; the position is kept.
func (r *Reader) Next(rec *Record) (bool, error) { return r.NextUntil(^uint64(0), rec) }

// NextUntil is Next for records up to the sequence until; a later one is not read yet.
func (r *Reader) NextUntil(until uint64, rec *Record) (bool, error) {
	r.until = until
	for {
		if len(r.mem) > 0 {
			if recordSeq(r.mem) > until {
				return false, nil
			}
			n := recordLen(r.mem)
			if err := decodeRecord(r.mem, rec, false); err != nil {
				return false, err
			}
			r.mem = r.mem[n:]
			r.next = rec.Seq + 1
			return true, nil
		}
		if r.next > min(r.l.durable.Load(), until) {
			return false, nil
		}
		if r.cached() {
			continue
		}
		ok, err := r.disk(rec)
		if ok || err != nil {
			return ok, err
		}
	}
}

// cached looks for next in the groups in memory.
func (r *Reader) cached() bool {
	r.l.rd.RLock()
	defer r.l.rd.RUnlock()
	t := r.l.tail
	if len(t) == 0 || r.next < t[0].first {
		return false
	}
	i := sort.Search(len(t), func(i int) bool { return t[i].last >= r.next })
	if i == len(t) {
		return false
	}
	g := t[i]
	j := sort.Search(len(g.blocks), func(j int) bool { return g.blocks[j].seq > r.next }) - 1
	j = max(j, 0) // a failed write used up the sequences before its first
	if r.Prefixes != nil {
		if i, j = r.skipBlocks(t, i, j); i == len(t) {
			r.mem = nil
			return true
		}
		g = t[i]
	}
	off := g.blocks[j].off
	for recordSeq(g.buf[off:]) < r.next { // which is in the block, or behind those that it ends
		off += recordLen(g.buf[off:])
	}
	end := len(g.buf)
	if r.Prefixes != nil && j+1 < len(g.blocks) {
		end = g.blocks[j+1].off // so that the next block is looked at before it is read
	}
	r.mem = g.buf[off:end]
	if r.file != nil {
		r.file.Close()
		r.file, r.seg = nil, nil
	}
	return true
}

// skipBlocks moves next over blocks of the groups in memory that hold nothing for the reader, up to
// until, and returns the group and block that hold next; len(t) when that is behind the last group.
func (r *Reader) skipBlocks(t []*group, i, j int) (int, int) {
	for i < len(t) {
		g := t[i]
		for j < len(g.blocks) {
			end := g.last
			if j+1 < len(g.blocks) {
				end = g.blocks[j+1].seq - 1
			}
			if end > r.until || g.blocks[j].topics.mayHold(r.Prefixes) {
				return i, j
			}
			r.next = end + 1
			j++
		}
		i, j = i+1, 0
		if i < len(t) {
			r.next = max(r.next, t[i].first) // sequences that a failed write used up
		}
	}
	return i, 0
}

// disk reads the next record of the segment that holds next, or moves on to the next segment.
func (r *Reader) disk(rec *Record) (bool, error) {
	if err := r.locate(); err != nil || r.seg == nil {
		return false, err
	}
	if r.Prefixes != nil && r.skipStretch() {
		return false, nil
	}
	for {
		raw, skipped, err := r.scan.next()
		if err != nil && !errors.Is(err, io.EOF) {
			return false, fmt.Errorf("%s: %w", segmentName(r.seg.base), err)
		}
		if skipped > 0 {
			r.l.damaged(segmentName(r.seg.base), fmt.Sprintf("%d bytes before offset %d",
				skipped, r.scan.off-int64(len(raw))))
		}
		if err != nil {
			r.leave()
			return false, nil
		}
		seq := recordSeq(raw)
		if seq < r.next {
			continue
		}
		if seq > r.last {
			r.leave()
			return false, nil
		}
		if seq > r.until { // the first of them was damaged; come back to this one later
			r.scan.off -= int64(len(raw))
			r.scan = scanner{f: r.file, off: r.scan.off, end: r.scan.end, min: r.seg.base, back: r.scan.back}
			return false, nil
		}
		if err := decodeRecord(raw, rec, false); err != nil {
			return false, err
		}
		r.lose(r.next, seq-1)
		r.next = seq + 1
		return true, nil
	}
}

// skipStretch moves next over a part of the segment that holds nothing for the reader.
func (r *Reader) skipStretch() bool {
	r.l.rd.RLock()
	off, next, ok := r.seg.skip(r.next, r.until, r.Prefixes)
	r.l.rd.RUnlock()
	if !ok || off <= r.scan.off {
		return false
	}
	r.next = next
	r.scan = scanner{f: r.file, off: off, end: r.scan.end, min: r.seg.base, back: r.scan.back}
	return true
}

// leave ends a segment: records that are missing at its end count as damaged.
func (r *Reader) leave() {
	if r.next <= r.last {
		r.l.damaged(segmentName(r.seg.base), fmt.Sprintf("the sequences %d to %d, at the end", r.next, r.last))
		r.lose(r.next, r.last)
		r.next = r.last + 1
	}
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
	r.seg = nil
}

// locate opens the segment of next, passing over those that are not there or hold nothing that
// Match accepts.
func (r *Reader) locate() error {
	l := r.l
	l.rd.RLock()
	if r.file != nil && r.seg != nil && r.next >= r.seg.base && r.next <= r.seg.last { // within the segment that is open
		r.scan.end = r.seg.size
		l.rd.RUnlock()
		return nil
	}
	i := sort.Search(len(l.segs), func(i int) bool { return l.segs[i].base > r.next }) - 1
	if i < 0 {
		i = 0
		first := l.segs[0].base
		if from := max(r.next, 1); from < first && r.Deleted != nil {
			r.Deleted(from, first-1)
		}
		r.next = max(r.next, first)
	}
	for i < len(l.segs) && (l.segs[i].last < r.next || r.Match != nil && l.segs[i].last <= r.until && !l.segs[i].wants(r.Match)) {
		i++
		if i < len(l.segs) {
			r.next = max(r.next, l.segs[i].base)
		}
	}
	if i == len(l.segs) {
		// No further record on disk matches this reader.
		r.next = max(r.next, l.segs[len(l.segs)-1].last+1)
		l.rd.RUnlock()
		r.seg = nil
		return nil
	}
	seg, off, end, last := l.segs[i], l.segs[i].seek(r.next), l.segs[i].size, l.segs[i].last
	if seg.missing {
		from, to := r.skipHole(seg)
		l.rd.RUnlock()
		r.seg = nil
		r.lose(from, to)
		return nil
	}
	l.rd.RUnlock()
	r.last = last
	if seg == r.seg && r.file != nil {
		r.scan.end = end
		return nil
	}
	if seg == r.seg {
		off = max(off, r.scan.off) // Release kept the exact position
	} else {
		r.scan = scanner{}
	}
	f, err := l.fs.Open(segmentName(seg.base), false)
	if errors.Is(err, fs.ErrNotExist) {
		r.seg = nil
		return l.vanished(seg)
	}
	if err != nil {
		return err
	}
	if r.file != nil {
		r.file.Close()
	}
	r.file, r.seg = f, seg
	r.scan = scanner{f: f, off: off, end: end, min: seg.base, back: r.scan.back}
	return nil
}

// SeqWithin returns a sequence from which on the records take at most size bytes on disk.
func (l *Log) SeqWithin(size int64) uint64 {
	l.rd.RLock()
	defer l.rd.RUnlock()
	seq := l.durable.Load() + 1
	for i := len(l.segs) - 1; i >= 0; i-- {
		s := l.segs[i]
		if s.missing || s.last < s.base {
			continue
		}
		if s.size > size {
			for j := len(s.index) - 1; j >= 0 && s.size-s.index[j].Off <= size; j-- {
				seq = s.index[j].Seq
			}
			return seq
		}
		size -= s.size
		seq = s.base
	}
	return seq
}

// Latest is the greatest time of the records that are kept; 0 when there are none.
func (l *Log) Latest() (t int64) {
	l.rd.RLock()
	defer l.rd.RUnlock()
	for _, s := range l.segs {
		t = max(t, s.end)
	}
	return t
}

// SeqAt returns a sequence at or before the first record that was accepted at or after t, and
// whether the journal goes back that far.
func (l *Log) SeqAt(t int64) (seq uint64, complete bool) {
	l.rd.RLock()
	defer l.rd.RUnlock()
	complete = l.segs[0].base == 1 || l.segs[0].first != 0 && l.segs[0].first <= t
	for _, s := range l.segs {
		if s.last < s.base || s.end < t {
			continue
		}
		seq = s.base
		for _, e := range s.index {
			if e.Time >= t {
				break
			}
			seq = e.Seq
		}
		return seq, complete
	}
	return l.durable.Load() + 1, complete
}
