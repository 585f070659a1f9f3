package bus

// This file is what is remembered of imports, in bounded memory: lanes, and events that are void.

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// Of one bus 4,096 lanes are remembered; the one whose last event is the oldest is forgotten, and a
// start from a snapshot forgets alike.
func TestLanesAreBounded(t *testing.T) {
	var s laneSet
	seq := uint64(0)
	pass := func(bus string, lane int) {
		seq++
		s.pass(fmt.Append(nil, bus, lane), bus, seq, seq)
	}
	pass("other", 1)
	for i := range maxLanes {
		pass("a", i)
	}
	pass("a", 0)
	pass("a", maxLanes)
	s.pass([]byte("a2"), "b", 1, 1) // a repeat keeps nothing alive
	restored := func() *laneSet {
		var c laneSet
		for _, r := range s.stored() {
			c.pass(r.Lane, busOf(r.Source), r.Number, r.Seq)
		}
		return &c
	}
	known := func(s *laneSet, name string) bool { _, ok := s.seen([]byte(name)); return ok }
	for _, x := range []*laneSet{&s, restored()} {
		if len(x.lanes) != maxLanes+1 || !known(x, "other1") || !known(x, "a0") || known(x, "a1") || !known(x, "a2") {
			t.Errorf("%d lanes", len(x.lanes))
		}
		x.pass([]byte("a new one"), "a", 1, seq+1)
		if known(x, "a2") || !known(x, "a3") || !known(x, "a0") {
			t.Error("another lane was forgotten")
		}
		x.pass([]byte("a3"), "renamed", seq+2, seq+2)
		if n := x.buses["renamed"].Len(); n != 1 || x.buses["a"].Len() != maxLanes-1 {
			t.Errorf("a lane of a renamed bus: %d and %d", n, x.buses["a"].Len())
		}
	}
	for i := range maxAllLanes + 5 {
		pass(fmt.Sprint("bus", i), i)
	}
	if len(s.lanes) != maxAllLanes || s.order.Len() != maxAllLanes || len(s.buses) != maxAllLanes {
		t.Errorf("%d lanes of %d buses", len(s.lanes), len(s.buses))
	}
}

// Void events are a few ranges, in memory and in a snapshot, which an earlier version reads when there
// are no ranges.
func TestVoidRanges(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	var v voidSet
	model := map[uint64]bool{}
	for seq := uint64(1); seq < 1000; seq++ {
		if rnd.IntN(10) < int(seq/100) {
			v.add(seq)
			model[seq] = true
		}
	}
	check := func(from uint64) {
		t.Helper()
		for seq := from; seq < 1005; seq++ {
			if v.has(seq) != model[seq] {
				t.Fatalf("%d: %v", seq, v.has(seq))
			}
		}
	}
	check(0)
	if !slices.IsSortedFunc(v.ranges, func(a, b [2]uint64) int { return int(a[1]) - int(b[0]) }) || len(v.ranges) > 300 {
		t.Errorf("%d ranges", len(v.ranges))
	}
	if kind, _ := v.stored(); kind != kindVoidRanges {
		t.Errorf("stored as kind %d", kind)
	}
	v.trim(500)
	check(500)
	if v.ranges[0][1] < 500 {
		t.Errorf("after a trim: %v", v.ranges[0])
	}
	v = voidSet{}
	for _, seq := range []uint64{9, 3, 6, 3} { // as an earlier version stored them
		v.add(seq)
	}
	if kind, list := v.stored(); kind != kindVoid || fmt.Sprint(list) != "[3 6 9]" {
		t.Errorf("stored as kind %d: %v", kind, list)
	}
}
