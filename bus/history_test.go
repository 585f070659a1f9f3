package bus_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/bustest"
	"github.com/postbus/postbus/bus/journal"
)

// collector is a sink with a window that the test empties.
type collector struct {
	mu    sync.Mutex
	got   []string
	ids   []uint16
	limit int
}

func (c *collector) Deliver(d *bus.Delivery) bus.Verdict {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.limit > 0 && len(c.ids) >= c.limit {
		return bus.Full
	}
	c.got = append(c.got, string(d.Event.Payload))
	if d.ID != 0 {
		c.ids = append(c.ids, d.ID)
	}
	return bus.Sent
}

func (c *collector) Release(uint16) bool { return true }

// ack acknowledges what was delivered.
func (c *collector) ack(s *bus.Session) {
	c.mu.Lock()
	ids := c.ids
	c.ids = nil
	c.mu.Unlock()
	for _, id := range ids {
		s.Ack(id)
	}
	s.Kick()
}

func (c *collector) wait(t *testing.T, s *bus.Session, n int) []string {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		c.ack(s)
		c.mu.Lock()
		got := append([]string(nil), c.got...)
		c.mu.Unlock()
		if len(got) >= n {
			return got
		}
		if time.Now().After(end) {
			t.Fatalf("%d events, want %d", len(got), n)
		}
	}
}

