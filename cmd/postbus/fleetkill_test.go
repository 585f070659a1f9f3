package main

// This file kills buses and hub of a fleet under load.

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/postbus/postbus/bus"
)

var (
	fleetKills = flag.Int("fleet.kills", 3, "kills of TestFleetIsKilled")
	fleetSeed  = flag.Uint64("fleet.seed", 0, "seed of TestFleetIsKilled; 0: of the time")
)

// feed publishes to a bus until it is stopped, also what was not acknowledged when the bus was killed.
type feed struct {
	t      *testing.T
	bus    string
	client paho.Client
	stop   chan struct{}
	tasks  sync.WaitGroup
	acked  []string // topics and payloads
	failed int
}

// sent is an event on its way.
type sent struct {
	event string
	token paho.Token
}

// newFeed publishes so many events a second. Every tenth is retained.
func newFeed(t *testing.T, b *hubBus, rate int) *feed {
	f := &feed{t: t, bus: b.name, client: persistent(t, b.mqtt, "feed-"+b.name), stop: make(chan struct{})}
	way := make(chan sent, 1000)
	f.tasks.Go(func() {
		defer close(way)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; {
			select {
			case <-f.stop:
				way <- f.publish("ev/end/"+f.bus, "end", true)
				return
			case <-tick.C:
			}
			for range max(1, rate/100) { // at least 100 a second
				topic := fmt.Sprintf("ev/%s/%d", f.bus, n%7)
				if n%10 == 0 {
					topic = fmt.Sprintf("ev/state/%d", n%30)
				}
				select { // the bus may be away: the stop does not wait for it
				case way <- f.publish(topic, fmt.Sprint(f.bus, " ", n), n%10 == 0):
				case <-f.stop:
				}
				n++
			}
		}
	})
	f.tasks.Go(func() {
		for s := range way {
			if !s.token.WaitTimeout(2*time.Minute) || s.token.Error() != nil {
				f.failed++
				continue
			}
			f.acked = append(f.acked, s.event)
		}
	})
	return f
}

func (f *feed) publish(topic, payload string, retain bool) sent {
	return sent{topic + " " + payload, f.client.Publish(topic, 1, retain, payload)}
}

// end waits until everything is acknowledged.
func (f *feed) end() {
	close(f.stop)
	f.tasks.Wait()
}

// TestFleetIsKilled: kill -9 of buses and hub at any moment. Every event that a bus acknowledged is in the journal
// of each other bus once, in the order of its origin, and all have the same retained values.
func TestFleetIsKilled(t *testing.T) {
	seed := *fleetSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", seed)
	t.Parallel()
	rng := rand.New(rand.NewPCG(seed, 1))
	hub := newHub(t, "")
	var buses []*hubBus
	var feeds []*feed
	for _, name := range []string{"attic", "desk", "shed"} {
		buses = append(buses, newFleetBus(t, name, entry(hub.url(), everything)))
	}
	buses[0].initFleet()
	for _, b := range buses {
		b.start()
		feeds = append(feeds, newFeed(t, b, 2000))
	}
	defer func() {
		if t.Failed() {
			for _, b := range buses {
				t.Logf("%s:\n%s", b.name, lastLines(b.log, 40))
			}
		}
	}()
	kills := map[string]int{}
	wait := func(ms int) { time.Sleep(time.Duration(rng.IntN(ms)) * time.Millisecond) } // the moment is the test's subject
	for range *fleetKills {
		wait(1500)
		b := buses[rng.IntN(len(buses))]
		what := []string{"bus", "hub", "both"}[rng.IntN(3)]
		kills[what]++
		if what != "bus" {
			hub.kill()
		}
		if what == "both" {
			wait(50)
		}
		if what != "hub" {
			b.kill()
		}
		wait(1500)
		if what != "hub" {
			b.start()
		}
		if what == "both" {
			wait(500)
		}
		if what != "bus" {
			hub.start()
		}
	}
	began := time.Now()
	for _, f := range feeds {
		f.end()
	}
	allSent := time.Since(began)
	awaited(t, 5*time.Minute, "every bus has the last event of each", func() bool {
		for _, b := range buses {
			if len(b.values("ev/end/#")) != len(buses) {
				return false
			}
		}
		return true
	})
	caughtUp := time.Since(began)
	for _, b := range buses {
		b.end()
	}
	reached := map[string]map[string][]string{}
	for _, b := range buses {
		reached[b.name] = b.events()
	}
	var total faults
	acked, failed := 0, 0
	for i, b := range buses {
		acked, failed = acked+len(feeds[i].acked), failed+feeds[i].failed
		own := reached[b.name][b.name]
		if missing := compareOrder(feeds[i].acked, own).lost; missing > 0 {
			t.Errorf("%s acknowledged %d events that its own journal does not have", b.name, missing)
		}
		for _, o := range buses {
			if o != b {
				total.add(compareOrder(own, reached[o.name][b.name]))
			}
		}
	}
	t.Logf("kills %v, acknowledged %d (%d not), to two others each: lost %d, twice %d, out of order %d; all acknowledged after %s, caught up after %s",
		kills, acked, failed, total.lost, total.twice, total.disorder, allSent.Round(time.Millisecond), caughtUp.Round(time.Millisecond))
	if total != (faults{}) {
		t.Error("the fleet broke its promise")
	}
	var first map[string]string
	for _, b := range buses {
		b.journal(func(j *bus.Bus) {
			values, err := j.Retained("ev/#")
			if err != nil {
				t.Fatal(err)
			}
			now := map[string]string{}
			for _, v := range values {
				now[v.Topic] = string(v.Payload)
			}
			if first == nil {
				first = now
			}
			if len(now) != 6 || !maps.Equal(now, first) {
				t.Errorf("%s has the values %v, %s %v", b.name, now, buses[0].name, first)
			}
		})
	}
}

// faults are how what arrived differs from what was sent.
type faults struct{ lost, twice, disorder int }

func (f *faults) add(o faults) {
	f.lost, f.twice, f.disorder = f.lost+o.lost, f.twice+o.twice, f.disorder+o.disorder
}

// compareOrder compares two lists. What is in want twice, because a client sent it again, may be in got twice.
func compareOrder(want, got []string) (f faults) {
	count := map[string]int{}
	for _, e := range want {
		count[e]++
	}
	for _, e := range got {
		count[e]--
	}
	for _, n := range count {
		if n > 0 {
			f.lost += n
		} else {
			f.twice -= n
		}
	}
	if f == (faults{}) {
		for i := range want {
			if want[i] != got[i] {
				f.disorder++
			}
		}
	}
	return f
}

// lastLines is the end of a log.
func lastLines(log *syncBuffer, n int) string {
	lines := strings.Split(log.String(), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
