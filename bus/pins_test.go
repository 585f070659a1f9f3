package bus

// This file is pins: they hold the journal against the retention by age and by size.

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/bus/bustest"
)

func TestAPinHoldsTheJournal(t *testing.T) {
	for name, limits := range map[string]Limits{
		"against the age":  {RetentionAge: time.Second},
		"against the size": {RetentionAge: 1000 * time.Hour, RetentionSize: 4 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := bustest.NewDisk(1)
				o := Options{SegmentSize: 2 << 10, Limits: limits, Pins: []string{"fleet", "other"}}
				b := openOn(t, d, o)
				fill := func() {
					t.Helper()
					for range 300 {
						publishOwn(t, b, "home/a", "0123456789")
					}
					time.Sleep(10 * time.Second)
				}
				first := func(low, high uint64) {
					t.Helper()
					if got := b.journal.First(); got < low || got > high {
						t.Errorf("the journal begins at %d, want %d to %d", got, low, high)
					}
				}
				fill()
				first(1, 1)
				b.Pin("other", 0)
				fill()
				first(1, 1)
				b.Pin("fleet", 200)
				fill()
				first(150, 200)
				b.Pin("fleet", 10) // which is gone
				b.Pin("another", 500)
				b.Pin("fleet", 400)
				fill()
				first(350, 400)
				d = d.Kill()
				b.Close()

				b = openOn(t, d, o) // before it is known where the reader is
				if holes := b.Holes(); len(holes) != 0 {
					t.Errorf("holes %v", holes)
				}
				before := b.journal.First()
				fill()
				first(before, before)
				b.Pin("fleet", 600)
				b.Pin("other", 0)
				fill()
				first(550, 600)
				b.Pin("fleet", 0)
				fill()
				first(601, b.Last())
				b.Close()
			})
		})
	}
}

func TestWhereASpanOfTheJournalBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openOn(t, bustest.NewDisk(1), Options{SegmentSize: 2 << 10, Pins: []string{"all"}})
		for range 600 { // one a minute, some 60 bytes each
			publishOwn(t, b, "home/a", "0123456789")
			time.Sleep(time.Minute)
		}
		last := b.Last()
		within := func(what string, got, want uint64) {
			t.Helper()
			if got > want || got+40 < want { // to a segment
				t.Errorf("%s: from %d on, want %d", what, got, want)
			}
		}
		if seq := b.SeqBefore(0, 0); seq != 1 {
			t.Errorf("no bound: %d", seq)
		}
		if seq := b.SeqBefore(1000*time.Hour, 1<<40); seq != 1 {
			t.Errorf("bounds that nothing reaches: %d", seq)
		}
		within("an hour", b.SeqBefore(time.Hour, 0), last-59)
		within("an hour, and much room", b.SeqBefore(time.Hour, 1<<40), last-59)
		size := b.Stats().Journal.DiskBytes
		if seq := b.SeqBefore(0, size/2); seq < last/2 || seq > last/2+60 {
			t.Errorf("half of it: %d of %d", seq, last)
		}
		if a, both := b.SeqBefore(0, size/2), b.SeqBefore(9*time.Hour, size/2); a != both {
			t.Errorf("the later of both: %d and %d", a, both)
		}
		b.Close()
	})
}
