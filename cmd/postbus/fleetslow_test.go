package main

// This file has buses behind slow and broken links, and measures how long events take.

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/postbus/postbus/bus"
)

var (
	fleetFlap    = flag.Duration("fleet.flap", 4*time.Second, "how long the link of TestFleetSlowLink flaps")
	fleetMeasure = flag.Bool("fleet.measure", false, "TestFleetSlowLink measures a backlog and latencies, too: ten minutes")
)

// TestFleetSlowLink: whatever the link does, each event arrives once, in its order.
func TestFleetSlowLink(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*slowLink)
		rate   int // events a second, of each bus
		flap   bool
	}{
		"150 ms each way": {change: func(l *slowLink) { l.delay = 150 * time.Millisecond }, rate: 500},
		"cut at random":   {change: func(l *slowLink) { l.delay, l.cuts = 5*time.Millisecond, 0.5 }, rate: 500},
		"64 kbit/s":       {change: func(l *slowLink) { l.rate = 64_000 / 8 }, rate: 100},
		"flapping":        {change: func(*slowLink) {}, rate: 200, flap: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hub := newHub(t, "")
			link := newSlowLink(t, hub.addr, c.change)
			buses := []*hubBus{newFleetBus(t, "attic", entry(link.url(), everything)), newFleetBus(t, "desk", entry(hub.url(), everything))}
			buses[1].initFleet()
			var feeds []*feed
			for _, b := range buses {
				b.start()
				feeds = append(feeds, newFeed(t, b, c.rate))
			}
			defer func() {
				if t.Failed() {
					for _, b := range buses {
						t.Logf("%s:\n%s", b.name, lastLines(b.log, 30))
					}
				}
			}()
			if c.flap {
				link.flap(*fleetFlap, min(*fleetFlap/4, 3*time.Second))
			} else {
				time.Sleep(time.Second) // of events
			}
			began := time.Now()
			for _, f := range feeds {
				f.end()
			}
			awaited(t, 5*time.Minute, "both have all events", func() bool {
				return len(buses[0].values("ev/end/#")) == 2 && len(buses[1].values("ev/end/#")) == 2
			})
			caughtUp := time.Since(began)
			reached := map[string]map[string][]string{}
			for _, b := range buses {
				b.end()
				reached[b.name] = b.events()
			}
			for i, b := range buses {
				own, there := reached[b.name][b.name], reached[buses[1-i].name][b.name]
				if f := compareOrder(own, there); f != (faults{}) {
					t.Errorf("of %s: %+v", b.name, f)
				}
				if lost := compareOrder(feeds[i].acked, own).lost; lost > 0 {
					t.Errorf("%s lost %d of its own events", b.name, lost)
				}
				t.Logf("%d events of %s, caught up after %s", len(own), b.name, caughtUp.Round(time.Millisecond))
			}
		})
	}
	if *fleetMeasure {
		t.Run("latency", measureLatency)
		t.Run("rate", measureRate)
		t.Run("backlog", measureBacklog)
	}
}

// latencies subscribes, and sends how long each event with its time as payload took. Other events are counted.
func latencies(t *testing.T, b *hubBus, filter string) <-chan time.Duration {
	t.Helper()
	got := make(chan time.Duration, 100000)
	c := persistent(t, b.mqtt, "watch")
	tok := c.Subscribe(filter, 1, func(_ paho.Client, m paho.Message) {
		if at, err := strconv.ParseInt(string(m.Payload()), 10, 64); err == nil {
			got <- time.Duration(time.Now().UnixNano() - at)
		}
	})
	if !tok.WaitTimeout(time.Minute) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	return got
}

func quantiles(list []time.Duration) string {
	if len(list) == 0 {
		return "none"
	}
	slices.Sort(list)
	at := func(q float64) time.Duration { return list[int(q*float64(len(list)-1))].Round(10 * time.Microsecond) }
	return fmt.Sprintf("p50 %s, p99 %s, max %s of %d", at(0.5), at(0.99), at(1), len(list))
}

