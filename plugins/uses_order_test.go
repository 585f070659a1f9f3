package plugins

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/bus"
)

// TestUsesOfALargeValue: it is lost, and the plugin's state says so.
func TestUsesOfALargeValue(t *testing.T) {
	w := newTimed(t)
	w.write("a.yaml", "source: {mqtt: {topics: [in]}}\nuses: {v: val}\npublish: [{topic: out/x, payload: \"${uses.v.text ?? 'none'}\"}]\n")
	w.is("a", StateRunning)
	w.publish("val", strings.Repeat("x", maxValue+1))
	w.is("a", StateDegraded, func(s Status) bool {
		return s.Counters.Errors == 1 && strings.Contains(s.Reason, "the payload of val has")
	})
	w.clock.pass(errorCounts)
	w.is("a", StateRunning)
}

// heardBy returns an engine of a file that uses val/#.
func heardBy(t *testing.T) *engine {
	t.Helper()
	s, errs := checkFile(t, "source: {mqtt: {topics: [in]}}\nuses: {v: \"val/#\"}\npublish: [{topic: t, payload: \"${uses.v.text}\"}]\n")
	if errs != "" {
		t.Fatal(errs)
	}
	e := &engine{id: "a"}
	if _, err := e.use(s, newTestClock().read()); err != nil {
		t.Fatal(err)
	}
	return e
}

// TestUsesOfRetainedEvents: they come in the order of their topics, and the newest of them is the latest all the same.
func TestUsesOfRetainedEvents(t *testing.T) {
	w := newTimed(t)
	for _, name := range []string{"val/b", "val/c", "val/a"} {
		if _, err := w.bus.Publish(context.Background(), bus.Event{Topic: name, Payload: []byte(name), QoS: 1, Retain: true, Source: "client"}); err != nil {
			t.Fatal(err)
		}
	}
	w.out = w.subscribe("out/#")
	w.write("a.yaml", `
source: {mqtt: {topics: [in]}}
uses: {v: val/+}
publish: [{topic: out/x, payload: "${uses.v.text}"}]
`)
	w.is("a", StateRunning)
	w.publish("in", "")
	if e := w.out.next(); string(e.Payload) != "val/a" {
		t.Errorf("the latest is %s", e.Payload)
	}
}

// TestUsesOfQoS0: a value that is not in the journal is not replaced by an earlier one that is delivered again.
func TestUsesOfQoS0(t *testing.T) {
	e := heardBy(t)
	now := time.Now()
	for _, ev := range []bus.Event{
		{Topic: "val/x", Payload: []byte("old"), Seq: 7, Time: now},
		{Topic: "val/x", Payload: []byte("new"), Time: now.Add(1)},
		{Topic: "val/x", Payload: []byte("old"), Seq: 7, Time: now, Redelivered: true},
	} {
		if err := e.hear(&ev); err != nil {
			t.Fatal(err)
		}
	}
	if h := e.values.topics["val/x"]; h.text != "new" {
		t.Errorf("the value is %q", h.text)
	}
	if err := e.hear(&bus.Event{Topic: "val/x", Payload: []byte("newest"), Seq: 8, Time: now.Add(2)}); err != nil || e.values.topics["val/x"].text != "newest" {
		t.Errorf("the value is %q, %v", e.values.topics["val/x"].text, err)
	}
}

// TestOldRetainedEventsAreBounded: one that is older than all values that are kept takes the place of none.
func TestOldRetainedEventsAreBounded(t *testing.T) {
	e := heardBy(t)
	now := time.Now()
	for i := range maxHeard {
		if err := e.hear(&bus.Event{Topic: fmt.Sprint("val/", i), Payload: []byte("x"), Seq: uint64(i + 10), Time: now}); err != nil {
			t.Fatal(err)
		}
	}
	writes := len(e.writes)
	if err := e.hear(&bus.Event{Topic: "val/old", Payload: []byte("x"), Seq: 1, Time: now.Add(-1), Retain: true, Stored: true}); err != nil {
		t.Fatal(err)
	}
	if n := len(e.values.topics); n != maxHeard || e.values.topics["val/0"] == nil || len(e.writes) != writes || e.keys.evicted != 1 {
		t.Errorf("%d topics, %d written", n, len(e.writes)-writes)
	}
}

// BenchmarkUsesOfOneTopic hears a topic beside many others.
func BenchmarkUsesOfOneTopic(b *testing.B) {
	s := &values{}
	s.use([]useSpec{{"mode", "home/mode"}, {"all", "val/#"}})
	for i := range maxHeard - 1 {
		s.set(&heard{topic: fmt.Sprint("val/", i)}, false)
	}
	for b.Loop() {
		s.set(&heard{topic: "home/mode"}, false)
		s.set(&heard{topic: "val/7"}, false)
	}
}
