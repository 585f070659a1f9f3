package bus_test

// This file is Subscription.CaughtUp: it never comes too early, and always comes.

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/bustest"
)

func caughtUp(s *bus.Subscription) bool {
	select {
	case <-s.CaughtUp():
		return true
	default:
		return false
	}
}

func subscribe(t testing.TB, b *bus.Bus, name string, filters ...string) *bus.Subscription {
	t.Helper()
	s, err := b.Subscribe(context.Background(), name, filters...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// next reads events until the given payloads were returned in their order. caught says whether
// CaughtUp may be closed when each of them is returned.
func next(t testing.TB, s *bus.Subscription, caught bool, from, to int) (events []bus.Event) {
	t.Helper()
	for i := from; i < to; i++ {
		synctest.Wait() // all that can be delivered is
		e, err := s.Next(context.Background())
		if err != nil || string(e.Payload) != fmt.Sprint(i) {
			t.Fatalf("got %q, err %v, want %d", e.Payload, err, i)
		}
		if caughtUp(s) != caught {
			t.Fatalf("with event %d returned it has caught up: %v", i, !caught)
		}
		events = append(events, e)
	}
	return events
}

// idle calls Next while no event comes, and returns whether that closed CaughtUp.
func idle(t testing.TB, s *bus.Subscription) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if e, err := s.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %q, err %v, want nothing", e.Payload, err)
	}
	return caughtUp(s)
}

