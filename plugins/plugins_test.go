package plugins

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

const simple = `
source: {probe: {name: a}}
publish:
  - when: event.value > 1
    topic: home/x
    payload: {v: "${event.value}", host: "${host}"}
`

func TestAFileInTheFolderIsOnTheBus(t *testing.T) {
	w := newWorld(t, Options{})
	out := w.subscribe("home/#")
	w.write("a.yaml", simple)
	w.probes.post(t, "a", map[string]any{"value": 5})
	if e := out.next(); e.Topic != "home/x" || string(e.Payload) != `{"v":5,"host":"test"}` || e.Source != "plugin:a" {
		t.Errorf("%s %s from %s", e.Topic, e.Payload, e.Source)
	}
	w.probes.post(t, "a", map[string]any{"value": 1})
	st := w.is("a", StateRunning, generation(1), func(s Status) bool { return s.Counters.In == 2 })
	if st.Counters.Filtered != 1 || st.Counters.Published != 1 {
		t.Errorf("%+v", st.Counters)
	}
	out.quiet()

	// An edit of the mapping: the source stays open.
	w.write("a.yaml", simple+"  - {topic: home/y, payload: \"${event.value}\"}\n")
	w.is("a", StateRunning, generation(2))
	w.probes.post(t, "a", map[string]any{"value": 2})
	if e := out.next(); e.Topic != "home/x" {
		t.Errorf("%s", e.Topic)
	}
	if e := out.next(); e.Topic != "home/y" || string(e.Payload) != "2" {
		t.Errorf("%s %s", e.Topic, e.Payload)
	}
	if w.probes.opened["a"] != 1 {
		t.Errorf("opened %d times", w.probes.opened["a"])
	}

	// A bad edit: the good version keeps running, and the state reports the error.
	w.write("a.yaml", simple+"  - {topik: home/z}\n")
	st = w.is("a", StateStale)
	if len(st.Errors) == 0 || st.Errors[0].Line != 7 || st.Errors[0].Col != 6 || st.Generation != 2 {
		t.Errorf("%+v", st)
	}
	w.probes.post(t, "a", map[string]any{"value": 3})
	out.next()
	out.next()

	w.remove("a.yaml")
	until(t, "the plugin is gone", func() bool { _, ok := w.s.Get("a"); return !ok })
	if w.probes.closed["a"] != 1 {
		t.Errorf("closed %d times", w.probes.closed["a"])
	}
}

func TestANewFileWithAMistakeIsRejected(t *testing.T) {
	w := newWorld(t, Options{})
	w.write("a.yaml", "source: {prob: {}}\n")
	st := w.is("a", StateRejected)
	if len(st.Errors) == 0 || st.Errors[0].Text == "" {
		t.Errorf("%+v", st)
	}
	w.write("a.yaml", simple)
	w.is("a", StateRunning)
}

