package plugins

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/bus"
)

// timed is a world with a clock of its own.
type timed struct {
	*world
	clock *testClock
	out   *sink
	seen  uint64 // sequence of the newest outcome
}

func newTimed(t *testing.T) *timed {
	c := newTestClock()
	return &timed{world: newWorld(t, Options{now: c.read}), clock: c}
}

// crash ends the bus as kill -9 does: the next bus has only what is on disk at this moment. It starts after
// the time down.
func (w *timed) crash(down time.Duration) {
	w.t.Helper()
	image := w.t.TempDir()
	if err := os.CopyFS(image, os.DirFS(w.data)); err != nil {
		w.t.Fatal(err)
	}
	w.restart(down, image)
}

// restart stops the bus in order, and starts it from a data folder.
func (w *timed) restart(down time.Duration, data string) {
	w.t.Helper()
	w.stop()
	if err := w.bus.Close(); err != nil {
		w.t.Error(err)
	}
	w.data = data
	w.clock.pass(down)
	w.open()
	w.out = w.subscribe("out/#")
	w.is("a", StateRunning)
	w.settle()
}

// pass lets time pass, and returns when everything that became due has been folded.
func (w *timed) pass(d time.Duration) {
	w.t.Helper()
	w.clock.pass(d)
	w.settle()
}

func (w *timed) settle() {
	w.t.Helper()
	m := w.s.plugin("a").mapper
	m.wakeTimekeeper()
	until(w.t, "nothing is due", func() bool {
		m.mu.Lock()
		defer m.mu.Unlock()
		up, ok := m.engine.alarms.next()
		return !ok || up > w.clock.read().Up
	})
}

// fires wants one outcome, late by so much.
func (w *timed) fires(late string) {
	w.t.Helper()
	for {
		e := w.out.next()
		if e.Seq <= w.seen {
			continue // delivered again to the test after a crash
		}
		w.seen = e.Seq
		if string(e.Payload) != late {
			w.t.Errorf("%s is late by %q, want %q", e.Topic, e.Payload, late)
		}
		return
	}
}

// quiet wants no outcome.
func (w *timed) quiet() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	for {
		e, err := w.out.sub.Next(ctx)
		if err != nil {
			return
		}
		if e.Seq > w.seen {
			w.t.Fatalf("unexpected event %s %s", e.Topic, e.Payload)
		}
	}
}

const unrelated = `
  - {topic: other, payload: "${event.value}"}
`

// timedFiles are files with one timer, which is due ten minutes after begin.
var timedFiles = map[string]string{
	"for":     `  - {when: event.value > 0, per: "${event.text}", for: 10m, topic: "out/${key}", payload: "${late ?? 0}"}`,
	"after":   `  - {when: event.value > 0, per: "${event.text}", after: 10m, topic: "out/${key}", payload: "${late ?? 0}"}`,
	"settle":  `  - {when: event.value > 0, per: "${event.text}", settle: 10m, topic: "out/${key}", payload: "${late ?? 0}"}`,
	"silent":  `  - {when: event.value > 0, per: "${event.text}", silent: 10m, topic: "out/${key}", payload: "${late ?? 0}"}`,
	"window":  `  - {when: event.value > 0, per: "${event.text}", window: {of: event.value, every: 10m}, topic: "out/${key}", payload: "${window.sum == 2 ? late ?? 0 : window.sum}"}`,
	"session": `  - {when: event.value > 0, per: "${event.text}", window: {of: event.value, quiet: 10m}, topic: "out/${key}", payload: "${window.median == 2 ? late ?? 0 : window.median}"}`,
	"hopping": `  - {when: event.value > 0, per: "${event.text}", window: {of: event.value, every: 10m, last: 11m}, having: window.end > window.start, topic: "out/${key}", payload: "${window.last == 2 ? late ?? 0 : window.last}"}`,
	"rate":    `  - {when: event.value > 0, per: "${event.text}", rate: 1/10m, keep: last, topic: "out/${key}", payload: "${event.value - 2}"}`,
}

const timedHead = "source: {probe: {name: a}}\npublish:\n"

