package journal

// This file keeps snapshots: the folded state as of a sequence, written as a list of records, so
// that a start replays only what came after.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"
)

// snapshots to keep: when the newest is damaged the one before still stands.
const keepSnapshots = 2

func snapshotName(seq uint64) string { return fmt.Sprintf("%020d.snap", seq) }

// WriteSnapshot makes the state as of seq durable: write calls emit for each record of it. Older
// snapshots but one are removed. It returns the sequence from which the journal must be kept.
func (l *Log) WriteSnapshot(seq uint64, write func(emit func(*Record) error) error) (floor uint64, err error) {
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
		err := write(func(r *Record) error {
			buf = appendRecord(buf, r)
			count++
			if len(buf) < 64<<10 {
				return nil
			}
			return flush()
		})
		if err != nil {
			return err
		}
		// The trailer says how many records there were: a snapshot without it does not count.
		n := binary.LittleEndian.AppendUint32(nil, count)
		buf = appendRecord(buf, &Record{Seq: seq, Topic: []byte("end"), Payload: n})
		return flush()
	})
	if err != nil {
		return 0, fmt.Errorf("snapshot: %w", err)
	}
	seqs := l.snapshots()
	for len(seqs) > keepSnapshots {
		if err := ignoreMissing(l.fs.Remove(snapshotName(seqs[0]))); err != nil {
			return 0, err
		}
		seqs = seqs[1:]
	}
	return seqs[0] + 1, nil
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

// ReadSnapshot calls read for each record of the newest snapshot that is whole, and returns its
// sequence; 0 when there is none. It is an error when there is none but one that the system does not
// let be read. A record is valid during the call.
func (l *Log) ReadSnapshot(read func(*Record) error) (uint64, error) {
	seqs := l.snapshots()
	var unread error
	for i := len(seqs) - 1; i >= 0; i-- {
		name := snapshotName(seqs[i])
		if err := l.eachRecord(name, func(*Record) error { return nil }); err != nil {
			if unreadable(err) {
				unread = errors.Join(unread, err)
			}
			l.damaged(name, err.Error())
			continue
		}
		return seqs[i], l.eachRecord(name, read)
	}
	return 0, unread
}

// eachRecord reads a snapshot file; it is an error when a record is damaged or the trailer missing.
func (l *Log) eachRecord(name string, read func(*Record) error) error {
	f, err := l.fs.Open(name, false)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return err
	}
	s := &scanner{f: f, end: size}
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
		if err := read(&r); err != nil {
			return err
		}
		count++
		s.advance(n)
	}
}
