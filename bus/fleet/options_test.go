package fleet

// This file tests what the keys since, rate, keep_size and from do, in virtual time.

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/bustest"
)

// tested is a bus at a model of a hub.
type tested struct {
	t     *testing.T
	bus   *bus.Bus
	entry *Entry
	link  *link
	stop  func()
}

// join makes a bus with an empty journal a member of the fleet "home".
func join(t *testing.T, hub *modelHub, name string, o Options, limits bus.Limits) *tested {
	t.Helper()
	b, err := bus.Open(context.Background(), bus.Options{FS: bustest.NewDisk(1), SegmentSize: 64 << 10, Limits: limits, Pins: []string{PinName("home", 0)}})
	if err != nil {
		t.Fatal(err)
	}
	n := &tested{t: t, bus: b, link: newLink(hub, uint64(len(name)))}
	o.Fleet, o.Bus = "home", name
	n.entry = New(b, func(context.Context) (Hub, error) { return n.link, nil }, o)
	stop := running(t, n.entry)
	n.stop = func() {
		stop()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	return n
}

func (n *tested) publish(topic string, from, to, size int) {
	n.t.Helper()
	for i := from; i < to; i++ {
		payload := fmt.Appendf(nil, "%d ", i)
		if _, err := n.bus.Publish(context.Background(), bus.Event{Topic: topic, Payload: append(payload, make([]byte, size)...), QoS: 1}); err != nil {
			n.t.Fatal(err)
		}
	}
}

// numbers lists the events of other buses with a topic.
func (n *tested) numbers(topic string) (list []string) {
	n.t.Helper()
	err := n.bus.History(context.Background(), topic, bus.Since{Seq: 1}, func(e bus.Event) bool {
		if e.Origin.Bus != "" {
			number, _, _ := strings.Cut(string(e.Payload), " ")
			list = append(list, number)
		}
		return true
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return list
}

func upTo(from, to int) (list []string) {
	for i := from; i < to; i++ {
		list = append(list, fmt.Sprint(i))
	}
	return list
}

var shareAll, takeAll = []Share{{Filter: "ev/#"}}, []Take{{Filter: "ev/#"}}

// TestSince: a bus that is new to the hub begins at the position of the key since, and no bus reports a loss.
func TestSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := newModelHub(1)
		hub.keepsFor = 24 * time.Hour
		a := join(t, hub, "attic", Options{Share: shareAll}, bus.Limits{})
		defer a.stop()
		time.Sleep(time.Minute)
		a.publish("ev/x", 0, 10, 0)
		time.Sleep(2 * time.Hour)
		a.publish("ev/x", 10, 20, 0)
		time.Sleep(10 * time.Minute)
		takers := map[string]*tested{}
		for name, since := range map[string]Since{"all": {All: true}, "hour": {Age: time.Hour}, "now": {}} {
			takers[name] = join(t, hub, name, Options{Take: takeAll, Since: since}, bus.Limits{})
			defer takers[name].stop()
		}
		time.Sleep(time.Minute)
		a.publish("ev/x", 20, 30, 0)
		time.Sleep(3 * time.Hour)
		for name, want := range map[string][]string{"all": upTo(0, 30), "hour": upTo(10, 30), "now": upTo(20, 30)} {
			if got := takers[name].numbers("ev/x"); !slices.Equal(got, want) {
				t.Errorf("since %s: %v, want %v", name, got, want)
			}
			if p := takers[name].entry.Status().Peers["attic"]; p == nil || p.Lost > 0 {
				t.Errorf("since %s: %+v", name, p)
			}
		}
	})
}

// TestRate: the bytes a second that are sent are bounded, and another share does not wait for a backlog.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := newModelHub(1)
		a := join(t, hub, "attic", Options{Share: []Share{{Filter: "ev/alarm"}, {Filter: "ev/#"}}, Rate: 10 << 10}, bus.Limits{})
		defer a.stop()
		d := join(t, hub, "desk", Options{Take: takeAll, Since: Since{All: true}}, bus.Limits{})
		defer d.stop()
		time.Sleep(time.Minute)
		start := time.Now()
		a.publish("ev/x", 0, 100, 10<<10) // 1,000 KiB
		time.Sleep(10 * time.Second)
		a.publish("ev/alarm", 0, 1, 0)
		time.Sleep(5 * time.Second)
		if got := d.numbers("ev/alarm"); len(got) != 1 {
			t.Error("an alarm waits for the backlog")
		}
		if got := len(d.numbers("ev/x")); got > 20 {
			t.Errorf("%d events of 10 KiB after %s, at 10 KiB a second", got, time.Since(start))
		}
		time.Sleep(2 * time.Minute)
		if got := d.numbers("ev/x"); !slices.Equal(got, upTo(0, 100)) {
			t.Errorf("%d of 100 events after %s", len(got), time.Since(start))
		}
	})
}

