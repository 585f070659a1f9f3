package web

import (
	"testing"
	"time"
)

func TestLastHour(t *testing.T) {
	began := time.Now()
	at := func(minutes int) time.Time { return began.Add(time.Duration(minutes) * time.Minute) }
	var h lastHour
	total := func(minutes int) uint64 { // 5 are lost in minute 10, 2 more in minute 200
		switch {
		case minutes >= 200:
			return 7
		case minutes >= 10:
			return 5
		}
		return 0
	}
	want := map[int]uint64{0: 0, 9: 0, 10: 5, 59: 5, 69: 5, 72: 0, 199: 0, 200: 2, 259: 2, 262: 0, 1000: 0}
	for i := range 1001 {
		if w, ok := want[i]; ok {
			if got := h.grown(at(i), total(i)); got != w {
				t.Errorf("minute %d: %d in the last hour, want %d", i, got, w)
			}
		}
		h.note(at(i), total(i))
	}
	// The machine was suspended: older losses do not count.
	if got := h.grown(at(5000), 8); got != 1 {
		t.Errorf("after a sleep: %d", got)
	}
}
