package bus

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/postbus/postbus/bus/topic"
)

func indexed(filter string) *subscription {
	return &subscription{Filter: Filter{Filter: filter}, pattern: compile(filter)}
}

// TestIndexAgreesWithMatch adds and removes random filters, and asks for random topics.
func TestIndexAgreesWithMatch(t *testing.T) {
	for seed := range uint64(40) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		level := func() string { return []string{"a", "b", "", "ab", "$x"}[rnd.IntN(5)] }
		name := func(wild bool) string {
			var levels []string
			for range 1 + rnd.IntN(5) {
				if wild && rnd.IntN(4) == 0 {
					levels = append(levels, "+")
				} else {
					levels = append(levels, level())
				}
			}
			if wild && rnd.IntN(4) == 0 {
				levels = append(levels[1:], "#")
			}
			return strings.Join(levels, "/")
		}
		var x index
		var all []*subscription
		for range 2000 {
			switch rnd.IntN(5) {
			case 0, 1:
				if f := name(true); topic.CheckFilter(f) == nil {
					s := indexed(f)
					all = append(all, s)
					x.add(s)
				}
			case 2:
				if len(all) > 0 {
					i := rnd.IntN(len(all))
					x.remove(all[i])
					all = slices.Delete(all, i, i+1)
				}
			default:
				n := name(false)
				if n == "" {
					continue
				}
				want := map[*subscription]bool{}
				for _, s := range all {
					if topic.Match(s.Filter.Filter, n) {
						want[s] = true
					}
				}
				got := x.match([]byte(n), nil)
				for _, s := range got {
					if !want[s] {
						t.Fatalf("seed %d: %q is found for %q, or twice", seed, s.Filter.Filter, n)
					}
					delete(want, s)
				}
				for s := range want {
					t.Fatalf("seed %d: %q is not found for %q", seed, s.Filter.Filter, n)
				}
			}
		}
		for _, s := range all {
			x.remove(s)
		}
		if len(x.root.children)+len(x.root.here)+len(x.root.open) != 0 {
			t.Fatalf("seed %d: the index is not empty without filters", seed)
		}
	}
}

// TestIndexMemoryIsLinear: filters with very many levels take memory for their bytes, not for their
// levels, compiled and in the index.
func TestIndexMemoryIsLinear(t *testing.T) {
	const filters, levels = 100, 16000
	var before, after runtime.MemStats
	texts := make([]string, filters)
	for i := range texts {
		texts[i] = strings.Repeat("a/", i) + strings.Repeat("+/", levels) + fmt.Sprint(i)
	}
	runtime.GC()
	runtime.ReadMemStats(&before)
	var x index
	subs := make([]*subscription, filters)
	for i, f := range texts {
		subs[i] = indexed(f)
		x.add(subs[i])
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > filters*2000 {
		t.Errorf("%d filters take %d bytes beyond their text", filters, grown)
	}
	runtime.KeepAlive(subs)
}
