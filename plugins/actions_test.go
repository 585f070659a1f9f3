package plugins

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

const noting = `
source: {probe: {name: a}}
actions:
  - when: event.value > 0
    note: {title: "event ${event.value}", level: "${event.value % 10}", data: {text: "${event.text}"}}
    expires: 1h
    retry: {attempts: 5, backoff: 1ms..20ms}
`

func (w *world) nextJob() probeArgs {
	w.t.Helper()
	select {
	case o := <-w.probes.jobs:
		return o
	case <-time.After(time.Minute):
		w.t.Fatal("no order comes")
		return probeArgs{}
	}
}

func (w *world) refuse(f func(probeArgs) error) {
	w.probes.mu.Lock()
	defer w.probes.mu.Unlock()
	w.probes.refuse = f
}

func TestAnActionIsDone(t *testing.T) {
	w := newWorld(t, Options{})
	w.write("a.yaml", noting)
	w.probes.post(t, "a", map[string]any{"value": 13, "text": "x"})
	if o := w.nextJob(); o.Title != "event 13" || o.Level != 3 || o.Data["text"] != "x" {
		t.Errorf("%+v", o)
	}
}

// TestAnActionThatHandsOn: a line in a pipe counts as sent, because its completion is unknown.
func TestAnActionThatHandsOn(t *testing.T) {
	w := newWorld(t, Options{})
	w.stop()
	w.cat.actions["note"].Handing()
	w.start()
	w.write("a.yaml", noting)
	w.probes.post(t, "a", map[string]any{"value": 13, "text": "x"})
	w.nextJob()
	w.is("a", StateRunning, func(s Status) bool { return s.Counters.Sent == 1 && s.Counters.Done == 0 })
}

func TestAnActionThatWasDownGetsWhatItMissed(t *testing.T) {
	w := newWorld(t, Options{})
	w.write("a.yaml", strings.Replace(noting, "attempts: 5", "attempts: 1000", 1))
	w.is("a", StateRunning)
	w.refuse(func(probeArgs) error { return errors.New("away") })
	for i := 1; i <= 20; i++ {
		w.probes.post(t, "a", map[string]any{"value": i})
	}
	w.is("a", StateDegraded, func(s Status) bool {
		return strings.Contains(s.Reason, "away") && strings.Contains(s.Reason, "attempt")
	})
	// The queue also survives a restart of the supervisor, as after a crash.
	w.stop()
	w.start()
	w.is("a", StateDegraded)
	w.refuse(nil)
	for i := 1; i <= 20; i++ {
		if o := w.nextJob(); o.Title != fmt.Sprintf("event %d", i) {
			t.Fatalf("%q comes as the %d.", o.Title, i)
		}
	}
	w.is("a", StateRunning)
}

// TestAPersistentAction has no expires and no attempts in its file. The event fails more often than
// the default allows.
func TestAPersistentAction(t *testing.T) {
	w := newWorld(t, Options{})
	w.stop()
	w.cat.actions["note"].Persisting()
	w.start()
	const endlessly = "source: {probe: {name: a}}\nactions: [{note: {title: x}, retry: {backoff: 1ms}}]\n"
	if spec, errs := (&Checker{Catalog: w.cat}).Check("a", "a.yaml", []byte(endlessly)); len(errs) > 0 || spec.rules[0].action.expires != 0 {
		t.Errorf("%v, it expires", errs)
	}
	w.write("a.yaml", endlessly)
	w.is("a", StateRunning)
	attempts := 0
	w.refuse(func(probeArgs) error {
		if attempts++; attempts <= 2*defaultAttempts {
			return errors.New("away")
		}
		return nil
	})
	w.probes.post(t, "a", map[string]any{"value": 1})
	w.nextJob()
	w.is("a", StateRunning, func(s Status) bool { return s.Counters.Done == 1 && s.Counters.Dead == 0 })
	w.write("a.yaml", "source: {probe: {name: a}}\nactions: [{note: {title: x}, retry: {attempts: 2, backoff: 1ms}, expires: 1h}]\n")
	w.is("a", StateRunning, func(s Status) bool { return s.Generation == 2 })
	w.refuse(func(probeArgs) error { return errors.New("away") })
	dead := w.subscribe("$bus/dead/a")
	w.probes.post(t, "a", map[string]any{"value": 2})
	if d := decode(t, dead.next().Payload); d["attempts"] != 2.0 {
		t.Errorf("%v", d)
	}
}

