package journal

// This file opens a directory: format, epoch, lock, and recovery after a crash.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Open opens the journal in fs or makes a new one. It reads the last segment and any other that has
// no index; the context ends that early. Errors wrap ErrLocked or ErrFormat where these are the cause.
// What is damaged or missing is skipped, logged and counted; a file that cannot be read at all is an
// error.
func Open(ctx context.Context, fsys FS, o Options) (*Log, error) {
	o.defaults()
	lock, err := fsys.Lock()
	if err != nil {
		return nil, err
	}
	l := &Log{o: o, fs: fsys, lock: lock, log: o.Logger, minFree: o.MinFree, cur: newGroup(), spare: 4 << 10,
		progress: make(chan struct{}), stop: make(chan struct{}), kick: make(chan struct{}, 1), writerDone: make(chan struct{})}
	l.mu.Use(o.Schedule, "journal")
	l.rd.Use(o.Schedule, "segments")
	l.space = sync.NewCond(&l.mu)
	if err := l.open(ctx); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	l.startWatching()
	l.lookAtSpace()
	go l.writer()
	return l, nil
}

func (l *Log) open(ctx context.Context) error {
	fault, err := l.readMeta()
	if err != nil {
		return err
	}
	if fault == "" && l.meta.Format < formatVersion {
		l.log.Info("the data directory is upgraded; older versions of postbus can't open it any more",
			"from_format", l.meta.Format, "to_format", formatVersion)
		if err := l.writeMeta(meta{}); err != nil { // before anything else: an older version must not find half of it
			return err
		}
	}
	if d, ok := l.fs.(upgrader); ok {
		if err := d.upgrade(); err != nil {
			return fmt.Errorf("moving the files of format 1: %w", err)
		}
	}
	if fault != "" {
		if err := l.rebuildMeta(fault); err != nil {
			return err
		}
	}
	segs, err := l.findSegments()
	if err != nil {
		return err
	}
	var indexes []*segment // that are to be written
	for i := 0; i < len(segs); i++ {
		seg := segs[i]
		if err := ctx.Err(); err != nil {
			return err
		}
		limit := ^uint64(0)
		if i < len(segs)-1 {
			limit = segs[i+1].prev
			indexed := *seg
			// A file that is shorter than its index says has lost records.
			if b, err := l.readFile(indexName(seg.base)); err == nil && indexed.decodeIndex(b) == nil && indexed.size <= seg.file {
				*seg = indexed
				continue
			}
		}
		// Only the newest segment may be torn, and not when the journal was closed behind it.
		torn := i == len(segs)-1 && (seg.base > l.meta.Segment || seg.base == l.meta.Segment && !l.meta.Closed)
		damaged, err := l.readSegment(seg, limit, torn)
		if err != nil {
			return fmt.Errorf("%s: %w", segmentName(seg.base), err)
		}
		seg.sealed = true
		switch empty := seg.last < seg.base; {
		case empty && damaged && limit >= seg.base: // something in it counts, and cannot be read
			if _, err := l.setAside(segmentName(seg.base)); err != nil {
				return err
			}
			segs = slices.Delete(segs, i, i+1)
			i--
		case !empty && (i == len(segs)-1 || seg.last == limit): // otherwise an older index knows more about what is missing
			indexes = append(indexes, seg) // the name of an empty segment is used again, an index must not outlive it
		}
	}
	segs, tip := l.chain(segs)
	if err := l.begin(segs, tip); err != nil {
		return err
	}
	for _, seg := range indexes {
		l.writeIndex(seg)
	}
	return nil
}

// begin starts the new active segment behind the recovered records, of which tip is the last that was
// durable.
func (l *Log) begin(segs []*segment, tip uint64) error {
	l.next = tip + 1
	var newest uint64
	for _, s := range segs {
		l.next = max(l.next, s.base, s.last+1)
		newest = s.base
	}
	// Snapshots and meta.json outlive the segments: the sequences that they know are not used again.
	var reach uint64
	if snaps := l.snapshots(); len(snaps) > 0 {
		reach = snaps[len(snaps)-1]
		l.newestSnapshot.Store(reach)
	}
	switch m := &l.meta; {
	case m.Closed:
		reach = max(reach, m.End)
	case newest < m.Segment:
		reach = max(reach, m.Segment+l.unknownEnd())
	}
	if reach >= l.next {
		segs = append(segs, l.hole(l.next, reach)...)
		l.next, tip = reach+1, reach
	}
	l.tip = tip
	l.durable.Store(max(tip, reach))
	if n := len(segs); n > 0 && !segs[n-1].missing && segs[n-1].last < segs[n-1].base && segs[n-1].base == l.next {
		if segs[n-1].prev == tip {
			return l.resume(segs) // nothing was written to the last one
		}
		segs = segs[:n-1] // it is made again
	}
	seg := newSegment(l.next, tip)
	f, err := l.createSegment(seg)
	if err != nil {
		return err
	}
	l.active = f
	l.segs = append(segs, seg)
	return nil
}

