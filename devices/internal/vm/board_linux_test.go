// This file is a board with wires: edges of a real kernel as MQTT events, and an output that a
// PUBLISH switches.

package vm

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/devices/internal/vmtest"
)

// The lines: GPIO15 is number 5, GPIO11 number 1.
const edges = `
source: {gpio: {line: GPIO15, edge: both}}
publish:
  - topic: home/edges
    payload: {n: "${event.seq}", value: "${event.value}", time: "${event.time}", lost: "${event.lost}"}
`

// edge is an event of the plugin above.
type edge struct {
	N     int       `json:"n"`
	Value int       `json:"value"`
	Time  time.Time `json:"time"`
	Lost  int       `json:"lost"`
}

func wire(t *testing.T, line, level int) {
	t.Helper()
	vmtest.Ask(t, "wire", strconv.Itoa(line), strconv.Itoa(level))
}

// place returns a folder on the board's disk.
func place(t *testing.T) string {
	t.Helper()
	mount(t, "/dev/vda", "/disk", "ext4")
	return "/disk/" + t.Name()
}

func TestBoardEdgesArrive(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	p := postbus(t, place(t), map[string]string{"edges": edges})
	c := connect(t, p, "reader", false, nil)
	c.subscribe(t, 1, "home/edges")
	before := time.Now()
	wire(t, 5, 1)
	m := c.next(t)
	e := decode[edge](t, m.Payload())
	if e.N != 1 || e.Value != 1 || e.Lost != 0 || m.Qos() != 1 || m.Retained() {
		t.Errorf("%s at QoS %d", m.Payload(), m.Qos())
	}
	if e.Time.Before(before.Add(-time.Millisecond)) || e.Time.After(time.Now()) {
		t.Errorf("the kernel's time is %s, which is not from %s to now", e.Time, before)
	}
	wire(t, 5, 0)
	if e := decode[edge](t, c.next(t).Payload()); e.N != 2 || e.Value != 0 {
		t.Errorf("%+v", e)
	}

	last := 2
	for _, pause := range []string{"0s", "2ms"} {
		last += thousand(t, p, c, last, pause)
	}
}

// thousand makes a thousand edges and one more: each arrives, or is counted as lost. It returns how
// many the kernel numbered.
func thousand(t *testing.T, p *program, c *client, before int, pause string) int {
	t.Helper()
	start := state(t, p, "edges", func(status) bool { return true }).Counters
	took := vmtest.Ask(t, "toggle", "5", "1000", pause)
	known := func(c counters) int { return c.In + c.Dropped - start.In - start.Dropped }
	s := state(t, p, "edges", func(s status) bool { return known(s.Counters) >= 1000 }) // the next edge reports the merged ones
	dropped := s.Counters.Dropped - start.Dropped
	vmtest.Ask(t, "toggle", "5", "1", "0s")
	came, lost, last := 0, 0, before
	for came+lost < 1001 {
		e := decode[edge](t, c.next(t).Payload())
		if e.N <= last || e.N-last-1 > e.Lost { // merged edges have no number
			t.Fatalf("after edge %d comes %+v", last, e)
		}
		came, lost, last = came+1, lost+e.Lost, e.N
	}
	if came+lost != 1001 || lost != dropped {
		t.Errorf("of 1,001 edges %d came and %d are lost by the events, %d by the plugin's state", came, lost, dropped)
	}
	vmtest.Figure("1,000 edges in %s: %d came to the subscriber in order, %d lost and reported", took, came-1, lost)
	wire(t, 5, 0)
	if e := decode[edge](t, c.next(t).Payload()); e.N != last+1 || e.Lost != 0 {
		t.Errorf("then comes %+v", e)
	}
	return last + 1 - before
}

// state waits for a state of a plugin.
func state(t *testing.T, p *program, id string, ok func(status) bool) status {
	t.Helper()
	c := connect(t, p, "state", true, nil)
	defer c.away()
	c.subscribe(t, 1, "$bus/plugins/"+id+"/state")
	for {
		if s := decode[status](t, c.next(t).Payload()); ok(s) {
			return s
		}
	}
}

func TestBoardDebounce(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	p := postbus(t, place(t), map[string]string{"edges": strings.Replace(edges, "edge: both", "edge: both, debounce: 50ms", 1)})
	c := connect(t, p, "reader", false, nil)
	c.subscribe(t, 1, "home/edges")
	vmtest.Ask(t, "toggle", "5", "11", "0s")
	if e := decode[edge](t, c.next(t).Payload()); e.Value != 1 {
		t.Errorf("%+v", e)
	}
	time.Sleep(300 * time.Millisecond) // long enough for a second one
	wire(t, 5, 0)
	if e := decode[edge](t, c.next(t).Payload()); e.Value != 0 || e.N != 2 {
		t.Errorf("after a bouncing press comes %+v", e)
	}
	vmtest.Figure("debounce of 50 ms: 11 edges are one event at the subscriber")
}

func TestBoardOutput(t *testing.T) {
	if !vmtest.Inside() {
		return
	}
	mount(t, "debugfs", "/sys/kernel/debug", "debugfs")
	kernel := func() string { // the kernel's description of the line
		text, err := os.ReadFile("/sys/kernel/debug/gpio")
		if err != nil {
			t.Fatal(err)
		}
		if m := regexp.MustCompile(`\(GPIO11 *\|([^)]*)\) *(\S+ *\S+)`).FindSubmatch(text); m != nil {
			return strings.Join(strings.Fields(fmt.Sprintf("%s: %s", m[1], m[2])), " ")
		}
		return "nobody"
	}
	p := postbus(t, place(t), map[string]string{"pump": `
source: {mqtt: {topics: [home/pump/set]}}
actions:
  - gpio: {line: GPIO11, value: "${event.text}"}
`})
	c := connect(t, p, "switch", true, nil)
	var slowest time.Duration
	for i, value := range []string{"on", "off", "on"} {
		began := time.Now()
		c.publish(t, "home/pump/set", value)
		want := map[string]string{"on": "out hi", "off": "out lo"}[value]
		until(t, "the line to be "+value, func() bool { return strings.HasSuffix(kernel(), ": "+want) })
		slowest = max(slowest, time.Since(began))
		if level := vmtest.Ask(t, "level", "1"); level != strconv.Itoa(1-i%2) {
			t.Errorf("%s: the wire is at %s", value, level)
		}
	}
	held := kernel()
	if !strings.HasPrefix(held, "postbus pump") {
		t.Errorf("the line is held by %q", held)
	}
	// An orderly end sets the line to its safe value.
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	<-p.ended
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("it ended with code %d", code)
	}
	if level := vmtest.Ask(t, "level", "1"); level != "0" {
		t.Errorf("after the end the wire is at %s", level)
	}
	vmtest.Figure("PUBLISH to the kernel's %q within %s", held, slowest.Round(time.Millisecond))
}
