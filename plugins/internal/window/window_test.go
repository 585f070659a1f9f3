package window

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// number is one of the numbers that a window was given.
type number struct {
	at time.Duration
	x  float64
}

// plainly computes the figures of a list.
func plainly(list []number) (f Figures) {
	f = Figures{Count: uint64(len(list)), Min: math.Inf(1), Max: math.Inf(-1), First: list[0].x, Last: list[len(list)-1].x,
		FirstAt: list[0].at, LastAt: list[len(list)-1].at}
	var sorted []float64
	for _, n := range list {
		f.Sum += n.x
		f.Min, f.Max = min(f.Min, n.x), max(f.Max, n.x)
		sorted = append(sorted, n.x)
	}
	f.Mean = f.Sum / float64(len(list))
	if len(list) > 1 {
		var squares float64
		for _, n := range list {
			squares += (n.x - f.Mean) * (n.x - f.Mean)
		}
		f.Deviation = math.Sqrt(squares / float64(len(list)-1))
	}
	if d := f.LastAt - f.FirstAt; d > 0 {
		f.Rate = (f.Last - f.First) / d.Seconds()
	}
	slices.Sort(sorted)
	f.Median = sorted[(len(sorted)-1)/2]
	f.Median += (sorted[len(sorted)/2] - f.Median) / 2
	return f
}

// TestWindow compares windows of all shapes with lists of all their numbers, over stores and restarts.
func TestWindow(t *testing.T) {
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := Shape{Median: r.IntN(2) == 0}
		if r.IntN(2) == 0 {
			s.Span = time.Duration(1+r.IntN(600)) * time.Second
		}
		scale, shift := math.Pow(10, float64(r.IntN(7)-3)), float64(r.IntN(5)-2)
		var w Window
		var all []number
		at := time.Duration(r.IntN(1000)-500) * time.Second
		for i := range 300 {
			if s.Span > 0 {
				at += time.Duration(r.Int64N(int64(s.Span)) / int64(1+r.IntN(200)))
			} else {
				at += time.Duration(r.IntN(5000)) * time.Millisecond
			}
			x := (r.NormFloat64() + shift) * scale
			all = append(all, number{at, x})
			w.Add(s, at, x)
			if s.Span > 0 {
				w.Trim(at - s.Span)
			}
			if r.IntN(10) == 0 { // store it, and start again
				b, err := cbor.Marshal(&w)
				if err != nil {
					t.Fatal(err)
				}
				if len(b) > 16<<10 {
					t.Fatalf("seed %d: %d numbers take %d bytes", seed, i+1, len(b))
				}
				w = Window{}
				if err := cbor.Unmarshal(b, &w); err != nil {
					t.Fatal(err)
				}
			}
			if r.IntN(40) == 0 {
				d := time.Duration(r.IntN(100)-50) * time.Second
				w.Shift(d)
				at += d
				for i := range all {
					all[i].at += d
				}
			}
			got := w.Figures(s)
			in, over := 0, 0 // numbers of the span, and of what may still be there
			for _, n := range all {
				if s.Span == 0 || n.at > at-s.Span {
					in++
				}
				if s.Span == 0 || n.at > at-s.Span-s.Span/steps-1 {
					over++
				}
			}
			if n := int(got.Count); n < in || n > over || in <= maxParts/2 && n != in && len(all) <= maxParts {
				t.Fatalf("seed %d: %d numbers, want %d to %d", seed, n, in, over)
			}
			want := plainly(all[len(all)-int(got.Count):])
			if !s.Median {
				want.Median = 0
			}
			check := func(what string, got, want, off float64) {
				t.Helper()
				if math.Abs(got-want) > off*(1+math.Abs(want)) {
					t.Fatalf("seed %d, after %d numbers, %+v: %s is %v, want %v", seed, i+1, s, what, got, want)
				}
			}
			check("sum", got.Sum, want.Sum, 1e-9)
			check("mean", got.Mean, want.Mean, 1e-9)
			check("deviation", got.Deviation, want.Deviation, 1e-9)
			check("rate", got.Rate, want.Rate, 1e-9)
			if got.Min != want.Min || got.Max != want.Max || got.First != want.First || got.Last != want.Last || got.FirstAt != want.FirstAt || got.LastAt != want.LastAt {
				t.Fatalf("seed %d: got %+v, want %+v", seed, got, want)
			}
			if s.Median {
				off := 0.0101*math.Abs(got.Median) + max(got.Max, -got.Min)/20_000
				below, upTo := 0, 0
				for _, n := range all[len(all)-int(got.Count):] {
					if n.x < got.Median-off {
						below++
					}
					if n.x <= got.Median+off {
						upTo++
					}
				}
				exact := got.Count <= maxParts/2 && s.Span == 0
				if n := int(got.Count); below > n/2 || upTo < n-n/2 || exact && got.Median != want.Median {
					t.Fatalf("seed %d: the median of %d is %v, want %v", seed, n, got.Median, want.Median)
				}
			}
		}
	}
}

// TestWindowIsBounded: a window of hostile numbers takes as much as one of others.
func TestWindowIsBounded(t *testing.T) {
	for _, s := range []Shape{{Median: true}, {Span: time.Hour, Median: true}, {Span: time.Hour}, {}} {
		r := rand.New(rand.NewPCG(1, 2))
		var w Window
		for i := range 20_000 {
			x := math.Exp(r.NormFloat64() * 30)
			if r.IntN(2) == 0 {
				x = -x
			}
			w.Add(s, time.Duration(i)*time.Second/5, min(max(x, -Limit), Limit))
			if s.Span > 0 {
				w.Trim(time.Duration(i)*time.Second/5 - s.Span)
			}
		}
		b, err := cbor.Marshal(&w)
		if err != nil {
			t.Fatal(err)
		}
		if len(w.Parts) > maxParts || len(b) > 60<<10 {
			t.Errorf("%+v: %d parts, %d bytes", s, len(w.Parts), len(b))
		}
		t.Logf("%+v: %d parts, %d bytes", s, len(w.Parts), len(b))
		if f := w.Figures(s); math.IsNaN(f.Mean) || math.IsInf(f.Deviation, 0) || f.Median < f.Min || f.Median > f.Max {
			t.Errorf("%+v: %+v", s, f)
		}
	}
}
