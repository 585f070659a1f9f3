package plugins

import (
	"strconv"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/expr"
)

// TestAHoppingWindowForgets: it keeps no number that is too old for its next figures.
func TestAHoppingWindowForgets(t *testing.T) {
	s, errs := checkFile(t, "source: {probe: {name: a}}\npublish: [{set: {m: \"${window.median}\"}, window: {of: event.value, every: 40m, last: 1h}, topic: t, payload: \"${window.count}\"}]\n")
	if errs != "" {
		t.Fatal(errs)
	}
	begin := time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)
	l := newLab(s, expr.Vars{Now: begin})
	const step = 10 * time.Second
	full := 0
	for at := step; at < 5*time.Hour; at += step {
		for _, o := range l.until(begin.Add(at)) {
			if n, err := strconv.Atoi(string(o.payload)); err == nil && n >= 360 && n <= 372 { // one step of 1/32 more
				full++
			}
		}
		l.fold("probe", begin.Add(at), map[string]any{"value": 1})
		k := l.engine.rules[0].keys[""]
		oldest := k.window.Parts[0]
		if last := max(oldest.LastAt, oldest.FirstAt); last <= k.timers[waitTimer].due.Up-time.Hour {
			t.Fatalf("after %s the oldest number is of %s, and the next figures are at %s", at, last, k.timers[waitTimer].due.Up)
		}
	}
	if full != 6 {
		t.Errorf("%d figures of a full hour", full)
	}
}
