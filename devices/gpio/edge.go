// This file defines an edge, and the arithmetic of the kernel's sequence numbers: gaps, counts and
// frequencies.

package gpio

import "time"

// edge is one change of a line as the kernel reports it.
type edge struct {
	at      time.Time     // on the wall clock
	clock   time.Duration // on the kernel's monotonic clock, which can't be set
	rising  bool
	offset  int
	seq     uint32 // among all lines of the request; wraps around
	lineSeq uint32
}

// gaps finds lost edges by gaps in the kernel's numbers. The zero value is ready to use.
type gaps struct{ last uint32 }

// before returns how many edges are missing just before the one with this number.
func (g *gaps) before(seq uint32) int64 {
	missing := seq - g.last - 1 // uint32: correct across the wrap
	g.last = seq
	return int64(missing)
}

// tally counts the edges of a line. The zero value is ready to use.
type tally struct {
	seen    gaps
	count   int64 // since the last report
	total   int64
	known   bool // an edge before those of count was received
	from    time.Duration
	first   time.Duration // the first edge of count that was received
	last    time.Duration // the last edge of all
	skipped int64         // edges of count that were lost before first, whose time is unknown
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

// report returns the count since the last report, and the frequency in Hz; nil when it is unknown
// yet. The frequency is measured from edge to edge, so that a slow signal isn't rounded to whole
// edges an interval.
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
