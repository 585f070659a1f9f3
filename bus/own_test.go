package bus

// This file is what a bus tells other buses: which events and values are its own, in which portions they
// are read, and what is lost.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/bus/bustest"
	"github.com/postbus/postbus/bus/internal/fair"
	"github.com/postbus/postbus/bus/journal"
)

func publishOwn(t testing.TB, b *Bus, topic, payload string) uint64 {
	t.Helper()
	seq, err := b.Publish(context.Background(), Event{Topic: topic, Payload: []byte(payload), QoS: 1, Source: "client"})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.WaitFor(context.Background(), seq); err != nil {
		t.Fatal(err)
	}
	return seq
}

func readOwn(t testing.TB, b *Bus, from uint64, filters []string, maxEvents, maxBytes int) (own OwnEvents, list []string) {
	t.Helper()
	own, err := b.ReadOwn(context.Background(), from, filters, maxEvents, maxBytes)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range own.Records {
		list = append(list, fmt.Sprintf("%d %s %s", r.Seq, r.Topic, r.Payload))
	}
	return own, list
}

func TestOwnEventsAreThoseThatTheBusAccepted(t *testing.T) {
	b := openOn(t, bustest.NewDisk(1), Options{})
	defer b.Close()
	publishOwn(t, b, "home/a", "1")                                                                             // 1
	publishOwn(t, b, "cmd/a", "2")                                                                              // 2
	publishOwn(t, b, "$own/a", "3")                                                                             // 3
	take(t, b, eventOfBus("attic", "/", 1), passed("attic", "/", 2, 0), offered("attic", 2, "home/v", "4", 50)) // 4, 5, 6
	add(t, b, &journal.Record{Kind: journal.KindConditional, Source: []byte("nobody"), Topic: []byte("home/a")})
	put(t, b, "home/r", "8", 0)
	add(t, b, &journal.Record{Kind: journal.KindEvent, Source: []byte(FleetSource + "x/y"), Topic: []byte("home/a")})
	m := offered("attic", 0, "home/w", "10", 50)
	m.Record.Lane = nil
	take(t, b, m)
	e := Event{Topic: "home/k", Payload: []byte("11"), QoS: 1, Source: "plugin:p", Kept: Kept{Topic: "$plugin/p", Value: []byte("big")}}
	if _, err := b.Publish(context.Background(), e); err != nil {
		t.Fatal(err)
	}
	if err := b.WaitFor(context.Background(), 11); err != nil {
		t.Fatal(err)
	}
	all := "1 home/a 1|2 cmd/a 2|8 home/r 8|11 home/k 11"
	for _, c := range []struct {
		from      uint64
		filters   string
		maxEvents int
		maxBytes  int
		want      string
		next      uint64
	}{
		{0, "#", 100, 1 << 20, all, 12},
		{1, "#", 100, 1 << 20, all, 12},
		{1, "home/#,cmd/#", 100, 1 << 20, all, 12},
		{1, "+/a", 100, 1 << 20, "1 home/a 1|2 cmd/a 2", 12},
		{1, "+/+,home/#,home/a", 100, 1 << 20, all, 12},
		{2, "home/#", 100, 1 << 20, "8 home/r 8|11 home/k 11", 12},
		{1, "none/#", 100, 1 << 20, "", 12},
		{1, "", 100, 1 << 20, "", 12},
		{1, "$own/#,$own/a", 100, 1 << 20, "", 12},
		{1, "home/#", 1, 1 << 20, "1 home/a 1", 2},
		{2, "home/#", 1, 1 << 20, "8 home/r 8", 9},
		{1, "#", 0, 1 << 20, "1 home/a 1", 2},              // at least one
		{1, "#", 100, 1, "1 home/a 1", 2},                  // however large
		{1, "#", 100, 2*53 + 2, "1 home/a 1|2 cmd/a 2", 8}, // the next one is considered by the next read
		{11, "#", 100, 54, "11 home/k 11", 12},             // without its kept value
		{12, "#", 100, 1 << 20, "", 12},
		{500, "#", 100, 1 << 20, "", 500},
	} {
		own, list := readOwn(t, b, c.from, slices.DeleteFunc(strings.Split(c.filters, ","), func(f string) bool { return f == "" }), c.maxEvents, c.maxBytes)
		if strings.Join(list, "|") != c.want || own.Next != c.next || len(own.Lost) > 0 {
			t.Errorf("from %d, %q, %d events, %d bytes: %v, next %d, lost %v; want %s, %d", c.from, c.filters, c.maxEvents, c.maxBytes, list, own.Next, own.Lost, c.want, c.next)
		}
		for _, r := range own.Records {
			if len(r.KeptTopic)+len(r.Kept) > 0 {
				t.Errorf("%s has a kept value", r.Topic)
			}
		}
	}
	if _, err := b.ReadOwn(context.Background(), 1, []string{"a/#/b"}, 1, 1); err == nil {
		t.Error("a filter that is none is accepted")
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := b.ReadOwn(ended, 1, []string{"#"}, 1, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// A last will is an event of the bus, also with a stamp.
func TestALastWillIsAnOwnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openOn(t, bustest.NewDisk(1), Options{})
		b.StampRetained(true)
		s, _, err := b.Attach(context.Background(), SessionOptions{Name: "c", Will: &Will{Topic: "home/will", Payload: []byte("gone"), QoS: 1, Retain: true}})
		if err != nil {
			t.Fatal(err)
		}
		s.Start(sinkFunc(func(*Delivery) Verdict { return Sent }), 10)
		s.Detach(false, 0)
		time.Sleep(5 * time.Second)
		own, list := readOwn(t, b, 1, []string{"#"}, 10, 1000)
		if len(list) != 1 || !strings.HasSuffix(list[0], "home/will gone") || own.Records[0].Stamp <= 0 {
			t.Errorf("%v", list)
		}
		b.Close()
	})
}