// TestTimersThroughEverything: a timer fires exactly once, and never early, whatever happens meanwhile.
func TestTimersThroughEverything(t *testing.T) {
	const early, over = 10*time.Minute - 1*time.Millisecond, 10 * time.Minute
	for what, entry := range timedFiles {
		// late is what the payload says when the timer fired five minutes late.
		late := "5m"
		if what == "rate" {
			late = "0"
		}
		for name, live := range map[string]func(w *timed){
			"nothing": func(w *timed) {
				w.pass(early)
				w.quiet()
				w.pass(time.Millisecond)
				w.fires("0")
			},
			"killed before": func(w *timed) {
				w.pass(5 * time.Minute)
				w.crash(0)
				w.pass(5*time.Minute - time.Millisecond)
				w.quiet()
				w.pass(time.Millisecond)
				w.fires("0")
			},
			"killed at once": func(w *timed) {
				w.pass(over)
				w.fires("0")
				w.crash(0)
				w.quiet()
			},
			"killed later": func(w *timed) {
				w.pass(over)
				w.fires("0")
				w.pass(time.Minute)
				w.crash(time.Minute)
				w.quiet()
			},
			"down over the time": func(w *timed) {
				w.pass(5 * time.Minute)
				w.crash(10 * time.Minute)
				w.fires(late)
			},
			"stopped over the time": func(w *timed) {
				w.pass(5 * time.Minute)
				w.restart(10*time.Minute, w.data)
				w.fires(late)
			},
			"another entry edited": func(w *timed) {
				w.pass(5 * time.Minute)
				w.write("a.yaml", timedHead+entry+strings.Replace(unrelated, "other", "another", 1))
				w.is("a", StateRunning, generation(2))
				w.pass(5*time.Minute - time.Millisecond)
				w.quiet()
				w.pass(time.Millisecond)
				w.fires("0")
			},
			"edited": func(w *timed) {
				w.pass(5 * time.Minute)
				w.write("a.yaml", timedHead+strings.Replace(entry, "> 0", "> 0.5", 1)+unrelated)
				w.is("a", StateRunning, generation(2))
				w.crash(0) // also on disk
			},
			"removed and back": func(w *timed) {
				w.pass(5 * time.Minute)
				w.write("a.yaml", timedHead+unrelated)
				w.is("a", StateRunning, generation(2))
				w.write("a.yaml", timedHead+entry+unrelated)
				w.is("a", StateRunning, generation(3))
			},
			"disabled over the time": func(w *timed) {
				w.pass(5 * time.Minute)
				w.remove("a.yaml")
				w.write("a.yaml.off", timedHead+entry+unrelated)
				w.is("a", StateDisabled)
				w.clock.pass(10 * time.Minute)
				w.quiet()
				w.remove("a.yaml.off")
				w.write("a.yaml", timedHead+entry+unrelated)
				w.is("a", StateRunning)
				w.settle()
				w.fires(late)
			},
			"halted over the time": func(w *timed) { // SIGSTOP, or a laptop that slept
				w.pass(15 * time.Minute)
				w.fires(late)
			},
			"clock set forward": func(w *timed) {
				w.pass(5 * time.Minute)
				w.clock.jump(time.Hour)
				w.pass(5*time.Minute - time.Millisecond)
				w.quiet()
				w.pass(time.Millisecond)
				w.fires("0")
			},
			"clock set back": func(w *timed) {
				w.pass(5 * time.Minute)
				w.clock.jump(-time.Hour)
				w.pass(5*time.Minute - time.Millisecond)
				w.quiet()
				w.pass(time.Millisecond)
				w.fires("0")
			},
			"clock set forward, then killed": func(w *timed) {
				w.pass(5 * time.Minute)
				w.clock.jump(time.Hour)
				w.crash(0)
				w.pass(5*time.Minute - time.Millisecond)
				w.quiet()
				w.pass(time.Millisecond)
				w.fires("0")
			},
		} {
			t.Run(what+", "+name, func(t *testing.T) {
				t.Parallel()
				w := newTimed(t)
				w.out = w.subscribe("out/#")
				w.write("a.yaml", timedHead+entry+unrelated)
				w.is("a", StateRunning)
				if what == "rate" {
					w.probes.post(t, "a", map[string]any{"text": "k", "value": 2})
					w.fires("0")
				}
				w.probes.post(t, "a", map[string]any{"text": "k", "value": 2})
				live(w)
				w.pass(3 * time.Hour)
				w.quiet()
			})
		}
	}
}

