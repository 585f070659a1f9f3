// This file holds what an edge is, and the arithmetic of the kernel's numbers: gaps, counts and frequencies.

package gpio

import "time"

// edge is one change of a line as the kernel tells it.
type edge struct {
	at      time.Time     // on the wall clock
	clock   time.Duration // on the kernel's own clock, which nobody sets
	rising  bool
	offset  int
	seq     uint32 // among all lines of the request; wraps around
	lineSeq uint32
}

// gaps finds edges that were lost by the kernel's numbers. The zero value has seen none.
type gaps struct{ last uint32 }

// before is how many edges are missing just before the one with this number.
func (g *gaps) before(seq uint32) int64 {
	missing := seq - g.last - 1 // uint32: right over the wrap
	g.last = seq
	return int64(missing)
}

// tally counts the edges of a line. The zero value has seen none.
type tally struct {
	seen    gaps
	count   int64 // since the last report
	total   int64
	known   bool // an edge before those of count was seen
	from    time.Duration
	first   time.Duration // the first edge of count that was seen
	last    time.Duration // the last edge of all
	skipped int64         // edges of count that were lost before first: they have no time
}

// add counts an edge and those that were lost before it.
func (t *tally) add(e edge) (n int64) {
	lost := t.seen.before(e.lineSeq)
	if t.count == 0 {
		t.first, t.skipped = e.clock, lost
	}
	t.count += 1 + lost
	t.total += 1 + lost
	t.last = e.clock
	return 1 + lost
}

// report is the count since the report before, and the frequency in Hz; nil when it can't be known yet. It
// is measured from edge to edge, so that a slow signal isn't rounded to whole edges an interval.
func (t *tally) report() (count int64, hz any) {
	count = t.count
	switch {
	case count == 0:
		return 0, 0.0
	case t.known && t.last > t.from:
		hz = float64(count) / (t.last - t.from).Seconds()
	case t.last > t.first:
		hz = float64(count-1-t.skipped) / (t.last - t.first).Seconds()
	}
	t.known, t.from, t.count = true, t.last, 0
	return count, hz
}
