package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
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
  - {topic: "out/changed/${event.topic[1]}", changed: event.text, payload: "${event.seq}"}
`

// killed is postbus as a process that is killed.
type killed struct {
	t    *testing.T
	path string
	args []string
	url  string
	http string
	cmd  *exec.Cmd
}

func (p *killed) start() {
	p.t.Helper()
	p.cmd = exec.Command(p.path, p.args...)
	p.cmd.Stderr = os.Stderr
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.until("the bus is ready", func() bool {
		resp, err := http.Get(p.http + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

func (p *killed) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

func (p *killed) until(what string, reached func() bool) {
	p.t.Helper()
	for end := time.Now().Add(time.Minute); !reached(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			p.t.Fatalf("waited in vain until %s", what)
		}
	}
}

func (p *killed) get(path string, into any) bool {
	resp, err := http.Get(p.http + "/api/v1/" + path)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK && json.NewDecoder(resp.Body).Decode(into) == nil
}

// TestTimersSurviveKills: kill -9 at any moment, also when timers are due, makes none fire twice, and loses none.
func TestTimersSurviveKills(t *testing.T) {
	path, err := exec.LookPath("postbus")
	if err != nil {
		t.Fatal(err)
	}
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
	p := &killed{t: t, path: path, url: "tcp://" + mqtt, http: "http://" + web,
		args: []string{"run", "--mqtt", "tcp://" + mqtt, "--http", web, "--data-dir", filepath.Join(dir, "data"), "--plugins-dir", filepath.Join(dir, "plugins.d"), "--log-level", "error"}}
	p.start()
	defer p.kill()
	client := paho.NewClient(paho.NewClientOptions().AddBroker(p.url).SetClientID("feed").SetCleanSession(false).SetConnectRetry(true).SetConnectRetryInterval(20 * time.Millisecond).SetMaxReconnectInterval(20 * time.Millisecond))
	if tok := client.Connect(); !tok.WaitTimeout(time.Minute) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	defer client.Disconnect(0)
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
		p.start()
	}
	ways := []string{"for", "after", "settle", "silent", "changed"}
	outcomes := func() map[string]int {
		got := map[string]int{}
		var page struct{ Events []struct{ Topic string } }
		if !p.get("events?since=1h&limit=10000&filter=out/%23", &page) {
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
	p.until("every timer has fired", func() bool {
		return p.get("timers", &timers) && timers.Total == 0 && len(outcomes()) == len(ways)*keys
	})
	for topic, n := range outcomes() {
		if n != 1 {
			t.Errorf("%s has %d outcomes", topic, n)
		}
	}
}
