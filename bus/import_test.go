package bus

// This file is imports as the fold sees them: of each event of another bus one counts, whatever arrives
// twice, late, or at the same time.

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/bus/bustest"
	"github.com/postbus/postbus/bus/journal"
)

func openOn(t testing.TB, d *bustest.Disk, o Options) *Bus {
	t.Helper()
	o.FS = d
	if o.SegmentSize == 0 { // the disk is in memory, and is copied
		o.SegmentSize = 512 << 10
	}
	b, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// laneOf names a lane: the epoch is 16 times the letter.
func laneOf(bus, name string) []byte { return []byte(strings.Repeat(bus[:1], epochSize) + name) }

// eventOfBus is the import of an event, whose payload is its number unless it is given.
func eventOfBus(bus, lane string, number uint64, payload ...string) Imported {
	text := strings.Join(payload, "")
	if payload == nil {
		text = fmt.Sprint(number)
	}
	return Imported{What: ImportEvent, Bus: bus, Record: journal.Record{Flags: 1, Expiry: journal.NoExpiry, Source: []byte("sensor"),
		Topic: []byte("home/" + bus), Payload: []byte(text), Lane: laneOf(bus, lane), Number: number, At: 12345}}
}

// retainedOfBus is the import of a retained event; an empty payload clears the topic.
func retainedOfBus(bus string, number uint64, topic, payload string, stamp int64) Imported {
	m := eventOfBus(bus, "/", number, payload)
	m.Record.Flags, m.Record.Topic, m.Record.Stamp = 1|flagRetain, []byte(topic), stamp
	return m
}

func offered(bus string, number uint64, topic, payload string, stamp int64) Imported {
	m := retainedOfBus(bus, number, topic, payload, stamp)
	m.What, m.Record.Flags = ImportValue, 1
	return m
}

func passed(bus, lane string, number, lost uint64) Imported {
	return Imported{What: ImportPassed, Bus: bus, Record: journal.Record{Lane: laneOf(bus, lane), Number: number}, Lost: lost}
}

// take imports a list, and returns when it is folded.
func take(t testing.TB, b *Bus, list ...Imported) {
	t.Helper()
	p, err := b.Import(list...)
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if err := p.Err(); err != nil {
		t.Fatal(err)
	}
	if err := b.WaitFor(context.Background(), p.Seq()); err != nil {
		t.Fatal(err)
	}
}

// add appends a record as it is, and returns when it is folded.
func add(t testing.TB, b *Bus, r *journal.Record) *journal.Record {
	t.Helper()
	c, err := b.journal.Append(r)
	if err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	if err := b.WaitFor(context.Background(), c.Seq()); err != nil {
		t.Fatal(err)
	}
	return r
}

// put publishes a retained value at a time, as a client does.
func put(t testing.TB, b *Bus, topic, payload string, at int64) *journal.Record {
	t.Helper()
	e := Event{Topic: topic, Payload: []byte(payload), QoS: 1, Retain: true, Source: "client"}
	r := e.Record()
	r.Time = at
	c, err := b.Append(r)
	if err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	if err := b.WaitFor(context.Background(), c.Seq()); err != nil {
		t.Fatal(err)
	}
	return r
}

// events lists the topics and payloads of the events in the journal that count.
func events(t testing.TB, b *Bus) (list []string) {
	t.Helper()
	err := b.History(context.Background(), "#", Since{Seq: 1}, func(e Event) bool {
		list = append(list, e.Topic+" "+string(e.Payload))
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestOfEachImportedEventOneCounts(t *testing.T) {
	for name, c := range map[string]struct {
		list []Imported
		want string // payloads
		seen map[string]uint64
	}{
		"in their order": {[]Imported{eventOfBus("attic", "/", 1), eventOfBus("attic", "/", 2)}, "1 2", map[string]uint64{"a/": 2}},
		"again":          {[]Imported{eventOfBus("attic", "/", 4), eventOfBus("attic", "/", 4), eventOfBus("attic", "/", 4)}, "4", map[string]uint64{"a/": 4}},
		"all again": {[]Imported{eventOfBus("attic", "/", 4), eventOfBus("attic", "/", 7), eventOfBus("attic", "/", 4), eventOfBus("attic", "/", 7), eventOfBus("attic", "/", 8)},
			"4 7 8", map[string]uint64{"a/": 8}},
		"late":      {[]Imported{eventOfBus("attic", "/", 9), eventOfBus("attic", "/", 8)}, "9", map[string]uint64{"a/": 9}},
		"two lanes": {[]Imported{eventOfBus("attic", "/", 9), eventOfBus("attic", "/cmd", 3), eventOfBus("attic", "/cmd", 3)}, "9 3", map[string]uint64{"a/": 9, "a/cmd": 3}},
		"two buses": {[]Imported{eventOfBus("attic", "/", 9), eventOfBus("cellar", "/", 9)}, "9 9", map[string]uint64{"a/": 9, "c/": 9}},
		"passed over": {[]Imported{eventOfBus("attic", "/", 1), passed("attic", "/", 5, 0), eventOfBus("attic", "/", 5), eventOfBus("attic", "/", 6)},
			"1 6", map[string]uint64{"a/": 6}},
		"passed over backwards": {[]Imported{eventOfBus("attic", "/", 8), passed("attic", "/", 5, 3), eventOfBus("attic", "/", 7)}, "8", map[string]uint64{"a/": 8}},
		"a value before its lane": {[]Imported{offered("attic", 5, "home/x", "v", 100), eventOfBus("attic", "/", 5)},
			"5", map[string]uint64{"a/": 5}},
		"a value behind its lane": {[]Imported{passed("attic", "/", 5, 0), offered("attic", 5, "home/x", "v", 100), offered("attic", 6, "home/y", "w", 100)},
			"v", map[string]uint64{"a/": 5}},
		"a value that is here": {[]Imported{retainedOfBus("attic", 5, "home/x", "v", 100), offered("attic", 5, "home/x", "v", 100)},
			"v", map[string]uint64{"a/": 5}},
		"an older value": {[]Imported{retainedOfBus("attic", 5, "home/x", "new", 100), offered("attic", 3, "home/x", "old", 99), retainedOfBus("attic", 6, "home/x", "late", 98)},
			"new late", map[string]uint64{"a/": 6}},
		"a value without a lane": {[]Imported{{What: ImportValue, Bus: "attic", Record: journal.Record{Topic: []byte("x"), Payload: []byte("v"), Stamp: 1, Flags: 1, Expiry: journal.NoExpiry}}},
			"v", map[string]uint64{}},
		"a value with only an epoch": {[]Imported{{What: ImportValue, Bus: "attic", Record: journal.Record{Topic: []byte("x"), Payload: []byte("v"), Stamp: 1, Flags: 1, Expiry: journal.NoExpiry, Lane: laneOf("a", "")}}},
			"v", map[string]uint64{}},
	} {
		for _, how := range []string{"one list", "one by one", "without a look before"} {
			t.Run(name+", "+how, func(t *testing.T) {
				d := bustest.NewDisk(1)
				b := openOn(t, d, Options{})
				switch how {
				case "one list":
					take(t, b, c.list...)
				case "one by one":
					for _, m := range c.list {
						take(t, b, m)
					}
				default: // the fold alone decides
					for i := range c.list {
						r, err := c.list[i].record(time.Now().UnixNano())
						if err != nil {
							t.Fatal(err)
						}
						add(t, b, r)
					}
				}
				for range 2 {
					var got []string
					for _, e := range events(t, b) {
						got = append(got, strings.Fields(e)[1])
					}
					if strings.Join(got, " ") != c.want {
						t.Errorf("counts %v, want %s", got, c.want)
					}
					seen := map[string]uint64{}
					for name, l := range b.lanes.lanes {
						seen[name[:1]+name[epochSize:]] = l.number
					}
					if !maps.Equal(seen, c.seen) {
						t.Errorf("seen %v, want %v", seen, c.seen)
					}
					b.Close()
					b = openOn(t, d, Options{}) // from the snapshot
				}
				b.Close()
			})
		}
	}
}

// Two imports of the same numbers, with repeats in each, at the same time: each number counts once, and
// they count in their order.
func TestTwoImportsOfTheSameEvents(t *testing.T) {
	d := bustest.NewDisk(1)
	b := openOn(t, d, Options{})
	const last = 1000
	var all sync.WaitGroup
	for worker := range uint64(4) {
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(worker, 1))
			for n := uint64(1); n <= last; {
				n -= min(n-1, uint64(rnd.IntN(10))) // repeats
				var list []Imported
				for size := 20 + rnd.IntN(20); n <= last && len(list) < size; n++ {
					list = append(list, eventOfBus("attic", "/", n))
				}
				if worker%2 > 0 {
					if _, err := b.Import(list...); err != nil {
						t.Error(err)
					}
					continue
				}
				var records []*journal.Record // without a look before
				for i := range list {
					r, err := list[i].record(time.Now().UnixNano())
					if err != nil {
						t.Error(err)
					}
					records = append(records, r)
				}
				if _, err := b.journal.AppendAll(records...); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	take(t, b, eventOfBus("attic", "/", last+1))
	if n := b.Stats().Journal.Last; n < last+2 {
		t.Errorf("the journal has %d records: nothing raced", n)
	}
	for range 2 {
		got := events(t, b)
		if len(got) != last+1 {
			t.Fatalf("%d events, want %d", len(got), last+1)
		}
		for i, e := range got {
			if e != fmt.Sprint("home/attic ", i+1) {
				t.Fatalf("event %d is %q", i+1, e)
			}
		}
		d = d.Kill() // then from the journal
		b.Close()
		b = openOn(t, d, Options{})
	}
	b.Close()
}

// What an import can't take is named, and nothing of the list is appended.
func TestAnImportThatIsRefused(t *testing.T) {
	b := openOn(t, bustest.NewDisk(1), Options{Limits: Limits{Retained: 2, MaxPayload: 1000}})
	defer b.Close()
	put(t, b, "a", "1", 0)
	put(t, b, "b", "1", 0)
	with := func(change func(*Imported)) Imported {
		m := eventOfBus("attic", "/", 7)
		change(&m)
		return m
	}
	for want, m := range map[string]Imported{
		"kind 0":                             with(func(m *Imported) { m.What = 0 }),
		"kind 4":                             with(func(m *Imported) { m.What = 4 }),
		"number 0":                           with(func(m *Imported) { m.Record.Number = 0 }),
		"number 0: numbers begin at 1":       with(func(m *Imported) { m.What, m.Record.Number = ImportPassed, 0 }),
		"number 5 without a lane":            with(func(m *Imported) { *m = offered("a", 5, "x", "v", 1); m.Record.Lane = nil }),
		"needs a stamp":                      offered("a", 5, "x", "v", 0),
		"lane of 16 bytes":                   with(func(m *Imported) { m.Record.Lane = laneOf("a", "") }),
		"lane of 256 bytes":                  with(func(m *Imported) { m.Record.Lane = make([]byte, 256) }),
		"name of a bus of 0 bytes":           with(func(m *Imported) { m.Bus = "" }),
		"name of a bus of 65 bytes":          with(func(m *Imported) { m.Bus = strings.Repeat("a", 65) }),
		`name of a bus "a/b"`:                with(func(m *Imported) { m.Bus = "a/b" }),
		`name of a bus "a b"`:                with(func(m *Imported) { m.Bus = "a b" }),
		`name of a bus "a\x00"`:              with(func(m *Imported) { m.Bus = "a\x00" }),
		"stamp -1":                           with(func(m *Imported) { m.Record.Stamp = -1 }),
		"before the year 2200":               with(func(m *Imported) { m.Record.Stamp = latestStamp + 1 }),
		"topics that begin with $":           with(func(m *Imported) { m.Record.Topic = []byte("$bus/x") }),
		"QoS 3":                              with(func(m *Imported) { m.Record.Flags = 3 }),
		"payload of 1001 bytes":              with(func(m *Imported) { m.Record.Payload = make([]byte, 1001) }),
		"properties are malformed":           with(func(m *Imported) { m.Record.Props = []byte{0x26, 1} }),
		"wildcard":                           with(func(m *Imported) { m.Record.Topic = []byte("a/+") }),
		"it has more levels than the 128 of": with(func(m *Imported) { m.Record.Topic = []byte(strings.Repeat("/", 200)) }),
		"source of 6":                        with(func(m *Imported) { m.Record.Source = make([]byte, 65530) }),
		"2 retained values of limits.":       with(func(m *Imported) { m.Record.Flags, m.Record.Topic = 1|flagRetain, []byte("c") }),
		"there are the 2 retained values":    offered("attic", 7, "c", "v", 100),
	} {
		before := b.journal.Next()
		_, err := b.Import(eventOfBus("attic", "/", 6), m)
		var refused *ImportError
		if !errors.As(err, &refused) || refused.Index != 1 || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "import 1: ") {
			t.Errorf("error %v, want %q", err, want)
		}
		if b.journal.Next() != before {
			t.Errorf("%s: something was appended", want)
		}
	}
	var limit *LimitError
	if _, err := b.Import(offered("attic", 7, "c", "v", 100)); !errors.As(err, &limit) || limit.Key != LimitRetained {
		t.Errorf("error %v", err)
	}
	take(t, b, eventOfBus("attic", "/", 7))
	// A repeat is no reason for an error, whatever the limits say now.
	if _, err := b.Import(with(func(m *Imported) { m.Record.Flags, m.Record.Topic = 1|flagRetain, []byte("c") })); err != nil {
		t.Errorf("repeat: %v", err)
	}
}

// An event tells where it comes from, and its source is none that a client can have.
func TestAnImportedEventHasAnOrigin(t *testing.T) {
	b := openOn(t, bustest.NewDisk(1), Options{})
	defer b.Close()
	sub, err := b.Subscribe(context.Background(), "", "#")
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	m := eventOfBus("attic", "/", 7)
	m.Record.Source, m.Record.Props, m.Record.Flags = []byte("plugin:a/b"), Properties(nil).WithUser("k", "v"), 2|3<<shiftHops
	m.Record.Cause, m.Record.ID, m.Record.Expiry, m.Record.KeptTopic = 3, 9, 60, []byte("$plugin/x")
	take(t, b, m)
	put(t, b, "own", "1", 0)
	e, err := sub.Next(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if e.Source != "@fleet/attic/plugin:a/b" || !ReservedName(e.Source) || e.Origin.Bus != "attic" || e.Origin.Time.UnixNano() != 12345 ||
		time.Since(e.Time).Abs() > time.Minute || e.Hops != 3 || e.Cause != 0 || e.Expiry != time.Minute || e.Properties.User()[0].Value != "v" {
		t.Errorf("%+v", e)
	}
	if e, err = sub.Next(context.Background()); err != nil || e.Origin != (Origin{}) || e.Source != "client" {
		t.Errorf("own event: %+v, err %v", e, err)
	}
}

// Events that did not come are reported once, and at most as many as are between the numbers.
func TestEventsThatAreLostAreReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := bustest.NewDisk(1)
		b := openOn(t, d, Options{})
		sub, err := b.Subscribe(context.Background(), "", "$bus/lost")
		if err != nil {
			t.Fatal(err)
		}
		take(t, b, eventOfBus("attic", "/", 10))
		take(t, b, passed("attic", "/", 100, 7))
		take(t, b, passed("attic", "/", 100, 7))
		for _, number := range []uint64{100, 90} { // which no look before has left out
			r, _ := (&Imported{What: ImportPassed, Bus: "attic", Record: journal.Record{Lane: laneOf("attic", "/"), Number: number}, Lost: 7}).record(1)
			add(t, b, r)
		}
		take(t, b, passed("attic", "/", 103, 1000)) // of which three can be missing
		e, err := sub.Next(context.Background())
		if err != nil || string(e.Payload) != `{"events":10,"reason":"not kept by the hub","session":"@fleet/attic"}` {
			t.Errorf("%s, err %v", e.Payload, err)
		}
		if n := b.Stats().Lost["not kept by the hub"]; n != 10 {
			t.Errorf("%d lost", n)
		}
		sub.Close()
		d = d.Kill()
		b.Close()
		b = openOn(t, d, Options{})
		if n := b.Stats().Lost["not kept by the hub"]; n != 0 {
			t.Errorf("reported again after a start: %d", n)
		}
		b.Close()
	})
}

// BenchmarkImport is the events of another bus, 500 at a time, on the disk and folded.
func BenchmarkImport(b *testing.B) {
	u, err := Open(context.Background(), Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer u.Close()
	const group = 500
	list := make([]Imported, group)
	number := uint64(0)
	var p Pending
	b.ReportAllocs()
	for b.Loop() {
		for i := range list {
			number++
			list[i] = eventOfBus("attic", "/", number, "21.5")
		}
		if p, err = u.Import(list...); err != nil {
			b.Fatal(err)
		}
	}
	<-p.Done()
	if err := u.WaitFor(context.Background(), p.Seq()); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(number)/b.Elapsed().Seconds(), "events/s")
}
