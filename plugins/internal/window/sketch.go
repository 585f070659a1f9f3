package window

// This file finds the median: exactly of single numbers, else by a sketch.

import (
	"slices"

	"github.com/DataDog/sketches-go/ddsketch"
	"github.com/DataDog/sketches-go/ddsketch/mapping"
	"github.com/DataDog/sketches-go/ddsketch/store"
)

const (
	accuracy = 0.01 // relative
	maxBins  = 512  // of a sketch, for each sign: numbers smaller than the largest by a factor of 25,000 are one bin
)

// scale is how numbers are put into bins; it is the same in all versions, because sketches are stored without it.
var scale = newScale()

func newScale() mapping.IndexMapping {
	m, err := mapping.NewLogarithmicMapping(accuracy)
	if err != nil {
		panic(err) // never: the accuracy is valid
	}
	return m
}

func newStore() store.Store { return store.NewCollapsingLowestDenseStore(maxBins) }

// sketch returns the sketch of all numbers of the parts.
func sketch(parts []Part) []byte {
	var b []byte
	fill(parts).Encode(&b, true)
	return b
}

func fill(parts []Part) *ddsketch.DDSketch {
	all := ddsketch.NewDDSketch(scale, newStore(), newStore())
	for i := range parts {
		p := &parts[i]
		if len(p.Sketch) > 0 {
			if one, err := ddsketch.DecodeDDSketch(p.Sketch, newStore, scale); err == nil && all.MergeWith(one) == nil {
				continue
			}
		}
		x := p.full()
		_ = all.AddWithCount(x.Sum/float64(x.Count), float64(x.Count)) // no number within Limit is refused
	}
	return all
}

// median of the numbers of the parts, of which there is one.
func median(parts []Part) float64 {
	if slices.ContainsFunc(parts, func(p Part) bool { return p.Count > 1 }) {
		x, err := fill(parts).GetValueAtQuantile(0.5)
		if err != nil {
			return 0
		}
		return x
	}
	list := make([]float64, len(parts))
	for i := range parts {
		list[i] = parts[i].First
	}
	slices.Sort(list)
	half := len(list) / 2
	if len(list)%2 == 1 {
		return list[half]
	}
	return list[half-1] + (list[half]-list[half-1])/2
}
