package journal

// This file is the one goroutine that writes: group commit, the change of segments, and what
// happens when the disk refuses.

import (
	"errors"
	"io/fs"
	"slices"
	"syscall"
	"time"
	"unsafe"
)

// retryEvery is the interval of retries after a disk failure, and of checks of the free space.
const retryEvery = time.Second

func (l *Log) writer() {
	defer close(l.writerDone)
	l.o.Schedule.Point("writer starts")
	tick := time.NewTicker(retryEvery)
	defer tick.Stop()
	var syncTick <-chan time.Time
	if l.o.Interval > 0 {
		t := time.NewTicker(l.o.Interval)
		defer t.Stop()
		syncTick = t.C
	}
	for {
		select {
		case <-l.stop: // before the others, where several are ready
			l.finish()
			return
		default:
		}
		select {
		case <-l.kick:
			l.o.Schedule.Point("writer wakes")
			l.commitGroup()
		case <-syncTick:
			l.syncLate()
		case <-tick.C:
			l.o.Schedule.Point("writer ticks")
			l.lookAtSpace()
			l.lookAtFiles()
			l.recover()
		case <-l.stop:
		}
	}
}

// finish makes all appended records durable, as the writer ends.
func (l *Log) finish() {
	l.commitGroup()
	l.syncLate()
	l.markClean()
}

// commitGroup makes the collected records durable.
func (l *Log) commitGroup() {
	l.mu.Lock()
	g := l.cur
	if g.count == 0 || l.err != nil {
		l.mu.Unlock()
		return
	}
	l.cur = newGroup()
	l.spare = min(max(len(g.buf)+len(g.buf)/4, 4<<10), 1<<20)
	l.mu.Unlock()

	putGroupHeader(g.buf, len(g.buf)-groupHeader, g.count, g.first, l.durable.Load())
	start := time.Now()
	err := l.write(g)
	if err != nil {
		l.fail(g, err)
		return
	}
	took := time.Since(start)

	l.rd.Lock()
	l.tail = append(l.tail, g)
	l.tailSize += g.memory()
	for l.tailSize > l.o.CacheSize && len(l.tail) > 1 {
		l.tailSize -= l.tail[0].memory()
		l.tail[0] = nil
		l.tail = l.tail[1:]
	}
	l.rd.Unlock()
	l.o.Schedule.Point("writer commits")
	l.tip = g.last
	l.durable.Store(g.last)
	l.o.Schedule.Point("writer has committed")

	l.mu.Lock()
	l.pending -= len(g.buf) - groupHeader
	l.stats.Groups++
	l.stats.Bytes += uint64(len(g.buf))
	l.stats.SyncTime += took
	l.stats.LastSync = took
	l.stats.SyncTimes.add(took)
	l.stats.CommitTimes.add(time.Since(g.began))
	progress := l.progress
	l.progress = make(chan struct{})
	l.space.Broadcast()
	l.mu.Unlock()
	close(g.commit.done)
	l.o.Schedule.Point("writer acknowledges")
	close(progress)
}

// write puts the group on disk and notes it in the active segment.
func (l *Log) write(g *group) error {
	seg := l.activeSegment()
	aged := l.o.SegmentAge > 0 && seg.first != 0 && time.Now().UnixNano()-seg.first > int64(l.o.SegmentAge)
	if seg.size > segmentHeader && (aged || seg.size+int64(len(g.buf)) > l.o.SegmentSize) {
		if err := l.roll(g.first); err != nil {
			return err
		}
		seg = l.activeSegment()
	}
	if _, err := l.active.WriteAt(g.buf, seg.size); err != nil {
		return err
	}
	if l.o.Interval == 0 {
		if err := l.active.Sync(); err != nil {
			return err
		}
		l.count(func(s *Stats) { s.Syncs++ })
		if err := l.inPlace(); err != nil {
			return err
		}
	} else {
		l.unsynced = true
	}
	l.rd.Lock()
	defer l.rd.Unlock()
	var r Record
	for i, off := 0, groupHeader; off < len(g.buf); i++ {
		n := recordLen(g.buf[off:])
		if err := decodeRecord(g.buf[off:off+n], &r, false); err != nil {
			return err
		}
		seg.add(&r, seg.size+int64(off))
		if r.Kind.Event() {
			g.blocks[i/blockSize].topics.add(r.Topic)
		}
		off += n
	}
	seg.size += int64(len(g.buf))
	seg.last = g.last
	return nil
}

// memory is the size of the group in bytes.
func (g *group) memory() int { return cap(g.buf) + len(g.blocks)*int(unsafe.Sizeof(block{})) }

// activeSegment is the one that is written to.
func (l *Log) activeSegment() *segment {
	l.rd.RLock()
	defer l.rd.RUnlock()
	return l.segs[len(l.segs)-1]
}