// stamped publishes the time now.
func stamped(c paho.Client, topic string) paho.Token {
	return c.Publish(topic, 1, false, fmt.Sprint(time.Now().UnixNano()))
}

func measureLatency(t *testing.T) {
	hub := newHub(t, "")
	attic, desk := newFleetBus(t, "attic", entry(hub.url(), everything)), newFleetBus(t, "desk", entry(hub.url(), everything))
	attic.initFleet()
	attic.start()
	desk.start()
	got := latencies(t, desk, "ev/x")
	c := persistent(t, attic.mqtt, "feed")
	var list []time.Duration
	for range 500 {
		stamped(c, "ev/x").Wait()
		list = append(list, <-got)
	}
	t.Logf("from a client of one bus to a client of another, idle: %s", quantiles(list))
}

func measureRate(t *testing.T) {
	hub := newHub(t, "")
	link := newSlowLink(t, hub.addr, func(l *slowLink) { l.delay = 25 * time.Millisecond })
	attic, desk := newFleetBus(t, "attic", entry(link.url(), everything)), newFleetBus(t, "desk", entry(hub.url(), everything))
	desk.initFleet()
	attic.start()
	desk.start()
	got := latencies(t, desk, "ev/x")
	c := persistent(t, attic.mqtt, "feed")
	f := newFeed(t, attic, 5000)
	began := time.Now()
	for time.Since(began) < 20*time.Second {
		stamped(c, "ev/x").Wait()
		time.Sleep(20 * time.Millisecond)
	}
	f.end()
	acked, took := len(f.acked), time.Since(began)
	ended := time.Now()
	awaited(t, 5*time.Minute, "all events arrive", func() bool { return len(desk.values("ev/end/#")) == 1 })
	behind := time.Since(ended)
	var list []time.Duration
	for len(got) > 0 {
		list = append(list, <-got)
	}
	t.Logf("50 ms round trip: %.0f events/s, the last arrives %s after its acknowledgement; %s", float64(acked)/took.Seconds(), behind.Round(time.Millisecond), quantiles(list))
}

func measureBacklog(t *testing.T) {
	const n = 1_000_000
	hub := newHub(t, "")
	link := newSlowLink(t, hub.addr, func(l *slowLink) { l.rate, l.delay, l.off = 10_000_000/8, 10*time.Millisecond, true })
	both := `share: [{filter: "alarm/#"}, {filter: "ev/#"}], take: [{filter: "alarm/#"}, {filter: "ev/#"}], since: all`
	attic, desk := newFleetBus(t, "attic", entry(link.url(), both)), newFleetBus(t, "desk", entry(hub.url(), both))
	desk.initFleet()
	attic.start()
	desk.start()
	attic.end() // it has noted from where on it shares
	attic.journal(func(j *bus.Bus) {
		var last bus.Pending
		payload := []byte(strings.Repeat("x", 100))
		for i := range n {
			e := bus.Event{Topic: fmt.Sprint("ev/", i%100), Payload: payload, QoS: 1, Source: "client"}
			if i == n-1 {
				e.Topic, e.Retain = "ev/end/attic", true
			}
			var err error
			if last, err = j.Send(e); err != nil {
				t.Fatal(err)
			}
		}
		<-last.Done()
		if last.Err() != nil {
			t.Fatal(last.Err())
		}
	})
	attic.start()
	got := latencies(t, desk, "alarm/#")
	c := persistent(t, attic.mqtt, "alarms")
	link.setOff(false)
	began := time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			stamped(c, "alarm/x").Wait()
			time.Sleep(100 * time.Millisecond)
		}
	}()
	awaited(t, 10*time.Minute, "the backlog has passed", func() bool { return len(desk.values("ev/end/#")) == 1 })
	took := time.Since(began)
	cancel()
	var list []time.Duration
	for len(got) > 0 {
		list = append(list, <-got)
	}
	t.Logf("%d events of 100 bytes at 10 Mbit/s: %s; alarms meanwhile, in their order: %v first; %s", n, took.Round(time.Millisecond), list[:min(5, len(list))], quantiles(list))
}
