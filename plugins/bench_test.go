package plugins

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/plugins/internal/clock"
)

// benched has a filter, a topic and a payload with expressions.
const benched = `
source: {probe: {name: a}}
publish:
  - when: event.value >= 0 && event.text != ""
    topic: "room/${event.text}/temperature"
    payload: {celsius: "${round(event.json.t, 1)}", n: "${event.value}", host: "${host}"}
`

// benchedKeys has a key and passes changes only, which every event of a key is.
const benchedKeys = `
source: {probe: {name: a}}
publish:
  - when: event.value >= 0 && event.text != ""
    per: "${event.text}"
    changed: event.value
    topic: "room/${event.text}/temperature"
    payload: {celsius: "${round(event.json.t, 1)}", n: "${event.value}", host: "${host}"}
`

func benchedSpec(b *testing.B, text string) *Spec {
	_, cat := newProbes(&testing.T{})
	c := &Checker{Catalog: cat, Host: "test"}
	spec, errs := c.Check("a", "a.yaml", []byte(text))
	if errs != nil {
		b.Fatal(errs.Render())
	}
	return spec
}

func benchedEvent(n int) map[string]any {
	return map[string]any{"value": n, "text": "kitchen", "json": map[string]any{"t": 21.4567}}
}

// BenchmarkMapping measures the mapping alone, on one core.
func BenchmarkMapping(b *testing.B) {
	m := newMapper("a", "test", nil, benchedBus(b), slogDiscard(), clock.System)
	defer m.close(stopTime)
	m.swap(benchedSpec(b, benched))
	r := &runner{spec: m.engine.spec.sources[0]}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if list, _ := m.one(r, time.Now(), benchedEvent(i)); len(list) != 1 {
			b.Fatal("nothing comes of it")
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

func benchedBus(b *testing.B) *bus.Bus {
	x, err := bus.Open(context.Background(), bus.Options{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = x.Close() })
	return x
}

// BenchmarkDurable measures the same with the durable bus: every event is on disk before its source
// gets the answer. Compare it with BenchmarkBare.
func BenchmarkDurable(b *testing.B) { benchmarkDurable(b, benched) }

// BenchmarkKeyed is BenchmarkDurable with a state for a key, which each event changes.
func BenchmarkKeyed(b *testing.B) { benchmarkDurable(b, benchedKeys) }

func benchmarkDurable(b *testing.B, text string) {
	m := newMapper("a", "test", nil, benchedBus(b), slogDiscard(), clock.System)
	m.swap(benchedSpec(b, text))
	r := &runner{spec: m.engine.spec.sources[0]}
	ctx := context.Background()
	done := make(chan error, 1)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		if err := m.post(ctx, r, time.Now(), benchedEvent(n), nil); err != nil {
			b.Fatal(err)
		}
	}
	_ = m.post(ctx, r, time.Now(), benchedEvent(0), func(err error) { done <- err })
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	m.close(stopTime)
}

// BenchmarkBare publishes the outcomes of BenchmarkDurable's mapping, with as many in flight.
func BenchmarkBare(b *testing.B) {
	x := benchedBus(b)
	flight := make(chan bus.Pending, maxFlight)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for p := range flight {
			<-p.Done()
		}
	}()
	b.ReportAllocs()
	for b.Loop() {
		p, err := x.Send(bus.Event{Topic: "room/kitchen/temperature", Payload: []byte(`{"celsius":21.5,"n":1,"host":"test"}`), QoS: 1, Source: "plugin:a"})
		if err != nil {
			b.Fatal(err)
		}
		flight <- p
	}
	close(flight)
	<-ended
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkReplay is what an event of a replay takes.
func BenchmarkReplay(b *testing.B) {
	_, catalog := newProbes(b)
	c := &Checker{Catalog: catalog, Host: "pi"}
	s, errs := c.Check("a", "a.yaml", []byte(`
source: {mqtt: {topics: ["bench/#"]}}
publish:
  - {when: event.json > 21.5, changed: event.json, topic: "out/${event.topic[1]}", payload: "${event.json}"}
  - {window: {of: event.json, every: 1m}, topic: "mean/${event.topic[1]}", payload: "${round(window.mean, 2)}"}
`))
	if errs != nil {
		b.Fatal(errs.Render())
	}
	r := s.Replayer("pi", nil, func(Replayed) {})
	begin := time.Now()
	e := bus.Event{Topic: "bench/1", QoS: 1, Source: "client"}
	b.ReportAllocs()
	for i := range b.N {
		e.Seq, e.Time, e.Payload = uint64(i+1), begin.Add(time.Duration(i)*30*time.Microsecond), fmt.Appendf(nil, "%d.%d", 20+i%4, i%7)
		r.Event(&e)
	}
}
