package bus

// This file is the last writer of a retained topic: buses that exchange values end with the same ones.

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/postbus/postbus/bus/bustest"
	"github.com/postbus/postbus/bus/journal"
)

func TestTheLastWriterOfATopicWins(t *testing.T) {
	const at = someTime
	own := func(payload string, stamp int64) *journal.Record {
		r := (&Event{Topic: "home/x", Payload: []byte(payload), QoS: 1, Retain: true, Source: "client"}).Record()
		r.Time, r.Stamp = at, stamp
		return r
	}
	n := uint64(0)
	from := func(bus, payload string, stamp int64) *journal.Record {
		n++
		m := retainedOfBus(bus, n, "home/x", payload, stamp)
		r, err := m.record(at)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	offer := func(bus, payload string, stamp int64) *journal.Record {
		m := offered(bus, 0, "home/x", payload, stamp)
		m.Record.Lane = laneOf(bus, "")
		r, err := m.record(at)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for name, c := range map[string]struct {
		list   []*journal.Record
		want   string // the value
		counts int    // events
		stamp  int64  // of the value or the tombstone
	}{
		"a newer one":                     {[]*journal.Record{from("a", "1", 50), from("b", "2", 60)}, "2", 2, 60},
		"an older one":                    {[]*journal.Record{from("a", "1", 50), from("b", "2", 40)}, "1", 2, 50},
		"a tie, the larger last":          {[]*journal.Record{from("a", "1", 50), from("b", "2", 50)}, "2", 2, 50},
		"a tie, the larger first":         {[]*journal.Record{from("b", "2", 50), from("a", "1", 50)}, "2", 2, 50},
		"cleared":                         {[]*journal.Record{from("a", "1", 50), from("b", "", 60)}, "", 2, 60},
		"cleared before":                  {[]*journal.Record{from("b", "", 60), from("a", "1", 50)}, "", 2, 60},
		"set after it was cleared":        {[]*journal.Record{from("b", "", 60), from("a", "1", 70)}, "1", 2, 70},
		"cleared twice, the older last":   {[]*journal.Record{from("b", "", 60), from("a", "", 50)}, "", 2, 60},
		"cleared twice, the newer last":   {[]*journal.Record{from("b", "", 60), from("a", "", 70)}, "", 2, 70},
		"without a stamp":                 {[]*journal.Record{from("a", "1", 50), own("2", 0)}, "2", 2, at},
		"without a stamp, the clock late": {[]*journal.Record{from("a", "1", at+50), own("2", 0)}, "2", 2, at + 51},
		"without a stamp on a tombstone":  {[]*journal.Record{from("a", "", at+50), own("2", 0)}, "2", 2, at + 51},
		"cleared without a stamp":         {[]*journal.Record{from("a", "1", at+50), own("", 0), from("b", "2", at+50)}, "", 3, at + 51},
		"none has a stamp":                {[]*journal.Record{own("1", 0), own("2", 0)}, "2", 2, 0},
		"cleared, none has a stamp":       {[]*journal.Record{own("1", 0), own("", 0), from("b", "3", 5)}, "3", 3, 5},
		"an own one that has none":        {[]*journal.Record{own("1", 0), from("a", "2", at-1)}, "1", 2, at},
		"newer than an own one":           {[]*journal.Record{own("1", 0), from("a", "2", at+1)}, "2", 2, at + 1},
		"own ones, the clock went back":   {[]*journal.Record{own("1", 0), own("2", at-100)}, "2", 2, at - 100},
		"an offer":                        {[]*journal.Record{offer("a", "1", 50)}, "1", 1, 50},
		"an older offer":                  {[]*journal.Record{from("b", "1", 50), offer("a", "2", 40)}, "1", 1, 50},
		"the same offer":                  {[]*journal.Record{offer("a", "1", 50), offer("a", "1", 50)}, "1", 1, 50},
		"a newer offer":                   {[]*journal.Record{from("b", "1", 50), offer("a", "2", 60)}, "2", 2, 60},
		"an offer on a tombstone":         {[]*journal.Record{from("b", "", 50), offer("a", "2", 40)}, "", 1, 50},
		"an offer to clear":               {[]*journal.Record{from("b", "1", 50), offer("a", "", 60), from("b", "2", 55)}, "", 3, 60},
		"an offer against an own one":     {[]*journal.Record{own("1", 0), offer("a", "2", at-1), offer("a", "3", at+1)}, "3", 2, at + 1},
		"an old offer against an own one": {[]*journal.Record{own("1", 0), offer("a", "2", at-1)}, "1", 1, at},
	} {
		t.Run(name, func(t *testing.T) {
			d := bustest.NewDisk(1)
			b := openOn(t, d, Options{})
			for _, r := range c.list {
				add(t, b, r)
			}
			for range 3 {
				got := ""
				if e, ok := b.RetainedValue("home/x"); ok {
					got = string(e.Payload)
				}
				st, _ := b.retained.stampOf([]byte("home/x"))
				if got != c.want || st.at != c.stamp {
					t.Errorf("value %q, stamp %d; want %q, %d", got, st.at, c.want, c.stamp)
				}
				if n := len(events(t, b)); n != c.counts {
					t.Errorf("%d events count, want %d", n, c.counts)
				}
				b.Close()
				b = openOn(t, d, Options{})
			}
			b.Close()
		})
	}
}

// Each topic keeps its stamp while blocks of the index grow, split and shrink, and has room for none while
// there is none.
func TestStampsInTheIndex(t *testing.T) {
	var x retainedSet
	rnd := rand.New(rand.NewPCG(1, 4))
	model := map[string]stamp{}
	set := func(i int, st stamp) {
		topic := fmt.Sprint("t/", rnd.IntN(2000))
		r := &journal.Record{Seq: uint64(i), Topic: []byte(topic), Payload: []byte("x")}
		if model[topic] = st; rnd.IntN(100) < 40 {
			r.Payload = nil
			delete(model, topic)
		}
		x.set(r, inJournal, st)
	}
	for i := range 5000 {
		set(i, stamp{})
	}
	for _, b := range x.blocks {
		if b.stamps != nil {
			t.Fatal("stamps have memory without need")
		}
	}
	for i := 5000; i < 30000; i++ {
		st := stamp{int64(i), uint64(rnd.IntN(3))}
		if rnd.IntN(3) == 0 {
			st = stamp{}
		}
		set(i, st)
		if i%1000 > 0 {
			continue
		}
		for topic, want := range model {
			if got, present := x.stampOf([]byte(topic)); !present || got != want {
				t.Fatalf("after %d: %s has %v, want %v", i, topic, got, want)
			}
		}
		for _, b := range x.blocks {
			if b.stamps != nil && len(b.stamps) != len(b.values) {
				t.Fatalf("%d stamps of %d values", len(b.stamps), len(b.values))
			}
		}
	}
	if len(x.blocks) < 10 {
		t.Errorf("%d blocks", len(x.blocks))
	}
}

// A tombstone counts until a record that is more than seven days younger, whatever is folded in between.
func TestATombstoneCountsForSevenDays(t *testing.T) {
	d := bustest.NewDisk(1)
	b := openOn(t, d, Options{})
	const week = int64(7 * 24 * time.Hour)
	tick := func(at int64) {
		t.Helper()
		add(t, b, &journal.Record{Kind: journal.KindEvent, Topic: []byte("tick"), Time: at})
	}
	restart := func() { t.Helper(); b.Close(); b = openOn(t, d, Options{}) }
	clear := func(n uint64, topic string, at int64) {
		t.Helper()
		m := retainedOfBus("attic", n, topic, "", 50)
		r, _ := m.record(at)
		add(t, b, r)
	}
	counts := func(topic string, want bool) {
		t.Helper()
		if _, got := b.retained.tombs.byTopic[topic]; got != want {
			t.Errorf("tombstone of %s: %v, want %v", topic, got, want)
		}
	}
	tick(someTime + 2*week) // before they are made
	clear(1, "x", someTime)
	clear(2, "y", someTime+5)
	clear(3, "z", someTime-5) // the clock went back
	tick(someTime + week)
	restart()
	counts("x", true)
	counts("y", true)
	counts("z", false)
	tick(someTime + week + 1)
	counts("x", false)
	counts("y", true)
	tick(someTime - 100*week)
	restart()
	counts("y", true)
	tick(someTime + week + 6)
	counts("y", false)
	restart()
	counts("y", false)
	b.Close()
}

// At most 100,000 tombstones are kept; that of the oldest sequence goes first.
func TestTombstonesAreBounded(t *testing.T) {
	var s, restored retainedSet
	for i := range maxTombs + 10 {
		r := &journal.Record{Seq: uint64(i + 1), Topic: fmt.Appendf(nil, "t/%d", i), Time: int64(1000_000 - i)}
		if i == 50 {
			r.Topic = []byte("t/0") // again
		}
		s.bury(r, stamp{5, 1})
	}
	records := s.storedTombs()
	if len(records) < 10 {
		t.Errorf("%d records", len(records))
	}
	for _, r := range records {
		if len(r.Payload) > 2*tombBatch {
			t.Errorf("a record of %d bytes", len(r.Payload))
		}
		if err := restored.restoreTombs(r.Payload); err != nil {
			t.Fatal(err)
		}
	}
	for _, x := range []*retainedSet{&s, &restored} {
		has := func(topic string) bool { return x.tombs.byTopic[topic] != nil }
		if n := len(x.tombs.byTopic); n != maxTombs || has("t/1") || has("t/9") || !has("t/10") || !has("t/0") {
			t.Errorf("%d tombstones, %v %v %v", n, has("t/9"), has("t/10"), has("t/0"))
		}
	}
	for n := range 33 {
		if err := new(retainedSet).restoreTombs(make([]byte, n+1)); err == nil {
			t.Errorf("%d bytes are tombstones", n+1)
		}
	}
}

// FuzzTombstones restores anything: what is restored is stored alike.
func FuzzTombstones(f *testing.F) {
	var s retainedSet
	s.bury(&journal.Record{Seq: 3, Topic: []byte("a"), Time: 7}, stamp{5, 1})
	s.bury(&journal.Record{Seq: 4, Topic: []byte("b/c"), Time: 6}, stamp{6, 2})
	f.Add(s.storedTombs()[0].Payload)
	f.Fuzz(func(t *testing.T, b []byte) {
		var s, again retainedSet
		if s.restoreTombs(b) != nil {
			return
		}
		for _, r := range s.storedTombs() {
			if err := again.restoreTombs(r.Payload); err != nil {
				t.Fatal(err)
			}
		}
		if len(s.tombs.byTopic) != len(again.tombs.byTopic) || len(s.tombs.byTopic) > len(b)/34 {
			t.Fatalf("%d tombstones, then %d", len(s.tombs.byTopic), len(again.tombs.byTopic))
		}
	})
}

// fleetBus is a bus that sends what is its own to others.
type fleetBus struct {
	*Bus
	name  string
	disk  *bustest.Disk
	lane  []byte
	skew  int64
	sends [][]Imported // what each of the others has not taken yet
	next  uint64
}

// export hands the bus's new own events to the others, in one group each.
func (f *fleetBus) export(t *testing.T) {
	t.Helper()
	own, err := f.ReadOwn(context.Background(), f.next, []string{"#"}, 1+int(f.next%7), 1<<20)
	if err != nil || len(own.Lost) > 0 {
		t.Fatal(err, own.Lost)
	}
	f.next = own.Next
	for _, r := range own.Records {
		f.hand(ImportEvent, r)
	}
}

// offer hands the bus's retained values to the others.
func (f *fleetBus) offer(t *testing.T) {
	t.Helper()
	if err := f.OwnRetained(context.Background(), []string{"#"}, func(r *journal.Record) bool {
		f.hand(ImportValue, r)
		return true
	}); err != nil {
		t.Fatal(err)
	}
}

func (f *fleetBus) hand(what ImportKind, r *journal.Record) {
	m := Imported{What: what, Bus: f.name, Record: *r}
	m.Record.Lane, m.Record.Number, m.Record.At = f.lane, r.Seq, r.Time
	for i := range f.sends {
		f.sends[i] = append(f.sends[i], m)
	}
}

// Buses write the same topics at the same time, with wrong clocks, before and after they join, and get
// each other's values in any order between lanes, repeated, over restarts. In the end all have the same.
func TestBusesEndWithTheSameValues(t *testing.T) {
	seeds := uint64(120)
	if testing.Short() {
		seeds = 12
	}
	cleared, late := 0, 0
	for seed := range seeds {
		rnd := rand.New(rand.NewPCG(seed, 3))
		var buses []*fleetBus
		for i := range 2 + rnd.IntN(2) {
			d := bustest.NewDisk(seed*10 + uint64(i))
			f := &fleetBus{Bus: openOn(t, d, Options{}), name: fmt.Sprint("bus", i), disk: d, skew: int64(rnd.IntN(7200)-3600) * int64(time.Second)}
			epoch := f.Epoch()
			f.lane = append(epoch[:], '/')
			buses = append(buses, f)
		}
		clock := time.Now().UnixNano()
		write := func(f *fleetBus) {
			clock += int64(rnd.IntN(3)) * int64(time.Second) / 2
			payload := fmt.Sprint(f.name, " ", clock, " ", rnd.IntN(1000))
			if rnd.IntN(3) == 0 {
				payload = ""
			}
			put(t, f.Bus, fmt.Sprint("home/", rnd.IntN(5)), payload, clock+f.skew)
		}
		for range rnd.IntN(12) { // before they know each other
			write(buses[rnd.IntN(len(buses))])
		}
		for _, f := range buses { // they join: what was before comes as values
			f.StampRetained(true)
			f.next = f.Last() + 1
			f.sends = make([][]Imported, len(buses))
			if f.next > 1 {
				for i := range buses {
					f.sends[i] = append(f.sends[i], Imported{What: ImportPassed, Bus: f.name, Record: journal.Record{Lane: f.lane, Number: f.next - 1}})
				}
			}
			f.offer(t)
		}
		deliver := func(from, to int) {
			f := buses[from]
			n := min(len(f.sends[to]), 1+rnd.IntN(6))
			if n == 0 || from == to {
				return
			}
			list := f.sends[to][:n]
			take(t, buses[to].Bus, list...)
			if rnd.IntN(4) == 0 {
				take(t, buses[to].Bus, list[rnd.IntN(n):]...) // repeated
			}
			if rnd.IntN(4) > 0 {
				f.sends[to] = f.sends[to][n:]
			} else {
				late++ // they come again
			}
		}
		for range 120 {
			f := buses[rnd.IntN(len(buses))]
			switch n := rnd.IntN(100); {
			case n < 25:
				write(f)
			case n < 45:
				f.export(t)
			case n < 90:
				deliver(rnd.IntN(len(buses)), rnd.IntN(len(buses)))
			case n < 95:
				f.offer(t)
			default:
				if rnd.IntN(2) == 0 {
					f.disk = f.disk.Kill()
				}
				f.Close()
				f.Bus = openOn(t, f.disk, Options{})
				f.StampRetained(true)
			}
		}
		for _, f := range buses {
			for f.next <= f.Last() {
				f.export(t)
			}
		}
		for from, f := range buses {
			for to := range buses {
				if from != to {
					take(t, buses[to].Bus, f.sends[to]...)
				}
			}
		}
		want := map[string]string{}
		for i, f := range buses {
			got := map[string]string{}
			list, err := f.Retained("home/#")
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range list {
				got[e.Topic] = string(e.Payload)
			}
			cleared += len(f.retained.tombs.byTopic)
			if i == 0 {
				want = got
			} else if !maps.Equal(got, want) {
				t.Fatalf("seed %d: %s has\n%v\n%s has\n%v\n%s\n%s", seed, buses[0].name, want, f.name, got, fleetState(t, buses[0].Bus), fleetState(t, f.Bus))
			}
		}
		for _, f := range buses {
			checkOnce(t, seed, f, buses)
			f.Close()
		}
	}
	if cleared < int(seeds) || late < int(seeds) {
		t.Errorf("%d tombstones, %d repeats: that tests little", cleared, late)
	}
}

// checkOnce demands that each event of another bus is in the journal once, in its bus's order.
func checkOnce(t *testing.T, seed uint64, f *fleetBus, buses []*fleetBus) {
	t.Helper()
	for _, other := range buses {
		if other == f {
			continue
		}
		numbers := func(b *Bus, wants func(r *journal.Record) bool) (list []uint64) {
			reader := b.journal.Reader(1)
			defer reader.Release()
			var r journal.Record
			for {
				ok, err := reader.Next(&r)
				if err != nil {
					t.Fatal(err)
				}
				if !ok {
					return list
				}
				if b.counts(&r) && wants(&r) {
					number := r.Number
					if number == 0 {
						number = r.Seq
					}
					list = append(list, number)
				}
			}
		}
		got := numbers(f.Bus, func(r *journal.Record) bool {
			return r.Kind == journal.KindImported && string(r.Lane) == string(other.lane)
		})
		own := numbers(other.Bus, isOwn)
		if start := slices.Index(own, append(got, 0)[0]); len(got) > 0 && !slices.Equal(got, own[max(start, 0):]) {
			t.Fatalf("seed %d: %s has of %s %v, of %v", seed, f.name, other.name, got, own)
		}
	}
}