// resume continues with the last segment, which is empty. It is not created again: if all segments
// before it were deleted, only its header states the next sequence.
func (l *Log) resume(segs []*segment) error {
	last := segs[len(segs)-1]
	f, err := l.fs.Open(segmentName(last.base), false)
	if err != nil {
		return err
	}
	if err = l.preallocate(f); err == nil {
		if err = f.Sync(); err == nil {
			err = l.fs.SyncDir()
		}
	}
	if want := (meta{Segment: last.base}); err == nil && (l.meta.Closed || l.meta.Segment != last.base) {
		err = l.writeMeta(want)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	*last = *newSegment(last.base, last.prev)
	l.active, l.segs = f, segs
	return nil
}

func parseName(name, ext string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, ext)
	if !ok || len(digits) != 20 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, err == nil
}

// unreadable reports whether the system refuses to open a file, for example without permission or
// file descriptors; its content may be intact.
func unreadable(err error) bool {
	var system *fs.PathError
	return errors.As(err, &system)
}

// readSegment reads a whole segment, up to the sequence limit, and reports whether it found damage. With
// torn, damage that no later group proves to have been durable is a torn tail, which no client was told
// about: it is cut.
func (l *Log) readSegment(seg *segment, limit uint64, torn bool) (damaged bool, err error) {
	f, err := l.fs.Open(segmentName(seg.base), false)
	if err != nil {
		return false, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return false, err
	}
	s := &scanner{f: f, off: segmentHeader, end: size, min: seg.base}
	seg.size = segmentHeader
	tail := int64(segmentHeader) // where the last group begins
	var doubt []func()           // what counts only once a later group header proves that it had been durable
	for seg.last < limit {
		raw, skipped, err := s.next()
		if err != nil && !errors.Is(err, io.EOF) {
			return damaged, err
		}
		off, end := s.off-int64(len(raw)), s.off
		if skipped > 0 {
			doubt = append(doubt, func() {
				l.damaged(segmentName(seg.base), fmt.Sprintf("%d bytes before offset %d", skipped, off))
				seg.damagedHere()
				damaged = true
			})
		}
		if s.proven || !torn {
			for _, note := range doubt {
				note()
			}
			doubt = nil
		}
		if err != nil {
			break
		}
		r := new(Record)
		if err := decodeRecord(raw, r, false); err != nil {
			return damaged, err
		}
		if r.Seq > limit {
			break
		}
		at := s.group
		if doubt == nil {
			seg.add(r, off)
			seg.size, seg.last, tail = end, r.Seq, at
			continue
		}
		r.Topic = append([]byte(nil), r.Topic...)
		doubt = append(doubt, func() {
			seg.add(r, off)
			seg.size, seg.last, tail = end, r.Seq, at
		})
	}
	if len(doubt) > 0 {
		l.log.Info("incomplete end of the journal removed; none of it was acknowledged",
			"file", segmentName(seg.base), "offset", seg.size)
	}
	if !torn {
		return damaged, nil
	}
	if size > seg.size {
		if err := f.Truncate(seg.size); err != nil {
			return damaged, err
		}
	}
	return damaged, rewrite(f, tail, seg.size)
}

// rewrite makes the bytes of the last group durable. They may exist only in the operating system's
// cache: after a kill no sync covered them, and after a failed sync another sync proves nothing.
func rewrite(f File, from, to int64) error {
	b := make([]byte, max(to-from, 0))
	if _, err := f.ReadAt(b, from); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if _, err := f.WriteAt(b, from); err != nil {
		return err
	}
	return f.Sync()
}

// damaged counts and logs records that are skipped.
func (l *Log) damaged(file, what string) {
	l.count(func(s *Stats) { s.Damaged++ })
	l.log.Error("damaged journal record skipped", slog.String("file", file), slog.String("what", what))
}
