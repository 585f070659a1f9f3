package journal

// This file keeps snapshots: the folded state as of a sequence, written as a list of records, so
// that a start replays only the records behind it.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"
	"sync/atomic"
)

// keepSnapshots is the number of snapshots that are kept: if the newest is damaged, the previous
// one is used.
const keepSnapshots = 2

func snapshotName(seq uint64) string { return fmt.Sprintf("%020d.snap", seq) }

// Snapshot is a snapshot that is open for reading single records of it. It stays readable when
// newer ones have replaced it.
type Snapshot struct {
	name  string
	f     File
	users atomic.Int32
}

func (l *Log) openSnapshot(seq uint64) (*Snapshot, error) {
	f, err := l.fs.Open(snapshotName(seq), false)
	if err != nil {
		return nil, err
	}
	s := &Snapshot{name: snapshotName(seq), f: f}
	s.users.Store(1)
	return s, nil
}

// Share returns s for one more user, which closes it.
func (s *Snapshot) Share() *Snapshot {
	s.users.Add(1)
	return s
}

// Close ends one use; the last one closes the file.
func (s *Snapshot) Close() {
	if s.users.Add(-1) == 0 {
		s.f.Close() // it is read only, so the error has no effect
	}
}

// Read reads the record at an offset that WriteSnapshot or ReadSnapshot gave. The record's slices
// are the caller's.
func (s *Snapshot) Read(off int64, rec *Record) error {
	b := make([]byte, 512)
	n, err := s.f.ReadAt(b, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	b = b[:n]
	size := recordLen(b)
	if size > len(b) {
		b = make([]byte, size)
		if n, err = s.f.ReadAt(b, off); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		b = b[:n]
	}
	if err := decodeRecord(b, rec, size > 0 && size <= len(b)); err != nil {
		return fmt.Errorf("%s at offset %d: %w", s.name, off, err)
	}
	return nil
}

// Each calls f for every record of the snapshot, with its offset. A record is valid during the
// call.
func (s *Snapshot) Each(f func(r *Record, off int64) error) error {
	if err := eachRecord(s.f, f); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	return nil
}

// WriteSnapshot makes the state as of seq durable: write calls emit for each record of it, which
// returns the record's offset. Older snapshots but one are removed. It returns the sequence from
// which the journal must be kept, and the snapshot, to be closed.
func (l *Log) WriteSnapshot(seq uint64, write func(emit func(*Record) (off int64, err error)) error) (floor uint64, snap *Snapshot, err error) {
	if err := l.place(); err != nil {
		return 0, nil, fmt.Errorf("snapshot: %w", err)
	}
	err = writeFile(l.fs, snapshotName(seq), func(f File) error {
		var (
			off   int64
			count uint32
			buf   []byte
		)
		flush := func() error {
			_, err := f.WriteAt(buf, off)
			off += int64(len(buf))
			buf = buf[:0]
			return err
		}
		err := write(func(r *Record) (int64, error) {
			at := off + int64(len(buf))
			buf = appendRecord(buf, r, r.Seq)
			count++
			if len(buf) < 64<<10 {
				return at, nil
			}
			return at, flush()
		})
		if err != nil {
			return err
		}
		// The trailer says how many records there were: a snapshot without it does not count.
		n := binary.LittleEndian.AppendUint32(nil, count)
		buf = appendRecord(buf, &Record{Topic: []byte("end"), Payload: n}, seq)
		return flush()
	})
	if err != nil {
		return 0, nil, fmt.Errorf("snapshot: %w", err)
	}
	if snap, err = l.openSnapshot(seq); err != nil {
		return 0, nil, err
	}
	l.newestSnapshot.Store(seq)
	seqs := l.snapshots()
	for len(seqs) > keepSnapshots {
		if err := ignoreMissing(l.fs.Remove(snapshotName(seqs[0]))); err != nil {
			snap.Close()
			return 0, nil, err
		}
		seqs = seqs[1:]
	}
	return seqs[0] + 1, snap, nil
}

// snapshots lists the sequences of the snapshots, oldest first.
func (l *Log) snapshots() []uint64 {
	names, err := l.fs.List()
	if err != nil {
		return nil
	}
	var seqs []uint64
	for _, n := range names {
		if seq, ok := parseName(n, ".snap"); ok {
			seqs = append(seqs, seq)
		}
	}
	sort.Slice(seqs, func(i, j int) bool { return seqs[i] < seqs[j] })
	return seqs
}

// ReadSnapshot calls read for each record of the newest snapshot that is whole, with its offset,
// and returns the snapshot's sequence and the snapshot, to be closed; 0 and nil when there is none.
// It is an error if the only snapshots are ones that the system refuses to open. A record is valid
// during the call.
func (l *Log) ReadSnapshot(read func(r *Record, off int64) error) (uint64, *Snapshot, error) {
	seqs := l.snapshots()
	var unread error
	for i := len(seqs) - 1; i >= 0; i-- {
		name := snapshotName(seqs[i])
		if err := l.eachRecordOf(name, func(*Record, int64) error { return nil }); err != nil {
			if errors.Is(err, ErrFormat) {
				return 0, nil, fmt.Errorf("%s: %w", name, err)
			}
			if unreadable(err) {
				unread = errors.Join(unread, err)
			}
			l.damaged(name, err.Error())
			continue
		}
		if err := l.eachRecordOf(name, read); err != nil {
			return 0, nil, err
		}
		snap, err := l.openSnapshot(seqs[i])
		return seqs[i], snap, err
	}
	return 0, nil, unread
}

// eachRecord reads a snapshot file; it is an error when a record is damaged or the trailer missing.
func (l *Log) eachRecordOf(name string, read func(*Record, int64) error) error {
	f, err := l.fs.Open(name, false)
	if err != nil {
		return err
	}
	defer f.Close()
	return eachRecord(f, read)
}

func eachRecord(f File, read func(*Record, int64) error) error {
	size, err := f.Size()
	if err != nil {
		return err
	}
	s := &scanner{f: f, end: size}
	defer func() { giveChunk(s.back) }()
	var count uint32
	for {
		_, n, err := s.item()
		if err != nil {
			return err
		}
		if n == 0 {
			return errors.Join(io.ErrUnexpectedEOF, fmt.Errorf("snapshot is damaged at offset %d", s.off))
		}
		var r Record
		if err := decodeRecord(s.buf, &r, false); err != nil {
			return err
		}
		if r.Kind == 0 {
			if len(r.Payload) != 4 || binary.LittleEndian.Uint32(r.Payload) != count {
				return fmt.Errorf("snapshot is incomplete")
			}
			return nil
		}
		if err := read(&r, s.off); err != nil {
			return err
		}
		count++
		s.advance(n)
	}
}
