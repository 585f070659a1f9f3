package bus_test

// This file is kept values across crashes, snapshots and restarts.

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/bustest"
)

// newestEvent returns the payload of the newest event in the journal; "" when there is none.
func newestEvent(t testing.TB, b *bus.Bus) (payload string) {
	t.Helper()
	err := b.History(context.Background(), "home/#", bus.Since{Seq: 1}, func(e bus.Event) bool {
		payload = string(e.Payload)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

// checkBoth demands that the newest event and its value are there together. The event is retained,
// too.
func checkBoth(t testing.TB, b *bus.Bus, where string) (newest string) {
	t.Helper()
	newest = newestEvent(t, b)
	want := []string{}
	if newest != "" {
		want = append(want, "$plugin/a="+newest)
	}
	if got := values(t, b, "$plugin/#"); !slices.Equal(got, want) {
		t.Errorf("%s: the newest event is %.20q, and the kept value %.40q", where, newest, got)
	}
	if newest != "" {
		want[0] = "home/a=" + newest
	}
	if got := values(t, b, "home/#"); !slices.Equal(got, want) {
		t.Errorf("%s: the newest event is %.20q, and the retained one %.40q", where, newest, got)
	}
	return newest
}

func both(i int, size int) bus.Event {
	text := fmt.Sprint(i, strings.Repeat("x", size))
	return bus.Event{Topic: "home/a", Payload: []byte(text), QoS: 1, Retain: true, Kept: kept("a", text)}
}

// A record that is cut anywhere leaves neither the event nor its value.
func TestATornRecordHasNeither(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := bustest.NewDisk(1)
		b := open(t, d, bus.Options{})
		const name = "00000000000000000001.seg"
		send(t, b, both(1, 0))
		size := len(strings.TrimRight(string(d.Content(name)), "\x00"))
		send(t, b, both(2, 0))
		whole := len(strings.TrimRight(string(d.Content(name)), "\x00"))
		d = d.Kill()
		b.Close()
		for n := size; n <= whole; n++ {
			torn := d.Kill()
			torn.Cut(name, n)
			b := open(t, torn, bus.Options{})
			newest := checkBoth(t, b, fmt.Sprintf("%d of %d bytes", n, whole))
			if want := map[bool]string{false: "1", true: "2"}[n == whole]; newest != want {
				t.Errorf("%d of %d bytes: the newest event is %q, want %q", n, whole, newest, want)
			}
			b.Close()
		}
	})
}

// The disk fails at every operation in turn, and the power is cut or the process killed.
func TestAKeptValueAndItsEventSurviveTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for n := 1; n < 60; n++ {
			d := bustest.NewDisk(uint64(n))
			b := open(t, d, bus.Options{SegmentSize: 4 << 10})
			d.FailIn(n, true)
			acked := 0
			for i := 1; i <= 20; i++ {
				if _, err := b.Publish(context.Background(), both(i, 40*i)); err != nil { // over several sectors
					break
				}
				acked = i
			}
			next := d.Kill()
			if n%3 > 0 {
				next = d.PowerCut()
			}
			b.Close()
			for range 2 { // then from a snapshot
				b = open(t, next, bus.Options{SegmentSize: 4 << 10})
				newest := checkBoth(t, b, fmt.Sprint("failure ", n))
				last := 0
				fmt.Sscanf(newest, "%d", &last)
				if last < acked {
					t.Errorf("failure %d: %d was acknowledged, and %d is the newest", n, acked, last)
				}
				b.Close()
			}
		}
	})
}

// Values are set, replaced and cleared in every way, over many snapshots, segments that retention
// removes, and restarts.
func TestKeptValuesOverManySnapshots(t *testing.T) {
	seeds := 6
	if testing.Short() {
		seeds = 2
	}
	for seed := range uint64(seeds) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			o := bus.Options{SegmentSize: 2 << 10, CacheSize: 4 << 10, Limits: bus.Limits{RetentionAge: -1, RetentionSize: -1}}
			d := bustest.NewDisk(seed)
			b := open(t, d, o)
			model := map[string]string{}
			check := func(where string) {
				t.Helper()
				got := append(values(t, b, "$plugin/#"), values(t, b, "home/#")...)
				want := []string{}
				for _, topic := range slices.Sorted(maps.Keys(model)) {
					want = append(want, topic+"="+model[topic])
				}
				if !slices.Equal(got, want) {
					t.Fatalf("seed %d, %s: got %d values, want %d:\n%.2000q\n%.2000q", seed, where, len(got), len(want), got, want)
				}
			}
			set := func(topic, value string) {
				if model[topic] = value; value == "" {
					delete(model, topic)
				}
			}
			value := func(i int) string {
				if rnd.IntN(4) == 0 {
					return ""
				}
				return fmt.Sprint(i, strings.Repeat("v", rnd.IntN(300)*rnd.IntN(2)))
			}
			snapshots := 0
			for i := range 3000 {
				e := bus.Event{Topic: fmt.Sprint("home/", rnd.IntN(20)), QoS: byte(rnd.IntN(3)), Source: "plugin:a"}
				if e.Retain = rnd.IntN(3) == 0; e.Retain {
					e.Payload = []byte(value(i))
					if rnd.IntN(10) == 0 { // at a topic of kept values
						e.Topic = fmt.Sprint("$plugin/a/", rnd.IntN(80))
					}
					set(e.Topic, string(e.Payload))
				}
				if k := fmt.Sprint("a/", rnd.IntN(80)); rnd.IntN(4) > 0 && !(e.Retain && e.Topic == "$plugin/"+k) {
					e.Kept = kept(k, value(i))
					set(e.Kept.Topic, string(e.Kept.Value))
				}
				send(t, b, e)
				switch n := rnd.IntN(1000); {
				case n < 30:
					time.Sleep(2 * time.Second) // housekeeping removes segments
				case n < 60:
					check(fmt.Sprint("event ", i))
				case n < 66:
					names, _ := d.List()
					for _, name := range names {
						if strings.HasSuffix(name, ".snap") {
							snapshots++
						}
					}
					switch old := b; n % 3 {
					case 0:
						b.Close()
					case 1:
						d = d.Kill()
						old.Close()
					case 2:
						d = d.PowerCut()
						old.Close()
					}
					b = open(t, d, o)
					check(fmt.Sprint("restart after event ", i))
				}
			}
			if first := b.Stats().Journal.First; first < 1000 || snapshots < 10 {
				t.Errorf("seed %d: the journal begins at %d, and restarts found %d snapshots: that tests little", seed, first, snapshots)
			}
			b.Close()
		})
	}
}
