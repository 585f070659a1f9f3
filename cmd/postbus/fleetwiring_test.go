package main

// This file wires buses in several ways: by one hub, and by two.

import (
	"fmt"
	"maps"
	"testing"
	"time"
)

// wiring is how three buses are connected.
type wiring struct {
	hubs   int
	killed bool // the first hub, while events pass
}

// TestFleetTopologies: each event is everywhere once, by however many hubs it comes.
func TestFleetTopologies(t *testing.T) {
	for name, w := range map[string]wiring{
		"one hub":           {hubs: 1},
		"two hubs":          {hubs: 2},
		"two hubs, one off": {hubs: 2, killed: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testWiring(t, w)
		})
	}
}

func testWiring(t *testing.T, w wiring) {
	var hubs []*fleetHub
	var entries []string
	for range w.hubs {
		h := newHub(t, "")
		hubs, entries = append(hubs, h), append(entries, entry(h.url(), everything))
	}
	var buses []*hubBus
	for _, name := range []string{"attic", "desk", "shed"} {
		b := newFleetBus(t, name)
		b.configure(entries...)
		buses = append(buses, b)
	}
	buses[0].initFleet()
	for _, b := range buses {
		b.start()
	}
	defer func() {
		if t.Failed() {
			for _, b := range buses {
				t.Logf("%s:\n%s", b.name, lastLines(b.log, 20))
			}
		}
	}()
	const n = 100
	for i, b := range buses {
		c := persistent(t, b.mqtt, "feed")
		for k := range n {
			if w.killed && i == 1 && k == n/2 {
				hubs[0].kill()
			}
			if tok := c.Publish("ev/"+b.name, 1, false, fmt.Sprint(k)); !tok.WaitTimeout(time.Minute) || tok.Error() != nil {
				t.Fatal(tok.Error())
			}
		}
	}
	soon(t, "every event is everywhere", func() bool {
		for _, b := range buses {
			if len(b.copies()) != n*len(buses) {
				return false
			}
		}
		return true
	})
	if w.killed {
		hubs[0].start()
	}
	// Repeats would come now: what is stored does not rise any more.
	last, calm := map[string]int{}, 0
	awaited(t, 3*time.Minute, "nothing more comes", func() bool {
		now := map[string]int{}
		for _, b := range buses {
			for _, k := range b.copies() {
				now[b.name] += k
			}
		}
		if calm++; !maps.Equal(now, last) {
			last, calm = now, 0
		}
		return calm > 20
	})
	t.Logf("events at each bus: %v, of %d", last, n*len(buses))
	for _, b := range buses {
		for e, k := range b.copies() {
			if k > 1 {
				t.Errorf("%s has %d of %s", b.name, k, e)
			}
		}
	}
}

// maxCopies is the longest list of events that is asked for.
const maxCopies = 10000

// copies counts the events below ev in the journal of a bus that runs, by topic and payload.
func (b *hubBus) copies() map[string]int {
	var page struct {
		Events []struct{ Topic, Payload string }
	}
	if !ask(b.api+"/api/v1/events?since=1h&limit="+fmt.Sprint(maxCopies)+"&filter=ev/%23", &page) {
		return nil
	}
	list := map[string]int{}
	for _, e := range page.Events {
		list[e.Topic+" "+e.Payload]++
	}
	return list
}
