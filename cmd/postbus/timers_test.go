package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/postbus/postbus/cmd/postbus/internal/programtest"
	"github.com/postbus/postbus/plugins"
)

var timerKills = flag.Int("timers.kills", 4, "kills of TestTimersSurviveKills")

// timedPlugin has an entry for each way of waiting.
const timedPlugin = `source: {mqtt: {topics: ["in/+"]}}
publish:
  - {topic: "out/for/${event.topic[1]}", when: event.text == "on", for: 3s, payload: "${event.seq}"}
  - {topic: "out/after/${event.topic[1]}", when: event.text == "on", after: 2500ms, payload: "${event.seq}"}
  - {topic: "out/settle/${event.topic[1]}", when: event.text == "on", settle: 2s, payload: "${event.seq}"}
  - {topic: "out/silent/${event.topic[1]}", when: event.text == "on", silent: 3500ms, payload: "${event.seq}"}
  - {topic: "out/window/${event.topic[1]}", window: {of: 1, quiet: 2200ms}, having: window.count == 1, payload: "${event.seq}"}
  - {topic: "out/changed/${event.topic[1]}", changed: event.text, payload: "${event.seq}"}
`

// TestTimersSurviveKills: kill -9 at any moment, also when timers are due, makes none fire twice, and loses none.
func TestTimersSurviveKills(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	t.Parallel()
	rng := rand.New(rand.NewPCG(seed, 1))
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "plugins.d"), 0o700); err != nil {
		t.Fatal(err)
	}
	save(t, filepath.Join(dir, "plugins.d", "timed.yaml"), []byte(timedPlugin))
	mqtt, web := programtest.FreePort(t), programtest.FreePort(t)
	url, api := "tcp://"+mqtt, "http://"+web
	p := newKilled(t, os.Stderr, "run", "--mqtt", url, "--http", web, "--data-dir", filepath.Join(dir, "data"), "--plugins-dir", filepath.Join(dir, "plugins.d"), "--log-level", "error")
	start := func() {
		t.Helper()
		p.start()
		soon(t, "the bus is ready", func() bool { return ask(api+"/readyz", nil) })
	}
	start()
	pluginRuns(t, api, "timed")
	client := persistent(t, url, "feed")
	keys := 0
	for range *timerKills {
		var sent []paho.Token
		for range 20 {
			sent = append(sent, client.Publish(fmt.Sprintf("in/%d", keys), 1, false, "on"))
			keys++
		}
		for _, tok := range sent {
			if !tok.WaitTimeout(time.Minute) || tok.Error() != nil {
				t.Fatal(tok.Error())
			}
		}
		time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond) // where the kill hits is the test's subject
		p.kill()
		start()
	}
	ways := []string{"for", "after", "settle", "silent", "window", "changed"}
	outcomes := func() map[string]int {
		got := map[string]int{}
		var page struct{ Events []struct{ Topic string } }
		if !ask(api+"/api/v1/events?since=1h&limit=10000&filter=out/%23", &page) {
			return nil
		}
		for _, e := range page.Events {
			got[e.Topic]++
		}
		return got
	}
	var timers struct {
		Total  int
		Timers []plugins.PendingTimer
	}
	defer func() {
		if t.Failed() {
			t.Logf("%d keys, %d outcomes, pending: %+v", keys, len(outcomes()), timers)
		}
	}()
	soon(t, "every timer has fired", func() bool {
		return ask(api+"/api/v1/timers", &timers) && timers.Total == 0 && len(outcomes()) == len(ways)*keys
	})
	for topic, n := range outcomes() {
		if n != 1 {
			t.Errorf("%s has %d outcomes", topic, n)
		}
	}
}

// pluginRuns waits until a plugin has subscribed: an event that is published before has no subscriber.
func pluginRuns(t *testing.T, api, id string) {
	t.Helper()
	soon(t, "the plugin runs", func() bool {
		var st plugins.Status
		return ask(api+"/api/v1/plugins/"+id, &st) && st.State == plugins.StateRunning
	})
}

// ask gets a URL, and reads the answer into a value; nil: it does not matter.
func ask(url string, into any) bool {
	resp, err := http.Get(url)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK && (into == nil || json.NewDecoder(resp.Body).Decode(into) == nil)
}
