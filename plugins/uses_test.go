package plugins

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/bus"
)

// TestUsesInFiles: the values of other topics, in virtual time.
func TestUsesInFiles(t *testing.T) {
	for name, text := range map[string]string{
		"one topic": `
source: {mqtt: {topics: [motion/+]}}
uses: {mode: home/mode}
publish:
  - when: (uses.mode.text ?? "home") != "away"
    topic: "light/${event.topic[1]}"
    payload: "${uses.mode.json ?? 'none'} ${uses.mode.age ?? '0s'} ${uses.mode.topic ?? ''}"
tests:
  - event: {topic: motion/hall, text: 1}
    expect: [{topic: light/hall, payload: "none 0s "}]
  - uses: {mode: away}
    event: {topic: motion/hall, text: 1}
    expect: []
  - steps:
      - {at: 0s, event: {topic: home/mode, text: 3}, expect: []}
      - {at: 5m, event: {topic: motion/hall, text: 1}, expect: [{topic: light/hall, payload: "3 5m home/mode"}]}
      - {at: 6m, uses: {mode: away}, event: {topic: motion/hall, text: 1}, expect: []}
      - {at: 7m, event: {topic: home/mode, text: "", retain: true}}
      - {at: 7m, event: {topic: motion/hall, text: 1}, expect: [{topic: light/hall, payload: "none 0s "}]}`,
		"topics by name, and the newest of all": `
source: {mqtt: {topics: [home/+/temperature]}}
uses: {hum: home/+/humidity}
publish:
  - topic: "home/${event.topic[1]}/both"
    payload: {t: "${event.json}", h: "${uses.hum.topics['home/' + event.topic[1] + '/humidity'].json}", newest: "${uses.hum.topic}"}
tests:
  - uses: {home/a/humidity: 40, home/b/humidity: 60}
    event: {topic: home/a/temperature, json: 20}
    expect: [{topic: home/a/both, payload: {t: 20, h: 40, newest: home/b/humidity}}]`,
		"without a source mqtt": `
source: {probe: {name: a}}
uses: {limit: set/limit}
publish: [{when: event.value > uses.limit.json, topic: t}]
tests:
  - {uses: {limit: 10}, event: {value: 11}, expect: [{topic: t}]}
  - {uses: {limit: 12}, event: {value: 11}, expect: []}`,
	} {
		if _, errs := checkFile(t, text); errs != "" {
			t.Errorf("%s: %s", name, errs)
		}
	}
}

// TestUsesOfTheBus: values come in the order of the journal, and survive a crash, an edit and a change of the names.
func TestUsesOfTheBus(t *testing.T) {
	const file = `
source: {mqtt: {topics: [in/+]}}
uses: {v: val/+}
publish:
  - {topic: out/x, payload: "${event.text} ${uses.v.text ?? 'none'}"}
`
	w := newTimed(t)
	if _, err := w.bus.Publish(context.Background(), bus.Event{Topic: "val/first", Payload: []byte("retained"), QoS: 1, Retain: true, Source: "client"}); err != nil {
		t.Fatal(err)
	}
	w.write("a.yaml", file)
	w.is("a", StateRunning)
	w.out = w.subscribe("out/#")
	want := func(payload string) {
		t.Helper()
		for {
			e := w.out.next()
			if e.Seq <= w.seen {
				continue
			}
			w.seen = e.Seq
			if string(e.Payload) != payload {
				t.Fatalf("got %s, want %s", e.Payload, payload)
			}
			return
		}
	}
	w.publish("in/1", "a")
	want("a retained")
	for i := range 200 { // in one go
		w.publish("val/x", fmt.Sprint(i))
		w.publish("in/1", fmt.Sprint(i))
	}
	for i := range 200 {
		want(fmt.Sprintf("%d %d", i, i))
	}
	w.crash(0)
	w.publish("in/1", "b")
	for {
		e := w.out.next() // of the events that were in flight some come again
		if strings.HasPrefix(string(e.Payload), "b ") {
			if string(e.Payload) != "b 199" {
				t.Errorf("after the crash: %s", e.Payload)
			}
			w.seen = e.Seq
			break
		}
	}
	w.write("a.yaml", strings.NewReplacer("uses: {v:", "uses: {n:", "uses.v", "uses.n").Replace(file))
	w.is("a", StateRunning, generation(2))
	w.publish("in/1", "c")
	want("c 199")
	w.write("a.yaml", strings.NewReplacer("val/+", "other/+").Replace(file))
	w.is("a", StateRunning, generation(3))
	w.publish("in/1", "d")
	want("d none")
	until(t, "the values that nothing uses are cleared", func() bool {
		list, err := w.bus.Retained(usesTopic("a") + "#")
		return err == nil && len(list) == 0
	})
}

