// Package seeds runs simulations that a seed decides, for tests. Its flags choose the seeds.
package seeds

import (
	"flag"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"
)

// Flags are -sim.seeds, -sim.first and -sim.seed of a test binary.
type Flags struct {
	count       *int
	first, only *uint64
}

// NewFlags defines the flags; count is the default of -sim.seeds. Call it once, before flags are parsed.
func NewFlags(count int) *Flags {
	return &Flags{
		count: flag.Int("sim.seeds", count, "how many seeds TestSimulation runs"),
		first: flag.Uint64("sim.first", 1, "the first of them"),
		only:  flag.Uint64("sim.seed", 0, "run only this seed, up to 20 times, and print its steps"),
	}
}

// Run calls simulate for each seed, as many at once as there are processors, until three have failed. simulate
// returns what promise a seed broke, or "". short is the maximum number of seeds with -short: on an emulated
// machine.
func (f *Flags) Run(t *testing.T, short int, simulate func(t *testing.T, seed uint64, verbose bool) (broken string)) {
	if *f.only != 0 {
		for range 20 {
			if broken := simulate(t, *f.only, true); broken != "" {
				t.Fatal(broken)
			}
		}
		return
	}
	count := *f.count
	if testing.Short() {
		count = min(count, short)
	}
	var next, failures atomic.Uint64
	next.Store(*f.first - 1)
	start := time.Now()
	t.Run("seeds", func(t *testing.T) {
		for w := range runtime.GOMAXPROCS(0) {
			t.Run(fmt.Sprint("worker", w), func(t *testing.T) {
				t.Parallel()
				for failures.Load() < 3 {
					seed := next.Add(1)
					if seed >= *f.first+uint64(count) {
						return
					}
					if broken := simulate(t, seed, false); broken != "" {
						failures.Add(1)
						t.Error(broken)
					}
				}
			})
		}
	})
	t.Logf("%.0f seeds/s", float64(count)/time.Since(start).Seconds())
}
