package bench

// This file is a latency histogram: log-linear, of fixed size, exact to 1.6 %, split by phase of
// the run.

import (
	"encoding/json"
	"fmt"
	"math/bits"
	"sync/atomic"
	"time"
)

const (
	subBits = 6                         // 64 steps for each power of two
	buckets = (42 - subBits) << subBits // up to 2^41 ns, more than half an hour
)

// Latency is a summary; zero when nothing was measured.
type Latency struct {
	Count         uint64
	P50, P99, Max time.Duration
}

// MarshalJSON writes milliseconds: {"count":…,"p50_ms":…,"p99_ms":…,"max_ms":…}.
func (l Latency) MarshalJSON() ([]byte, error) {
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return json.Marshal(struct {
		Count uint64  `json:"count"`
		P50   float64 `json:"p50_ms"`
		P99   float64 `json:"p99_ms"`
		Max   float64 `json:"max_ms"`
	}{l.Count, ms(l.P50), ms(l.P99), ms(l.Max)})
}

func (l Latency) String() string {
	if l.Count == 0 {
		return "none measured"
	}
	return fmt.Sprintf("p50 %s  p99 %s  max %s", short(l.P50), short(l.P99), short(l.Max))
}

// short prints about three digits.
func short(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}

// hist is used by one goroutine at a time.
type hist struct {
	counts [buckets]uint64
	total  uint64
	max    int64
}

func (h *hist) add(ns int64) {
	ns = max(ns, 0)
	h.total++
	h.max = max(h.max, ns)
	i := int(ns)
	if ns >= 1<<subBits {
		shift := bits.Len64(uint64(ns)) - subBits - 1
		i = (shift+1)<<subBits + int(ns>>shift) - 1<<subBits
	}
	h.counts[min(i, buckets-1)]++
}

func (h *hist) merge(o *hist) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.total += o.total
	h.max = max(h.max, o.max)
}

// quantile returns the upper end of the bucket that contains it.
func (h *hist) quantile(q float64) time.Duration {
	want, sum := uint64(q*float64(h.total)), uint64(0)
	for i, n := range h.counts {
		if sum += n; sum > want {
			if i == buckets-1 {
				break
			}
			upper := int64(i)
			if i >= 1<<subBits {
				shift := i>>subBits - 1
				upper = int64(i&(1<<subBits-1)+1<<subBits+1)<<shift - 1
			}
			return time.Duration(min(upper, h.max))
		}
	}
	return time.Duration(h.max)
}

func (h *hist) summary() Latency {
	if h.total == 0 {
		return Latency{}
	}
	return Latency{h.total, h.quantile(0.50), h.quantile(0.99), time.Duration(h.max)}
}

// phases divides a run in three: before, during and after the disturbance that it causes.
type phases struct{ begin, end atomic.Int64 } // clocks; 0: not yet

// of returns the phase of an event sent at stamp. A nil receiver has one phase.
func (p *phases) of(stamp int64) int {
	if p == nil {
		return 0
	}
	if b := p.begin.Load(); b == 0 || stamp < b {
		return 0
	}
	if e := p.end.Load(); e == 0 || stamp < e {
		return 1
	}
	return 2
}

// latencies is one goroutine's histograms by phase.
type latencies struct {
	phases *phases
	h      [3]hist
}

func (l *latencies) add(stamp, now int64) { l.h[l.phases.of(stamp)].add(now - stamp) }
