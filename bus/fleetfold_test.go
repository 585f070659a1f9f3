package bus

// This file is what the fold knows of other buses, across restarts: from the journal or from a snapshot
// it is the same, wherever the journal ends and whatever a snapshot was written between.

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/bus/bustest"
	"github.com/postbus/postbus/bus/journal"
)

// fleetState lists what the fold knows: lanes, retained values with their stamps, tombstones, void
// events, the highest stamp.
func fleetState(t testing.TB, b *Bus) string {
	t.Helper()
	var out strings.Builder
	for e := b.lanes.order.Front(); e != nil; e = e.Next() {
		l := e.Value.(*lane)
		fmt.Fprintf(&out, "lane %q of %s: %d by %d\n", l.name, l.bus, l.number, l.seq)
	}
	all := compile("#")
	for after, done := "", false; !done; {
		var found []retainedEntry
		found, after, done = b.retained.next(&all, after, 100)
		for _, e := range found {
			var r journal.Record
			if !b.readRetained(e.topic, &r) {
				t.Fatalf("%s can't be read", e.topic)
			}
			fmt.Fprintf(&out, "%s = %s by %d, stamp %v\n", e.topic, r.Payload, e.seq, e.stamp)
		}
	}
	for e := b.retained.tombs.order.Front(); e != nil; e = e.Next() {
		tomb := e.Value.(*tombstone)
		fmt.Fprintf(&out, "%s was cleared by %d at %d, stamp %v\n", tomb.topic, tomb.seq, tomb.time, tomb.stamp)
	}
	if n := len(b.retained.tombs.times); n != b.retained.tombs.order.Len() || n != len(b.retained.tombs.byTopic) {
		t.Fatalf("%d tombstones by time, %d by sequence, %d by topic", n, b.retained.tombs.order.Len(), len(b.retained.tombs.byTopic))
	}
	first := b.journal.First()
	for _, r := range b.void.ranges {
		for seq := r[0]; seq <= r[1]; seq++ {
			if seq >= first {
				fmt.Fprintf(&out, "%d is void\n", seq)
			}
		}
	}
	fmt.Fprintf(&out, "highest %d\n", b.highest)
	return out.String()
}

const someTime = int64(1_800_000_000_000_000_000)

