package fleet

// This file runs buses against a real hub.

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/bustest"
	"github.com/postbus/postbus/bus/fleet/stream"
)

// hubAt starts a NATS server on loopback.
func hubAt(t testing.TB, dir string, port int) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("the hub does not start")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s
}

// running prepares and runs an entry until stop is called.
func running(t testing.TB, e *Entry) (stop func()) {
	t.Helper()
	if err := e.Prepare(context.Background()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); e.Run(ctx) }()
	return func() { cancel(); <-done }
}

// member is a bus of the fleet "home" at a real hub.
func member(t testing.TB, url, name string, small bus.Options, o Options) *bus.Bus {
	t.Helper()
	small.FS, small.Pins = bustest.NewDisk(1), []string{PinName("home", 0)}
	b, err := bus.Open(context.Background(), small)
	if err != nil {
		t.Fatal(err)
	}
	o.Fleet, o.Bus = "home", name
	stop := running(t, New(b, Via(stream.Options{URLs: []string{url}, Name: name, Stream: StreamName("home"), Logger: o.Logger, Shape: &stream.Shape{Subjects: []string{Subjects("home")}}}), o))
	t.Cleanup(func() {
		stop()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// TestThreeBusesAtARealHub: each event is in each journal once, in its origin's order, and retained values are
// the same everywhere.
func TestThreeBusesAtARealHub(t *testing.T) {
	url := hubAt(t, t.TempDir(), -1).ClientURL()
	if err := stream.Create(context.Background(), stream.Options{URLs: []string{url}, Stream: StreamName("home")}, Shape("home", 0, 1)); err != nil {
		t.Fatal(err)
	}
	const n = 2000
	names := []string{"attic", "desk", "shed"}
	var buses []*bus.Bus
	for _, name := range names {
		buses = append(buses, member(t, url, name, bus.Options{}, Options{Share: []Share{{Filter: "ev/#"}}, Take: []Take{{Filter: "ev/#"}}, Since: Since{All: true}}))
	}
	for i, b := range buses {
		go func() {
			for k := range n {
				e := bus.Event{Topic: fmt.Sprintf("ev/%s/%d", names[i], k%7), Payload: fmt.Append(nil, k), QoS: 1, Source: "client"}
				if k%10 == 0 {
					e.Topic, e.Retain = fmt.Sprintf("ev/state/%d", k%3), true
				}
				if _, err := b.Send(e); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	for i, b := range buses {
		sub, err := b.Subscribe(context.Background(), "", "$replay/1h/ev/#")
		if err != nil {
			t.Fatal(err)
		}
		next := map[string]int{}
		for total := 0; total < n*len(buses); total++ {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			e, err := sub.Next(ctx)
			cancel()
			if err != nil {
				t.Fatalf("%s has %v: %v", names[i], next, err)
			}
			if want := fmt.Sprint(next[e.Origin.Bus]); string(e.Payload) != want {
				t.Fatalf("%s: event %s of %q, want %s", names[i], e.Payload, e.Origin.Bus, want)
			}
			next[e.Origin.Bus]++
			if err := sub.Ack(e); err != nil {
				t.Fatal(err)
			}
		}
		sub.Close()
	}
	for k := range 3 {
		topic := fmt.Sprintf("ev/state/%d", k)
		for _, b := range buses[1:] {
			x, _ := buses[0].RetainedValue(topic)
			y, _ := b.RetainedValue(topic)
			if string(x.Payload) != string(y.Payload) || len(x.Payload) == 0 {
				t.Errorf("%s: %q and %q", topic, x.Payload, y.Payload)
			}
		}
	}
}