// Everything is read once, whatever the portions, also over sealed segments and topics that are skipped.
func TestOwnEventsInPortions(t *testing.T) {
	d := bustest.NewDisk(1)
	b := openOn(t, d, Options{SegmentSize: 4 << 10, CacheSize: 1 << 10})
	defer b.Close()
	want := map[string][]string{}
	for i := range 700 {
		topic := fmt.Sprintf("home/%d", i/100%3)
		if i%10 == 9 {
			take(t, b, eventOfBus("attic", "/", uint64(i)))
			continue
		}
		seq := publishOwn(t, b, topic, "x")
		want[topic] = append(want[topic], fmt.Sprintf("%d %s x", seq, topic))
	}
	for topic, want := range want {
		for _, n := range []int{1, 7, 1000} {
			var got []string
			for from := uint64(1); from <= b.Last(); {
				own, list := readOwn(t, b, from, []string{topic}, n, 1<<20)
				if own.Next <= from || len(list) > n || len(own.Lost) > 0 {
					t.Fatalf("from %d: %d events, next %d, lost %v", from, len(list), own.Next, own.Lost)
				}
				got, from = append(got, list...), own.Next
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s, %d at a time: %d events, want %d", topic, n, len(got), len(want))
			}
		}
	}
}

// What the journal lost is told in ranges, and the reading goes on behind it.
func TestOwnEventsThatAreLost(t *testing.T) {
	d := bustest.NewDisk(1)
	o := Options{SegmentSize: 2 << 10, CacheSize: 1, Limits: Limits{RetentionAge: -1, RetentionSize: -1}, Pins: []string{"fleet"}}
	b := openOn(t, d, o)
	for i := range 200 {
		publishOwn(t, b, "home/a", fmt.Sprintf("payload %05d", i+1))
	}
	b.Close()
	var segments []string
	names, _ := d.List()
	for _, n := range names {
		if strings.HasSuffix(n, ".seg") {
			segments = append(segments, n)
		}
	}
	at := strings.Index(string(d.Content(segments[1])), "payload ")
	damaged := uint64(0)
	fmt.Sscanf(string(d.Content(segments[1])[at+8:]), "%d", &damaged)
	d.Corrupt(segments[1], at)
	from, to := uint64(0), uint64(0)
	fmt.Sscanf(segments[3], "%d.seg", &from)
	fmt.Sscanf(segments[4], "%d.seg", &to)
	d.Lose(segments[3])
	b = openOn(t, d, o)
	own, list := readOwn(t, b, 1, []string{"#"}, 1000, 1<<20)
	want := []LostRange{{damaged, damaged}, {from, to - 1}}
	if !slices.Equal(own.Lost, want) || len(list) != 200-1-int(to-from) || own.Next != b.Last()+1 {
		t.Errorf("lost %v, want %v; %d events, next %d", own.Lost, want, len(list), own.Next)
	}
	// Only what is behind the position counts, and a portion tells only what it passed.
	if own, _ = readOwn(t, b, damaged+1, []string{"#"}, 1, 1<<20); len(own.Lost) != 0 {
		t.Errorf("lost %v", own.Lost)
	}
	b.Close()

	// The retention deleted the oldest.
	o.Pins = nil
	synctest.Test(t, func(t *testing.T) {
		b := openOn(t, d.Kill(), o)
		time.Sleep(3 * time.Second)
		first := b.journal.First()
		if first <= to {
			t.Fatalf("the journal begins at %d", first)
		}
		for _, from := range []uint64{0, 1, 50, first - 1} {
			own, _ := readOwn(t, b, from, []string{"#"}, 1000, 1<<20)
			if !slices.Equal(own.Lost, []LostRange{{max(from, 1), first - 1}}) {
				t.Errorf("from %d: lost %v, the journal begins at %d", from, own.Lost, first)
			}
		}
		if own, _ := readOwn(t, b, first, []string{"#"}, 1000, 1<<20); len(own.Lost) != 0 {
			t.Errorf("lost %v", own.Lost)
		}
		b.Close()
	})
}