func TestPoisonGoesToTheDeadLetters(t *testing.T) {
	w := newWorld(t, Options{})
	dead := w.subscribe("$bus/dead/a")
	w.write("a.yaml", noting)
	attempts := 0
	w.refuse(func(o probeArgs) error {
		switch o.Title {
		case "event 1":
			attempts++
			return errors.New("never")
		case "event 2":
			return kind.Permanent(errors.New("wrong for good"))
		case "event 3":
			panic("poison")
		}
		return nil
	})
	for i := 1; i <= 4; i++ {
		w.probes.post(t, "a", map[string]any{"value": i})
	}
	for i, want := range []struct {
		err      string
		attempts float64
	}{{"never", 5}, {"wrong for good", 1}, {"panic: poison", 5}} {
		d := decode(t, dead.next().Payload)
		if d["error"] != want.err || d["attempts"] != want.attempts || d["action"] != "note" || d["args"].(map[string]any)["title"] != fmt.Sprintf("event %d", i+1) {
			t.Errorf("%v", d)
		}
	}
	if o := w.nextJob(); o.Title != "event 4" || attempts != 5 {
		t.Errorf("%q after %d tries", o.Title, attempts)
	}
	if st := w.is("a", StateDegraded); st.Counters.Dead != 3 || st.Counters.Done != 1 {
		t.Errorf("%+v", st.Counters)
	}
}

func TestOldJobsExpire(t *testing.T) {
	w := newWorld(t, Options{})
	lost, dead := w.subscribe("$bus/lost"), w.subscribe("$bus/dead/a")
	w.write("a.yaml", strings.Replace(strings.Replace(noting, "expires: 1h", "expires: 4s", 1), "attempts: 5", "attempts: 1000", 1)) // long enough for a first attempt on a busy machine
	w.is("a", StateRunning)
	w.refuse(func(probeArgs) error { return errors.New("away") })
	for range 2 { // one that is retried until it is too old, and one behind it
		w.probes.post(t, "a", map[string]any{"value": 1})
	}
	if d := decode(t, dead.next().Payload); d["error"] != "older than 4s: away" || d["attempts"].(float64) < 1 {
		t.Errorf("%v", d)
	}
	for sum := 0.0; sum < 1; {
		d := decode(t, lost.next().Payload)
		if d["reason"] != "expired" {
			t.Errorf("%v", d)
		}
		sum += d["events"].(float64)
	}
	if c := w.is("a", StateDegraded).Counters; c.Dead != 1 || c.Expired != 1 {
		t.Errorf("%d dead and %d expired of one each", c.Dead, c.Expired)
	}
	w.refuse(nil)
	w.probes.post(t, "a", map[string]any{"value": 2})
	if o := w.nextJob(); o.Title != "event 2" {
		t.Errorf("%q was done after it was too old", o.Title)
	}
}

func TestWrongArgumentsAreDeadLetters(t *testing.T) {
	w := newWorld(t, Options{})
	dead := w.subscribe("$bus/dead/a")
	w.write("a.yaml", `
source: {probe: {name: a}}
actions:
  - note: {title: "${event.text}", level: "${event.value}"}
`)
	for _, c := range []struct {
		fields map[string]any
		err    string
	}{
		{map[string]any{"text": "x", "value": 11}, "level: want 0 to 10, got 11"},
		{map[string]any{"text": "x", "value": "much"}, "level: want a number, got text"},
	} {
		w.probes.post(t, "a", c.fields)
		if d := decode(t, dead.next().Payload); d["error"] != c.err {
			t.Errorf("%v, want %q", d["error"], c.err)
		}
	}
}

func TestBytesSurviveTheQueue(t *testing.T) {
	w := newWorld(t, Options{})
	w.write("a.yaml", "source: {probe: {name: a}}\nactions: [{note: {title: x, body: \"${event.json.raw}\"}}]\n")
	w.probes.post(t, "a", map[string]any{"json": map[string]any{"raw": []byte{0, 255, 1}}})
	if o := w.nextJob(); string(o.Body) != "\x00\xff\x01" {
		t.Errorf("%q", o.Body)
	}
}

