package journal

// This file walks the bytes of one segment from record to record, and finds the next good one
// behind damage.

import (
	"bytes"
	"errors"
	"io"
	"sync"
)

// scanChunk is the size of a reader's buffer for a segment on disk, unless one record is larger.
const scanChunk = 64 << 10

// scanner reads the items of a segment's bytes [off, end).
type scanner struct {
	f    io.ReaderAt
	off  int64  // of the next item
	end  int64  // nothing is read from here on
	min  uint64 // lower sequences are not records of this segment
	buf  []byte // bytes from off on that are read already
	back []byte // the slice that contains buf, kept for its capacity
	// proven is set by next if a group header followed the last damage, or if there was no damage:
	// all bytes before that header had been durable.
	proven bool
	group  int64 // offset of the last group header
}

var zeros [4096]byte

// chunks are buffers that no reader uses.
var chunks = sync.Pool{New: func() any { return new([scanChunk]byte) }}

func takeChunk(size int) []byte {
	if size > scanChunk {
		return make([]byte, size)
	}
	return chunks.Get().(*[scanChunk]byte)[:]
}

func giveChunk(b []byte) {
	if cap(b) == scanChunk {
		chunks.Put((*[scanChunk]byte)(b[:scanChunk]))
	}
}

// want makes buf hold at least n bytes where the segment has them.
func (s *scanner) want(n int) error {
	if len(s.buf) >= n {
		return nil
	}
	size := max(n, scanChunk)
	if left := s.end - s.off; int64(size) > left {
		size = int(left)
	}
	if size <= len(s.buf) {
		return nil
	}
	if cap(s.back) < size {
		b := takeChunk(size)
		copy(b, s.buf)
		s.back = b
	} else {
		copy(s.back[:cap(s.back)], s.buf)
	}
	have := len(s.buf)
	n, err := s.f.ReadAt(s.back[have:size], s.off+int64(have))
	s.buf = s.back[:have+n]
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

func (s *scanner) advance(n int) {
	s.buf = s.buf[n:]
	s.off += int64(n)
}

// item reports what starts buf: the length of a group header, that of a record, or neither. A
// record's checksum has been compared. The error is errNewer for a record that is whole.
func (s *scanner) item() (group, rec int, err error) {
	if err := s.want(recordHeader); err != nil {
		return 0, 0, err
	}
	if n := groupHeaderLen(s.buf); n > 0 {
		return n, 0, nil
	}
	n := recordLen(s.buf)
	if n == 0 || int64(n) > s.end-s.off || recordSeq(s.buf) < s.min {
		return 0, 0, nil
	}
	if err := s.want(n); err != nil {
		return 0, 0, err
	}
	var r Record
	if len(s.buf) < n {
		return 0, 0, nil
	}
	switch err := decodeRecord(s.buf, &r, true); {
	case errors.Is(err, errNewer):
		return 0, 0, err
	case err != nil:
		return 0, 0, nil
	}
	return 0, n, nil
}

// next returns the bytes of the next record, valid until the following call, and how many bytes of
// damage were passed before it. At the end it returns io.EOF; skipped then counts what is left and
// is not zero.
func (s *scanner) next() (rec []byte, skipped int64, err error) {
	s.proven = false
	for {
		group, n, err := s.item()
		switch {
		case err != nil && !(errors.Is(err, errNewer) && skipped > 0): // behind damage it may be a payload's bytes
			return nil, skipped, err
		case group > 0:
			s.group = s.off
			s.advance(group)
			s.proven = true
		case n > 0:
			rec = s.buf[:n]
			s.min = recordSeq(rec) + 1
			s.advance(n)
			return rec, skipped, nil
		case s.off >= s.end || len(s.buf) == 0:
			return nil, skipped, io.EOF
		default:
			s.proven = false
			passed, end, err := s.resync()
			if err != nil {
				return nil, skipped, err
			}
			if end {
				return nil, skipped + passed, io.EOF
			}
			skipped += passed
		}
	}
}

// resync moves to the next offset at which an item could start, or to the end; it reports how many
// bytes up to the last that is not zero it passed.
func (s *scanner) resync() (passed int64, end bool, err error) {
	var run int64 // zeros since the last other byte
	for first := true; ; first = false {
		if err := s.want(recordHeader); err != nil {
			return 0, false, err
		}
		if len(s.buf) == 0 {
			return passed, true, nil
		}
		if !first && (groupHeaderLen(s.buf) > 0 || s.plausible()) {
			return passed + run, false, nil
		}
		// The preallocated end of a segment is zero: skip it in strides.
		if n := min(len(s.buf), len(zeros)); n > recordHeader && bytes.Equal(s.buf[:n], zeros[:n]) {
			n -= recordHeader
			s.advance(n)
			run += int64(n)
			continue
		}
		if s.buf[0] == 0 {
			run++
		} else {
			passed += run + 1
			run = 0
		}
		s.advance(1)
	}
}

// plausible is a cheap test of the header before the costly checksum.
func (s *scanner) plausible() bool {
	n := recordLen(s.buf)
	return n != 0 && int64(n) <= s.end-s.off && recordSeq(s.buf) >= s.min && recordSeq(s.buf)-s.min < 1<<32
}