func TestCaughtUp(t *testing.T) {
	d := func() *bustest.Disk { return bustest.NewDisk(1) }
	for name, test := range map[string]func(*testing.T){
		"nothing was missed": func(t *testing.T) {
			b := open(t, d(), bus.Options{})
			defer b.Close()
			for _, name := range []string{"agent", ""} {
				s := subscribe(t, b, name, "home/#")
				if caughtUp(s) {
					t.Error("before Next was called")
				}
				if !idle(t, s) {
					t.Error("not when Next waits")
				}
				s.Close()
			}
		},
		"events of the past, and others behind them": func(t *testing.T) {
			b := open(t, d(), bus.Options{})
			defer b.Close()
			subscribe(t, b, "agent", "home/#").Close()
			publish(t, b, "home/x", 0, 300)
			s := subscribe(t, b, "agent", "home/#")
			defer s.Close()
			publish(t, b, "home/x", 300, 303) // after Subscribe: no part of it
			next(t, s, false, 0, 300)
			next(t, s, true, 300, 303)
		},
		"the last of the past is followed by nothing": func(t *testing.T) {
			b := open(t, d(), bus.Options{})
			defer b.Close()
			subscribe(t, b, "agent", "home/#").Close()
			publish(t, b, "home/x", 0, 3)
			publish(t, b, "other", 0, 300) // and the pump reads on for a while
			s := subscribe(t, b, "agent", "home/#")
			defer s.Close()
			next(t, s, false, 0, 3)
			if !idle(t, s) {
				t.Error("not when Next waits")
			}
		},
		"what was not acknowledged": func(t *testing.T) {
			disk := d()
			b := open(t, disk, bus.Options{})
			s := subscribe(t, b, "agent", "home/#")
			publish(t, b, "home/x", 0, 5)
			next(t, s, true, 0, 5) // they came after Subscribe
			s.Close()
			s = subscribe(t, b, "agent", "home/#")
			next(t, s, false, 0, 5)
			if !idle(t, s) {
				t.Error("not when Next waits")
			}
			after := disk.PowerCut()
			b.Close()
			b = open(t, after, bus.Options{})
			defer b.Close()
			s = subscribe(t, b, "agent", "home/#")
			defer s.Close()
			publish(t, b, "home/x", 5, 6)
			next(t, s, false, 0, 5)
			next(t, s, true, 5, 6)
		},
		"a window full of events that are not acknowledged": func(t *testing.T) {
			b := open(t, d(), bus.Options{})
			defer b.Close()
			subscribe(t, b, "agent", "home/#").Close()
			publish(t, b, "home/x", 0, 5000)
			s := subscribe(t, b, "agent", "home/#")
			defer s.Close()
			events := next(t, s, false, 0, 4096)
			if idle(t, s) {
				t.Error("although 904 events are still to come")
			}
			for _, e := range events {
				if err := s.Ack(e); err != nil {
					t.Fatal(err)
				}
			}
			next(t, s, false, 4096, 5000)
			if !idle(t, s) {
				t.Error("not when Next waits")
			}
		},
		"redeliveries that are larger than the queue": func(t *testing.T) {
			b := open(t, d(), bus.Options{})
			defer b.Close()
			subscribe(t, b, "agent", "home/#").Close()
			for range 8 {
				send(t, b, bus.Event{Topic: "home/x", QoS: 1, Payload: make([]byte, 1<<20)})
			}
			for range 2 { // the second time all of them are in flight
				s := subscribe(t, b, "agent", "home/#")
				for i := range 8 {
					synctest.Wait()
					if _, err := s.Next(context.Background()); err != nil || caughtUp(s) {
						t.Fatalf("event %d: err %v, caught up %v", i, err, caughtUp(s))
					}
				}
				if !idle(t, s) {
					t.Error("not when Next waits")
				}
				s.Close()
			}
		},
		"retained messages and history": func(t *testing.T) {
			b := open(t, d(), bus.Options{})
			defer b.Close()
			for i := range 40 {
				send(t, b, bus.Event{Topic: fmt.Sprintf("home/%02d", i), Payload: fmt.Append(nil, i), QoS: 1, Retain: true})
			}
			for i, filter := range []string{"home/#", "$replay/1h/home/#"} {
				s := subscribe(t, b, "", filter)
				publish(t, b, "home/x", 40+i, 41+i)
				next(t, s, false, 0, 40+i) // history has the first of those, too
				next(t, s, true, 40+i, 41+i)
				s.Close()
			}
		},
		"under a load that never ends": func(t *testing.T) {
			b := open(t, d(), bus.Options{})
			defer b.Close()
			subscribe(t, b, "agent", "home/#").Close()
			publish(t, b, "home/x", 0, 10)
			s := subscribe(t, b, "agent", "home/#")
			defer s.Close()
			for i := range 10 {
				next(t, s, false, i, i+1)
				publish(t, b, "home/x", 10+2*i, 12+2*i)
			}
			next(t, s, true, 10, 11)
		},
		"behind a window full of later events": func(t *testing.T) {
			b := open(t, d(), bus.Options{})
			defer b.Close()
			subscribe(t, b, "agent", "home/#").Close()
			publish(t, b, "home/x", 0, 10)
			s := subscribe(t, b, "agent", "home/#")
			defer s.Close()
			publish(t, b, "home/x", 10, 5000)
			next(t, s, false, 0, 10)
			next(t, s, true, 10, 11)
		},
		"more retained messages than fit": func(t *testing.T) {
			b := open(t, d(), bus.Options{})
			defer b.Close()
			for i := range 4200 {
				send(t, b, bus.Event{Topic: fmt.Sprintf("home/%04d", i), Payload: fmt.Append(nil, i), QoS: 1, Retain: true})
			}
			s := subscribe(t, b, "", "home/#")
			defer s.Close()
			events := next(t, s, false, 0, 4096)
			if idle(t, s) {
				t.Error("although 104 retained messages are still to come")
			}
			for _, e := range events {
				if err := s.Ack(e); err != nil {
					t.Fatal(err)
				}
			}
			next(t, s, false, 4096, 4200)
			if !idle(t, s) {
				t.Error("not when Next waits")
			}
		},
		"the subscription is taken over": func(t *testing.T) {
			b := open(t, d(), bus.Options{})
			defer b.Close()
			subscribe(t, b, "agent", "home/#").Close()
			publish(t, b, "home/x", 0, 3)
			old := subscribe(t, b, "agent", "home/#")
			next(t, old, false, 0, 3)
			s := subscribe(t, b, "agent", "home/#")
			defer s.Close()
			if _, err := old.Next(context.Background()); !errors.Is(err, bus.ErrGone) || caughtUp(old) {
				t.Errorf("err %v, caught up %v", err, caughtUp(old))
			}
			next(t, s, false, 0, 3)
			if !idle(t, s) {
				t.Error("not when Next waits")
			}
		},
		"the disk refuses the record of it": func(t *testing.T) {
			disk := d()
			b := open(t, disk, bus.Options{})
			defer b.Close()
			subscribe(t, b, "agent", "home/#").Close()
			publish(t, b, "home/x", 0, 3)
			disk.FailIn(1, true)
			s := subscribe(t, b, "agent", "home/#")
			defer s.Close()
			next(t, s, false, 0, 3)
			if !idle(t, s) {
				t.Error("not when Next waits")
			}
			disk.FailIn(0, false)
		},
	} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
	}
}