func TestRetainedEventsGoWithTheirFile(t *testing.T) {
	w := newWorld(t, Options{Grace: 2 * time.Second})
	file := func(topic string) string {
		return "source: {probe: {name: a}}\npublish:\n  - topic: " + topic + "\n    payload: \"${event.value}\"\n    retain: true\n    home_assistant: {device_class: temperature, unit: °C}\n"
	}
	retained := func(filter string) (topics []string) {
		list, err := w.bus.Retained(filter)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			topics = append(topics, e.Topic)
		}
		return topics
	}
	w.write("a.yaml", file(`"room/${event.text}"`))
	for _, r := range []string{"hall", "kitchen"} {
		w.probes.post(t, "a", map[string]any{"value": 20, "text": r})
	}
	until(t, "both rooms are there", func() bool { return len(retained("room/+")) == 2 && len(retained("homeassistant/+/+/+/config")) == 2 })
	ha, err := w.bus.Retained("homeassistant/sensor/postbus_a/room_hall/config")
	if err != nil || len(ha) != 1 {
		t.Fatalf("%v %v", ha, err)
	}
	if c := decode(t, ha[0].Payload); c["state_topic"] != "room/hall" || c["device_class"] != "temperature" || c["unit_of_measurement"] != "°C" || c["unique_id"] != "postbus_test_a_room_hall" {
		t.Errorf("%v", c)
	}

	// A rename: another plugin with the same topics. No retained event is cleared.
	seen := w.subscribe("room/#", "homeassistant/+/+/+/config")
	for range 4 {
		seen.next()
	}
	if err := os.Rename(filepath.Join(w.dir, "a.yaml"), filepath.Join(w.dir, "b.yaml")); err != nil {
		t.Fatal(err)
	}
	w.is("b", StateRunning)
	until(t, "the former entity is gone", func() bool { return len(retained("homeassistant/sensor/postbus_a/#")) == 0 })
	if got := retained("room/+"); len(got) != 2 {
		t.Errorf("after a rename: %v", got)
	}
	for range 2 {
		if e := seen.next(); !strings.HasPrefix(e.Topic, "homeassistant/") || len(e.Payload) != 0 {
			t.Errorf("%s %q", e.Topic, e.Payload)
		}
	}
	seen.quiet()

	// A file that is missing for a moment, as some editors save: no retained event is cleared
	// either.
	w.remove("b.yaml")
	until(t, "the plugin is gone", func() bool { _, ok := w.s.Get("b"); return !ok })
	looks := w.s.sweep.looks.Load()
	until(t, "what it left was looked at", func() bool { return w.s.sweep.looks.Load() > looks+1 })
	w.write("b.yaml", file(`"room/${event.text}"`))
	w.is("b", StateRunning)
	seen.quiet()

	// The file loses one topic, then all.
	w.write("b.yaml", file("room/hall"))
	until(t, "the kitchen is cleared", func() bool { got := retained("room/+"); return len(got) == 1 && got[0] == "room/hall" })
	w.remove("b.yaml")
	until(t, "the hall is cleared", func() bool { return len(retained("room/+")) == 0 && len(retained("homeassistant/#")) == 0 })
}

func TestEntitiesThatAreCommanded(t *testing.T) {
	w := newWorld(t, Options{})
	w.write("a.yaml", "source: {probe: {name: a}}\nactions:\n  - note: {title: x}\n    home_assistant: {component: switch, name: Lamp, command_topic: lamp/set}\npublish:\n  - {topic: lamp/state, home_assistant: {device_class: door}}\n")
	w.is("a", StateRunning)
	entity := func(topic string) (m map[string]any) {
		until(t, "it is announced: "+topic, func() bool {
			l, err := w.bus.Retained(topic)
			if err != nil || len(l) != 1 {
				return false
			}
			m = decode(t, l[0].Payload)
			return true
		})
		return m
	}
	if m := entity("homeassistant/switch/postbus_a/note/config"); m["command_topic"] != "lamp/set" || m["state_topic"] != nil || m["name"] != "Lamp" {
		t.Errorf("%v", m)
	}
	if m := entity("homeassistant/binary_sensor/postbus_a/lamp_state/config"); m["state_topic"] != "lamp/state" || m["command_topic"] != nil {
		t.Errorf("%v", m)
	}
	w.remove("a.yaml")
	until(t, "they go with the file", func() bool { l, _ := w.bus.Retained("homeassistant/#"); return len(l) == 0 })
}