func (l *Log) count(f func(*Stats)) {
	l.mu.Lock()
	f(&l.stats)
	l.mu.Unlock()
}

// roll seals the active segment and begins a new one that starts at base.
func (l *Log) roll(base uint64) error {
	old, oldFile := l.activeSegment(), l.active
	if err := l.inPlace(); err != nil {
		return err
	}
	seg := newSegment(base, l.tip)
	f, err := l.createSegment(seg)
	if err != nil {
		return err
	}
	err = oldFile.Truncate(old.size)
	if l.unsynced {
		err = errors.Join(err, oldFile.Sync())
		l.unsynced = false
	}
	if err != nil {
		f.Close()
		l.unused = append(l.unused, seg)
		return err
	}
	oldFile.Close()
	l.active = f
	l.addSegment(old, seg)
	l.writeIndex(old)
	return nil
}

// addSegment puts seg behind old, which is sealed, and behind empty ones whose files a failure left: retention
// must delete them in their turn, or the next start finds one before segments that are gone.
func (l *Log) addSegment(old, seg *segment) {
	l.rd.Lock()
	defer l.rd.Unlock()
	if old.base == seg.base { // nothing was written to it, and it is the same file
		l.segs[len(l.segs)-1] = seg
		return
	}
	old.sealed = true
	for _, s := range l.unused {
		if s.base != seg.base {
			s.sealed = true
			l.segs = append(l.segs, s)
		}
	}
	l.unused = nil
	l.segs = append(l.segs, seg)
}

// createSegment makes the file of seg durable, with its header.
func (l *Log) createSegment(seg *segment) (File, error) {
	name := segmentName(seg.base)
	f, err := l.fs.Open(name, true)
	if err != nil {
		return nil, err
	}
	err = func() error {
		if err := l.preallocate(f); err != nil {
			return err
		}
		if _, err := f.WriteAt(seg.encodeHeader(l.epoch), 0); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		return l.fs.SyncDir()
	}()
	if err != nil {
		f.Close()
		if ignoreMissing(l.fs.Remove(name)) != nil {
			l.unused = append(l.unused, seg)
		}
		return nil, err
	}
	// The file stays when this fails: meta.json may name it already.
	if err := l.writeMeta(meta{Segment: seg.base}); err != nil {
		f.Close()
		l.unused = append(l.unused, seg)
		return nil, err
	}
	return f, nil
}

// preallocate reserves space for a segment if MinFree remains: the reservation must not fill the
// disk.
func (l *Log) preallocate(f File) error {
	l.mu.Lock()
	required := l.minFree + l.o.SegmentSize
	l.mu.Unlock()
	if free, err := l.fs.Free(); err == nil && free < required {
		return nil
	}
	return f.Preallocate(l.o.SegmentSize)
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// writeIndex saves the sidecar of a sealed segment. It is a shortcut for the next start: when it
// cannot be written the segment is read instead.
func (l *Log) writeIndex(seg *segment) {
	b, err := seg.encodeIndex()
	if err == nil {
		var f File
		if f, err = l.fs.Open(indexName(seg.base), true); err == nil {
			_, err = f.WriteAt(b, 0)
			err = errors.Join(err, f.Close())
		}
	}
	if err != nil {
		l.log.Warn("saving a segment index failed; the next start reads the segment instead",
			"file", indexName(seg.base), "err", err)
	}
}

func unavailable(err error) *Unavailable {
	return &Unavailable{Full: errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT), Cause: err}
}

// fail completes the commits of all waiting records with an error. Their sequences are not used
// again; the next segment's header states the sequence from which this segment is void.
func (l *Log) fail(g *group, err error) {
	u := unavailable(err)
	l.mu.Lock()
	l.err = u
	waiting := l.cur
	l.cur = newGroup()
	l.pending = 0
	l.space.Broadcast()
	l.mu.Unlock()
	for _, g := range []*group{g, waiting} {
		g.commit.err = u
		close(g.commit.done)
	}
	l.log.Error("the journal refuses events until a write succeeds", "err", u)
}

// inPlace returns an error when what is written to the active segment would not be found by the next start.
func (l *Log) inPlace() error {
	if !l.watch {
		return nil
	}
	return l.active.InPlace()
}

// recover retries after a disk failure: a new segment that is synced proves that the disk works.
func (l *Log) recover() {
	l.mu.Lock()
	failed, next := l.err, l.next
	l.mu.Unlock()
	if failed == nil {
		return
	}
	if err := l.restore(); err != nil {
		l.stillFails(err)
		return
	}
	seg := newSegment(next, l.tip)
	f, err := l.createSegment(seg)
	if err != nil {
		l.stillFails(err)
		return
	}
	// The bytes of the failed write are void; if truncating fails, the new header states that.
	old := l.activeSegment()
	if old.base != seg.base {
		_ = l.active.Truncate(old.size)
	}
	l.active.Close()
	l.active, l.unsynced = f, false
	l.addSegment(old, seg)
	l.mu.Lock()
	l.err = nil
	l.space.Broadcast()
	l.mu.Unlock()
	l.log.Info("the journal accepts events again", "segment", segmentName(seg.base))
}

