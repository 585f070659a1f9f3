package bus

// This file is what happens to the files of the simulated bus between two lives: segments vanish, are
// emptied, cut, or get each other's names, and meta.json is lost.

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/postbus/postbus/bus/journal"
)

// vandalize damages files of a bus that does not run.
func (s *sim) vandalize() {
	closed := bytes.Contains(s.disk.Content("meta.json"), []byte(`"closed":true`)) // which a full disk prevents
	names, err := s.disk.List()
	if err != nil {
		s.fail("list: %v", err)
	}
	var segs []string
	snapshot := uint64(0) // what lies before it costs events, and no state
	for _, n := range names {
		switch base := seqOf(n); {
		case strings.HasSuffix(n, ".seg"):
			b := s.disk.Content(n) // without a header it was being made
			if len(b) >= 64 && binary.LittleEndian.Uint32(b[12:]) == crc32.Checksum(b[16:64], crc32.MakeTable(crc32.Castagnoli)) {
				segs = append(segs, n)
			}
		case strings.HasSuffix(n, ".snap"):
			snapshot = max(snapshot, base)
		}
	}
	if len(segs) == 0 {
		return
	}
	lost := map[uint64]bool{} // sequences that were durable
	last := len(segs) - 1
	content, limit := map[string][]byte{}, map[string]uint64{}
	for i, n := range segs {
		content[n], limit[n] = s.disk.Content(n), s.bus.journal.Durable()
		if next := i + 1; next <= last {
			limit[n] = binary.LittleEndian.Uint64(s.disk.Content(segs[next])[40:]) // what its header says of this one
		}
	}
	lose := func(name string, from int) {
		for _, r := range recordsOf(content[name]) {
			if r.end > from && r.seq <= limit[name] {
				lost[r.seq] = true
			}
		}
	}
	pick := func() int { return s.rnd.IntN(len(segs)) }
	if s.chance(70) { // only what the newest snapshot covers
		covered := 0
		for covered < last && seqOf(segs[covered+1])-1 <= snapshot {
			covered++
		}
		if covered == 0 {
			return
		}
		pick = func() int { return s.rnd.IntN(covered) }
	}
	switch n := s.rnd.IntN(100); {
	case n < 45:
		for range 1 + s.rnd.IntN(3) {
			i := pick()
			if s.disk.Content(segs[i]) == nil {
				continue
			}
			lose(segs[i], 0)
			if s.log("%s vanishes", segs[i]); s.chance(30) {
				s.disk.Lose(strings.Replace(segs[i], ".seg", ".idx", 1))
			}
			s.disk.Lose(segs[i])
		}
	case n < 60:
		i := pick()
		lose(segs[i], 0)
		s.log("%s is emptied", segs[i])
		s.disk.Cut(segs[i], 0)
	case n < 75:
		i := pick()
		if i == last && !closed {
			return // it looks like a torn end
		}
		all := recordsOf(content[segs[i]])
		if len(all) == 0 {
			return
		}
		at := all[s.rnd.IntN(len(all))].end
		lose(segs[i], at)
		s.log("%s is cut at offset %d", segs[i], at)
		s.disk.Cut(segs[i], at)
	case n < 90:
		a, b := s.rnd.IntN(len(segs)), s.rnd.IntN(len(segs))
		s.log("%s and %s get each other's names", segs[a], segs[b])
		s.disk.Swap(segs[a], segs[b])
	default:
		s.log("meta.json vanishes")
		s.disk.Lose("meta.json")
	}
	if b := s.disk.Content(segs[last]); len(b) < 64 && !closed {
		s.over, s.later = true, nil // nothing says how many records were in it
	}
	m := &s.model
	for _, seq := range slices.Sorted(maps.Keys(lost)) {
		if seq > snapshot { // sessions, filters and positions are lost with it
			s.over, s.later = true, nil
		}
		m.missing = append(m.missing, seq)
		m.corrupted = true
		m.damage(seq)
	}
	for _, n := range segs { // the newest may have a torn end, which is cut
		b := s.disk.Content(n)
		for name, c := range content {
			if bytes.Equal(b, c) { // it may be the newest now: what was never durable in it is a torn end, too
				b = durablePart(c, limit[name])
			}
		}
		if len(recordsOf(b)) > 0 && !bytes.Equal(s.disk.Content(n), content[segs[last]]) {
			s.files = append(s.files, bytes.TrimRight(b, "\x00"))
		}
	}
}

