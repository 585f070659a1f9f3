package fleet

// This file runs hundreds of buses at one hub, and cuts all of them off at once.

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/fleet/stream"
)

var manyBuses = flag.Int("fleet.buses", 60, "buses of TestManyBuses")

// relay stands between buses and their hub.
type relay struct {
	listener net.Listener
	target   string
	refuse   atomic.Bool // connections end at once
	tasks    sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
}

func newRelay(t *testing.T, target string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: l, target: target, conns: map[net.Conn]bool{}}
	r.tasks.Go(r.accept)
	t.Cleanup(func() {
		l.Close()
		r.cut()
		r.tasks.Wait()
	})
	return r
}

func (r *relay) accept() {
	for {
		bus, err := r.listener.Accept()
		if err != nil {
			return
		}
		hub, err := net.Dial("tcp", r.target)
		if err != nil || r.refuse.Load() {
			bus.Close()
			if err == nil {
				hub.Close()
			}
			continue
		}
		r.mu.Lock()
		r.conns[bus], r.conns[hub] = true, true
		r.mu.Unlock()
		r.tasks.Go(func() { r.copy(hub, bus) })
		r.tasks.Go(func() { r.copy(bus, hub) })
	}
}

func (r *relay) copy(to, from net.Conn) {
	b := make([]byte, 16<<10)
	for {
		n, err := from.Read(b)
		if err == nil {
			_, err = to.Write(b[:n])
		}
		if err != nil {
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, c := range []net.Conn{to, from} {
				c.Close()
				delete(r.conns, c)
			}
			return
		}
	}
}

// open is the number of buses that are connected.
func (r *relay) open() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.conns) / 2
}

// cut ends all connections.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		c.Close()
	}
}

// arrivals collects what a bus has of the others.
type arrivals struct {
	n     atomic.Int64
	wrong atomic.Pointer[string]
}

// watch checks that the events of each bus come once, in their order.
func watch(t *testing.T, b *bus.Bus) *arrivals {
	t.Helper()
	a := &arrivals{}
	sub, err := b.Subscribe(context.Background(), "", "$replay/1h/ev/#")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		next := map[string]int{}
		for {
			e, err := sub.Next(ctx)
			if err != nil {
				return
			}
			if want := fmt.Sprint(next[e.Topic]); string(e.Payload) != want {
				text := fmt.Sprintf("%s: %s instead of %s", e.Topic, e.Payload, want)
				a.wrong.CompareAndSwap(nil, &text)
			}
			next[e.Topic]++
			a.n.Add(1)
			if err := sub.Ack(e); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done; sub.Close() })
	return a
}

// smallMember is a bus that needs little memory, though its disk is there.
func smallMember(t *testing.T, hub, name string) *bus.Bus {
	t.Helper()
	return member(t, "nats://"+hub, name, bus.Options{SegmentSize: 256 << 10, CacheSize: 128 << 10},
		Options{Share: []Share{{Filter: "ev/#"}}, Take: []Take{{Filter: "ev/#"}}, Since: Since{All: true}, Logger: slog.New(slog.DiscardHandler)})
}

// TestManyBuses: every event of every bus is at every other one, also after all were cut off at once.
func TestManyBuses(t *testing.T) {
	n := *manyBuses
	hub := hubAt(t, t.TempDir(), -1)
	if err := stream.Create(context.Background(), stream.Options{URLs: []string{hub.ClientURL()}, Stream: StreamName("home")}, Shape("home", 0, 1)); err != nil {
		t.Fatal(err)
	}
	r := newRelay(t, hub.Addr().String())
	began, cpu := time.Now(), cpuSeconds()
	var buses []*bus.Bus
	var got []*arrivals
	for i := range n {
		b := smallMember(t, r.listener.Addr().String(), fmt.Sprint("bus-", i))
		buses, got = append(buses, b), append(got, watch(t, b))
	}
	sent := 0
	publish := func(times int) {
		for range times {
			for i, b := range buses {
				if _, err := b.Send(bus.Event{Topic: fmt.Sprint("ev/", i), Payload: fmt.Append(nil, sent), QoS: 1, Source: "client"}); err != nil {
					t.Fatal(err)
				}
			}
			sent++
		}
	}
	arrived := func(what string) {
		t.Helper()
		for end := time.Now().Add(5 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
			all := true
			for i, a := range got {
				if wrong := a.wrong.Load(); wrong != nil {
					t.Fatalf("bus %d: %s", i, *wrong)
				}
				all = all && a.n.Load() == int64(sent*n)
			}
			if all {
				return
			}
			if time.Now().After(end) {
				for i, a := range got {
					if k := a.n.Load(); k != int64(sent*n) {
						t.Errorf("bus %d has %d of %d", i, k, sent*n)
					}
				}
				t.Fatal(what, ": not everything arrives")
			}
		}
	}
	publish(3)
	arrived("at first")
	t.Logf("%d buses: all %d events are everywhere after %s; %s", n, sent*n, time.Since(began).Round(time.Millisecond), usage(cpu, r))

	r.refuse.Store(true)
	r.cut()
	publish(3)
	for r.open() > 0 {
		time.Sleep(time.Millisecond)
	}
	r.refuse.Store(false)
	began, cpu = time.Now(), cpuSeconds()
	arrived("after the storm")
	t.Logf("the storm: %s until all events are everywhere; %s", time.Since(began).Round(time.Millisecond), usage(cpu, r))
}

// usage is what the process uses, hub and buses together.
func usage(cpu float64, r *relay) string {
	used := cpuSeconds() - cpu
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return fmt.Sprintf("heap %d MiB, %d MiB from the system, %d goroutines, %d connections, %.1f s of CPU",
		m.HeapAlloc>>20, m.Sys>>20, runtime.NumGoroutine(), r.open(), used)
}

// cpuSeconds is the CPU time of the process until now, without what was idle.
func cpuSeconds() float64 {
	runtime.GC() // the figures are those of the last collection
	s := []metrics.Sample{{Name: "/cpu/classes/total:cpu-seconds"}, {Name: "/cpu/classes/idle:cpu-seconds"}}
	metrics.Read(s)
	return s[0].Value.Float64() - s[1].Value.Float64()
}
