// This file finds edges that the kernel merged. The kernel numbers an edge in a thread of its own.
// When the line's next interrupt arrives before that thread ran (some tens of microseconds on a Pi,
// much more on a busy one), both become one edge, without a gap in the numbers. The kernel's count
// of interrupts in /proc/interrupts reveals them.

package gpio

import (
	"bytes"
	"os"
	"strconv"
	"time"
)

// quietTime is how long there must be no edge before interrupts and edges are compared, twice with
// the same result. Only then no edge is being processed.
const quietTime = 100 * time.Millisecond

// audit compares the number of interrupts of a request's lines with the number of edges.
type audit struct {
	label   string
	lines   int
	off     bool      // the lines have no interrupts of their own
	due     bool      // edges occurred since the last comparison
	since   time.Time // the time of the last edges or comparison
	base    int64     // interrupts at the time of the request
	merged  int64     // known interrupts beyond base that made no edge
	suspect int64     // the same count by the last comparison, not yet confirmed; 0: none
}

func newAudit(label string, lines int, debounced bool) audit {
	a := audit{label: label, lines: lines, off: debounced} // bouncing causes many interrupts and no edge
	if !a.off {
		a.base, a.off = a.interrupts()
	}
	return a
}

// edges notes that edges occurred.
func (a *audit) edges() { a.due, a.suspect, a.since = !a.off, 0, time.Now() }

// check returns how many more edges were merged, when that is certain. edges is how many the kernel
// has numbered.
func (a *audit) check(edges int64) (merged int64) {
	if time.Since(a.since) < quietTime {
		return 0
	}
	a.since = time.Now()
	var now int64
	if now, a.off = a.interrupts(); a.off {
		a.due = false
		return 0
	}
	switch more := now - a.base - edges; {
	case more <= a.merged: // less: an edge occurred before base was read
		a.merged, a.due = more, false
	case a.suspect != more:
		a.suspect = more
	default:
		merged = more - a.merged
		a.merged, a.due = more, false
	}
	return merged
}

// interrupts returns the sum over the lines and processors.
func (a *audit) interrupts() (n int64, off bool) {
	text, err := os.ReadFile("/proc/interrupts")
	if err != nil {
		return 0, true
	}
	return interrupts(text, a.label, a.lines)
}

// interrupts parses the rows that end with the label: "51:  3  0  9030000.pl061  5 Edge  label",
// with a count for each processor. There must be one row for each line.
func interrupts(text []byte, label string, lines int) (n int64, off bool) {
	rows := 0
	for row := range bytes.Lines(text) {
		if !bytes.HasSuffix(bytes.TrimRight(row, "\n"), []byte("  "+label)) {
			continue
		}
		rows++
		for i, f := range bytes.Fields(row) {
			count, err := strconv.ParseInt(string(f), 10, 64)
			if i > 0 && err != nil {
				break
			}
			n += count // "51:" counts as 0
		}
	}
	return n, rows != lines
}
