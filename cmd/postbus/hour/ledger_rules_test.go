package hour

import (
	"fmt"
	"strings"
	"testing"
)

// TestTheLedgerFindsBrokenPromises: each case is a life of one session with three acknowledged events, as the
// bus should not have lived it.
func TestTheLedgerFindsBrokenPromises(t *testing.T) {
	type event = delivery
	at := func(serial int, seq uint64) event {
		return event{topic: "ev/1/0", payload: payload(0, serial), seq: seq}
	}
	with := func(e event, gap uint64) event { e.gap = gap; return e }
	again := func(e event) event { e.dup = true; return e }
	twice := func(e event) event { e.dup, e.qos = true, 2; return e }
	for _, c := range []struct {
		name  string
		spans []span
		gone  []int
		got   []event
		want  string // "" for a life as promised
	}{
		{name: "all arrive", got: []event{at(0, 1), at(1, 2), at(2, 3)}},
		{name: "one is missing", got: []event{at(0, 1), at(2, 3)}, want: "never arrives"},
		{name: "the last is missing", got: []event{at(0, 1), at(1, 2)}, want: "never arrives"},
		{name: "one is missing though the gap tells of it", got: []event{at(0, 1), with(at(2, 3), 1)}, want: "never arrives"},
		{name: "damaged and told", spans: []span{{2, 2}}, gone: []int{1}, got: []event{at(0, 1), with(at(2, 3), 1)}},
		{name: "damaged and not told", spans: []span{{2, 2}}, gone: []int{1}, got: []event{at(0, 1), at(2, 3)}, want: "is told of 0"},
		{name: "damaged and too much told", spans: []span{{2, 2}}, gone: []int{1}, got: []event{at(0, 1), with(at(2, 3), 2)}, want: "a gap of 2"},
		{name: "told though it arrived", got: []event{at(0, 1), with(at(1, 2), 1), at(2, 3)}, want: "a gap of 1"},
		{name: "damage elsewhere is told", spans: []span{{1, 1}}, got: []event{at(0, 2), with(at(1, 3), 1), at(2, 4)}, want: "a gap of 1"},
		{name: "out of order", got: []event{at(1, 2), at(0, 1), at(2, 3)}, want: "follows 2 on one connection"},
		{name: "out of order without sequences", got: []event{at(1, 0), at(0, 0), at(2, 0)}, want: "comes after 1"},
		{name: "again without DUP", got: []event{at(0, 1), at(1, 2), at(1, 2), at(2, 3)}, want: "without DUP"},
		{name: "again with DUP", got: []event{at(0, 1), at(1, 2), again(at(1, 0)), at(2, 3)}},
		{name: "again with DUP at QoS 2", got: []event{at(0, 0), at(1, 0), twice(at(1, 0)), at(2, 0)}, want: "twice at QoS 2"},
		{name: "twice in the journal", got: []event{at(0, 1), at(1, 2), again(at(1, 3)), at(2, 4)}, want: "has the sequences 2 and 3"},
		{name: "nobody published it", got: []event{at(0, 1), at(1, 2), at(2, 3), at(3, 4)}, want: "nobody published"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLedger(1)
			a := l.open(&account{name: "session", gaps: true, wants: func(zone uint8) bool { return zone == 1 }})
			for range 3 {
				l.settle(0, l.begin(0, 1), acked)
			}
			var damaged []stored
			for _, serial := range c.gone {
				damaged = append(damaged, stored{topic: "ev/1/0", payload: string(payload(0, serial))})
			}
			l.damage(c.spans, damaged)
			var last uint64
			for i := range c.got {
				l.received(a, &c.got[i], last)
				last = c.got[i].seq
			}
			l.balance(map[string]uint64{"session": uint64(len(c.gone))})
			switch err := l.broken(); {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && !strings.Contains(fmt.Sprint(err), c.want):
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	t.Run("a refused event arrives", func(t *testing.T) {
		l := newLedger(1)
		a := l.open(&account{name: "session", wants: func(uint8) bool { return true }})
		l.settle(0, l.begin(0, 1), refused)
		e := at(0, 1)
		l.received(a, &e, 0)
		if l.broken() == nil {
			t.Error("nothing is found")
		}
	})
	t.Run("a session without gaps", func(t *testing.T) {
		for _, told := range []uint64{0, 1, 2} {
			l := newLedger(1)
			l.open(&account{name: "session", wants: func(uint8) bool { return true }})
			l.settle(0, l.begin(0, 1), acked)
			l.damage([]span{{5, 5}}, []stored{{topic: "ev/1/0", payload: string(payload(0, 0))}})
			l.balance(map[string]uint64{"session": told})
			if err := l.broken(); (err == nil) != (told == 1) {
				t.Errorf("told of %d: %v", told, err)
			}
		}
	})
}
