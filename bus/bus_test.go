package bus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/bustest"
)

func open(t testing.TB, d *bustest.Disk, o bus.Options) *bus.Bus {
	t.Helper()
	o.FS = d
	b, err := bus.Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func publish(t testing.TB, b *bus.Bus, topic string, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		if _, err := b.Publish(context.Background(), bus.Event{Topic: topic, Payload: fmt.Append(nil, i), QoS: 1}); err != nil {
			t.Fatal(err)
		}
	}
}

// expect reads events from..to-1 in order, acknowledging each.
func expect(t testing.TB, s *bus.Subscription, from, to int, ack bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for i := from; i < to; i++ {
		e, err := s.Next(ctx)
		if err != nil {
			t.Fatalf("waiting for %d: %v", i, err)
		}
		if string(e.Payload) != fmt.Sprint(i) {
			t.Fatalf("got %s, want %d", e.Payload, i)
		}
		if !ack {
			continue
		}
		if err := s.Ack(e); err != nil {
			t.Fatal(err)
		}
	}
}

func TestANamedSubscriptionGetsWhatItMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := bustest.NewDisk(1)
		b := open(t, d, bus.Options{})
		ctx := context.Background()
		s, err := b.Subscribe(ctx, "agent", "home/#")
		if err != nil {
			t.Fatal(err)
		}
		publish(t, b, "home/x", 0, 1000) // more than the window
		expect(t, s, 0, 500, true)
		s.Close()
		publish(t, b, "home/x", 1000, 2000)
		s, _ = b.Subscribe(ctx, "agent", "home/#")
		expect(t, s, 500, 700, true)
		expect(t, s, 700, 800, false)
		time.Sleep(3 * time.Second)
		next := d.PowerCut()
		b.Close()
		b = open(t, next, bus.Options{})
		defer b.Close()
		s, err = b.Subscribe(ctx, "agent", "home/#")
		if err != nil {
			t.Fatal(err)
		}
		publish(t, b, "home/x", 2000, 2100)
		expect(t, s, 700, 2100, true)
		publish(t, b, "home/x", 2100, 2200) // live
		expect(t, s, 2100, 2200, true)
		s.Close()
	})
}

// TestHopsTravel: live, retained, at QoS 0, and across a crash; a larger number is stored as
// MaxHops, and changes no other flag.
func TestHopsTravel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := bustest.NewDisk(1)
		b := open(t, d, bus.Options{})
		ctx := context.Background()
		s, err := b.Subscribe(ctx, "agent", "x/#")
		if err != nil {
			t.Fatal(err)
		}
		describe := func(e bus.Event) string {
			return fmt.Sprintf("%s: %d hops, QoS %d, retain %v", e.Topic, e.Hops, e.QoS, e.Retain)
		}
		check := func(s *bus.Subscription, want ...string) {
			t.Helper()
			for _, w := range want {
				e, err := s.Next(ctx)
				if err != nil || describe(e) != w {
					t.Errorf("%s, %v; want %s", describe(e), err, w)
				}
			}
		}
		for _, e := range []bus.Event{{Topic: "x/0", Hops: 3}, {Topic: "x/1", QoS: 1, Hops: 17}, {Topic: "x/2", QoS: 1, Retain: true, Hops: 200, Payload: []byte("kept")}} {
			if _, err := b.Publish(ctx, e); err != nil {
				t.Fatal(err)
			}
		}
		check(s, "x/0: 3 hops, QoS 0, retain false", "x/1: 17 hops, QoS 1, retain false", "x/2: 31 hops, QoS 1, retain true")
		next := d.PowerCut()
		s.Close()
		b.Close()
		b = open(t, next, bus.Options{})
		defer b.Close()
		if s, err = b.Subscribe(ctx, "agent", "x/#"); err != nil {
			t.Fatal(err)
		}
		check(s, "x/1: 17 hops, QoS 1, retain false", "x/2: 31 hops, QoS 1, retain true")
		s.Close()
		if s, err = b.Subscribe(ctx, "late", "x/2"); err != nil {
			t.Fatal(err)
		}
		check(s, "x/2: 31 hops, QoS 1, retain true")
		s.Close()
	})
}

func BenchmarkPublishSubscribe(b *testing.B) {
	u, err := bus.Open(context.Background(), bus.Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer u.Close()
	s, err := u.Subscribe(context.Background(), "bench", "#")
	if err != nil {
		b.Fatal(err)
	}
	done := make(chan struct{})
	n := 0
	go func() {
		defer close(done)
		for range b.N {
			e, err := s.Next(context.Background())
			if err != nil {
				return
			}
			n++
			s.Ack(e)
		}
	}()
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		e := bus.Event{Topic: "a/b", Payload: make([]byte, 128), QoS: 1}
		if _, err := u.Append(e.Record()); err != nil {
			b.Fatal(err)
		}
	}
	<-done
	s.Close()
}