// TestKeepSize: of what waits for the hub the oldest goes first, and both sides report how much is lost.
func TestKeepSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := newModelHub(1)
		d := join(t, hub, "desk", Options{Take: takeAll, Since: Since{All: true}}, bus.Limits{})
		defer d.stop()
		a := join(t, hub, "attic", Options{Share: shareAll, KeepSize: 512 << 10}, bus.Limits{RetentionAge: time.Minute, RetentionSize: 128 << 10})
		defer a.stop()
		a.publish("ev/x", 0, 10, 0)
		time.Sleep(time.Minute)
		a.link.cut(true)
		for i := range 20 { // 2 MiB
			a.publish("ev/x", 10+10*i, 20+10*i, 10<<10)
			time.Sleep(time.Minute)
		}
		a.link.cut(false)
		time.Sleep(10 * time.Minute)
		got := d.numbers("ev/x")
		lost := 210 - len(got)
		if lost < 100 || lost > 190 || !slices.Equal(got[:10], upTo(0, 10)) || !slices.Equal(got[10:], upTo(10+lost, 210)) {
			t.Fatalf("%d events, %v", len(got), got)
		}
		told := d.entry.Status().Peers["attic"].Lost
		if told < uint64(lost) || told > uint64(lost)+100 { // at most: records that were not shared count, too
			t.Errorf("desk reports %d lost events, %d are", told, lost)
		}
		for _, n := range []*tested{a, d} {
			if sum := n.bus.Stats().Lost; len(sum) == 0 {
				t.Error("a bus reports no loss")
			}
		}
	})
}

// TestFrom: a filter may be about one bus.
func TestFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := newModelHub(1)
		d := join(t, hub, "desk", Options{Take: []Take{{Filter: "ev/#", From: "shed"}}, Since: Since{All: true}}, bus.Limits{})
		defer d.stop()
		for _, name := range []string{"attic", "shed"} {
			n := join(t, hub, name, Options{Share: shareAll}, bus.Limits{})
			defer n.stop()
			n.publish("ev/"+name, 0, 5, 0)
		}
		time.Sleep(time.Minute)
		if got := d.numbers("ev/shed"); !slices.Equal(got, upTo(0, 5)) {
			t.Errorf("of shed: %v", got)
		}
		if got := d.numbers("ev/attic"); len(got) > 0 {
			t.Errorf("of attic: %v", got)
		}
	})
}

// TestExpiry: an event keeps what is left of its time, by how long it was on its way and not by the origin's
// clock, and one that expires on its way is reported.
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hub := newModelHub(1)
		a := join(t, hub, "attic", Options{Share: shareAll}, bus.Limits{})
		defer a.stop()
		d := join(t, hub, "desk", Options{Take: takeAll, Since: Since{All: true}}, bus.Limits{})
		defer d.stop()
		time.Sleep(10 * time.Second)
		d.link.cut(true)
		for i, expiry := range []time.Duration{time.Hour, time.Minute} {
			e := bus.Event{Topic: "ev/x", Payload: fmt.Append(nil, i), QoS: 1, Expiry: expiry}
			r := e.Record()
			r.Time = time.Now().Add(-50 * 365 * 24 * time.Hour).UnixNano() // a clock that is not set yet
			if _, err := a.bus.Append(r); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Minute)
		d.link.cut(false)
		time.Sleep(time.Minute)
		if got := d.numbers("ev/x"); !slices.Equal(got, []string{"0"}) {
			t.Fatalf("%v arrived", got)
		}
		err := d.bus.History(context.Background(), "ev/x", bus.Since{Seq: 1}, func(e bus.Event) bool {
			if e.Expiry < 48*time.Minute || e.Expiry > 51*time.Minute {
				t.Errorf("%s are left of an hour after ten minutes", e.Expiry)
			}
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		if p := d.entry.Status().Peers["attic"]; p.Expired != 1 {
			t.Errorf("%+v", p)
		}
	})
}