// TestUsesBesideADevice: a file without a source mqtt hears the topics, too, and its cursor ends with "uses".
func TestUsesBesideADevice(t *testing.T) {
	const file = `
source: {probe: {name: a}}
uses: {v: val}
publish: [{topic: out/x, payload: "${event.value} ${uses.v.json ?? 'none'}"}]
`
	w := newTimed(t)
	w.write("a.yaml", file)
	w.is("a", StateRunning)
	w.out = w.subscribe("out/#")
	w.publish("val", "7")
	until(t, "the value is heard", func() bool {
		list, err := w.bus.Retained(usesTopic("a") + "#")
		return err == nil && len(list) == 1
	})
	w.probes.post(t, "a", map[string]any{"value": 1})
	if e := w.out.next(); string(e.Payload) != "1 7" {
		t.Errorf("%s", e.Payload)
	}
	w.write("a.yaml", strings.Replace(strings.Replace(file, "uses: {v: val}\n", "", 1), "${uses.v.json ?? 'none'}", "-", 1))
	w.is("a", StateRunning, generation(2))
	until(t, "the cursor is gone", func() bool { return len(w.bus.Names("plugin/a/")) == 0 })
}

// TestUsesAreBounded: the topic without a value for longest goes first.
func TestUsesAreBounded(t *testing.T) {
	s, errs := checkFile(t, "source: {mqtt: {topics: [in]}}\nuses: {v: \"val/#\"}\npublish: [{topic: t, payload: \"${uses.v.text}\"}]\n")
	if errs != "" {
		t.Fatal(errs)
	}
	e := engine{id: "a"}
	if _, err := e.use(s, newTestClock().read()); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for i := range maxHeard + 500 {
		if err := e.hear(&bus.Event{Topic: fmt.Sprint("val/", i), Payload: []byte("x"), Seq: uint64(i + 1), Time: now}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(e.values.topics); n != maxHeard || e.values.topics["val/499"] != nil || e.values.topics["val/500"] == nil || e.keys.evicted != 500 {
		t.Errorf("%d topics, %d forgotten", n, e.keys.evicted)
	}
	if err := e.hear(&bus.Event{Topic: "val/500", Payload: make([]byte, maxValue+1), Seq: 1 << 40}); err == nil || e.values.topics["val/500"].text != "x" {
		t.Errorf("a large value: %v", err)
	}
	big := strings.Repeat("x", maxValue)
	for i := range 2000 {
		_ = e.hear(&bus.Event{Topic: fmt.Sprint("val/", i), Payload: []byte(big), Seq: uint64(1<<41 + i), Time: now})
	}
	if e.values.bytes > e.spec.stateLimit {
		t.Errorf("%d bytes, at most %d are allowed", e.values.bytes, e.spec.stateLimit)
	}
}

// TestTables: each format, and a table that changes while the bus runs.
func TestTables(t *testing.T) {
	w := newWorld(t, Options{Quiet: 10 * time.Millisecond})
	w.write("names.csv", "\ufeffid,room,factor\r\n0x01,kitchen,1.5\r\n0x02,\"living, room\",\r\n003,attic,007\n")
	w.write("semi.csv", "key;value\na;1\n")
	w.write("prices.json", `{"day": {"cents": 30}, "list": [1, 2]}`)
	if err := os.MkdirAll(filepath.Join(w.dir, "tables"), 0o755); err != nil {
		t.Fatal(err)
	}
	w.write("tables/modes.yaml", "night: {level: 3}\n")
	w.write("a.yaml", `
source: {probe: {name: a}}
tables: {names: names.csv, semi: semi.csv, prices: prices.json, modes: tables/modes.yaml}
publish:
  - topic: out/x
    payload: "${tables.names[event.text].room ?? 'unknown'} ${(tables.names[event.text].factor ?? 1)} ${tables.semi.a.value + 1} ${tables.prices.day.cents} ${tables.modes.night.level}"
`)
	w.is("a", StateRunning)
	out := w.subscribe("out/#")
	post := func(text, want string) {
		t.Helper()
		w.probes.post(t, "a", map[string]any{"text": text})
		if e := out.next(); string(e.Payload) != want {
			t.Errorf("%s: got %s, want %s", text, e.Payload, want)
		}
	}
	post("0x01", "kitchen 1.5 2 30 3")
	post("0x02", "living, room 1 2 30 3")
	post("003", "attic 007 2 30 3") // what is no number in JSON is text
	post("x", "unknown 1 2 30 3")
	w.write("names.csv", "id,room,factor\nx,cellar,2\n")
	w.is("a", StateRunning, generation(2))
	post("x", "cellar 2 2 30 3")
	w.write("tables/modes.yaml", "night: {level: 44}\n")
	w.is("a", StateRunning, generation(3))
	post("x", "cellar 2 2 30 44")
	w.write("names.csv", "id,id\n")
	w.is("a", StateStale, func(s Status) bool { return len(s.Errors) == 1 }) // the good version runs on
	post("x", "cellar 2 2 30 44")
	w.remove("names.csv")
	w.is("a", StateStale, func(s Status) bool {
		return len(s.Errors) == 1 && strings.Contains(s.Errors[0].Message, "can't be opened")
	})
	w.write("names.csv", "id,room,factor\nx,loft,3\n")
	w.is("a", StateRunning, generation(4), func(s Status) bool { return len(s.Errors) == 0 })
	post("x", "loft 3 2 30 44")
}

// TestUsesAreRecalled: of the stored values, in whatever order they come, the newest is the latest.
func TestUsesAreRecalled(t *testing.T) {
	s, errs := checkFile(t, "source: {mqtt: {topics: [in]}}\nuses: {v: \"val/#\"}\npublish: [{topic: t, payload: \"${uses.v.text}\"}]\n")
	if errs != "" {
		t.Fatal(errs)
	}
	before := engine{id: "a"}
	if _, err := before.use(s, newTestClock().read()); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	for i := range 10 {
		if err := before.hear(&bus.Event{Topic: fmt.Sprint("val/", i), Payload: []byte(fmt.Sprint(i)), Seq: uint64(i + 1), Time: begin.Add(time.Duration(i))}); err != nil {
			t.Fatal(err)
		}
	}
	stored := before.writes
	for range 20 {
		rand.Shuffle(len(stored), func(i, j int) { stored[i], stored[j] = stored[j], stored[i] })
		after := engine{id: "a"}
		if err := after.recall(append([]storedValue{{topic: usesTopic("a") + "x", value: []byte("no CBOR")}}, stored...)); err == nil || len(after.clears) != 1 {
			t.Errorf("a value that can't be read: %v, %q", err, after.clears)
		}
		if _, err := after.use(s, newTestClock().read()); err != nil {
			t.Fatal(err)
		}
		v := after.shared(begin.Add(time.Minute))["uses"].(map[string]any)["v"].(map[string]any)
		if v["text"] != "9" || v["topic"] != "val/9" || v["age"] != time.Minute-9 || len(after.values.topics) != 10 {
			t.Errorf("recalled %v", v)
		}
	}
}