func TestOddFiles(t *testing.T) {
	log := &lockedBuffer{}
	w := newWorld(t, Options{Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err := os.Mkdir(filepath.Join(w.dir, "dir.yaml"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(w.dir, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	w.write("B.yaml", simple)
	w.write("b.yaml", simple)
	w.write("no good.yaml", simple)
	w.write("off.yaml.off", simple)
	w.write("short.yml", simple)
	w.write("LOUD.YAML", simple)
	w.write("ok.yaml", simple)
	for id, want := range map[string]State{"dir": StateRejected, "link": StateRejected, "B": StateRunning, "b": StateRejected, "no good": StateRejected, "off": StateDisabled, "ok": StateRunning,
		"short.yml": StateRejected, "LOUD.YAML": StateRejected} {
		w.is(id, want)
	}
	for i := range 3 { // each edit is a scan of the folder
		w.write("ok.yaml", simple+strings.Repeat("# more\n", i+1))
		w.is("ok", StateRunning, generation(i+2))
	}
	for _, id := range []string{"dir", "link", "b", "short.yml"} {
		if n := strings.Count(log.String(), " plugin="+id+" hint="); n != 1 {
			t.Errorf("%s is refused %d times in the log:\n%s", id, n, log)
		}
	}
}

func TestASourceThatFails(t *testing.T) {
	w := newWorld(t, Options{})
	for name, mode := range map[string]string{"fail": "fail-open", "popen": "panic-open", "prun": "panic-run", "end": "end"} {
		w.write(name+".yaml", "source: {probe: {name: "+name+", mode: "+mode+"}}\npublish: [{topic: x}]\n")
		w.is(name, StateBackoff)
	}
	w.write("good.yaml", simple)
	w.is("good", StateRunning)
	w.write("fail.yaml", "source: {probe: {name: fail}}\npublish: [{topic: x}]\n")
	w.is("fail", StateRunning)
}

// TestAnAbsentDeviceDoesNotFillTheLog: a repeated error is logged at debug level only.
func TestAnAbsentDeviceDoesNotFillTheLog(t *testing.T) {
	log := &lockedBuffer{}
	w := newWorld(t, Options{Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	w.write("a.yaml", "source: {probe: {name: a, mode: fail-open}}\npublish: [{topic: x}]\n")
	lines := func(level string) int {
		return strings.Count(log.String(), "level="+level+" msg=\"source not running\"")
	}
	until(t, "a second try", func() bool { return lines("DEBUG") > 0 })
	w.write("a.yaml", "source: {probe: {name: a, mode: end}}\npublish: [{topic: x}]\n")
	until(t, "another error", func() bool { return strings.Contains(log.String(), "it ended unexpectedly") })
	if lines("WARN") != 2 {
		t.Errorf("%d warnings for two errors", lines("WARN"))
	}
}

// TestARuleThatFailsIsLogged: once, however often it fails. Without that line users would not know
// where the events are.
func TestARuleThatFailsIsLogged(t *testing.T) {
	log := &lockedBuffer{}
	w := newWorld(t, Options{Logger: slog.New(slog.NewTextHandler(log, nil))})
	out := w.subscribe("jobs/#")
	w.write("a.yaml", "source: {probe: {name: a}}\npublish: [{topic: \"jobs/${event.json.name}\", payload: x}]\n")
	for range 5 {
		w.probes.post(t, "a", map[string]any{"json": map[string]any{}})
	}
	lines := func() int { return strings.Count(log.String(), `event.json.name is missing (nil)`) }
	until(t, "it is logged", func() bool { return lines() > 0 })
	w.probes.post(t, "a", map[string]any{"json": map[string]any{"name": "b"}})
	if e := out.next(); e.Topic != "jobs/b" {
		t.Errorf("published to %s", e.Topic)
	}
	for range 5 {
		w.probes.post(t, "a", map[string]any{"json": map[string]any{}})
	}
	time.Sleep(1100 * time.Millisecond) // the next run of logFailures
	if n := lines(); n != 1 || w.is("a", StateDegraded).Counters.Errors != 10 {
		t.Errorf("it is logged %d times: %s", n, log)
	}
	out.quiet()
}

// TestWhoIsAnsweredIsToldThatNothingCameOfIt: after "ok" a script would delete its file.
func TestWhoIsAnsweredIsToldThatNothingCameOfIt(t *testing.T) {
	w := newWorld(t, Options{})
	out := w.subscribe("jobs/#")
	for _, kind := range []string{"asker", "probe"} {
		w.write(kind+".yaml", "source: {"+kind+": {name: "+kind+"}}\npublish:\n  - {when: event.value > 0, topic: \"jobs/${event.text}\", payload: \"${event.json.n + 1}\"}\n"+
			"  - {set_own: {n: \"${now}\"}}\n") // what an entry keeps is no outcome
	}
	good := map[string]any{"value": 1, "text": "a", "json": map[string]any{"n": 1}}
	for _, c := range []struct {
		name  string
		event map[string]any
		want  string
	}{
		{"good", good, ""},
		{"filtered", map[string]any{"value": 0}, ""},
		{"a failing payload", map[string]any{"value": 1, "text": "a", "json": map[string]any{}}, "missing"},
		{"a topic with too many levels", map[string]any{"value": 1, "text": "a/b", "json": good["json"]}, "contains \"/\""},
		{"an event that is too large", map[string]any{"value": 1, "text": strings.Repeat("x", 70000), "json": good["json"]}, "topic"},
		{"good again", good, ""},
	} {
		err := w.probes.ask(t, "asker", c.event)
		if got := fmt.Sprint(err); c.want == "" && err != nil || c.want != "" && (!kind.IsPermanent(err) || !strings.Contains(got, c.want)) {
			t.Errorf("%s: told %s, want %q", c.name, got, c.want)
		}
		if err := w.probes.ask(t, "probe", c.event); err != nil { // the source would only send it again
			t.Errorf("%s: a source that answers nobody is told %v", c.name, err)
		}
	}
	for range 4 {
		out.next()
	}
	out.quiet()
}

func TestALossIsTold(t *testing.T) {
	w := newWorld(t, Options{})
	losses := w.subscribe("$bus/lost")
	w.write("a.yaml", "source: {probe: {name: a, mode: lose}}\npublish: [{topic: a}]\n")
	w.is("a", StateDegraded, func(s Status) bool {
		return s.Counters.Dropped == 3 && s.LastError == "1 lost: the probe slept again" && s.LastAt != nil
	})
	if m := decode(t, losses.next().Payload); m["session"] != "plugin:a" {
		t.Errorf("%v", m)
	}
}

func TestANewSourceThatDoesNotStart(t *testing.T) {
	for name, port := range map[string]string{"free": "", "held once": ", port: 7"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Options{})
			out := w.subscribe("x")
			w.write("a.yaml", "source: {probe: {name: one"+port+"}}\npublish: [{topic: x}]\n")
			w.is("a", StateRunning)
			w.write("a.yaml", "source: {probe: {name: two, mode: fail-open"+port+"}}\npublish: [{topic: y}]\n")
			st := w.is("a", StateStale)
			if st.Generation != 1 {
				t.Errorf("generation %d", st.Generation)
			}
			w.probes.post(t, "one", map[string]any{"value": 1})
			out.next()
			w.write("a.yaml", "source: {probe: {name: three"+port+"}}\npublish: [{topic: x}]\n")
			w.is("a", StateRunning, generation(2))
			w.probes.post(t, "three", map[string]any{"value": 1})
			out.next()
		})
	}
}

func TestTwoFilesThatClaimOneThing(t *testing.T) {
	w := newWorld(t, Options{})
	w.write("b.yaml", "source: {probe: {name: b, port: 7}}\npublish: [{topic: x}]\n")
	w.is("b", StateRunning)
	w.write("a.yaml", "source: {probe: {name: a, port: 7}}\npublish: [{topic: x}]\n")
	st := w.is("a", StateRejected)
	if want := "b.yaml and a.yaml both claim port:7"; st.Errors[0].Message != want {
		t.Errorf("%q, want %q", st.Errors[0].Message, want)
	}
	w.is("b", StateRunning)
	w.remove("b.yaml")
	w.is("a", StateRunning)
}

// TestAReloadWaitsForNoOtherPlugin: the others hang until the test ends.
func TestAReloadWaitsForNoOtherPlugin(t *testing.T) {
	w := newWorld(t, Options{hang: time.Hour})
	w.write("good.yaml", simple)
	w.write("stop.yaml", "source: {probe: {name: s, mode: hang-stop}}\npublish: [{topic: x}]\n")
	w.is("stop", StateRunning)
	w.write("open.yaml", "source: {probe: {name: o, mode: hang-open}}\npublish: [{topic: x}]\n")
	w.write("stop.yaml", "source: {probe: {name: s2}}\npublish: [{topic: x}]\n")
	w.write("good.yaml", simple+"  - {topic: y}\n")
	w.is("good", StateRunning, generation(2))
	close(w.probes.hang)
}

func TestHangingSources(t *testing.T) {
	w := newWorld(t, Options{})
	w.write("stop.yaml", "source: {probe: {name: s, mode: hang-stop}}\npublish: [{topic: x}]\n")
	w.is("stop", StateRunning)
	w.probes.post(t, "s", map[string]any{"value": 0})
	w.probes.mu.Lock()
	left := w.probes.posts["s"]
	w.probes.mu.Unlock()
	w.write("open.yaml", "source: {probe: {name: o, mode: hang-open}}\npublish: [{topic: x}]\n")
	w.write("stop.yaml", "source: {probe: {name: s2}}\npublish: [{topic: x}]\n")
	w.is("stop", StateRunning, generation(2))
	w.probes.post(t, "s2", map[string]any{"value": 1})
	// The abandoned source can no longer emit.
	if err := left(map[string]any{"value": 2}, nil); err == nil {
		t.Error("a source that was replaced still gets its events through")
	}
	w.is("open", StateBackoff)
	close(w.probes.hang)
	until(t, "what hung has ended", func() bool {
		p := w.s.all()
		for _, x := range p {
			if x.stuck.Load() != 0 {
				return false
			}
		}
		return true
	})
}