// TestKeysAreStoredAfterAnEdit: what an entry keeps after it was edited, and what it waits for from the start
// on, is on disk as everything else.
func TestKeysAreStoredAfterAnEdit(t *testing.T) {
	for name, c := range map[string]struct {
		entry string
		live  func(w *timed)
	}{
		"edited": {timedFiles["for"], func(w *timed) {
			w.probes.post(t, "a", map[string]any{"text": "k", "value": 2})
			w.write("a.yaml", timedHead+strings.Replace(timedFiles["for"], "> 0", "> 0.5", 1)+unrelated)
			w.is("a", StateRunning, generation(2))
			w.probes.post(t, "a", map[string]any{"text": "k", "value": 2})
		}},
		"from the start": {`  - {silent: 10m, topic: out/x, payload: "${late ?? 0}"}`, func(w *timed) {
			until(w.t, "the timer is on disk", func() bool {
				list, err := w.bus.Retained(keysTopic("a") + "#")
				return err == nil && len(list) == 1
			})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newTimed(t)
			w.out = w.subscribe("out/#")
			w.write("a.yaml", timedHead+c.entry+unrelated)
			w.is("a", StateRunning)
			c.live(w)
			w.pass(5 * time.Minute)
			w.crash(0)
			w.pass(5*time.Minute - time.Millisecond)
			w.quiet()
			w.pass(time.Millisecond)
			w.fires("0")
			w.pass(3 * time.Hour)
			w.quiet()
		})
	}
}

// TestPendingTimers: what is pending can be seen, also after a restart.
func TestPendingTimers(t *testing.T) {
	w := newTimed(t)
	w.write("a.yaml", timedHead+timedFiles["for"]+unrelated)
	w.is("a", StateRunning)
	begin := w.clock.read().Wall
	for _, k := range []string{"x", "y"} {
		w.probes.post(t, "a", map[string]any{"text": k, "value": 2})
		w.pass(time.Minute)
	}
	for range 2 {
		list, ok := w.s.Timers("a", 1)
		if !ok || list.Total != 2 || len(list.Timers) != 1 {
			t.Fatalf("%+v %v", list, ok)
		}
		want := PendingTimer{Plugin: "a", Rule: "publish[0]", Line: 3, Key: "x", Why: "for 10m", Since: begin, Due: begin.Add(10 * time.Minute)}
		got := list.Timers[0]
		got.Since, got.Due = got.Since.UTC(), got.Due.UTC()
		if got != want {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
		if st := w.is("a", StateRunning); st.Timers != 2 || st.Keys != 2 || st.StateBytes == 0 {
			t.Errorf("%+v", st)
		}
		w.crash(0)
	}
	if _, ok := w.s.Timers("b", 1); ok {
		t.Error("there is no plugin b")
	}
}

// TestKilledBetweenAnyTwoRecords: whatever the disk has of the last records, a timer that was armed fires once.
func TestKilledBetweenAnyTwoRecords(t *testing.T) {
	for what, entry := range timedFiles {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newTimed(t)
			w.out = w.subscribe("out/#")
			w.write("a.yaml", timedHead+entry+unrelated)
			w.is("a", StateRunning)
			w.out.sub.Close() // its positions would be records, too
			first := 0
			if what == "rate" {
				w.probes.post(t, "a", map[string]any{"text": "k", "value": 2})
				first = 1
			}
			w.probes.post(t, "a", map[string]any{"text": "k", "value": 2})
			armed := len(journalOf(t, w.data))
			w.pass(10 * time.Minute)
			until(t, "the outcome is there", func() bool { return w.outcomes() == first+1 })
			fired := journalOf(t, w.data)
			meta, err := os.ReadFile(filepath.Join(w.data, "meta.json"))
			if err != nil {
				t.Fatal(err)
			}
			if len(fired) <= armed {
				t.Fatalf("%d bytes, then %d", armed, len(fired))
			}
			for cut := armed; cut <= len(fired); cut = min(len(fired), cut+37) {
				dir := t.TempDir()
				if err := os.Mkdir(filepath.Join(dir, "journal"), 0o700); err != nil {
					t.Fatal(err)
				}
				for name, data := range map[string][]byte{journalFile: fired[:cut], "meta.json": meta} {
					if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				w.restart(0, dir)
				w.pass(time.Hour)
				until(t, "the outcome is there", func() bool { return w.outcomes() > first })
				if n := w.outcomes(); n != first+1 {
					t.Errorf("cut at %d of %d to %d bytes: %d outcomes", cut, armed, len(fired), n-first)
				}
				if cut == len(fired) {
					break
				}
			}
		})
	}
}

// outcomes counts what the journal has.
func (w *timed) outcomes() (n int) {
	w.t.Helper()
	if err := w.bus.History(context.Background(), "out/#", bus.Since{Seq: 1}, func(bus.Event) bool { n++; return true }); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// journalFile is the only segment of a short test.
var journalFile = filepath.Join("journal", "00000000000000000001.seg")

// journalOf reads the journal, without the room that is reserved.
func journalOf(t *testing.T, data string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(data, journalFile))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.TrimRight(b, "\x00")
}
