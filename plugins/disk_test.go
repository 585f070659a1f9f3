package plugins

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/bustest"
	"github.com/postbus/postbus/plugins/internal/clock"
)

// newWorldOnDisk is a world whose bus has a disk that can refuse.
func newWorldOnDisk(t *testing.T) (*world, *bustest.Disk) {
	t.Helper()
	disk := bustest.NewDisk(1)
	b, err := bus.Open(context.Background(), bus.Options{FS: disk})
	if err != nil {
		t.Fatal(err)
	}
	probes, cat := newProbes(t)
	w := &world{t: t, dir: t.TempDir(), bus: b, probes: probes, cat: cat}
	w.start()
	t.Cleanup(func() {
		w.stop()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return w, disk
}

// TestADiskThatRefuses runs events through a plugin while the disk refuses for a time, fails a
// write now and then, and works again. The source gets an event's answer only when the event is
// durable, and each event arrives once, in order.
func TestADiskThatRefuses(t *testing.T) {
	w, disk := newWorldOnDisk(t)
	out := w.subscribe("out/#")
	w.write("a.yaml", "source: {probe: {name: a}}\npublish:\n  - when: event.value != (last.value ?? 0)\n    topic: out/a\n    payload: {n: \"${event.value}\"}\n")
	w.is("a", StateRunning)
	const events = 300
	var answered atomic.Int64
	posted := make(chan struct{})
	go func() {
		defer close(posted)
		w.probes.mu.Lock()
		post := w.probes.posts["a"]
		w.probes.mu.Unlock()
		for n := 1; n <= events; n++ {
			if err := post(map[string]any{"value": n}, func(err error) {
				if err == nil {
					answered.Add(1)
				}
			}); err != nil {
				t.Error(err)
				return
			}
			if n%10 == 0 {
				time.Sleep(time.Millisecond) // so that many groups are committed
			}
		}
	}()
	next := 1
	take := func(want int) {
		for ; next <= want; next++ {
			e := out.next()
			var p struct{ N int }
			if err := json.Unmarshal(e.Payload, &p); err != nil || p.N != next {
				t.Fatalf("%s comes as the %d.", e.Payload, next)
			}
		}
	}
	take(20)
	disk.FailIn(1, true)
	w.is("a", StateDegraded)
	before := answered.Load()
	until(t, "what was told is there", func() bool { return answered.Load() == before })
	disk.FailIn(0, false)
	take(int(before) + 20)
	for range 5 {
		disk.FailIn(2, false)
		take(next + 20)
	}
	take(events)
	<-posted
	until(t, "all are sealed", func() bool { return answered.Load() == events })
	out.quiet()
	w.is("a", StateRunning)
}

// TestWhatWasMappedIsOwed posts while the disk refuses. Accepted events are published once when the
// disk works again, in order, and the rules' state matches them. A mapper that is closed before
// reports it.
func TestWhatWasMappedIsOwed(t *testing.T) {
	disk := bustest.NewDisk(1)
	b, err := bus.Open(context.Background(), bus.Options{FS: disk})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	_, cat := newProbes(t)
	spec, errs := (&Checker{Catalog: cat, Host: "test"}).Check("a", "a.yaml", []byte("source: {probe: {name: a}}\npublish:\n  - when: event.value != (last.value ?? 0)\n    topic: out/a\n    set: {n: \"${event.value}\"}\n"))
	if errs != nil {
		t.Fatal(errs.Render())
	}
	m := newMapper("a", "test", nil, b, slogDiscard(), clock.System)
	m.swap(spec)
	r := &runner{spec: spec.sources[0]}
	fates := make(chan error, 2*maxFlight)
	post := func(ctx context.Context, n int) error {
		return m.post(ctx, r, time.Now(), map[string]any{"value": n}, func(err error) { fates <- err })
	}
	refuse := func() {
		disk.FailIn(1, true)
		if _, err := b.Publish(context.Background(), bus.Event{Topic: "x", QoS: 1}); err == nil {
			t.Fatal("the disk does not refuse")
		}
	}
	refuse()
	for n := 1; n <= maxFlight; n++ {
		if err := post(context.Background(), n); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := post(ctx, 9999); err == nil {
		t.Fatal("one more is taken than there is room for")
	}
	if len(fates) > 0 || m.flow.disk.Load() == nil {
		t.Fatalf("%d were told while the disk refuses", len(fates))
	}
	disk.FailIn(0, false)
	for range maxFlight {
		if err := <-fates; err != nil {
			t.Fatal(err)
		}
	}
	if n := m.count.published.Load(); n != maxFlight || m.engine.memory["n"] != maxFlight {
		t.Errorf("%d published, %v remembered", n, m.engine.memory)
	}
	refuse()
	if err := post(context.Background(), 1); err != nil {
		t.Fatal(err)
	}
	m.close(50 * time.Millisecond)
	if err := <-fates; !errors.Is(err, errStopped) {
		t.Errorf("what is left at the end is told %v", err)
	}
	if err := post(context.Background(), 2); !errors.Is(err, errStopped) {
		t.Errorf("posted to a closed mapper: %v", err)
	}

	// A source that waits for no answer, such as a socket without answers, cannot send them again.
	m = newMapper("b", "test", nil, b, slogDiscard(), clock.System)
	m.swap(spec)
	for n := 1; n <= 3; n++ {
		if err := m.post(context.Background(), r, time.Now(), map[string]any{"value": n}, nil); err != nil {
			t.Fatal(err)
		}
	}
	m.close(50 * time.Millisecond)
	if n := m.count.dropped.Load(); n != 3 {
		t.Errorf("%d events that the disk refused to the end count as lost, want 3", n)
	}
}

// TestADiskThatFailsAgainAndAgain sends at full speed while writes fail at any time: refused events
// precede newer ones.
func TestADiskThatFailsAgainAndAgain(t *testing.T) {
	disk := bustest.NewDisk(1)
	b, err := bus.Open(context.Background(), bus.Options{FS: disk, Limits: bus.Limits{MaxPayload: 1000}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	_, cat := newProbes(t)
	spec, errs := (&Checker{Catalog: cat, Host: "test"}).Check("a", "a.yaml", []byte("source: {probe: {name: a}}\npublish:\n  - topic: out/a\n    payload: \"${event.text}\"\n"))
	if errs != nil {
		t.Fatal(errs.Render())
	}
	m := newMapper("a", "test", nil, b, slogDiscard(), clock.System)
	defer m.close(stopTime)
	m.swap(spec)
	sub, err := b.Subscribe(context.Background(), "reader", "out/#")
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	r := &runner{spec: spec.sources[0]}
	const events = 20_000
	ended := make(chan struct{})
	var fails sync.WaitGroup
	var failures atomic.Int64
	fails.Go(func() {
		for n := range 3 {
			disk.FailIn(2+n%3, false)
			for refused := false; !refused || b.Ready() != nil; refused = refused || b.Ready() != nil {
				select {
				case <-ended:
					disk.FailIn(0, false)
					return
				case <-time.After(time.Millisecond):
				}
			}
			failures.Add(1)
		}
	})
	fails.Go(func() {
		for n := range events {
			text := strconv.Itoa(n)
			if n%1000 == 999 {
				text = strings.Repeat("x", 1001) // the bus refuses such an event; it must not block the others
			}
			if err := m.post(context.Background(), r, time.Now(), map[string]any{"text": text}, nil); err != nil {
				t.Error(err)
			}
		}
	})
	next := 0
	for next < events {
		if next%1000 == 999 {
			next++
			continue
		}
		e, err := sub.Next(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if string(e.Payload) != strconv.Itoa(next) {
			t.Fatalf("%s comes, not %d", e.Payload, next)
		}
		sub.Ack(e)
		next++
	}
	close(ended)
	fails.Wait()
	until(t, "the events that are too large are counted, each once", func() bool { return m.count.errors.Load() >= events/1000 })
	if n := m.count.errors.Load(); n != events/1000 {
		t.Errorf("%d events were too large, want %d", n, events/1000)
	}
	if failures.Load() == 0 {
		t.Error("the disk never failed")
	}
	t.Logf("the disk failed %d times", failures.Load())
}