func (l *Log) lookAtSpace() {
	free, err := l.fs.Free()
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stats.Free = free
	low := l.minFree > 0 && free < l.minFree
	if low != l.low {
		if low {
			l.log.Error("the disk is nearly full: QoS 1 and 2 events are refused",
				"free_mib", free>>20, "limit_mib", l.minFree>>20)
		} else {
			l.log.Info("the disk has space again", "free_mib", free>>20)
		}
	}
	l.low = low
}

// syncLate is the sync of durability by interval.
func (l *Log) syncLate() {
	if !l.unsynced {
		return
	}
	err := l.active.Sync()
	if err == nil {
		err = l.inPlace()
	}
	if err != nil {
		l.fail(newGroup(), err)
		return
	}
	l.unsynced = false
	l.count(func(s *Stats) { s.Syncs++ })
}

// markClean ends the active segment with an empty group: it proves that all before it was durable.
func (l *Log) markClean() {
	l.mu.Lock()
	failed := l.err
	l.mu.Unlock()
	if failed != nil {
		return
	}
	seg := l.activeSegment()
	h := make([]byte, groupHeader)
	putGroupHeader(h, 0, 0, seg.last+1, seg.last)
	_, err := l.active.WriteAt(h, seg.size)
	if err == nil {
		_ = l.active.Truncate(seg.size + groupHeader)
		err = l.active.Sync()
	}
	if err == nil {
		err = l.place()
	}
	if err == nil {
		err = l.writeMeta(meta{Segment: seg.base, Closed: true, End: l.tip})
	}
	if err != nil {
		l.log.Warn("the end of the journal was not noted; a newest segment that vanishes would be missed by its name alone", "err", err)
	}
}

// Retain deletes sealed segments from the oldest on whose records all lie below floor, while they
// are older than age, the journal is larger than size bytes, or the disk runs short: history that
// no consumer needs is deleted before an event is refused. It returns the first sequence kept.
func (l *Log) Retain(floor uint64, age time.Duration, size int64, now time.Time) uint64 {
	short := l.short()
	var gone []*segment
	var freed int64
	l.rd.Lock()
	var total int64
	for _, s := range l.segs {
		total += s.size
	}
	for len(l.segs) > 1 {
		s := l.segs[0]
		old := s.end != 0 && now.UnixNano()-s.end > int64(age)
		empty := s.last < s.base || s.missing && s.end == 0
		if l.segs[1].base > floor || !(old || empty || total > size || freed < short) {
			break
		}
		total -= s.size
		freed += s.size
		gone = append(gone, s)
		l.segs = l.segs[1:]
	}
	first := l.segs[0].base
	for len(l.tail) > 0 && l.tail[0].last < first {
		l.tailSize -= l.tail[0].memory()
		l.tail = l.tail[1:]
	}
	l.rd.Unlock()
	for i, s := range gone {
		// One after the other: a power cut that brought back an older file and not a newer one would
		// make a hole.
		err := error(nil)
		if l.removed {
			err = l.fs.SyncDir()
		}
		if err == nil {
			l.removed = true
			err = ignoreMissing(l.fs.Remove(segmentName(s.base)))
		}
		if err != nil {
			l.log.Warn("removing an old journal file failed, will retry", "file", segmentName(s.base), "err", err)
			l.rd.Lock() // the next start would find it again, so it is kept until its file is gone
			l.segs = append(slices.Clone(gone[i:]), l.segs...)
			first = l.segs[0].base
			l.rd.Unlock()
			break
		}
		if err := ignoreMissing(l.fs.Remove(indexName(s.base))); err != nil {
			l.log.Warn("removing an old journal file failed", "file", indexName(s.base), "err", err)
		}
		l.log.Debug("journal segment removed", "file", segmentName(s.base), "bytes", s.size)
	}
	if short > 0 && len(gone) > 0 {
		l.log.Warn("history deleted, because the disk is nearly full", "mib", freed>>20, "from_seq", first)
		l.lookAtSpace()
	}
	return first
}

// short returns how many bytes must become free so that the next segment fits above the limit.
func (l *Log) short() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	var refused *Unavailable
	switch {
	case errors.As(l.err, &refused) && refused.Full:
		return max(l.minFree+l.o.SegmentSize-l.stats.Free, l.o.SegmentSize)
	case l.minFree == 0:
		return 0
	}
	return l.minFree + l.o.SegmentSize - l.stats.Free
}
