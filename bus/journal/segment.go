package journal

// This file is one segment: its header, its sparse index and its summary of topics, and the file
// beside a sealed segment that keeps the two.

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sort"
)

const (
	segmentHeader  = 64
	indexEvery     = 64 << 10 // bytes between two entries of the sparse index
	maxTopicsNamed = 1024     // a segment with more topics has no summary and is always read
)

var segmentMagic = [8]byte{'p', 'o', 's', 't', 'b', 'u', 's', 'j'}

// indexEntry says that the record Seq, accepted at Time, is at Off or behind it.
type indexEntry struct {
	Seq  uint64 `json:"s"`
	Time int64  `json:"t"`
	Off  int64  `json:"o"`
	// Topics is a summary of the events from here to the next entry; nil when it is not known.
	Topics *topicSet `json:"b,omitempty"`
}

// segment describes one file. It is immutable once sealed; while it is active only
// the writer changes it, under Log.mu.
type segment struct {
	base  uint64 // the first sequence it may hold
	prev  uint64 // the last durable sequence before it: later records of older segments do not count
	last  uint64 // the last durable sequence in it; base-1 when empty
	size  int64  // bytes that count
	first int64  // time of the first record; 0 when empty
	end   int64  // greatest time in it
	index []indexEntry
	// topics are the topics of its events; nil in an active segment and where there are too many.
	topics  map[string]struct{}
	full    bool // more topics than maxTopicsNamed
	sealed  bool
	missing bool  // it is a hole: its records are in no file
	file    int64 // size of the file when the journal was opened
}

func segmentName(base uint64) string { return fmt.Sprintf("%020d.seg", base) }
func indexName(base uint64) string   { return fmt.Sprintf("%020d.idx", base) }

func newSegment(base, prev uint64) *segment {
	return &segment{base: base, prev: prev, last: base - 1, size: segmentHeader, topics: map[string]struct{}{}}
}

// encodeHeader is the first 64 bytes of the file.
func (s *segment) encodeHeader(epoch [16]byte) []byte {
	b := make([]byte, segmentHeader)
	le := binary.LittleEndian
	copy(b, segmentMagic[:])
	le.PutUint32(b[8:], formatVersion)
	copy(b[16:32], epoch[:])
	le.PutUint64(b[32:], s.base)
	le.PutUint64(b[40:], s.prev)
	le.PutUint32(b[12:], crc32.Checksum(b[16:], castagnoli))
	return b
}

var errHeader = errors.New("segment header is damaged")

type segmentHead struct {
	format     uint32
	epoch      [16]byte
	base, prev uint64
}

func decodeSegmentHeader(b []byte) (h segmentHead, err error) {
	le := binary.LittleEndian
	if len(b) < segmentHeader || [8]byte(b[:8]) != segmentMagic || le.Uint32(b[12:]) != crc32.Checksum(b[16:segmentHeader], castagnoli) {
		return h, errHeader
	}
	return segmentHead{le.Uint32(b[8:]), [16]byte(b[16:32]), le.Uint64(b[32:]), le.Uint64(b[40:])}, nil
}

// add notes a record that is at off.
func (s *segment) add(r *Record, off int64) {
	if n := len(s.index); n == 0 || off-s.index[n-1].Off >= indexEvery {
		s.index = append(s.index, indexEntry{r.Seq, s.end, off, new(topicSet)})
		if n == 0 {
			s.index[0].Time = r.Time
		}
	}
	if s.first == 0 {
		s.first = r.Time
	}
	s.end = max(s.end, r.Time)
	if t := s.index[len(s.index)-1].Topics; t != nil && r.Kind.Event() {
		t.add(r.Topic)
	}
	if r.Kind.Event() && !s.full {
		if _, ok := s.topics[string(r.Topic)]; !ok {
			if len(s.topics) >= maxTopicsNamed {
				s.topics, s.full = nil, true
			} else {
				s.topics[string(r.Topic)] = struct{}{}
			}
		}
	}
}

// seek returns an offset at or before the record seq.
func (s *segment) seek(seq uint64) int64 {
	i := sort.Search(len(s.index), func(i int) bool { return s.index[i].Seq > seq })
	if i == 0 {
		return segmentHeader
	}
	return s.index[i-1].Off
}

// damagedHere notes that what follows the last entry of the index is not known.
func (s *segment) damagedHere() {
	s.topics, s.full = nil, true
	if n := len(s.index); n > 0 {
		s.index[n-1].Topics = nil
	}
}

// skip returns the offset and the sequence behind the stretch that holds seq, when no event in it
// has one of the prefixes and its records lie before the sequence until.
func (s *segment) skip(seq, until uint64, prefixes []Prefix) (off int64, next uint64, ok bool) {
	i := sort.Search(len(s.index), func(i int) bool { return s.index[i].Seq > seq })
	for ; i > 0 && i < len(s.index) && s.index[i].Seq <= until && !s.index[i-1].Topics.mayHold(prefixes); i++ {
		off, next, ok = s.index[i].Off, s.index[i].Seq, true
	}
	if i > 0 && i == len(s.index) && s.sealed && s.last <= until && !s.index[i-1].Topics.mayHold(prefixes) {
		off, next, ok = s.size, s.last+1, true
	}
	return off, next, ok
}

// indexFile is the sidecar of a sealed segment.
type indexFile struct {
	Base, Last uint64
	Size       int64
	First, End int64
	Index      []indexEntry
	Topics     []string
	Full       bool
}

func (s *segment) encodeIndex() ([]byte, error) {
	f := indexFile{Base: s.base, Last: s.last, Size: s.size, First: s.first, End: s.end, Index: s.index, Full: s.full}
	for t := range s.topics {
		f.Topics = append(f.Topics, t)
	}
	sort.Strings(f.Topics)
	b, err := json.Marshal(f)
	if err != nil {
		return nil, err
	}
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)), nil
}

// decodeIndex fills a sealed segment from its sidecar; on an error the segment must be read.
func (s *segment) decodeIndex(b []byte) error {
	if len(b) < 4 {
		return io.ErrUnexpectedEOF
	}
	sum := binary.LittleEndian.Uint32(b[len(b)-4:])
	b = b[:len(b)-4]
	if crc32.Checksum(b, castagnoli) != sum {
		return fmt.Errorf("checksum does not match")
	}
	var f indexFile
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	if f.Base != s.base {
		return fmt.Errorf("index of another segment")
	}
	s.last, s.size, s.first, s.end, s.index, s.full = f.Last, f.Size, f.First, f.End, f.Index, f.Full
	s.topics = nil
	if !f.Full {
		s.topics = make(map[string]struct{}, len(f.Topics))
		for _, t := range f.Topics {
			s.topics[t] = struct{}{}
		}
	}
	s.sealed = true
	return nil
}

// wants reports whether the sealed segment may hold an event that match accepts. Records of other
// kinds are not asked about.
func (s *segment) wants(match func(topic []byte) bool) bool {
	if !s.sealed || s.full || s.topics == nil {
		return true
	}
	for t := range s.topics {
		if match([]byte(t)) {
			return true
		}
	}
	return false
}