func publishMany(t *testing.T, b *bus.Bus, topic string, from, to int) {
	t.Helper()
	var last bus.Pending
	for i := from; i < to; i++ {
		var err error
		if last, err = b.Send(bus.Event{Topic: topic, Payload: fmt.Append(nil, i), QoS: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if <-last.Done(); last.Err() != nil {
		t.Fatal(last.Err())
	}
}

func inOrder(t *testing.T, got []string, from, to int) {
	t.Helper()
	if len(got) != to-from {
		t.Fatalf("%d events, want %d", len(got), to-from)
	}
	for i, g := range got {
		if g != fmt.Sprint(from+i) {
			t.Fatalf("event %d is %s, want %d", i, g, from+i)
		}
	}
}

func attach(t *testing.T, b *bus.Bus, name string, expiry uint32) *bus.Session {
	t.Helper()
	s, _, err := b.Attach(context.Background(), bus.SessionOptions{Name: name, Expiry: expiry})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestHistoryThenLive(t *testing.T) {
	ctx := context.Background()
	b, err := bus.Open(ctx, bus.Options{Dir: t.TempDir(), SegmentSize: 64 << 10, CacheSize: 16 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	publishMany(t, b, "a/x", 0, 1000)
	publishMany(t, b, "other", 0, 3000)
	publishMany(t, b, "a/x", 1000, 1500)
	for _, c := range []struct {
		name   string
		filter bus.Filter
		expiry uint32
	}{
		{"a filter that says the age", bus.Filter{Filter: "$replay/10m/a/+", QoS: 1}, 0},
		{"of a durable session", bus.Filter{Filter: "$replay/10m/a/+", QoS: 1}, 100},
		{"a time", bus.Filter{Filter: "a/#", QoS: 1, Since: bus.Since{Time: time.Now().Add(-time.Minute)}}, 0},
		{"a sequence", bus.Filter{Filter: "a/#", QoS: 1, Since: bus.Since{Seq: 1}}, 0},
		{"at QoS 0", bus.Filter{Filter: "a/#", QoS: 0, Since: bus.Since{Seq: 1}}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := attach(t, b, c.name, c.expiry)
			sink := &collector{limit: 50}
			s.Start(sink, 20)
			if err := s.Subscribe(ctx, []bus.Filter{c.filter}); err != nil {
				t.Fatal(err)
			}
			inOrder(t, sink.wait(t, s, 1500), 0, 1500)
			s.Detach(true, 0)
		})
	}

	t.Run("the seam under load, a hundred times", func(t *testing.T) {
		stop := make(chan struct{})
		var task sync.WaitGroup
		defer func() { close(stop); task.Wait() }()
		n := 0
		task.Go(func() {
			for ; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := b.Send(bus.Event{Topic: "load", Payload: fmt.Append(nil, n), QoS: 1}); err != nil {
					t.Error(err)
					return
				}
				if n%64 == 0 {
					time.Sleep(time.Millisecond) // a pace that leaves the others the processor
				}
			}
		})
		for i := range 100 {
			expiry := uint32(i%2) * 100
			s := attach(t, b, fmt.Sprintf("seam%d", i), expiry)
			sink := &collector{}
			s.Start(sink, 100)
			if err := s.Subscribe(ctx, []bus.Filter{{Filter: "$replay/50ms/load", QoS: 1}}); err != nil {
				t.Fatal(err)
			}
			got := sink.wait(t, s, 300)
			var first int
			fmt.Sscan(got[0], &first)
			inOrder(t, got, first, first+len(got))
			s.Detach(true, 0)
		}
	})

	t.Run("who asks", func(t *testing.T) {
		var got []string
		each := func(e bus.Event) bool { got = append(got, string(e.Payload)); return len(got) < 1200 }
		if err := b.History(ctx, "a/#", bus.Since{Seq: 1}, each); err != nil {
			t.Fatal(err)
		}
		inOrder(t, got, 0, 1200)
		got = nil
		if err := b.History(ctx, "a/#", bus.Since{Time: time.Now().Add(time.Hour)}, each); err != nil || len(got) != 0 {
			t.Errorf("of the future: %d, %v", len(got), err)
		}
	})
}

func TestHistoryGoesOnAfterACrash(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	open := func() *bus.Bus {
		b, err := bus.Open(ctx, bus.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	b := open()
	publishMany(t, b, "a", 0, 500)
	s := attach(t, b, "page", 1000)
	sink := &collector{limit: 10}
	s.Start(sink, 10)
	if err := s.Subscribe(ctx, []bus.Filter{{Filter: "$replay/10m/a", QoS: 1}}); err != nil {
		t.Fatal(err)
	}
	sink.wait(t, s, 100)
	s.Detach(false, 1000)
	publishMany(t, b, "a", 500, 510)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = open()
	defer b.Close()
	// The history that was not delivered yet is still delivered in full, then the missed events.
	s = attach(t, b, "page", 1000)
	sink = &collector{}
	s.Start(sink, 100)
	inOrder(t, sink.wait(t, s, 510), 0, 510)
}

// TestTheClockIsSetBack has events whose times run backwards in between: the past has no hole.
func TestTheClockIsSetBack(t *testing.T) {
	ctx := context.Background()
	b, err := bus.Open(ctx, bus.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	now := time.Now()
	var last journal.Commit
	for i, ago := range []time.Duration{time.Hour, 5 * time.Minute, time.Hour, 4 * time.Minute} {
		r := (&bus.Event{Topic: "x", Payload: fmt.Append(nil, i), QoS: 1}).Record()
		r.Time = now.Add(-ago).UnixNano()
		if last, err = b.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	<-last.Done()
	s := attach(t, b, "c", 0)
	sink := &collector{}
	s.Start(sink, 10)
	if err := s.Subscribe(ctx, []bus.Filter{{Filter: "$replay/10m/x", QoS: 1}}); err != nil {
		t.Fatal(err)
	}
	inOrder(t, sink.wait(t, s, 3), 1, 4)
	var got []string
	if err := b.History(ctx, "x", bus.Since{Time: now.Add(-10 * time.Minute)}, func(e bus.Event) bool { got = append(got, string(e.Payload)); return true }); err != nil {
		t.Fatal(err)
	}
	inOrder(t, got, 1, 4)
}

func TestParseSince(t *testing.T) {
	now := time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)
	for text, want := range map[string]bus.Since{
		"10m": {Time: now.Add(-10 * time.Minute)}, "7d": {Time: now.Add(-7 * 24 * time.Hour)}, "0s": {Time: now},
		"2026-01-01T00:00:00Z": {Time: now.Add(-24 * time.Hour)}, "42": {Seq: 42},
	} {
		if got, err := bus.ParseSince(text, now); err != nil || !got.Time.Equal(want.Time) || got.Seq != want.Seq {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "-1m", "x", "10", "1e3", "99999999d", "2026-01-01"} {
		if got, err := bus.ParseSince(text, now); err == nil && text != "10" {
			t.Errorf("%q is taken: %v", text, got)
		}
	}
}

// gatedFS holds back syncs while its gate is closed, as a disk does that is busy.
type gatedFS struct {
	journal.FS
	gate *sync.Mutex
}

type gatedFile struct {
	journal.File
	gate *sync.Mutex
}

func (f gatedFS) Open(name string, create bool) (journal.File, error) {
	file, err := f.FS.Open(name, create)
	if err != nil {
		return nil, err
	}
	return gatedFile{file, f.gate}, nil
}

func (f gatedFile) Sync() error {
	f.gate.Lock()
	defer f.gate.Unlock()
	return f.File.Sync()
}

// TestASubscriptionWhileEventsAreOnTheWay connects while events are on their way to a busy disk:
// none of them may fall between what is retained, what is past and what is live.
func TestASubscriptionWhileEventsAreOnTheWay(t *testing.T) {
	for _, c := range []struct {
		name, filter string
		expiry       uint32
	}{
		{"retained, clean", "x", 0}, {"retained, durable", "x", 100},
		{"history, clean", "$replay/10m/x", 0}, {"history, durable", "$replay/10m/x", 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := context.Background()
			gate := new(sync.Mutex)
			b, err := bus.Open(ctx, bus.Options{FS: gatedFS{bustest.NewDisk(1), gate}})
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			gate.Lock()
			var last bus.Pending
			for i := range 3 {
				if last, err = b.Send(bus.Event{Topic: "x", Payload: fmt.Append(nil, i), QoS: 1, Retain: i == 2}); err != nil {
					t.Fatal(err)
				}
			}
			sink := &collector{}
			started := make(chan *bus.Session)
			go func() { // a durable session waits for the disk as well
				s, _, err := b.Attach(ctx, bus.SessionOptions{Name: "c", Expiry: c.expiry})
				if err != nil {
					t.Error(err)
				}
				s.Start(sink, 10)
				if err := s.Subscribe(ctx, []bus.Filter{{Filter: c.filter, QoS: 1}}); err != nil {
					t.Error(err)
				}
				started <- s
			}()
			var s *bus.Session
			if c.expiry == 0 {
				s = <-started
				gate.Unlock()
			} else {
				gate.Unlock()
				s = <-started
			}
			if <-last.Done(); last.Err() != nil {
				t.Fatal(last.Err())
			}
			publishMany(t, b, "x", 3, 5)
			var got []string
			for n := 1; len(got) == 0 || got[len(got)-1] != "4"; n++ {
				got = sink.wait(t, s, n)
			}
			// What was retained or past, and then what is live; of a plain subscription also what
			// was not dispatched yet when it was made.
			all := []string{"0", "1", "2", "3", "4"}
			if len(got) < 3 || len(got) > 5 || !slices.Equal(got, all[5-len(got):]) || strings.HasPrefix(c.filter, "$replay") && len(got) != 5 {
				t.Errorf("got %q", got)
			}
		})
	}
}