func TestWhatOthersPublishedStays(t *testing.T) {
	w := newWorld(t, Options{})
	w.write("a.yaml", "source: {probe: {name: a}}\npublish: [{topic: x/y, retain: true}]\n")
	w.probes.post(t, "a", map[string]any{"value": 1})
	if _, err := w.bus.Publish(context.Background(), w.event("x/z")); err != nil {
		t.Fatal(err)
	}
	w.remove("a.yaml")
	until(t, "x/y is cleared", func() bool { l, _ := w.bus.Retained("x/#"); return len(l) == 1 && l[0].Topic == "x/z" })
}

func TestStateSurvives(t *testing.T) {
	w := newWorld(t, Options{})
	out := w.subscribe("n")
	w.write("a.yaml", "source: {probe: {name: a}}\npublish:\n  - {topic: n, payload: \"${state.n ?? 0}\"}\n  - set: {n: \"${(state.n ?? 0) + event.value}\"}\n")
	for i, want := range []string{"0", "2", "4"} {
		w.probes.post(t, "a", map[string]any{"value": 2})
		if e := out.next(); string(e.Payload) != want {
			t.Errorf("%d: %s, want %s", i, e.Payload, want)
		}
	}
	w.stop()
	w.probes.mu.Lock()
	delete(w.probes.posts, "a")
	w.probes.mu.Unlock()
	w.start()
	w.probes.post(t, "a", map[string]any{"value": 2})
	if e := out.next(); string(e.Payload) != "6" {
		t.Errorf("%s, want 6", e.Payload)
	}
	w.remove("a.yaml")
	until(t, "the state goes with the file", func() bool { l, _ := w.bus.Retained("$plugin/#"); return len(l) == 0 })
}