// fleetRecord is a random record that the fold of a bus in a fleet meets. Few topics and numbers make
// them collide.
func fleetRecord(t testing.TB, rnd *rand.Rand, i int) *journal.Record {
	topic := fmt.Sprint("home/", rnd.IntN(6))
	payload := fmt.Sprint("v", i)
	if rnd.IntN(4) == 0 {
		payload = ""
	}
	at := someTime + int64(i)*int64(time.Second) + int64(rnd.IntN(60)-30)*int64(time.Second)
	if rnd.IntN(60) == 0 {
		at += 8 * 24 * int64(time.Hour) // ends all tombstones
	}
	stamp := at + int64(rnd.IntN(100)-50)*int64(time.Second)
	other, number := []string{"attic", "cellar"}[rnd.IntN(2)], uint64(max(1, i+rnd.IntN(8)-5))
	var m Imported
	switch n := rnd.IntN(100); {
	case n < 35: // own
		e := Event{Topic: topic, Payload: []byte(payload), QoS: 1, Retain: rnd.IntN(5) > 0, Source: "client"}
		r := e.Record()
		if r.Time = at; n < 20 {
			r.Stamp = journal.NextStamp
		}
		return r
	case n < 60:
		m = retainedOfBus(other, number, topic, payload, stamp)
		if rnd.IntN(4) == 0 {
			m.Record.Stamp = 0
		}
	case n < 70:
		m = eventOfBus(other, "/", number)
	case n < 95:
		m = offered(other, max(1, number-min(number-1, 3)), topic, payload, stamp)
		if rnd.IntN(3) == 0 {
			m.Record.Lane, m.Record.Number = [][]byte{nil, laneOf("d", "")}[rnd.IntN(2)], 0
		}
	default:
		m = passed(other, "/", number, uint64(rnd.IntN(3)))
	}
	r, err := m.record(at)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A snapshot is written while the fold goes on. A start from it and the records behind it knows the same
// as before, and of each event the same counts.
func TestAStartFromASnapshotFoldsAlike(t *testing.T) {
	seeds := uint64(250)
	if testing.Short() {
		seeds = 25
	}
	var tombs, voids, gone int
	for seed := range seeds {
		rnd := rand.New(rand.NewPCG(seed, 1))
		d := bustest.NewDisk(seed)
		o := Options{}
		b := openOn(t, d, o)
		n := 0
		fold := func(count int) {
			t.Helper()
			var last *journal.Record
			for range count {
				n++
				if last != nil {
					if _, err := b.journal.Append(last); err != nil {
						t.Fatal(err)
					}
				}
				last = fleetRecord(t, rnd, n)
			}
			if last != nil {
				add(t, b, last)
			}
		}
		for range 3 {
			fold(rnd.IntN(40))
			at := b.completed.Load() // dispatch is idle
			records, err := b.state()
			if err != nil {
				t.Fatal(err)
			}
			fold(rnd.IntN(30))
			gone += len(b.retained.gone)
			b.writeSnapshot(at, records)
			fold(rnd.IntN(10))
			want, counted := fleetState(t, b), events(t, b)
			tombs, voids = tombs+strings.Count(want, "cleared"), voids+strings.Count(want, "void")
			d = d.Kill()
			b.Close()
			b = openOn(t, d, o)
			if got := fleetState(t, b); got != want {
				t.Fatalf("seed %d: after a start from the snapshot:\n%s\nbefore:\n%s", seed, got, want)
			}
			if got := events(t, b); !slices.Equal(got, counted) {
				t.Fatalf("seed %d: after a start %v count, before %v", seed, got, counted)
			}
			b.Close() // with a snapshot of its own
			b = openOn(t, d, o)
			if got := fleetState(t, b); got != want {
				t.Fatalf("seed %d: after a second start:\n%s\nbefore:\n%s", seed, got, want)
			}
			if b.retained.was != nil || b.retained.window != 0 || b.retained.gone != nil {
				t.Fatalf("seed %d: something of the snapshot stays", seed)
			}
		}
		b.Close()
	}
	if tombs < int(seeds) || voids < int(seeds) || gone < int(seeds) {
		t.Errorf("%d tombstones, %d void events, %d values replaced during a snapshot: that tests little", tombs, voids, gone)
	}
}

// The process is killed between any two records, and in the middle of one: a start knows what was known
// then. It reads the journal alone, or a snapshot of some record and those behind it.
func TestAStartBetweenAnyTwoRecords(t *testing.T) {
	const name = "00000000000000000001.seg"
	seeds := uint64(8)
	if testing.Short() {
		seeds = 1
	}
	for seed := range seeds {
		rnd := rand.New(rand.NewPCG(seed, 2))
		d := bustest.NewDisk(seed)
		b := openOn(t, d, Options{})
		type place struct {
			size   int
			state  string
			events []string
		}
		size := func() int { return len(strings.TrimRight(string(d.Content(name)), "\x00")) }
		places := []place{{size(), fleetState(t, b), nil}}
		snapshotAt := 20 * int(seed%2)
		for i := 1; i <= 40; i++ {
			r := fleetRecord(t, rnd, i)
			if r.Kind.Event() && len(r.Payload) == 0 { // so that the end of the record is no zero
				r.Props = Properties(nil).WithUser("k", "v")
			}
			add(t, b, r)
			places = append(places, place{size(), fleetState(t, b), events(t, b)})
			if i == snapshotAt {
				b.snapshot()
			}
		}
		d = d.Kill()
		b.Close()
		for i := snapshotAt; i < len(places); i++ {
			p := places[i]
			cuts := []int{p.size}
			if i+1 < len(places) { // and a part of the next record
				cuts = append(cuts, p.size+1+rnd.IntN(places[i+1].size-p.size-1))
			}
			for _, cut := range cuts {
				torn := d.Kill()
				torn.Cut(name, cut)
				b := openOn(t, torn, Options{})
				if got := fleetState(t, b); got != p.state {
					t.Fatalf("seed %d, after %d records:\n%s\nwas:\n%s", seed, i, got, p.state)
				}
				if got := events(t, b); !slices.Equal(got, p.events) {
					t.Fatalf("seed %d, after %d records %v count, was %v", seed, i, got, p.events)
				}
				b.Close()
			}
		}
	}
}

// Stamps stay above those of the past after a start, also when the journal and all values are gone.
func TestStampsRiseAcrossStarts(t *testing.T) {
	d := bustest.NewDisk(1)
	b := openOn(t, d, Options{})
	b.StampRetained(true)
	take(t, b, retainedOfBus("attic", 1, "home/x", "v", someTime+100))
	want := someTime + 101
	if r := put(t, b, "home/x", "", 5); r.Stamp != want {
		t.Fatalf("stamp %d, want %d", r.Stamp, want)
	}
	b.retained.forgetTombs(1 << 62)
	for range 3 {
		want++
		b.Close()
		b = openOn(t, d, Options{})
		b.StampRetained(true)
		if r := put(t, b, "home/y", "v", 5); r.Stamp != want {
			t.Errorf("stamp %d, want %d", r.Stamp, want)
		}
	}
	if r := put(t, b, "$own/y", "v", 5); r.Stamp != 0 {
		t.Errorf("a topic that begins with $ has the stamp %d", r.Stamp)
	}
	if r := add(t, b, (&Event{Topic: "home/z", QoS: 1}).Record()); r.Stamp != 0 {
		t.Errorf("an event that is not retained has the stamp %d", r.Stamp)
	}
	b.StampRetained(false)
	for i := range 2 { // values without a stamp count as newer than the last one
		if r := put(t, b, "home/y", "v", 5); r.Stamp != 0 {
			t.Errorf("stamp %d, although stamping is off", r.Stamp)
		}
		if st, _ := b.retained.stampOf([]byte("home/y")); st.at != want+1+int64(i) {
			t.Errorf("the value counts with the stamp %d, want %d", st.at, want+1+int64(i))
		}
	}
	killed, stopped := d.Kill(), d.Kill()
	b.Close()
	openOn(t, stopped, Options{}).Close()
	for name, disk := range map[string]*bustest.Disk{"the journal": killed, "a snapshot": stopped} {
		b = openOn(t, disk, Options{})
		b.StampRetained(true)
		if r := put(t, b, "home/z", "v", 5); r.Stamp != want+3 {
			t.Errorf("after values without stamps, from %s: %d, want %d", name, r.Stamp, want+3)
		}
		b.Close()
	}
}

// Without other buses and stamps a snapshot is as an earlier version wrote it. With them that version
// refuses it: each of its records has a field or a kind that it does not know.
func TestAnEarlierVersionRefusesWhatItDoesNotKnow(t *testing.T) {
	const kindsBefore, fieldsBefore = kindKept, 1<<29 | 1<<30 | 1<<31
	snapshot := func(work func(b *Bus)) (refused bool) {
		d := bustest.NewDisk(1)
		b := openOn(t, d, Options{})
		put(t, b, "home/a", "v", 5)
		add(t, b, &journal.Record{Kind: journal.KindConditional, Source: []byte("nobody"), Topic: []byte("a")}) // void
		work(b)
		b.Close()
		names, err := d.List()
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if !strings.HasSuffix(name, ".snap") {
				continue
			}
			for b := d.Content(name); len(b) > 0; b = b[binary.LittleEndian.Uint32(b[4:]):] {
				kind, fields := journal.Kind(b[24]), binary.LittleEndian.Uint32(b[36:])
				if kind > kindsBefore && kind != journal.KindConditional || fields&(1<<28) != 0 {
					refused = true
				} else if fields&^fieldsBefore > 1000 {
					t.Errorf("fields %x", fields)
				}
			}
		}
		return refused
	}
	for name, c := range map[string]struct {
		work func(b *Bus)
		want bool
	}{
		"nothing of other buses": {func(*Bus) {}, false},
		"a lane":                 {func(b *Bus) { take(t, b, passed("attic", "/", 5, 0)) }, true},
		"a stamp":                {func(b *Bus) { b.StampRetained(true); put(t, b, "home/a", "w", 5) }, true},
		"a tombstone":            {func(b *Bus) { b.StampRetained(true); put(t, b, "home/a", "", 5) }, true},
		"void events": {func(b *Bus) {
			for range 2 {
				add(t, b, &journal.Record{Kind: journal.KindConditional, Source: []byte("nobody"), Topic: []byte("a")})
			}
		}, true},
	} {
		if got := snapshot(c.work); got != c.want {
			t.Errorf("%s: refused %v, want %v", name, got, c.want)
		}
	}
	// And in the journal.
	m := eventOfBus("attic", "/", 5)
	r, err := m.record(5)
	if err != nil || binary.LittleEndian.Uint32(journal.Encode(nil, r)[36:])&(1<<28) == 0 {
		t.Errorf("an imported event looks as before, err %v", err)
	}
}

// A subscription that reads the journal later gets what counts, and nothing else.
func TestASessionThatWasAwayGetsImportsOnce(t *testing.T) {
	d := bustest.NewDisk(1)
	b := openOn(t, d, Options{})
	sub, err := b.Subscribe(context.Background(), "late", "home/#")
	if err != nil {
		t.Fatal(err)
	}
	sub.Close()
	for _, n := range []uint64{3, 3, 2, 5, 5} {
		m := eventOfBus("attic", "/", n)
		r, _ := m.record(5)
		add(t, b, r)
	}
	b.Close()
	b = openOn(t, d, Options{})
	defer b.Close()
	if sub, err = b.Subscribe(context.Background(), "late", "home/#"); err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	for _, want := range []string{"3", "5"} {
		e, err := sub.Next(context.Background())
		if err != nil || string(e.Payload) != want || e.Missed != 0 {
			t.Errorf("%q, missed %d, err %v, want %s", e.Payload, e.Missed, err, want)
		}
	}
	if lag, _ := b.Backlog("late"); lag != 2 {
		t.Errorf("backlog %d", lag)
	}
}
