package plugins

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/expr"
	"github.com/postbus/postbus/plugins/internal/clock"
	"github.com/postbus/postbus/plugins/internal/window"
)

func labOf(t *testing.T, text string) *lab {
	t.Helper()
	s, errs := checkFile(t, text)
	if errs != "" {
		t.Fatal(errs)
	}
	return newLab(s, expr.Vars{Now: stepsBegin})
}

// keep is done of a plugin whose states are stored: it returns the topics that are written and cleared.
func (l *lab) keep() (written, cleared []string) {
	for _, k := range l.engine.changed {
		if k.encoded != nil {
			written = append(written, k.topic("a"))
			k.encoded = nil
		}
	}
	cleared = append(cleared, l.engine.clears...)
	l.engine.changed, l.engine.clears = nil, nil
	return written, cleared
}

// TestTheLongestIdleKeyGoesFirst: also on disk, with its timer.
func TestTheLongestIdleKeyGoesFirst(t *testing.T) {
	l := labOf(t, `
source: {probe: {name: a}}
per_limit: 10
publish: [{per: "${event.text}", settle: 1h, topic: "t/${key}"}]
`)
	in := func(key string) (written, cleared []string) {
		fields := map[string]any{"text": key}
		l.engine.event(l.variables(fields), l.engine.inputOf("probe", fields, l.now))
		return l.keep()
	}
	first := map[string]string{}
	for i := range 10 {
		key := fmt.Sprint(i)
		written, _ := in(key)
		first[key] = written[0]
	}
	in("0") // the longest idle one is now 1
	if _, cleared := in("new"); len(cleared) != 1 || cleared[0] != first["1"] {
		t.Errorf("cleared: %v, want %s", cleared, first["1"])
	}
	if k := l.engine.keys; k.count != 10 || k.evicted != 1 {
		t.Errorf("%d keys, %d forgotten", k.count, k.evicted)
	}
	fired := map[string]bool{}
	for _, o := range l.until(stepsBegin.Add(2 * time.Hour)) {
		fired[o.topic] = true
	}
	if len(fired) != 10 || fired["t/1"] || !fired["t/new"] {
		t.Errorf("fired: %v", fired)
	}
}

// TestAForgottenKeyIsNotStored: one that its own event made and forgot again leaves nothing on disk.
func TestAForgottenKeyIsNotStored(t *testing.T) {
	l := labOf(t, `
source: {probe: {name: a}}
state_limit: 1MiB
publish:
  - {each: event.json, per: "${item.id}", settle: 1h, topic: t, payload: "${item.text}"}
  - {each: event.json, per: "${item.id}", settle: 1h, topic: u, payload: "${item.text}"}
`)
	var list []any
	for i := range 20 { // more than the limit for both entries together
		list = append(list, map[string]any{"id": int64(i), "text": strings.Repeat("x", 40_000)})
	}
	fields := map[string]any{"json": list}
	l.engine.event(l.variables(fields), l.engine.inputOf("probe", fields, l.now))
	written, _ := l.keep()
	if n := l.engine.keys.count; len(written) != n || n <= len(list) || n >= 2*len(list) {
		t.Errorf("%d keys are written, %d are there", len(written), n)
	}
}

// TestAMillionKeys: memory stays within the limits, whatever the events.
func TestAMillionKeys(t *testing.T) {
	l := labOf(t, `
source: {probe: {name: a}}
state_limit: 1MiB
publish: [{per: "${event.text}", settle: 1h, topic: "t/x", payload: "${event.text}"}]
`)
	for i := range 200_000 {
		fields := map[string]any{"text": fmt.Sprintf("%d%s", i, strings.Repeat("x", i%500))}
		l.engine.event(l.variables(fields), l.engine.inputOf("probe", fields, l.now))
		l.keep()
		if k := &l.engine.keys; k.count > defaultKeys || k.bytes > 1<<20 {
			t.Fatalf("after %d: %d keys of %d bytes", i, k.count, k.bytes)
		}
	}
	if n := len(l.engine.alarms); n > defaultKeys {
		t.Errorf("%d entries in the heap of timers", n)
	}
	if n, k := len(l.engine.rules[0].keys), l.engine.keys.count; n != k || n < 500 {
		t.Errorf("%d keys, %d counted", n, k)
	}
}

// TestIdleKeysAreForgotten: after per_idle, unless a timer is pending.
func TestIdleKeysAreForgotten(t *testing.T) {
	l := labOf(t, `
source: {probe: {name: a}}
per_idle: 1h
publish:
  - {per: "${event.text}", changed: event.value, topic: "t/${key}"}
  - {per: "${event.text}", when: event.text == "w", settle: 2h, topic: "late/${key}"}
`)
	count := func(key string) int { list, _ := l.event(map[string]any{"text": key, "value": 1}); return len(list) }
	for _, key := range []string{"a", "w"} {
		if n := count(key); n != 1 {
			t.Errorf("%s: %d outcomes", key, n)
		}
	}
	l.until(stepsBegin.Add(50 * time.Minute))
	if n := count("a"); n != 0 {
		t.Error("a was forgotten early")
	}
	l.until(stepsBegin.Add(100 * time.Minute))
	if n := count("w"); n != 1 {
		t.Errorf("w: %d outcomes after its changed was forgotten", n)
	}
	l.until(stepsBegin.Add(115 * time.Minute))
	count("x")
	if n := l.engine.keys.count; n != 3 { // w with its timer, w and x of the first entry
		t.Errorf("%d keys", n)
	}
	if list := l.until(stepsBegin.Add(4 * time.Hour)); len(list) != 1 || list[0].topic != "late/w" {
		t.Errorf("%v", list)
	}
}

