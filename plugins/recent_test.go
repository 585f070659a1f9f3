package plugins

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

// published waits until the retained state of plugin a has a state.
func (w *timed) published(want State) (s Status) {
	w.t.Helper()
	until(w.t, "the retained state is "+string(want), func() bool {
		e, ok := w.bus.RetainedValue(stateTopic("a"))
		s = Status{}
		return ok && json.Unmarshal(e.Payload, &s) == nil && s.State == want
	})
	return s
}

// TestAnErrorIsAPartOfTheStateForAMinute: good events do not hide it before, and after it the state
// has no old reason, neither where it is asked for nor where it is published.
func TestAnErrorIsAPartOfTheStateForAMinute(t *testing.T) {
	w := newTimed(t)
	w.write("a.yaml", "source: {probe: {name: a}}\npublish:\n  - {topic: x, payload: \"${event.json.v}\"}\n  - {when: event.value == 2, topic: y, payload: z}\n")
	bad, good := map[string]any{"json": map[string]any{}}, map[string]any{"json": map[string]any{"v": 1}}
	part := map[string]any{"json": map[string]any{}, "value": 2}
	const why = "publish[0]: payload: event.json.v is missing (nil)"
	w.is("a", StateRunning)
	w.probes.post(t, "a", bad)
	w.is("a", StateDegraded, func(s Status) bool { return strings.HasPrefix(s.Reason, "the last event was lost: "+why) })
	at := w.clock.read().Wall
	w.clock.pass(20 * time.Second)
	w.probes.post(t, "a", good)
	w.is("a", StateDegraded, func(s Status) bool {
		return strings.HasPrefix(s.Reason, "in the last minute: "+why) && s.Failing == 0
	})
	w.published(StateDegraded)
	w.clock.jump(-time.Hour) // a clock that is set changes nothing
	w.clock.pass(40*time.Second - time.Millisecond)
	w.is("a", StateDegraded)
	w.clock.pass(time.Millisecond)
	for _, s := range []Status{w.is("a", StateRunning), w.published(StateRunning)} {
		if s.Reason != "" || !strings.HasPrefix(s.LastError, why) || s.LastAt == nil || !s.LastAt.Equal(at) {
			t.Errorf("%q, history %q at %v, want %v", s.Reason, s.LastError, s.LastAt, at)
		}
	}

	for range 3 {
		w.probes.post(t, "a", bad)
	}
	w.is("a", StateDegraded, func(s Status) bool {
		return strings.HasPrefix(s.Reason, "the last 3 events were lost: ") && s.Failing == 3
	})
	w.clock.pass(time.Minute) // although no good event came since
	w.is("a", StateRunning, func(s Status) bool { return s.Reason == "" && s.Failing == 3 })
	w.probes.post(t, "a", part) // the event has an outcome, though an entry fails
	w.is("a", StateDegraded, func(s Status) bool {
		return strings.HasPrefix(s.Reason, "in the last minute: ") && s.Failing == 4
	})
}

// TestAJobThatWasGivenUpIsAnErrorForAMinute; one that is being repeated is the state for as long as that
// takes.
func TestAJobThatWasGivenUpIsAnErrorForAMinute(t *testing.T) {
	w := newTimed(t)
	w.write("a.yaml", strings.NewReplacer("attempts: 5", "attempts: 1000", "expires: 1h", "expires: 3650d").Replace(noting)) // jobs expire by the machine's clock
	w.is("a", StateRunning)
	w.refuse(func(probeArgs) error { return errors.New("away") })
	w.probes.post(t, "a", map[string]any{"value": 13})
	w.is("a", StateDegraded)
	w.clock.pass(10 * time.Minute)
	w.is("a", StateDegraded, func(s Status) bool { return strings.Contains(s.Reason, "away") })
	w.refuse(nil)
	w.nextJob()
	w.is("a", StateRunning, func(s Status) bool { return strings.Contains(s.LastError, "away") })

	w.refuse(func(probeArgs) error { return kind.Permanent(errors.New("no such room")) })
	w.probes.post(t, "a", map[string]any{"value": 14})
	w.is("a", StateDegraded, func(s Status) bool {
		return s.Counters.Dead == 1 && strings.HasPrefix(s.Reason, "in the last minute: note: ") && strings.Contains(s.Reason, "no such room")
	})
	w.clock.pass(time.Minute)
	w.is("a", StateRunning, func(s Status) bool { return s.Reason == "" && strings.Contains(s.LastError, "no such room") })
}

// TestQueuesAreToldToThoseWhoAsk: length, age and dead letters of each action. The published state has
// none of them, because it would change with time alone.
func TestQueuesAreToldToThoseWhoAsk(t *testing.T) {
	w := newWorld(t, Options{})
	w.write("a.yaml", noting+"  - {note: {title: other}, name: other, when: event.value > 14}\n")
	w.is("a", StateRunning)
	w.refuse(func(a probeArgs) error {
		if a.Title == "other" {
			return kind.Permanent(errors.New("no such room"))
		}
		return nil
	})
	w.probes.post(t, "a", map[string]any{"value": 13})
	w.nextJob()
	w.is("a", StateRunning, func(s Status) bool {
		return s.Queues[0].Action == "note" && s.Queues[0].Jobs == 0 && s.Queues[0].Oldest == 0
	})
	w.probes.post(t, "a", map[string]any{"value": 15})
	w.nextJob()
	w.is("a", StateDegraded, func(s Status) bool { return s.Queues[1] == Queue{Action: "other", Dead: 1} && s.Queues[0].Dead == 0 })

	release := make(chan struct{})
	w.refuse(func(probeArgs) error { <-release; return nil })
	for range 3 {
		w.probes.post(t, "a", map[string]any{"value": 13})
	}
	w.is("a", StateDegraded, func(s Status) bool { return s.Queues[0].Jobs == 3 && s.Queues[0].Oldest > 0 })
	if e, ok := w.bus.RetainedValue(stateTopic("a")); !ok || strings.Contains(string(e.Payload), "queues") {
		t.Errorf("%s", e.Payload)
	}
	close(release)
	for range 3 {
		w.nextJob()
	}
	w.is("a", StateDegraded, func(s Status) bool { return s.Queues[0].Jobs == 0 })
}
