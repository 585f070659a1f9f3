package journal

// This file finds the segments of a directory: by their headers, whatever their files are called. A file
// is deleted only when there is nothing behind its header but zeros.

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sort"
)

// movedExt is of a segment whose right name was taken when it was found under a wrong one.
const movedExt = ".seg.moved"

// findSegments lists the segments by their sequences, after it gave misnamed ones their names.
func (l *Log) findSegments() ([]*segment, error) {
	names, err := l.fs.List()
	if err != nil {
		return nil, err
	}
	var segs []*segment
	var strays []misnamed
	for _, name := range names {
		base, ok := parseName(name, ".seg")
		if !ok {
			if base, ok = parseName(name, movedExt); !ok {
				continue
			}
		}
		b, size, err := l.readHeader(name)
		if err != nil {
			return nil, err // which may pass; a journal without it would use its sequences again
		}
		h, err := decodeSegmentHeader(b)
		switch {
		case err == nil && h.epoch != l.epoch:
			l.damaged(name, fmt.Sprintf("segment belongs to another journal (epoch %x)", h.epoch))
			if _, err := l.setAside(name); err != nil {
				return nil, err
			}
		case err == nil:
			seg := newSegment(h.base, h.prev)
			seg.file = size
			if name == segmentName(h.base) {
				segs = append(segs, seg)
			} else {
				strays = append(strays, misnamed{seg, name})
			}
		default:
			seg, err := l.withoutHeader(name, base, size)
			if err != nil {
				return nil, err
			}
			if seg != nil {
				segs = append(segs, seg)
			}
		}
	}
	if len(strays) > 0 {
		if segs, err = l.restoreNames(segs, strays); err != nil {
			return nil, err
		}
	}
	sort.Slice(segs, func(i, j int) bool { return segs[i].base < segs[j].base })
	return segs, nil
}

// misnamed is a segment whose file has another name than its header says.
type misnamed struct {
	*segment
	name string
}

// restoreNames renames segments to what their headers say, and returns all that are to be used. Two that
// have each other's name go through a third, which the next start finds when this one crashes in between.
func (l *Log) restoreNames(segs []*segment, strays []misnamed) ([]*segment, error) {
	taken := map[uint64]bool{}
	for _, s := range segs {
		taken[s.base] = true
	}
	var renamed []misnamed
	for _, s := range strays {
		_, hasName := parseName(s.name, ".seg") // of another segment; otherwise it is on its way
		if taken[s.base] {
			l.log.Error("a file holds a segment that is there under its own name too; it is not used", "file", s.name, "from_seq", s.base)
			if hasName {
				if _, err := l.setAside(s.name); err != nil {
					return nil, err
				}
			}
			continue
		}
		taken[s.base] = true
		l.log.Error("a segment of the journal had another name than its header says, and was renamed", "file", s.name, "to", segmentName(s.base))
		if hasName {
			between := segmentName(s.base) + ".moved"
			if err := l.fs.Rename(s.name, between); err != nil {
				return nil, err
			}
			s.name = between
		}
		renamed = append(renamed, s)
	}
	if len(renamed) > 0 { // otherwise a power cut could undo one of the renames above and keep one of those below
		if err := l.fs.SyncDir(); err != nil {
			return nil, err
		}
	}
	for _, s := range renamed {
		if err := l.fs.Rename(s.name, segmentName(s.base)); err != nil {
			return nil, err
		}
		segs = append(segs, s.segment)
	}
	return segs, l.fs.SyncDir()
}

// withoutHeader decides about a file without a good header: it is a segment when there are records in it,
// which are as good as they are; it is deleted when there are only zeros, because the header is synced
// before the first record is written: the crash came while the segment was being made. Otherwise it is
// set aside.
func (l *Log) withoutHeader(name string, base uint64, size int64) (*segment, error) {
	f, err := l.fs.Open(name, false)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	blank, err := zerosFrom(f, segmentHeader)
	if err != nil {
		return nil, err
	}
	if blank {
		return nil, l.fs.Remove(name)
	}
	l.damaged(name, errHeader.Error())
	s := &scanner{f: f, off: min(segmentHeader, size), end: size, min: base}
	defer func() { giveChunk(s.back) }()
	if _, _, err = s.next(); err == nil && name == segmentName(base) {
		seg := newSegment(base, base-1)
		seg.file = size
		return seg, nil
	} else if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	_, err = l.setAside(name)
	return nil, err
}

// zerosFrom reports whether nothing but zeros is in a file from an offset on.
func zerosFrom(f io.ReaderAt, off int64) (bool, error) {
	b := make([]byte, len(zeros))
	for {
		n, err := f.ReadAt(b, off)
		if !bytes.Equal(b[:n], zeros[:n]) {
			return false, nil
		}
		off += int64(n)
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// readHeader reads the bytes of a header, fewer where the file is shorter, and the size of the file.
func (l *Log) readHeader(name string) (b []byte, size int64, err error) {
	f, err := l.fs.Open(name, false)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	if size, err = f.Size(); err != nil {
		return nil, 0, err
	}
	b = make([]byte, segmentHeader)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, err
	}
	return b[:n], size, nil
}
