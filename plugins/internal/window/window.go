// Package window folds numbers over a span of time, in bounded memory.
//
// The contract: a Window is exact while it holds up to 64 numbers. Beyond that count, sum, mean and standard
// deviation remain exact; a span moves in steps of 1/32 of its length, so that a number leaves it later by no more
// than that; and the median is off by at most 1 %, or by 1/20,000 of the largest number. Times are on one clock that never goes back.
package window

import (
	"math"
	"slices"
	"time"
)

const (
	maxParts = 64 // of a window, before equal steps are merged
	steps    = 32 // of a span
)

// Shape says what a window must be able to tell.
type Shape struct {
	Span   time.Duration // numbers leave the window after this time; 0: they never do
	Median bool
}

// Window holds numbers in the order of their times.
type Window struct {
	Parts []Part `cbor:"1,keyasint"`
}

// Part is one number, or several that were merged. Of one number only First and FirstAt are set.
type Part struct {
	First   float64       `cbor:"1,keyasint"`
	FirstAt time.Duration `cbor:"2,keyasint"`
	Last    float64       `cbor:"3,keyasint,omitempty"`
	LastAt  time.Duration `cbor:"4,keyasint,omitempty"`
	Count   uint64        `cbor:"5,keyasint,omitempty"`
	Sum     float64       `cbor:"6,keyasint,omitempty"`
	Squares float64       `cbor:"7,keyasint,omitempty"` // sum of the squared differences from the mean
	Min     float64       `cbor:"8,keyasint,omitempty"`
	Max     float64       `cbor:"9,keyasint,omitempty"`
	Sketch  []byte        `cbor:"10,keyasint,omitempty"` // of all numbers, if the median is wanted
}

// Empty reports whether the window holds no number.
func (w *Window) Empty() bool { return w == nil || len(w.Parts) == 0 }

// Limit is the largest absolute value of a number: the square of a larger one has no place.
const Limit = 1e150

// Add adds a number within Limit. A time before that of the last number counts as that.
func (w *Window) Add(s Shape, at time.Duration, x float64) {
	if n := len(w.Parts); n > 0 {
		at = max(at, w.Parts[n-1].lastAt())
	}
	w.Parts = append(w.Parts, Part{First: x, FirstAt: at})
	full := len(w.Parts) > maxParts
	switch {
	case s.Span == 0 && (full || !s.Median):
		w.merge(s, func(a, b *Part) bool { return true })
	case full:
		step := max(s.Span/steps, 1)
		w.merge(s, func(a, b *Part) bool { return floor(a.FirstAt, step) == floor(b.lastAt(), step) })
	}
}

// floor is the number of whole steps before at, which may be negative: a clock that begins anew has times before it.
func floor(at, step time.Duration) time.Duration {
	if at < 0 {
		return -((step - 1 - at) / step)
	}
	return at / step
}

// Trim removes the numbers that are not later than at.
func (w *Window) Trim(at time.Duration) {
	n := 0
	for n < len(w.Parts) && w.Parts[n].lastAt() <= at {
		n++
	}
	w.Parts = slices.Delete(w.Parts, 0, n)
}

// Shift moves all times by d, as after a restart of the clock.
func (w *Window) Shift(d time.Duration) {
	for i := range w.Parts {
		w.Parts[i].FirstAt += d
		if w.Parts[i].Count > 1 {
			w.Parts[i].LastAt += d
		}
	}
}

// merge joins neighbours for which together holds.
func (w *Window) merge(s Shape, together func(a, b *Part) bool) {
	out := w.Parts[:1]
	for i := 1; i < len(w.Parts); {
		a := &out[len(out)-1]
		n := i
		for n < len(w.Parts) && together(a, &w.Parts[n]) {
			n++
		}
		if n == i {
			out = append(out, w.Parts[i])
			i++
			continue
		}
		*a = join(s, *a, w.Parts[i:n])
		i = n
	}
	clear(w.Parts[len(out):])
	w.Parts = out
}

// join returns a with what follows it.
func join(s Shape, a Part, rest []Part) Part {
	if s.Median {
		a.Sketch = sketch(append([]Part{a}, rest...))
	}
	a = a.full()
	for i := range rest {
		b := rest[i].full()
		n, m := float64(a.Count), float64(b.Count)
		d := b.Sum/m - a.Sum/n
		a.Squares += b.Squares + d*d*n*m/(n+m)
		a.Count += b.Count
		a.Sum += b.Sum
		a.Min, a.Max = min(a.Min, b.Min), max(a.Max, b.Max)
		a.Last, a.LastAt = b.Last, b.LastAt
	}
	return a
}

// full returns the part with all fields set.
func (p Part) full() Part {
	if p.Count <= 1 {
		x := p.First
		p.Count, p.Last, p.LastAt, p.Sum, p.Min, p.Max = 1, x, p.FirstAt, x, x, x
	}
	return p
}

func (p *Part) lastAt() time.Duration {
	if p.Count > 1 {
		return p.LastAt
	}
	return p.FirstAt
}

// Figures describe the numbers of a window that is not empty.
type Figures struct {
	Count                 uint64
	Sum, Mean             float64
	Min, Max, First, Last float64
	Median                float64 // 0 if the shape has none
	Deviation             float64 // standard deviation of a sample; 0 of one number
	Rate                  float64 // from the first to the last, per second; 0 if there is no time between them
	FirstAt, LastAt       time.Duration
}

// Figures returns those of the numbers.
func (w *Window) Figures(s Shape) Figures {
	all := w.Parts[0].full()
	if len(w.Parts) > 1 {
		all = join(Shape{}, w.Parts[0], w.Parts[1:])
	}
	f := Figures{Count: all.Count, Sum: all.Sum, Mean: all.Sum / float64(all.Count), Min: all.Min, Max: all.Max,
		First: all.First, Last: all.Last, FirstAt: all.FirstAt, LastAt: all.LastAt}
	if all.Count > 1 {
		f.Deviation = math.Sqrt(all.Squares / float64(all.Count-1))
	}
	if d := all.LastAt - all.FirstAt; d > 0 {
		f.Rate = (all.Last - all.First) / d.Seconds()
	}
	if s.Median {
		f.Median = min(max(median(w.Parts), f.Min), f.Max)
	}
	return f
}
