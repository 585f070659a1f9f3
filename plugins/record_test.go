package plugins

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/bus"
)

// TestRecordedEvents: they are mapped from the journal, with the same values, each with its cause, and can be
// replayed.
func TestRecordedEvents(t *testing.T) {
	const file = `
source: {probe: {name: a}, record: true}
uses: {mode: mode}
publish:
  - {topic: out/x, payload: "${event.value + 1} ${event.text} ${event.json.list[1]} ${event.seen} ${uses.mode.text ?? ''}"}
  - {when: event.value == 3, window: {of: event.value, last: 1h}, topic: out/n, payload: "${window.count}"}
`
	w := newWorld(t, Options{Host: "pi"})
	w.write("a.yaml", file)
	w.is("a", StateRunning)
	out, raw := w.subscribe("out/#"), w.subscribe("$bus/plugins/a/events")
	if _, err := w.bus.Publish(context.Background(), bus.Event{Topic: "mode", Payload: []byte("m"), QoS: 1, Source: "client"}); err != nil {
		t.Fatal(err)
	}
	until(t, "the mode is heard", func() bool {
		list, err := w.bus.Retained(usesTopic("a") + "#")
		return err == nil && len(list) == 1
	})
	seen := time.Date(2026, 3, 1, 12, 0, 0, 5000, time.UTC)
	w.probes.post(t, "a", map[string]any{"value": 3, "text": "xé", "json": map[string]any{"list": []any{1, "b"}}, "seen": seen})
	r := raw.next()
	if !strings.Contains(string(r.Payload), `"source":"probe"`) || r.Source != "plugin:a" {
		t.Errorf("%s", r.Payload)
	}
	want := "4 xé b 2026-03-01T12:00:00.000005Z m"
	for _, payload := range []string{want, "1"} {
		if e := out.next(); string(e.Payload) != payload || e.Cause != r.Seq {
			t.Errorf("got %q because of %d, want %q because of %d", e.Payload, e.Cause, payload, r.Seq)
		}
	}
	c := &Checker{Catalog: w.cat, Host: "pi"}
	spec, errs := c.Check("a", "a.yaml", []byte(file))
	if errs != nil {
		t.Fatal(errs.Render())
	}
	var lines []string
	re := spec.Replayer("pi", nil, func(o Replayed) { lines = append(lines, fmt.Sprint(o.String(), " ", o.Cause)) })
	for _, topic := range []string{"mode", "$bus/plugins/a/events"} {
		if err := w.bus.History(context.Background(), topic, bus.Since{Seq: 1}, func(e bus.Event) bool { re.Event(&e); return true }); err != nil {
			t.Fatal(err)
		}
	}
	if all := []string{fmt.Sprint("out/x = ", want, " ", r.Seq), fmt.Sprint("out/n = 1 ", r.Seq)}; !slices.Equal(lines, all) {
		t.Errorf("the replay has %q, want %q", lines, all)
	}
	if m, ok := w.s.Maker("plugin:a", "$bus/plugins/a/events"); !ok || !m.Raw || !slices.Equal(m.Sources, []string{"probe"}) {
		t.Errorf("%+v", m)
	}
	w.write("a.yaml", strings.Replace(file, ", record: true", "", 1))
	w.is("a", StateRunning, generation(2))
	until(t, "the cursor is gone", func() bool { return !slices.Contains(w.bus.Names("plugin/a/"), "plugin/a/source/recorded") })
	w.probes.post(t, "a", map[string]any{"value": 5, "text": "direct", "json": map[string]any{"list": []any{1, 2}}, "seen": seen})
	if e := out.next(); !strings.HasPrefix(string(e.Payload), "6 direct 2") || e.Cause != 0 {
		t.Errorf("%+v", e)
	}
}

// TestRecordedEventsAreMappedOnce: whatever was mapped when the bus was killed, each recorded event counts once.
func TestRecordedEventsAreMappedOnce(t *testing.T) {
	w := newTimed(t)
	w.write("a.yaml", `
source: {probe: {name: a}, record: true}
publish:
  - {per: all, set_own: {n: "${(own.n ?? 0) + 1}"}, topic: out/n, payload: "${(own.n ?? 0) + 1}"}
`)
	w.is("a", StateRunning)
	w.out = w.subscribe("out/#")
	const events = 40
	for round := 1; round <= 5; round++ {
		for i := range events {
			w.probes.post(t, "a", map[string]any{"value": i})
		}
		w.crash(0)
		until(t, "all that was recorded is mapped", func() bool { return w.last("out/n") == round*events })
	}
}

// TestAReplayHasTheTimesOfRecordedEvents: an event counts with its own time, as in the running plugin, and not with that
// of its record.
func TestAReplayHasTheTimesOfRecordedEvents(t *testing.T) {
	s, errs := checkFile(t, `
source: {probe: {name: a}, record: true}
publish: [{topic: t, payload: "${now}"}]
`)
	if errs != "" {
		t.Fatal(errs)
	}
	var got []string
	r := s.Replayer("pi", nil, func(o Replayed) { got = append(got, string(o.Payload)+" "+o.Time.UTC().Format(time.RFC3339Nano)) })
	at := time.Date(2026, 3, 1, 12, 0, 0, 5000, time.UTC)
	r.Event(&bus.Event{Topic: recordedTopic(s.ID), Seq: 1, Time: at.Add(30 * time.Millisecond), Payload: []byte(`{"source":"probe","at":"2026-03-01T12:00:00.000005Z","fields":{"value":1}}`)})
	if want := "2026-03-01T12:00:00.000005Z 2026-03-01T12:00:00.000005Z"; !slices.Equal(got, []string{want}) {
		t.Errorf("%q, want %q", got, want)
	}
}
