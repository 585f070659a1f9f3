package seeds

// This file breaks the code on purpose and demands that a simulation notices: a simulation that finds nothing
// proves nothing. The broken files replace the real ones by go's -overlay.

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Defect is files of this module as a defect has them.
type Defect struct {
	t     *testing.T
	texts map[string]string // by absolute name
}

// Plant returns a defect that changes nothing yet.
func Plant(t *testing.T) *Defect { return &Defect{t, map[string]string{}} }

// Edit replaces text that must be once in a file, whose name is relative to the package.
func (d *Defect) Edit(file, old, replacement string) {
	d.t.Helper()
	name, err := filepath.Abs(file)
	if err != nil {
		d.t.Fatal(err)
	}
	text, ok := d.texts[name]
	if !ok {
		b, err := os.ReadFile(name)
		if err != nil {
			d.t.Fatal(err)
		}
		text = string(b)
	}
	if n := strings.Count(text, old); n != 1 {
		d.t.Fatalf("%s holds the text to break %d times, want once; adapt the defect:\n%s", file, n, old)
	}
	d.texts[name] = strings.Replace(text, old, replacement, 1)
}

// Find demands that TestSimulation of the package fails within so many seeds.
func (d *Defect) Find(count int) {
	d.t.Helper()
	start := time.Now()
	out, err := d.simulate(count)
	found := regexp.MustCompile(`(?m)seed (\d+): (.*)$`).FindSubmatch(out)
	switch {
	case err == nil:
		d.t.Fatalf("%d seeds do not notice it\n%s", count, out)
	case found == nil:
		d.t.Fatalf("the simulation could not run: %v\n%s", err, out)
	}
	d.t.Logf("found by seed %s in %s: %s", found[1], time.Since(start).Round(100*time.Millisecond), found[2])
}

// Pass demands that it passes so many seeds.
func (d *Defect) Pass(count int) {
	d.t.Helper()
	if out, err := d.simulate(count); err != nil {
		d.t.Fatalf("the simulation fails without a defect: %v\n%s", err, out)
	}
}

func (d *Defect) simulate(count int) ([]byte, error) {
	d.t.Helper()
	dir := d.t.TempDir()
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for name, text := range d.texts {
		broken := filepath.Join(dir, fmt.Sprint(len(overlay.Replace), ".txt"))
		if err := os.WriteFile(broken, []byte(text), 0o600); err != nil {
			d.t.Fatal(err)
		}
		overlay.Replace[name] = broken
	}
	list, err := json.Marshal(overlay)
	if err != nil {
		d.t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, list, 0o600); err != nil {
		d.t.Fatal(err)
	}
	return exec.Command("go", "test", "-overlay", file, "-count=1", "-vet=off", "-run", "TestSimulation$", fmt.Sprint("-sim.seeds=", count), ".").CombinedOutput()
}
