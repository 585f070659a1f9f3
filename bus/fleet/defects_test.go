package fleet

// This file breaks the code on purpose and demands that the simulation notices: a simulation that finds nothing
// proves nothing. The broken files replace the real ones by go's -overlay.

import (
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
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
	seed := regexp.MustCompile(`(?m)seed (\d+): (.*)$`)
	for _, d := range defects {
		t.Run(d.name, func(t *testing.T) {
			dir := t.TempDir()
			overlay := struct{ Replace map[string]string }{map[string]string{}}
			texts := map[string]string{}
			for _, e := range d.edits {
				name, err := filepath.Abs(e.file)
				if err != nil {
					t.Fatal(err)
				}
				if texts[name] == "" {
					b, err := os.ReadFile(name)
					if err != nil {
						t.Fatal(err)
					}
					texts[name] = string(b)
				}
				if n := strings.Count(texts[name], e.old); n != 1 {
					t.Fatalf("%s holds the text to break %d times, want once; adapt the defect:\n%s", e.file, n, e.old)
				}
				texts[name] = strings.Replace(texts[name], e.old, e.new, 1)
			}
			for name, text := range texts {
				broken := filepath.Join(dir, strings.ReplaceAll(filepath.Base(name), "_test.go", ".test.go"))
				if err := os.WriteFile(broken, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				overlay.Replace[name] = broken
			}
			if !*simDefects {
				return
			}
			list, err := json.Marshal(overlay)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, "overlay.json")
			if err := os.WriteFile(file, list, 0o600); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			out, err := exec.Command("go", "test", "-overlay", file, "-count=1", "-vet=off", "-timeout", "5m", "-run", "TestSimulation$", "-sim.seeds=2000", ".").CombinedOutput()
			found := seed.FindSubmatch(out)
			switch {
			case err == nil:
				t.Fatalf("2000 seeds do not notice it\n%s", out)
			case found == nil:
				t.Fatalf("the simulation could not run: %v\n%s", err, out)
			}
			t.Logf("found by seed %s in %s: %s", found[1], time.Since(start).Round(100*time.Millisecond), found[2])
		})
	}
}
