package plugins

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/bus"
)

// publish publishes an event at the world's time of now.
func (w *timed) publish(topic, text string) {
	w.t.Helper()
	if _, err := w.bus.Publish(context.Background(), bus.Event{Topic: topic, Payload: []byte(text), QoS: 1, Source: "client"}); err != nil {
		w.t.Fatal(err)
	}
}

// mapped waits until the plugin has got n events.
func (w *timed) mapped(n uint64) {
	w.t.Helper()
	w.is("a", StateRunning, func(s Status) bool { return s.Counters.In >= n })
}

// TestAnEventOfTheMeantimeEndsAWait: a timer that came due while the plugin did not run does not fire if an event that
// waits in the journal ended its wait before.
func TestAnEventOfTheMeantimeEndsAWait(t *testing.T) {
	const file = `
source: {mqtt: {topics: [door/+]}}
publish:
  - {when: event.text == "open", for: 1h, topic: "out/${event.topic[1]}", payload: "${since}"}
`
	w := newTimed(t)
	w.clock.now.Wall = time.Now() // the bus's own
	w.out = w.subscribe("out/#")
	w.write("a.yaml", file)
	w.is("a", StateRunning)
	w.publish("door/front", "open")
	w.publish("door/back", "open")
	w.mapped(2)
	w.remove("a.yaml")
	w.write("a.yaml.off", file)
	w.is("a", StateDisabled)
	for range 100 {
		w.publish("door/other", "open")
	}
	w.publish("door/front", "closed")
	w.clock.pass(2 * time.Hour) // long after the door was closed
	w.remove("a.yaml.off")
	w.write("a.yaml", file)
	w.is("a", StateRunning)
	topics := map[string]bool{}
	for range 2 {
		topics[w.out.next().Topic] = true
	}
	w.settle()
	w.out.quiet()
	if !topics["out/back"] || !topics["out/other"] {
		t.Errorf("%v, want out/back and out/other", topics)
	}
}

// TestEventsAreFoldedOnce: events that are delivered again after a crash change nothing that an entry keeps.
func TestEventsAreFoldedOnce(t *testing.T) {
	w := newTimed(t)
	w.write("a.yaml", `
source: {mqtt: {topics: [in/+]}}
publish:
  - {per: all, set_own: {n: "${(own.n ?? 0) + 1}"}, topic: out/n, payload: "${(own.n ?? 0) + 1}"}
  - {per: topic, set_own: {n: "${(own.n ?? 0) + 1}"}}
  - {per: all, window: {of: 1, last: 24h}, topic: out/w, payload: "${window.count}"}
  - {each: fromJSON(event.text), per: "${item}", set_own: {n: "${(own.n ?? 0) + 1}"}, topic: "out/${item}", payload: "${(own.n ?? 0) + 1}"}
`)
	w.is("a", StateRunning)
	w.out = w.subscribe("out/#")
	const events = 50
	for round := 1; round <= 3; round++ {
		for range events {
			w.publish("in/x", `["p", "q", "p"]`)
		}
		until(t, "all outcomes are there", func() bool { return w.outcomes() >= round*events*5 })
		w.crash(0)
		w.publish("in/y", "[]")
		until(t, "what was delivered again was folded", func() bool { return w.last("out/n") == round*(events+1) })
	}
	for topic, want := range map[string]int{"out/n": 3*events + 3, "out/w": 3*events + 3, "out/p": 6 * events, "out/q": 3 * events} {
		if n := w.last(topic); n != want {
			t.Errorf("%s counts %d, want %d", topic, n, want)
		}
	}
	m := w.s.plugin("a").mapper
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := m.engine.rules[1].keys["in/x"].own["n"]; n != int64(3*events) {
		t.Errorf("the entry without an outcome counts %v, want %d", n, 3*events)
	}
}

// TestAStoredKeyThatCannotBeRead: that is logged, the value is cleared, and the plugin runs.
func TestAStoredKeyThatCannotBeRead(t *testing.T) {
	var log lockedBuffer
	w := newWorld(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	const name = "$plugin/a/keys/x/y"
	if _, err := w.bus.Publish(context.Background(), bus.Event{Topic: name, Payload: []byte("no CBOR"), QoS: 1, Retain: true, Source: "plugin:a"}); err != nil {
		t.Fatal(err)
	}
	w.write("a.yaml", simple)
	w.is("a", StateRunning)
	until(t, "the value is cleared", func() bool { list, err := w.bus.Retained(name); return err == nil && len(list) == 0 })
	if !strings.Contains(log.String(), "what entries kept for some keys is lost") {
		t.Error(log.String())
	}
}

// last is the number in the newest event of a topic.
func (w *timed) last(topic string) (n int) {
	w.t.Helper()
	err := w.bus.History(context.Background(), topic, bus.Since{Seq: 1}, func(e bus.Event) bool {
		n = 0
		for _, c := range e.Payload {
			n = n*10 + int(c-'0')
		}
		return true
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// TestKeysGoWithTheirFile: what entries kept is cleared a while after their file was removed, and not before.
func TestKeysGoWithTheirFile(t *testing.T) {
	w := newTimed(t)
	w.write("a.yaml", `
source: {mqtt: {topics: [in/+]}}
publish: [{settle: 10h, topic: out}]
`)
	w.is("a", StateRunning)
	const keys = 300
	for i := range keys {
		w.publish(fmt.Sprintf("in/%d", i), "x")
	}
	stored := func() int {
		list, err := w.bus.Retained(keysTopic("a") + "#")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	until(t, "all keys are stored", func() bool { return stored() == keys })
	looks := w.s.sweep.looks.Load()
	w.write("b.yaml", simple) // which makes the supervisor look for remains
	until(t, "it has looked", func() bool { return w.s.sweep.looks.Load() > looks })
	if n := stored(); n != keys {
		t.Errorf("%d of %d keys are left while their file is there", n, keys)
	}
	w.remove("a.yaml")
	until(t, "the keys are cleared", func() bool { return stored() == 0 })
}

// TestEveryElementIsCounted: an error of one element is counted, although the next one has an outcome.
func TestEveryElementIsCounted(t *testing.T) {
	w := newTimed(t)
	w.write("a.yaml", `
source: {probe: {name: a}}
publish:
  - {each: event.json, topic: "out/${item}", payload: "${1 / (item - 2)}"}
  - {each: event.json, rate: 1/1h, topic: limited}
`)
	w.is("a", StateRunning)
	w.probes.post(t, "a", map[string]any{"json": []any{1, 2, 2, 3}})
	st := w.is("a", StateDegraded, func(s Status) bool { return s.Counters.Published == 3 })
	if st.Counters.Errors != 2 || st.Counters.Dropped != 3 {
		t.Errorf("%+v", st.Counters)
	}
}
