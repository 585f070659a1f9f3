package plugins

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/bustest"
)

// TestADiskThatRefuses runs events through a plugin while the disk refuses for a time, fails a write now and then,
// and works again: the source is told of each event only when it is durable, and each arrives once,
// in order.
func TestADiskThatRefuses(t *testing.T) {
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
	out := w.subscribe("out/#")
	w.write("a.yaml", "source: {probe: {name: a}}\npublish:\n  - when: event.value != (last.value ?? 0)\n    topic: out/a\n    payload: {n: \"${event.value}\"}\n")
	w.is("a", StateRunning)
	const events = 300
	var sealed atomic.Int64
	posted := make(chan struct{})
	go func() {
		defer close(posted)
		probes.mu.Lock()
		post := probes.posts["a"]
		probes.mu.Unlock()
		for n := 1; n <= events; n++ {
			if err := post(map[string]any{"value": n}, func(err error) {
				if err == nil {
					sealed.Add(1)
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
	told := sealed.Load()
	until(t, "what was told is there", func() bool { return sealed.Load() == told })
	disk.FailIn(0, false)
	take(int(told) + 20)
	for range 5 {
		disk.FailIn(2, false)
		take(next + 20)
	}
	take(events)
	<-posted
	until(t, "all are sealed", func() bool { return sealed.Load() == events })
	out.quiet()
	w.is("a", StateRunning)
}

// TestAnEventThatWasNotPublishedComesAgain stops a plugin while the disk refuses: the rule must not
// believe that it published what it could not.
func TestAnEventThatWasNotPublishedComesAgain(t *testing.T) {
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
	m := newMapper("a", "test", nil, b, slogDiscard())
	defer m.close(stopTime)
	m.swap(spec)
	r := &runner{spec: spec.sources[0]}
	disk.FailIn(1, true)
	if _, err := b.Publish(context.Background(), bus.Event{Topic: "x", QoS: 1}); err == nil {
		t.Fatal("the disk does not refuse")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := m.post(ctx, r, time.Now(), map[string]any{"value": 7}, nil); err == nil {
		t.Fatal("posted to a disk that refuses")
	}
	disk.FailIn(0, false)
	until(t, "the disk takes events again", func() bool { return b.Ready() == nil })
	done := make(chan error, 1)
	if err := m.post(context.Background(), r, time.Now(), map[string]any{"value": 7}, func(err error) { done <- err }); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || m.count.published.Load() != 1 || m.memory["n"] != 7 {
		t.Errorf("%v, %d published, %v remembered", err, m.count.published.Load(), m.memory)
	}
}