// A source that lacks a permission says how the service gets it.
func TestPermissionHint(t *testing.T) {
	w := newWorld(t, Options{PermissionHint: func(kind string) string { return "grant " + kind }})
	w.write("a.yaml", "source: {probe: {name: a, mode: denied}}\npublish: [{topic: x}]\n")
	if st := w.is("a", StateBackoff); !strings.HasSuffix(st.Reason, "permission denied; for the service: grant probe") {
		t.Errorf("%q", st.Reason)
	}
	w.write("a.yaml", "source: {probe: {name: a, mode: fail-open}}\npublish: [{topic: x}]\n")
	if st := w.is("a", StateStale, func(st Status) bool { return strings.Contains(st.Reason, "no such probe") }); strings.Contains(st.Reason, "grant") {
		t.Errorf("%q", st.Reason)
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	dir := t.TempDir()
	log := new(lockedBuffer)
	w := newWorld(t, Options{Logger: slog.New(slog.NewTextHandler(log, nil)), SecretDirs: []string{filepath.Join(dir, "none"), dir}})
	text := "source: {probe: {name: a, token: \"secret:door\"}}\npublish:\n  - when: event.text != \"open sesame\"\n    topic: x\n  - topic: \"y/${event.text}\"\n"
	w.write("a.yaml", text)
	st := w.is("a", StateBackoff)
	if !strings.Contains(st.Reason, "secret door not found") || !strings.Contains(st.Reason, "chmod 600") {
		t.Errorf("%q", st.Reason)
	}
	file := filepath.Join(dir, "door")
	if err := os.WriteFile(file, []byte("open sesame\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	w.is("a", StateBackoff, func(s Status) bool { return strings.Contains(s.Reason, "others may read") })
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	w.is("a", StateRunning)
	if w.probes.token["a"] != "open sesame" {
		t.Errorf("the source got %q", w.probes.token["a"])
	}
	if text := log.String(); strings.Contains(text, "sesame") || !strings.Contains(text, `msg="opened with •••" plugin=a source=probe with=••• err=•••`) {
		t.Errorf("the log says %s", text)
	}
	trace := w.subscribe("$bus/plugins/a/trace")
	until(t, "it is traced", func() bool { return w.s.all()[0].mapper.tracing.Load() })
	w.probes.post(t, "a", map[string]any{"text": "open sesame"})
	w.probes.post(t, "a", map[string]any{"text": "open sesame/x"})
	for range 2 {
		if e := trace.next(); strings.Contains(string(e.Payload), "sesame") || !strings.Contains(string(e.Payload), "•••") {
			t.Errorf("%s", e.Payload)
		}
	}
	b, err := json.Marshal(w.s.List())
	if err != nil || strings.Contains(string(b), "sesame") || !strings.Contains(string(b), "last_error") {
		t.Errorf("%s", b)
	}
}

func TestTraceAndExplainSayWhy(t *testing.T) {
	w := newWorld(t, Options{})
	w.write("a.yaml", `
source: {probe: {name: a}}
publish:
  - {when: event.value > 20, topic: t/filtered}
  - {when: event.json.x.y > 1, topic: t/error}
  - {topic: t/rate, rate: 1/1h}
  - {topic: t/nobody}
  - {topic: "t/${event.text}"}
permissions: {publish: ["t/+"]}
`)
	trace := w.subscribe("$bus/plugins/a/trace")
	w.is("a", StateRunning)
	until(t, "it is traced", func() bool { return w.s.all()[0].mapper.tracing.Load() })
	w.probes.post(t, "a", map[string]any{"value": 18, "text": "a/b"})
	w.probes.post(t, "a", map[string]any{"value": 18, "text": "a/b"})
	trace.next()
	var got Trace
	if err := json.Unmarshal(trace.next().Payload, &got); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{
		"filtered: event.value=18 > 20 is false",
		"error: when: ",
		"rate limited: more than 1 in 1h0m0s",
		"published to t/nobody, no session is subscribed",
		`not allowed: topic: topic "t/a/b" is not listed in permissions.publish`,
	} {
		if v := got.Verdicts[i]; !strings.HasPrefix(v.Text, want) || v.Rule != fmt.Sprintf("publish[%d]", i) || v.Line != 4+i {
			t.Errorf("%+v, want %q", v, want)
		}
	}
	for topic, want := range map[string]string{"t/filtered": "filtered: event.value=18 > 20 is false", "t/rate": "rate limited", "t/nobody": "published to t/nobody", "t/error": "error: when"} {
		e := w.s.Explain(topic)
		found := false
		for _, p := range e.By {
			found = found || strings.HasPrefix(p.Verdict, want) && p.Plugin == "a" && p.State == StateDegraded
		}
		if !found {
			t.Errorf("%s: %+v", topic, e.By)
		}
	}
	if e := w.s.Explain("u"); len(e.By) != 0 {
		t.Errorf("%+v", e)
	}
}

func TestExplainSaysWhatIsWrongWithThePlugin(t *testing.T) {
	w := newWorld(t, Options{Approvals: filepath.Join(t.TempDir(), "a.json")})
	file := func(mode, topic string) string {
		return "source: {probe: {name: p, " + mode + "}}\npublish: [{topic: " + topic + "}]\n"
	}
	w.write("waits.yaml", file("run: true", "t/approval"))
	w.write("fails.yaml", file("mode: fail-open", "t/backoff"))
	w.write("stale.yaml", file("port: 0", "t/stale"))
	w.is("stale", StateRunning)
	w.write("stale.yaml", "nonsense")
	for topic, want := range map[string]struct {
		state  State
		reason string
	}{
		"t/approval": {StateApproval, "postbus plugin approve waits"},
		"t/backoff":  {StateBackoff, "no such probe"},
		"t/stale":    {StateStale, "the file was refused"},
	} {
		until(t, "it is explained: "+topic, func() bool {
			e := w.s.Explain(topic)
			return len(e.By) == 1 && e.By[0].State == want.state && strings.Contains(e.By[0].Reason, want.reason)
		})
	}
	if e := w.s.Explain("t/stale"); e.Audience != 0 {
		t.Errorf("%+v", e)
	}
	_ = w.subscribe("t/#")
	if e := w.s.Explain("t/stale"); e.Audience != 1 {
		t.Errorf("%+v", e)
	}
}

func TestExplainKnowsThatEventsCameBeforeAReload(t *testing.T) {
	w := newWorld(t, Options{})
	const file = "source: {probe: {name: a}}\npublish: [{topic: t}]\n"
	explained := func(want string) {
		t.Helper()
		until(t, want, func() bool {
			e := w.s.Explain("t")
			return len(e.By) == 1 && e.By[0].Verdict == want
		})
	}
	w.write("a.yaml", file)
	w.is("a", StateRunning)
	explained("has received no event yet")
	w.probes.post(t, "a", map[string]any{"text": "x"})
	explained("published to t")
	w.write("a.yaml", file+"description: another\n")
	explained("has received no event since it was reloaded; 1 before that")
	from, off := filepath.Join(w.dir, "a.yaml"), filepath.Join(w.dir, "a.yaml.off")
	if err := os.Rename(from, off); err != nil {
		t.Fatal(err)
	}
	w.is("a", StateDisabled)
	if err := os.Rename(off, from); err != nil {
		t.Fatal(err)
	}
	w.is("a", StateRunning)
	explained("has received no event since it was reloaded; 1 before that")
}

func TestAFloodHarmsNobodyElse(t *testing.T) {
	w := newWorld(t, Options{})
	out := w.subscribe("home/#")
	w.write("flood.yaml", "source: {probe: {name: flood}}\npublish: [{topic: flood, payload: \"${event.text}\"}]\nactions: [{note: {title: x}}]\n")
	w.write("a.yaml", simple)
	w.is("a", StateRunning)
	w.is("flood", StateRunning)
	w.refuse(func(probeArgs) error { return errors.New("its action fails too") })
	stop := make(chan struct{})
	flooded := make(chan int)
	go func() {
		n := 0
		defer func() { flooded <- n }()
		text := strings.Repeat("x", 10_000)
		for {
			select {
			case <-stop:
				return
			default:
			}
			w.probes.mu.Lock()
			post := w.probes.posts["flood"]
			w.probes.mu.Unlock()
			if post != nil && post(map[string]any{"text": text}, nil) == nil {
				n++
			}
		}
	}()
	slowest := time.Duration(0)
	for range 100 {
		start := time.Now()
		w.probes.post(t, "a", map[string]any{"value": 5})
		out.next()
		slowest = max(slowest, time.Since(start))
	}
	close(stop)
	t.Logf("%d events flooded; the slowest of the other's took %s", <-flooded, slowest)
}

// TestAnActionWaitsForTheSourceOfItsPort, at the start and while the source is replaced, even if it
// has a job: it would open the port with its own settings.
func TestAnActionWaitsForTheSourceOfItsPort(t *testing.T) {
	const file = "sources: [{probe: {name: a}}, {probe: {name: owner, port: 1, mode: %s}}]\nactions: [{note: {title: x, port: 1}}, {note: {title: y}, name: other}]\n"
	for _, reload := range []bool{false, true} {
		t.Run(fmt.Sprintf("reload %v", reload), func(t *testing.T) {
			w := newWorld(t, Options{})
			if reload {
				w.write("a.yaml", fmt.Sprintf(file, "lose"))
				w.is("a", StateDegraded)
			}
			w.write("a.yaml", fmt.Sprintf(file, "hang-open"))
			if reload {
				until(t, "the former source has ended", func() bool {
					w.probes.mu.Lock()
					defer w.probes.mu.Unlock()
					return w.probes.closed["owner"] == 1
				})
			}
			w.probes.post(t, "a", map[string]any{"value": 1})
			if o := w.nextJob(); o.Title != "y" {
				t.Fatalf("%s is done before its source has the port", o.Title)
			}
			select {
			case o := <-w.probes.jobs:
				t.Fatalf("%s is done before its source has the port", o.Title)
			case <-time.After(100 * time.Millisecond):
			}
			close(w.probes.hang)
			if o := w.nextJob(); o.Title != "x" {
				t.Errorf("%s is done twice", o.Title)
			}
		})
	}
}