// A read of a long journal takes turns with others that read the past.
func TestOwnEventsAreReadInTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openOn(t, bustest.NewDisk(1), Options{SegmentSize: 8 << 20})
		defer b.Close()
		const records = 40 * historyScan
		var last Pending
		for range records {
			p, err := b.Send(Event{Topic: "home/a", QoS: 1})
			if err != nil {
				t.Fatal(err)
			}
			last = p
		}
		<-last.Done()
		synctest.Wait()
		b.turns = fair.New(1)
		b.turns.Take()
		done := make(chan struct{})
		go func() {
			defer close(done)
			readOwn(t, b, 1, []string{"+/b"}, 10, 1000) // none matches
		}()
		for turn := 0; ; turn++ {
			synctest.Wait()
			select {
			case <-done:
				if turn < records/historyScan {
					t.Errorf("it took %d turns", turn)
				}
				b.turns.End()
				return
			default:
			}
			go b.turns.Take() // another one, who waits behind it
			synctest.Wait()
			b.turns.End()
		}
	})
}

// OwnRetained lists own values and own clears, with stamps, and nothing of others.
func TestOwnRetainedValues(t *testing.T) {
	d := bustest.NewDisk(1)
	b := openOn(t, d, Options{})
	put(t, b, "home/before", "1", someTime)
	put(t, b, "home/was", "1", someTime)
	put(t, b, "home/was", "", someTime) // cleared when nobody counted
	put(t, b, "$own/a", "1", someTime)
	b.StampRetained(true)
	put(t, b, "home/a", "2", someTime-50)
	put(t, b, "home/b", "3", someTime-50)
	put(t, b, "home/gone", "4", someTime)
	put(t, b, "home/gone", "", someTime)
	put(t, b, "home/back", "", someTime)
	put(t, b, "home/back", "5", someTime)
	put(t, b, "cmd/a", "6", someTime)
	take(t, b, retainedOfBus("attic", 1, "home/b", "theirs", someTime+1000), retainedOfBus("attic", 2, "home/c", "theirs", someTime),
		retainedOfBus("attic", 3, "home/d", "", someTime), offered("attic", 3, "home/e", "theirs", someTime))
	put(t, b, "home/effective", "7", someTime)
	take(t, b, retainedOfBus("attic", 4, "home/effective", "theirs", someTime+5000))
	b.StampRetained(false)
	put(t, b, "home/effective", "8", someTime)
	e := Event{Topic: "home/expired", Payload: []byte("9"), QoS: 1, Retain: true, Expiry: time.Second}
	r := e.Record()
	r.Time = 5
	add(t, b, r)
	if _, err := b.Publish(context.Background(), Event{Topic: "x", QoS: 1, Kept: Kept{Topic: "$plugin/k", Value: []byte("1")}}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		fmt.Sprint("home/a=2 ", someTime+1), fmt.Sprint("home/back=5 ", someTime+6), fmt.Sprint("home/before=1 ", someTime),
		fmt.Sprint("home/effective=8 ", someTime+5001), fmt.Sprint("home/gone= ", someTime+4)}
	for range 3 {
		var got []string
		if err := b.OwnRetained(context.Background(), []string{"home/#", "home/+"}, func(r *journal.Record) bool {
			if r.Flags&flagRetain == 0 || r.Seq == 0 || r.Kind != journal.KindEvent || !isOwn(r) {
				t.Errorf("%+v", r)
			}
			got = append(got, fmt.Sprintf("%s=%s %d", r.Topic, r.Payload, r.Stamp))
			return true
		}); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("got\n%v, want\n%v", got, want)
		}
		b.Close()
		b = openOn(t, d, Options{})
	}
	n := 0
	if err := b.OwnRetained(context.Background(), []string{"#"}, func(*journal.Record) bool { n++; return n < 2 }); err != nil || n != 2 {
		t.Errorf("%d after the caller had enough, err %v", n, err)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := b.OwnRetained(ended, []string{"#"}, func(*journal.Record) bool { return true }); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	// A value that was offered with its time is older than the next one, whatever the clock says.
	b.StampRetained(true)
	put(t, b, "home/before", "2", 5)
	if st, _ := b.retained.stampOf([]byte("home/before")); st.at <= someTime {
		t.Errorf("stamp %d", st.at)
	}
	late := (&Event{Topic: "late", Payload: []byte("1"), QoS: 1, Retain: true}).Record()
	late.Time = 2 * someTime // whose record may be in no segment any more
	add(t, b, late)
	if err := b.OwnRetained(context.Background(), []string{"late"}, func(*journal.Record) bool { return true }); err != nil {
		t.Fatal(err)
	}
	if r := put(t, b, "late", "2", 5); r.Stamp <= 2*someTime {
		t.Errorf("stamp %d", r.Stamp)
	}
	b.Close()
}

// WaitFor returns with the record, and one that gives up leaves nothing behind.
func TestWaitingForARecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := openOn(t, bustest.NewDisk(1), Options{})
		seq := publishOwn(t, b, "home/a", "1")
		if err := b.WaitFor(context.Background(), seq); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		results := make(chan error, 3)
		go func() { results <- b.WaitFor(ctx, seq+1) }()
		synctest.Wait()
		cancel()
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		if n := len(b.waiters); n != 0 {
			t.Errorf("%d waiters", n)
		}
		go func() { results <- b.WaitFor(context.Background(), seq+1) }()
		go func() { results <- b.WaitFor(context.Background(), seq+5) }()
		synctest.Wait()
		publishOwn(t, b, "home/a", "2")
		if err := <-results; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if n := len(b.waiters); n != 1 {
			t.Errorf("%d waiters", n)
		}
		b.Close()
		if err := <-results; !errors.Is(err, ErrClosed) {
			t.Errorf("error %v", err)
		}
	})
}