// An acknowledgement that comes after the subscription was taken over must not acknowledge another
// event whose identifier, of 16 bits, is the same.
func TestALateAckAcknowledgesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const round = 65535
		b := open(t, bustest.NewDisk(1), bus.Options{})
		ctx := context.Background()
		old, err := b.Subscribe(ctx, "agent", "home/#")
		if err != nil {
			t.Fatal(err)
		}
		publish(t, b, "home/a", 0, 1)
		late, err := old.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		now, err := b.Subscribe(ctx, "agent", "home/#")
		if err != nil {
			t.Fatal(err)
		}
		expect(t, now, 0, 1, true)
		var e bus.Event
		for i := 1; e.ID != late.ID; i++ { // until the identifier has come round
			if i > 2*round {
				t.Fatal("no identifier came again")
			}
			publish(t, b, "home/a", i, i+1)
			if e, err = now.Next(ctx); err != nil {
				t.Fatal(err)
			}
			if e.ID == late.ID {
				break
			}
			if err := now.Ack(e); err != nil {
				t.Fatal(err)
			}
		}
		if err := old.Ack(late); !errors.Is(err, bus.ErrGone) {
			t.Errorf("the late Ack returns %v, want ErrGone", err)
		}
		if err := now.Ack(late); !errors.Is(err, bus.ErrNotInFlight) {
			t.Errorf("an Ack of another event returns %v, want ErrNotInFlight", err)
		}
		again, err := b.Subscribe(ctx, "agent", "home/#")
		if err != nil {
			t.Fatal(err)
		}
		wait, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		got, err := again.Next(wait)
		if err != nil || got.Seq != e.Seq {
			t.Errorf("the event that was not acknowledged is delivered again: got %d, err %v, want %d", got.Seq, err, e.Seq)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestPublishRefusesWhatAClientWould(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, bustest.NewDisk(1), bus.Options{})
		for name, e := range map[string]bus.Event{
			"cut off":                 {Properties: bus.Properties{0x26, 0, 9, 'a'}},
			"not of a publish":        {Properties: bus.Properties{0x11, 0, 0, 0, 1}},
			"twice":                   {Properties: bus.Properties{0x01, 1, 0x01, 1}},
			"payload format 2":        {Properties: bus.Properties{0x01, 2}},
			"wildcard in a response":  {Properties: bus.Properties{0x08, 0, 3, 'a', '/', '#'}},
			"not UTF-8":               {Properties: bus.Properties(nil).WithUser("a", "\xff")},
			"NUL":                     {Properties: bus.Properties{0x03, 0, 1, 0}},
			"an expiry below zero":    {Expiry: -time.Second},
			"more than limits allow":  {Properties: bus.Properties(nil).WithUser("a", strings.Repeat("x", 600))},
			"a payload that is large": {Payload: make([]byte, 600)},
		} {
			b.SetLimits(bus.Limits{MaxPayload: 500})
			e.Topic, e.QoS = "home/a", 1
			if _, err := b.Publish(t.Context(), e); err == nil {
				t.Errorf("%s: accepted", name)
			}
			w := &bus.Will{Topic: "home/a", QoS: 1, Payload: e.Payload, Properties: e.Properties}
			if e.Expiry == 0 {
				if _, _, err := b.Attach(t.Context(), bus.SessionOptions{Name: "x", Will: w}); err == nil {
					t.Errorf("%s: accepted as a last will", name)
				}
			}
		}
		good := bus.Properties{0x01, 1, 0x03, 0, 1, 'a', 0x08, 0, 1, 'r', 0x09, 0, 1, 0xff}.WithUser("k", "v").WithUser("k", "w")
		if _, err := b.Publish(t.Context(), bus.Event{Topic: "home/a", QoS: 1, Properties: good}); err != nil {
			t.Error(err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// An expiry below one second is one second: rounded down nobody would get the event.
func TestAShortExpiryIsRoundedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, bustest.NewDisk(1), bus.Options{})
		s, err := b.Subscribe(t.Context(), "agent", "home/#")
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		if _, err := b.Publish(t.Context(), bus.Event{Topic: "home/a", QoS: 1, Payload: []byte("0"), Expiry: time.Millisecond}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(900 * time.Millisecond)
		if s, err = b.Subscribe(t.Context(), "agent", "home/#"); err != nil {
			t.Fatal(err)
		}
		expect(t, s, 0, 1, true)
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
