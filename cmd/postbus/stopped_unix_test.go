//go:build unix

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postbus/postbus/cmd/postbus/internal/programtest"
)

// TestTimersOfAHaltedProgram: timers that came due while the program was stopped by SIGSTOP, as if the machine slept,
// fire once when it continues, and `late` says how late.
func TestTimersOfAHaltedProgram(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "plugins.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	const waits = `source: {mqtt: {topics: ["in/+"]}}
publish:
  - {topic: out/for, when: event.text == "on", for: 6s, payload: "${late ?? 0}"}
  - {topic: out/after, after: 6s, payload: "${late ?? 0}"}
  - {topic: out/settle, settle: 6s, payload: "${late ?? 0}"}
  - {topic: out/silent, silent: 6s, payload: "${late ?? 0}"}
  - {topic: out/window, window: {of: 1, quiet: 6s}, payload: "${late ?? 0}"}
`
	save(t, filepath.Join(dir, "plugins.d", "timed.yaml"), []byte(waits))
	mqtt, web := programtest.FreePort(t), programtest.FreePort(t)
	url, api := "tcp://"+mqtt, "http://"+web
	p := newKilled(t, os.Stderr, "run", "--mqtt", url, "--http", web, "--data-dir", filepath.Join(dir, "data"), "--plugins-dir", filepath.Join(dir, "plugins.d"), "--log-level", "error")
	p.start()
	soon(t, "the bus is ready", func() bool { return ask(api+"/readyz", nil) })
	pluginRuns(t, api, "timed")
	client := persistent(t, url, "feed")
	if tok := client.Publish("in/x", 1, false, "on"); !tok.WaitTimeout(time.Minute) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	soon(t, "the timers are armed", func() bool {
		var timers struct{ Total int }
		return ask(api+"/api/v1/timers", &timers) && timers.Total == 5
	})
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	time.Sleep(8 * time.Second) // that much time is what the test is about
	if err := p.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	outcomes := func() map[string][]string {
		got := map[string][]string{}
		var page struct {
			Events []struct{ Topic, Payload string }
		}
		if !ask(api+"/api/v1/events?since=1h&filter=out/%23", &page) {
			return nil
		}
		for _, e := range page.Events {
			got[e.Topic] = append(got[e.Topic], e.Payload)
		}
		return got
	}
	soon(t, "every timer has fired", func() bool { return len(outcomes()) == 5 })
	for topic, late := range outcomes() {
		if len(late) != 1 || late[0] == "0" || !strings.HasSuffix(late[0], "s") {
			t.Errorf("%s fired late by %s, want once, and late by a second or more", topic, fmt.Sprint(late))
		}
	}
}
