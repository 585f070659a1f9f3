package journal

// This file opens a directory: format, epoch, lock, and recovery after a crash.

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"strconv"
	"strings"
	"sync"
)

// ErrFormat is wrapped by Open's error when a newer postbus wrote the directory. The directory is
// unchanged.
var ErrFormat = errors.New("the data was written by a newer version of postbus")

type meta struct {
	Format int    `json:"format"`
	Epoch  string `json:"epoch"`
}

// Open opens the journal in fs or makes a new one. It reads the last segment and any other that has
// no index; the context ends that early. Errors wrap ErrLocked or ErrFormat where these are the
// cause. What is damaged is skipped, logged and counted; a file that cannot be read at all is an
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
	l.lookAtSpace()
	go l.writer()
	return l, nil
}

func (l *Log) open(ctx context.Context) error {
	if err := l.readMeta(); err != nil {
		return err
	}
	if d, ok := l.fs.(upgrader); ok {
		if err := d.upgrade(); err != nil {
			return fmt.Errorf("moving the files of format 1: %w", err)
		}
	}
	names, err := l.fs.List()
	if err != nil {
		return err
	}
	var segs []*segment
	for _, name := range names {
		base, ok := parseName(name, ".seg")
		if !ok {
			continue
		}
		seg, err := l.readHeader(base)
		if err != nil {
			if unreadable(err) { // the error may be temporary; a journal without the segment would reuse its sequences
				return err
			}
			if l.neverUsed(base) {
				if err := l.fs.Remove(name); err != nil {
					return err
				}
				continue
			}
			l.damaged(name, err.Error())
			if errors.Is(err, errHeader) { // its intact records are kept
				segs = append(segs, newSegment(base, base-1))
				continue
			}
			if err := l.fs.Rename(name, name+".damaged"); err != nil {
				return err
			}
			continue
		}
		segs = append(segs, seg)
	}
	for i, seg := range segs {
		if err := ctx.Err(); err != nil {
			return err
		}
		last := i == len(segs)-1
		limit := ^uint64(0)
		if !last {
			limit = segs[i+1].prev
			if b, err := l.readFile(indexName(seg.base)); err == nil && seg.decodeIndex(b) == nil {
				continue
			}
		}
		if err := l.readSegment(seg, limit, last); err != nil {
			return fmt.Errorf("%s: %w", segmentName(seg.base), err)
		}
		seg.sealed = true
		if seg.last >= seg.base { // the name of an empty segment is used again, an index must not outlive it
			l.writeIndex(seg)
		}
	}
	return l.begin(segs)
}

// begin starts the new active segment behind the recovered records.
func (l *Log) begin(segs []*segment) error {
	l.next = 1
	var durable uint64
	for _, s := range segs {
		if s.last >= s.base {
			durable = max(durable, s.last)
		}
		l.next = max(l.next, s.base, s.last+1)
	}
	// A snapshot outlives the segments that it covers, and their sequences must not be used again.
	if snaps := l.snapshots(); len(snaps) > 0 {
		durable = max(durable, snaps[len(snaps)-1])
		l.next = max(l.next, durable+1)
	}
	l.durable.Store(durable)
	if n := len(segs); n > 0 && segs[n-1].last < segs[n-1].base && segs[n-1].base == l.next && segs[n-1].prev == durable {
		return l.resume(segs) // nothing was written to the last one
	}
	seg := newSegment(l.next, durable)
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
	if err != nil {
		return errors.Join(err, f.Close())
	}
	*last = *newSegment(last.base, last.prev)
	l.active, l.segs = f, segs
	return nil
}

func (l *Log) readMeta() error {
	b, err := l.readFile("meta.json")
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := rand.Read(l.epoch[:]); err != nil {
			return err
		}
		return l.writeMeta()
	}
	if err != nil {
		return err
	}
	var m meta
	if err := json.Unmarshal(b, &m); err != nil {
		return fmt.Errorf("meta.json: %w", err)
	}
	if m.Format > formatVersion {
		return fmt.Errorf("meta.json: format %d, this version knows up to %d: %w", m.Format, formatVersion, ErrFormat)
	}
	epoch, err := hex.DecodeString(m.Epoch)
	if err != nil || len(epoch) != len(l.epoch) {
		return fmt.Errorf("meta.json: epoch %q is not 32 hexadecimal digits", m.Epoch)
	}
	copy(l.epoch[:], epoch)
	if m.Format < formatVersion {
		l.log.Info("the data directory is upgraded; older versions of postbus can't open it any more",
			"from_format", m.Format, "to_format", formatVersion)
		return l.writeMeta() // first of all, so that an older version refuses a half-upgraded directory
	}
	return nil
}

func (l *Log) writeMeta() error {
	b, err := json.Marshal(meta{Format: formatVersion, Epoch: hex.EncodeToString(l.epoch[:])})
	if err != nil {
		return err
	}
	return writeFile(l.fs, "meta.json", func(f File) error {
		_, err := f.WriteAt(append(b, '\n'), 0)
		return err
	})
}

// writeFile makes a file durable under its name, or leaves no part of it.
func writeFile(fsys FS, name string, fill func(File) error) error {
	tmp := name + ".tmp"
	f, err := fsys.Open(tmp, true)
	if err != nil {
		return err
	}
	err = fill(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		if err = fsys.Rename(tmp, name); err == nil {
			return fsys.SyncDir()
		}
	}
	return errors.Join(err, ignoreMissing(fsys.Remove(tmp)))
}

func (l *Log) readFile(name string) ([]byte, error) {
	f, err := l.fs.Open(name, false)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b[:n], nil
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

func (l *Log) readHeader(base uint64) (*segment, error) {
	f, err := l.fs.Open(segmentName(base), false)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, segmentHeader)
	if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	seg, err := decodeSegmentHeader(b, l.epoch)
	if err == nil && seg.base != base {
		err = fmt.Errorf("%w: it has the sequence %d", errHeader, seg.base)
	}
	return seg, err
}

// neverUsed reports whether a segment without a good header holds no record: the header is synced
// before the first record, so that the crash came while it was being made.
func (l *Log) neverUsed(base uint64) bool {
	f, err := l.fs.Open(segmentName(base), false)
	if err != nil {
		return false
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return false
	}
	s := &scanner{f: f, off: min(segmentHeader, size), end: size, min: base}
	_, _, err = s.next()
	return errors.Is(err, io.EOF)
}

// readSegment reads a whole segment, up to the sequence limit. In the last segment damage that no
// later group proves to have been durable is a torn tail, of which nothing was acknowledged: it is
// removed.
func (l *Log) readSegment(seg *segment, limit uint64, last bool) error {
	f, err := l.fs.Open(segmentName(seg.base), false)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return err
	}
	s := &scanner{f: f, off: segmentHeader, end: size, min: seg.base}
	seg.size = segmentHeader
	tail := int64(segmentHeader) // where the last group begins
	var doubt []func()           // what counts only once a later group header proves that it had been durable
	for seg.last < limit {
		raw, skipped, err := s.next()
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		off, end := s.off-int64(len(raw)), s.off
		if skipped > 0 {
			doubt = append(doubt, func() {
				l.damaged(segmentName(seg.base), fmt.Sprintf("%d bytes before offset %d", skipped, off))
				seg.damagedHere()
			})
		}
		if s.proven || !last {
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
			return err
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
	if !last {
		return nil
	}
	if size > seg.size {
		if err := f.Truncate(seg.size); err != nil {
			return err
		}
	}
	return rewrite(f, tail, seg.size)
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
