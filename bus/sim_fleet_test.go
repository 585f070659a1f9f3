package bus

// This file is another bus in the simulation, whose events are imported: in portions that overlap, begin
// again far back, and hold repeats. The model wants each number once, in their order.

import (
	"fmt"
	"math/rand/v2"

	"github.com/postbus/postbus/bus/journal"
)

// simFar is what the simulation knows of the other bus.
type simFar struct {
	rnd     *rand.Rand  // its own, so that a seed's other steps are as without it; nil: there is no other bus
	last    uint64      // number that it has published
	place   uint64      // number up to which imports are acknowledged
	pending []simImport // whose fate is not known
}

type simImport struct {
	commit Pending
	last   uint64
}

const farSource = FleetSource + "far/writer"

// importSome imports the next events of the other bus, and some again.
func (s *sim) importSome() {
	f := &s.far
	s.collectImports()
	from := f.place + 1
	switch n := f.rnd.IntN(100); {
	case n < 10:
		from = 1 // the hub forgot
	case n < 60:
		from -= min(from-1, uint64(f.rnd.IntN(6)))
	}
	f.last += uint64(f.rnd.IntN(4))
	var list []Imported
	number := from
	for ; number <= f.last && len(list) < 40; number++ {
		list = append(list, farEvent(number))
		if f.rnd.IntN(100) < 15 {
			list = append(list, farEvent(number))
		}
	}
	if len(list) == 0 {
		return
	}
	commit, err := s.bus.Import(list...)
	if err != nil {
		s.log("import of %d to %d is refused: %v", from, number-1, err)
		return
	}
	s.log("import of %d to %d", from, number-1)
	f.pending = append(f.pending, simImport{commit, number - 1})
}

func farEvent(number uint64) Imported {
	return Imported{What: ImportEvent, Bus: "far", Record: journal.Record{Flags: byte(number % 3), Expiry: journal.NoExpiry, Source: []byte("writer"),
		Topic: fmt.Append(nil, "n/", number%4), Payload: fmt.Appendf(nil, "far %05d", number), Lane: []byte("0123456789abcdef/"), Number: number}}
}

// collectImports learns the fate of imports.
func (s *sim) collectImports() {
	var open []simImport
	for _, p := range s.far.pending {
		select {
		case <-p.commit.Done():
			if p.commit.Err() == nil {
				s.far.place = max(s.far.place, p.last)
			}
		default:
			open = append(open, p)
		}
	}
	s.far.pending = open
}

// addImported takes over an event of the other bus that counts.
func (m *model) addImported(r *journal.Record) {
	if string(r.Source) != farSource {
		return
	}
	if !m.corrupted && len(m.missing) == 0 && r.Number != m.far+1 {
		m.s.fail("each event of another bus counts once, in its order: %d came after %d", r.Number, m.far)
	}
	m.far = r.Number
}

// checkImports wants what was acknowledged to the other bus.
func (s *sim) checkImports() {
	s.collectImports()
	if s.model.corrupted || len(s.model.missing) > 0 {
		return
	}
	if s.model.far < s.far.place {
		s.fail("what was acknowledged to another bus is here: %d was, %d is the last", s.far.place, s.model.far)
	}
	if seen, _ := s.bus.SeenUpTo([]byte("0123456789abcdef/")); seen != s.model.far {
		s.fail("a bus knows what it has of another: seen up to %d, and %d is the last", seen, s.model.far)
	}
}
