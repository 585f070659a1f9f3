package plugins

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/bus"
)

// TestEventsNameTheirCause: what an entry makes at once, what a timer makes later, also after a restart, and what an
// action publishes lead back to the event that was there first.
func TestEventsNameTheirCause(t *testing.T) {
	w := newTimed(t)
	w.clock.now.Wall = time.Now() // the bus's own
	w.write("a.yaml", `
source: {mqtt: {topics: [in/+]}}
publish:
  - {topic: out/now, payload: now}
  - {settle: 1m, topic: out/later, payload: later}
actions:
  - mqtt: {topic: out/action, payload: action}
`)
	w.is("a", StateRunning)
	w.out = w.subscribe("out/#")
	jobs := w.subscribe("$plugin/a/do/#")
	in, err := w.bus.Publish(context.Background(), bus.Event{Topic: "in/x", Payload: []byte("1"), QoS: 1, Source: "client"})
	if err != nil {
		t.Fatal(err)
	}
	job := jobs.next()
	if job.Cause != in {
		t.Errorf("the job's cause is %d, want %d", job.Cause, in)
	}
	if want := `"seq":` + strconv.FormatUint(in, 10); !strings.Contains(string(job.Payload), want) {
		t.Errorf("the job does not name its event, %s: %s", want, job.Payload)
	}
	for range 2 {
		e := w.out.next()
		want := in
		if e.Topic == "out/action" {
			want = job.Seq
		}
		if e.Cause != want {
			t.Errorf("%s: the cause is %d, want %d", e.Topic, e.Cause, want)
		}
	}
	w.crash(0)
	w.pass(time.Minute)
	for {
		e := w.out.next()
		if e.Topic != "out/later" {
			continue // delivered, or done, once more after the crash
		}
		if e.Cause != in {
			t.Errorf("%s: the cause is %d, want %d", e.Topic, e.Cause, in)
		}
		return
	}
}