// TestAKeyThatIsTooLarge: it is an error of its event, and the plugin goes on.
func TestAKeyThatIsTooLarge(t *testing.T) {
	l := labOf(t, `
source: {probe: {name: a}}
publish: [{per: "${event.text}", settle: 1h, topic: t, payload: "${event.json}"}]
`)
	for text, want := range map[string]string{
		strings.Repeat("k", maxKeyText+1): "error: per: the key has 1025 bytes, at most 1024 are allowed",
		"large":                           `error: what the entry keeps for the key "large" takes 70082 bytes, at most 65536 are allowed; use fewer or smaller fields of the event`,
	} {
		_, verdicts := l.event(map[string]any{"text": text, "json": strings.Repeat("y", 70_000)})
		if got := strings.TrimPrefix(verdicts[0], "publish[0] "); got != want {
			t.Errorf("%s", got)
		}
	}
}

// TestStoredKeys: every type that an event may have is the same after a restart; whatever bytes are stored do not
// stop the plugin.
func TestStoredKeys(t *testing.T) {
	s, errs := checkFile(t, `
source: {mqtt: {topics: [a/+]}}
publish: [{settle: 1h, topic: t}]
`)
	if errs != "" {
		t.Fatal(errs)
	}
	now := clock.Instant{Wall: stepsBegin, Up: time.Hour}
	e := engine{id: "a", source: "plugin:a", boot: "b"}
	e.use(s, now)
	fields := map[string]any{"topic": levelsOf(t, s, "a", "b"), "name": "a/b", "bytes": []byte{0, 255}, "text": "x", "qos": 1, "retain": false, "seq": uint64(7), "time": stepsBegin,
		"json": map[string]any{"n": int64(1) << 60, "f": 1.5, "null": nil, "list": []any{true, "s"}}}
	e.event(&expr.Vars{Event: fields, Now: stepsBegin}, e.inputOf("mqtt", fields, now))
	k := e.changed[0]
	got, content, err := decodeKey(k.encoded, s.types, now, "b")
	if err != nil || content != s.rules[0].content || got.key != "a/b" || got.seq != 7 {
		t.Fatalf("%+v %s %v", got, content, err)
	}
	want, is := expr.Text(fields), expr.Text(got.timers[waitTimer].event)
	if is != want || fmt.Sprintf("%T", got.timers[waitTimer].event["topic"]) != fmt.Sprintf("%T", fields["topic"]) {
		t.Errorf("got  %s\nwant %s", is, want)
	}
	for i := range k.encoded {
		_, _, _ = decodeKey(k.encoded[:i], s.types, now, "b")
	}
}

func levelsOf(t *testing.T, s *Spec, levels ...string) any {
	t.Helper()
	return asDeclared(s.types["topic"], strings.Join(levels, "/"))
}

// FuzzStoredKey reads any bytes as the stored state of a key.
func FuzzStoredKey(f *testing.F) {
	k := &keyState{rule: &rule{content: "c"}, key: "k", last: map[string]any{"text": "x"}, own: map[string]any{"n": int64(1)}, passed: 2.5, passedAt: stepsBegin}
	k.timers[waitTimer] = timer{phase: timerArmed, event: map[string]any{"topic": []any{"a", "b"}, "d": time.Second}, since: stepsBegin, due: clock.Instant{Wall: stepsBegin}}
	b, err := k.encode("boot")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{})
	k.window = &window.Window{}
	for i := range 100 {
		k.window.Add(window.Shape{Median: true}, time.Duration(i), float64(i))
	}
	if b, err = k.encode("boot"); err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	types := (&Spec{}).types
	f.Fuzz(func(t *testing.T, b []byte) {
		k, content, err := decodeKey(b, types, clock.Instant{Wall: stepsBegin}, "boot")
		if err != nil {
			return
		}
		if !k.window.Empty() {
			k.window.Add(window.Shape{Median: true, Span: time.Second}, 0, 1)
			k.window.Figures(window.Shape{Median: true})
			k.window.Trim(time.Minute)
		}
		k.rule = &rule{content: content}
		again, err := k.encode("boot")
		if err != nil {
			return // too large
		}
		if _, other, err := decodeKey(again, types, clock.Instant{Wall: stepsBegin}, "boot"); err != nil || other != content {
			t.Fatalf("%x: %q %v", again, other, err)
		}
	})
}