// durablePart is the beginning of a segment, up to its last record that is not behind a sequence.
func durablePart(b []byte, limit uint64) []byte {
	end := 0
	for _, r := range recordsOf(b) {
		if r.seq <= limit {
			end = r.end
		}
	}
	return b[:end]
}

type simRecord struct {
	seq uint64
	end int // offset
}

// records lists the records of a segment.
func recordsOf(b []byte) (list []simRecord) {
	le := binary.LittleEndian
	for off := 64; off+40 <= len(b); {
		n := 40 // a group's header
		if le.Uint32(b[off:]) != 0x32474250 {
			if n = int(le.Uint32(b[off+4:])); n < 40 || off+n > len(b) {
				break
			}
			list = append(list, simRecord{le.Uint64(b[off+8:]), off + n})
		}
		off += n
	}
	return list
}

// unlinkActive removes the newest segment under the running bus, which has it open and writes it again. What
// is acknowledged meanwhile and later must not be lost.
func (s *sim) unlinkActive() {
	if s.options.Durability > 0 {
		return // events are acknowledged that the model can't read yet
	}
	s.healDisk()
	s.settle(2 * time.Second) // a disk that failed works again
	names, err := s.disk.List()
	if err != nil {
		s.fail("list: %v", err)
	}
	newest := ""
	for _, n := range names {
		if strings.HasSuffix(n, ".seg") {
			newest = n
		}
	}
	s.log("%s vanishes under the bus", newest)
	s.faults = true // publishes are refused meanwhile
	s.disk.Lose(newest)
	for range 3 + s.rnd.IntN(5) {
		if c := s.clients[s.rnd.IntN(len(s.clients))]; c.conn != nil && !c.busy {
			c.publish(1 + s.rnd.IntN(3))
		}
		time.Sleep(time.Duration(s.rnd.IntN(100)) * time.Millisecond)
		s.poll()
	}
	for range 10 {
		s.settle(500 * time.Millisecond)
	}
	if err := s.bus.journal.Err(); err != nil {
		s.fail("a bus whose newest file vanished continues by itself: %v", err)
	}
}

// checkFiles demands that what somebody may want to look at is still there, under some name.
func (s *sim) checkFiles() {
	s.checkHoles()
	files := s.files
	s.files = nil
	if len(files) == 0 || s.failed() {
		return
	}
	names, err := s.disk.List()
	if err != nil {
		s.fail("list: %v", err)
	}
	for _, b := range files {
		if !slices.ContainsFunc(names, func(n string) bool { return bytes.HasPrefix(s.disk.Content(n), b) }) {
			s.fail("no file is deleted that is not empty: one of %d bytes is gone; there are%s", len(b), s.segments())
		}
	}
}

// checkHoles demands that what is missing is called so, where retention could not have taken it.
func (s *sim) checkHoles() {
	holes := s.bus.journal.Holes()
	for _, seq := range s.model.missing {
		if seq >= s.bus.journal.First() && !slices.ContainsFunc(holes, func(h journal.Hole) bool { return h.From <= seq && seq <= h.To }) {
			s.fail("what is missing is reported: %d is not in %v; the journal has the segments%s", seq, holes, s.segments())
		}
	}
}

func seqOf(name string) (seq uint64) {
	for _, c := range name[:min(20, len(name))] {
		seq = seq*10 + uint64(c-'0')
	}
	return seq
}
