package fleet

// This file is defects that the simulation has to find, see bus/internal/seeds.

import (
	"flag"
	"testing"

	"github.com/postbus/postbus/bus/internal/seeds"
)

var simDefects = flag.Bool("sim.defects", false, "run TestSimulationFindsDefects, which builds the tests once a defect")

// defect is one way in which the code could be wrong.
type defect struct {
	name  string
	edits []edit
}

type edit struct{ file, old, new string }

var defects = []defect{
	{"the fold does not know what it has seen", []edit{
		{"../state.go", "b.acceptImport(r)", "true"},
		{"../import.go", "known && m.Record.Number <= seen", "known && seen == 0"},
		{"take.go", "if r.Seq <= seen || !m.takesFrom", "if seen == 0 && false || !m.takesFrom"},
		{"take.go", "	if g.Last <= seen {\n", "	if false {\n"},
	}},
	{"the exporter does not go back when the hub forgot", []edit{
		{"locate.go", "	case newest.Seq > 0:\n		s.next = done + 1\n", "	case kept != nil:\n		s.next = kept.Done + 1\n"},
	}},
	{"a place is trusted by its sequence", []edit{
		{"hub.go", "	return placeOf(info.Created, m) == p, nil", "	return m.Seq == p.Seq, nil"},
		{"hub.go", "	case p.Created != info.Created.UnixNano():\n		return false, nil\n", ""},
		{"hub.go", "	case p.Seq > info.Last:\n		return false, nil\n", ""},
	}},
	{"messages rely on a connection that was lost", []edit{
		{"model_test.go", "	if h.resets != resets {\n		return 0, stream.ErrRestarted\n	}\n", ""},
		{"model_test.go", "	if err == nil && !fresh {\n", "	if err != nil && !fresh {\n"},
	}},
	{"a new layout does not remember the one before", []edit{
		{"layout.go", "		if a.until == 0 || a.until > first {\n", "		if false {\n"},
	}},
	{"missing messages are not noticed", []edit{
		{"take.go", "	if before <= seen {\n		return seen, false", "	if true {\n		return max(seen, before), false"},
	}},
	{"the ends of lanes are not sent", []edit{
		{"offer.go", "		if p.Bus != x.o.Bus {\n", "		if true {\n"},
	}},
	{"the place is stored before what was left out", []edit{
		{"importer.go", "		if folded, ok := m.bus.SeenUpTo([]byte(key)); !ok || folded < number {\n", "		if false {\n"},
	}},
	{"values are offered whose events are not on the hub yet", []edit{
		{"offer.go", "		if r.Seq > done {\n			return true // the lane brings it\n		}\n", ""},
	}},
	{"nobody offers values", []edit{
		{"offer.go", "		if !offered {\n			if last, err", "		if false {\n			if last, err"},
	}},
	{"numbers are given again without notice", []edit{
		{"locate.go", "	if newest.Seq > 0 && l.until == 0 {\n", "	if false {\n"},
	}},
	{"what came from others is sent on", []edit{
		{"../own.go", "	return len(r.Lane) == 0 && !bytes.HasPrefix(r.Source, []byte(FleetSource))\n", "	return len(r.Lane) == 0 || bytes.HasPrefix(r.Source, []byte(FleetSource))\n"},
		{"take.go", "	case g.Epoch == m.bus.Epoch(): // this bus's own\n", "	case false:\n"},
	}},
	{"a late writer of a retained value wins by its arrival", []edit{
		{"../stamps.go", "	case st.at != 0 && st.compare(before) < 0:\n", "	case false:\n"},
	}},
	{"an exporter that is not sure sends a lane from its beginning only", []edit{
		{"share.go", "st = &laneState{floor: s.unsure}", "st = &laneState{}"},
	}},
}

// TestSimulationFindsDefects checks that each defect can still be planted, and with -sim.defects that it is found.
func TestSimulationFindsDefects(t *testing.T) {
	if *simDefects {
		seeds.Plant(t).Pass(20)
	}
	for _, d := range defects {
		t.Run(d.name, func(t *testing.T) {
			planted := seeds.Plant(t)
			for _, e := range d.edits {
				planted.Edit(e.file, e.old, e.new)
			}
			if *simDefects {
				planted.Find(20_000)
			}
		})
	}
}
