package hour

// This file reads segments of the journal by itself, and damages them. It shares no code with the journal, so
// that a fault there is found.

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// stored is a record of a segment.
type stored struct {
	seq            uint64
	from, to       int // bytes of the file
	event          bool
	topic, payload string
}

// segment is a file of the journal.
type segment struct {
	file    string
	base    uint64
	records []stored
}

const (
	headerSize = 64 // of a segment
	groupSize  = 40
	recordSize = 40
	groupWord  = 0x32474250
	kindEvent  = 1
)

var crcTable = crc32.MakeTable(crc32.Castagnoli)

// scan reads the records of a segment that is not damaged.
func scan(b []byte) (list []stored) {
	le := binary.LittleEndian
	for at := headerSize; at+recordSize <= len(b); {
		if le.Uint32(b[at:]) == groupWord {
			at += groupSize
			continue
		}
		n := int(le.Uint32(b[at+4:]))
		if n < recordSize || at+n > len(b) || crc32.Checksum(b[at+4:at+n], crcTable) != le.Uint32(b[at:]) {
			return list
		}
		r := b[at : at+n]
		s := stored{seq: le.Uint64(r[8:]), from: at, to: at + n, event: r[24] == kindEvent}
		source, topic, fields := int(le.Uint16(r[32:])), int(le.Uint16(r[34:])), le.Uint32(r[36:])
		rest := r[recordSize:]
		for _, bit := range []int{31, 30} { // fields of 8 bytes
			if fields>>bit&1 != 0 {
				rest = rest[8:]
			}
		}
		s.topic = string(rest[source : source+topic])
		s.payload = string(rest[source+topic+int(fields&(1<<29-1)):])
		list = append(list, s)
		at += n
	}
	return list
}

// segmentsOf reads all segments of a journal that is closed.
func segmentsOf(dir string) (list []segment, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		if len(b) > headerSize { // its name may be another's by now
			list = append(list, segment{f, binary.LittleEndian.Uint64(b[32:]), scan(b)})
		}
	}
	slices.SortFunc(list, func(a, b segment) int { return cmp.Compare(a.base, b.base) })
	return list, nil
}

// snapshotAt is the sequence of the newest snapshot.
func snapshotAt(dir string) (at uint64, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.snap"))
	if err != nil || len(files) == 0 {
		return 0, errors.Join(err, errors.New("the journal has no snapshot"))
	}
	return strconv.ParseUint(strings.TrimSuffix(filepath.Base(slices.Max(files)), ".snap"), 10, 64)
}

// harm is one way to damage a segment. It returns the records that are in no file any more.
type harm struct {
	name string
	do   func(r *rand.Rand, s *segment, other *segment) ([]stored, error)
}

var harms = []harm{
	{"a bit flips", func(r *rand.Rand, s *segment, _ *segment) ([]stored, error) {
		var events []stored
		for _, x := range s.records {
			if x.event {
				events = append(events, x)
			}
		}
		hit := events[r.IntN(len(events))]
		b, err := os.ReadFile(s.file)
		if err != nil {
			return nil, err
		}
		b[hit.from+r.IntN(hit.to-hit.from)] ^= 1 << r.IntN(8)
		return []stored{hit}, os.WriteFile(s.file, b, 0o600)
	}},
	{"the file is removed", func(_ *rand.Rand, s *segment, _ *segment) ([]stored, error) {
		return s.records, os.Remove(s.file)
	}},
	{"the file is cut", func(r *rand.Rand, s *segment, _ *segment) ([]stored, error) {
		from := r.IntN(len(s.records))
		hit := s.records[from]
		return s.records[from:], os.Truncate(s.file, int64(hit.from+r.IntN(hit.to-hit.from)))
	}},
	{"the file is emptied", func(_ *rand.Rand, s *segment, _ *segment) ([]stored, error) {
		return s.records, os.Truncate(s.file, 0)
	}},
	{"two files are swapped", func(_ *rand.Rand, s *segment, other *segment) ([]stored, error) {
		between := s.file + ".between"
		return nil, errors.Join(os.Rename(s.file, between), os.Rename(other.file, s.file), os.Rename(between, other.file))
	}},
}

// spansOf is the stretches of sequences that lost records took with them: up to their neighbours that are left,
// because a failed write uses up sequences.
func spansOf(segs []segment, index int, lost []stored) (list []span) {
	s := segs[index]
	gone := map[uint64]bool{}
	for _, r := range lost {
		gone[r.seq] = true
	}
	before, open := s.base-1, false
	for _, r := range s.records {
		if gone[r.seq] {
			open = true
			continue
		}
		if open {
			list, open = append(list, span{before + 1, r.seq - 1}), false
		}
		before = r.seq
	}
	if open {
		end := s.records[len(s.records)-1].seq
		if index+1 < len(segs) {
			end = max(end, segs[index+1].base-1)
		}
		list = append(list, span{before + 1, end})
	}
	return list
}

// damageSome damages a segment before the newest snapshot in one way, and enters it in the ledger. It returns what
// it did; "" if no segment is fit.
func damageSome(r *rand.Rand, l *ledger, dir string, how harm) (string, error) {
	segs, err := segmentsOf(dir)
	if err != nil {
		return "", err
	}
	end, err := snapshotAt(dir)
	if err != nil {
		return "", err
	}
	var fit, others []int
	for i, s := range segs {
		n := len(s.records)
		if n == 0 {
			continue
		}
		others = append(others, i)
		next := uint64(math.MaxUint64)
		if i+1 < len(segs) {
			next = segs[i+1].base
		}
		if l.damagedIn(s.base, next) { // scan ends at a damaged record: what is behind it would not be known
			continue
		}
		if s.records[n-1].seq <= end && slices.ContainsFunc(s.records, func(x stored) bool { return x.event }) {
			fit = append(fit, i)
		}
	}
	if len(fit) < 1 || len(others) < 2 {
		return "", nil
	}
	index, other := fit[r.IntN(len(fit))], others[r.IntN(len(others))]
	for other == index {
		other = others[r.IntN(len(others))]
	}
	seg := &segs[index]
	lost, err := how.do(r, seg, &segs[other])
	if err != nil {
		return "", err
	}
	spans := spansOf(segs, index, lost)
	l.damage(spans, lost)
	events := 0
	for _, x := range lost {
		if x.event {
			events++
		}
	}
	return fmt.Sprintf("%s: %s, %d records with %d events, sequences %v", filepath.Base(seg.file), how.name, len(lost), events, spans), nil
}
