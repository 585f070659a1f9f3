package plugins

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/bus"
)

// replayAll maps the journal of a bus with a file.
func replayAll(t *testing.T, b *bus.Bus, s *Spec, end time.Time) (lines []string, stats ReplayStats) {
	t.Helper()
	r := s.Replayer("pi", nil, func(o Replayed) { lines = append(lines, o.String()) })
	filters := s.Filters()
	err := b.History(context.Background(), "#", bus.Since{Seq: 1}, func(e bus.Event) bool {
		if matchesAny(filters, e.Topic) {
			r.Event(&e)
		}
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	r.End(end)
	return lines, r.Stats
}

// TestReplayIsWhatWas: a replay makes what the plugin has made of the same events.
func TestReplayIsWhatWas(t *testing.T) {
	const file = `
source: {mqtt: {topics: [in/+, list]}}
uses: {mode: mode, limit: set/+}
publish:
  - {when: 'event.json > 3 && event.topic[0] == "in"', changed: event.json, topic: "out/${event.topic[1]}/changed", payload: "${event.json} ${last.json ?? 0}"}
  - {when: 'event.topic[0] == "in"', window: {of: event.json, last: 1h}, topic: "out/${event.topic[1]}/window", payload: "${window.count} ${window.sum} ${window.median}"}
  - {when: 'event.topic[0] == "list"', each: event.json, per: "${item}", set_own: {n: "${(own.n ?? 0) + 1}"}, topic: "out/each", payload: "${item} ${own.n ?? 0}"}
  - {when: 'event.json == 7 || event.topic[0] == "list"', set: {n: "${(state.n ?? 0) + 1}"}, topic: out/state, payload: "${state.n ?? 0} ${uses.mode.text ?? ''} ${uses.limit.json ?? 0}", retain: true}
  - {when: 'event.json == 9 || event.topic[0] == "list"', rate: 3/1h, topic: out/rate, payload: "${event.seq}"}
`
	w := newWorld(t, Options{Host: "pi"})
	w.write("a.yaml", file)
	w.is("a", StateRunning)
	r := rand.New(rand.NewPCG(7, 7))
	n := 0
	for range 3000 {
		topic, payload := fmt.Sprint("in/", r.IntN(4)), fmt.Sprint(r.IntN(10))
		switch r.IntN(12) {
		case 0:
			topic, payload = "mode", fmt.Sprint("m", r.IntN(3))
		case 1:
			topic = fmt.Sprint("set/", r.IntN(2))
		case 2:
			topic, payload = "list", fmt.Sprintf("[%d, %d]", r.IntN(3), r.IntN(3))
		case 3:
			payload = "no number"
		}
		if !strings.HasPrefix(topic, "set") && topic != "mode" {
			n++
		}
		if _, err := w.bus.Send(bus.Event{Topic: topic, Payload: []byte(payload), QoS: 1, Source: "client"}); err != nil {
			t.Fatal(err)
		}
	}
	// Some events are no list.
	st := w.is("a", StateDegraded, func(s Status) bool { return s.Counters.In == uint64(n) })
	w.is("a", StateDegraded, func(s Status) bool { return s.Counters.Published >= st.Counters.Published })
	c := &Checker{Catalog: w.cat, Host: "pi"}
	spec, errs := c.Check("a", "a.yaml", []byte(file))
	if errs != nil {
		t.Fatal(errs.Render())
	}
	lines, stats := replayAll(t, w.bus, spec, time.Now())
	var was []string
	until(t, "all outcomes are in the journal", func() bool {
		was = nil
		if err := w.bus.History(context.Background(), "out/#", bus.Since{Seq: 1}, func(e bus.Event) bool {
			was = append(was, e.Topic+" = "+string(e.Payload))
			return true
		}); err != nil {
			t.Fatal(err)
		}
		return len(was) >= len(lines)
	})
	if !slices.Equal(lines, was) {
		for i := range min(len(lines), len(was)) {
			if lines[i] != was[i] {
				t.Errorf("outcome %d: the replay has %s, the plugin published %s", i, lines[i], was[i])
				break
			}
		}
		t.Errorf("%d outcomes, and %d were published", len(lines), len(was))
	}
	if stats.Events != n || stats.Published != len(lines) || stats.Errors == 0 {
		t.Errorf("%+v, want %d events", stats, n)
	}
}

// TestReplayHasTime: timers fire when they would have, and jobs are told.
func TestReplayHasTime(t *testing.T) {
	s, errs := checkFile(t, `
source: {mqtt: {topics: [door/+]}}
publish:
  - {when: event.text == "open", for: 10m, topic: "alarm/${event.topic[1]}", payload: "${held} ${late ?? 'on time'}"}
  - {window: {of: 1, every: 1h}, topic: count, payload: "${window.count}"}
actions:
  - {when: event.text == "open", note: {title: "${event.name}"}}
`)
	if errs != "" {
		t.Fatal(errs)
	}
	begin := time.Date(2026, 5, 1, 12, 1, 0, 0, time.UTC)
	var got []string
	r := s.Replayer("pi", nil, func(o Replayed) { got = append(got, fmt.Sprintf("%s #%d %s", o.Time.Sub(begin), o.Cause, o.String())) })
	for i, e := range []struct {
		at          time.Duration
		topic, text string
	}{{0, "door/a", "open"}, {time.Minute, "door/b", "open"}, {5 * time.Minute, "door/b", "closed"}, {2 * time.Hour, "door/c", "open"}} {
		r.Event(&bus.Event{Seq: uint64(i + 1), Time: begin.Add(e.at), Topic: e.topic, Payload: []byte(e.text), QoS: 1, Source: "client"})
	}
	r.End(begin.Add(2*time.Hour + time.Minute))
	want := []string{
		`0s #1 note {"title":"door/a"}`, `1m0s #2 note {"title":"door/b"}`, "10m0s #1 alarm/a = 10m on time", "59m0s #3 count = 2", "59m0s #1 count = 1", `2h0m0s #4 note {"title":"door/c"}`,
	}
	slices.Sort(got[3:5])
	slices.Sort(want[3:5])
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
	if r.Stats != (ReplayStats{Events: 4, Published: 3, Jobs: 3, Pending: 2}) {
		t.Errorf("%+v", r.Stats)
	}
}
