package bridge

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func options(url string) Options {
	o := defaults()
	o.URL, o.ClientID = url, "postbus-test"
	return o
}

// The remote stops while events are in flight and many more follow. Then all arrive, in order.
func TestRemoteIsAwayForAWhile(t *testing.T) {
	t.Parallel()
	m := newMosquitto(t, "")
	there := newClient(t, m.url(), "there", "house/#")
	b := newBus()
	o := options(m.url())
	o.Out = []Out{{Filter: "home/#", Strip: "home/", Prefix: "house/"}}
	run(t, o, b, nil, nil)
	const n = 5000
	for i := range n {
		offer(b, "client:x", "home/a", fmt.Sprint(i), false)
		switch i {
		case 1000:
			b.Eventually(t, "connected", connected(b))
			there.until(500)
			m.stop()
			b.Eventually(t, "degraded", func() bool { return !connected(b)() })
		case 4000:
			m.start()
		}
	}
	got, all := there.until(n)
	for i, g := range got {
		if g != fmt.Sprintf("house/a=%d", i) {
			t.Fatalf("message %d is %s", i, g)
		}
	}
	b.Eventually(t, "all acknowledged", func() bool { return b.Acknowledged() == n })
	t.Logf("%d messages, %d of them again, most by the remote to its subscriber", all, all-n)
}

func TestDecode(t *testing.T) {
	m := newMosquitto(t, "")
	there := newClient(t, m.url(), "there", "")
	b := newBus()
	o := options(m.url())
	o.In, o.Decode = []In{{Filter: "#"}}, "cbor"
	got := make(chan map[string]any, 2)
	run(t, o, b, nil, func(f map[string]any) bool { got <- f; return false })
	b.Eventually(t, "connected", connected(b))
	there.publish("a", "\x82\x01\x0a")
	if f := <-got; fmt.Sprint(f["json"]) != "[1 10]" {
		t.Errorf("%v", f)
	}
	there.publish("a", "\x82")
	if f := <-got; f["json"] != nil || f["decode_error"] == nil {
		t.Errorf("%v", f)
	}
}

// Filters overlap both ways, and there are other clients on both sides: each event is delivered
// once on each side.
func TestNoLoop(t *testing.T) {
	for name, link := range map[string]link{"MQTT 5": {}, "as a bridge": {noFive: true}, "as a client": {noFive: true, noBridges: true}} {
		t.Run(name, func(t *testing.T) {
			m := newMosquitto(t, "")
			there := newClient(t, m.url(), "there", "#")
			b := newBus()
			o := options(m.url())
			o.In, o.Out = []In{{Filter: "#"}}, []Out{{Filter: "#"}}
			r := run(t, o, b, func(s *Source) { s.link.noFive, s.link.noBridges = link.noFive, link.noBridges }, nil)
			b.Eventually(t, "connected", connected(b))
			const n = 100
			for i := range n {
				offer(b, "client:x", "a/here", fmt.Sprint(i), false)
				there.publish("a/there", fmt.Sprint(i))
			}
			there.until(2 * n)
			b.Eventually(t, "all events", func() bool { return len(r.events) >= n && b.Acknowledged() >= 2*n })
			// A looping event had the time to arrive, because one more event from each side follows
			// it.
			offer(b, "client:x", "a/last", "here", false)
			there.until(2*n + 1)
			there.publish("a/last", "there")
			b.Eventually(t, "the last", func() bool { return slices.Contains(r.topics(), "a/last=there") })
			if _, all := there.until(2*n + 2); all != 2*n+2 {
				t.Errorf("%d messages there, not %d", all, 2*n+2)
			}
			if len(r.events) != n+1 || len(b.Offered) != 2*n+2 {
				t.Errorf("%d events, %d in the journal: %v", len(r.events), len(b.Offered), r.topics())
			}
		})
	}
}

// While we are offline the remote keeps messages, and redelivers those that we didn't acknowledge.
func TestWeAreAwayForAWhile(t *testing.T) {
	t.Parallel()
	m := newMosquitto(t, "")
	there := newClient(t, m.url(), "there", "")
	b := newBus()
	o := options(m.url())
	o.In = []In{{Filter: "site/#", Prefix: "remote/", Strip: "site/"}}
	o.Out = []Out{{Filter: "home/#"}}
	r := run(t, o, b, nil, func(f map[string]any) bool {
		if string(f["payload"].([]byte)) >= "5" { // posted, and never durable
			return true
		}
		return false
	})
	b.Eventually(t, "connected", connected(b))
	for i := range 10 {
		there.publish("site/a", fmt.Sprint(i))
	}
	b.Eventually(t, "all came", func() bool { return slices.Contains(r.topics(), "remote/a=9") })
	r.stop()
	for i := 10; i < 1000; i++ {
		there.publish("site/a", fmt.Sprint(i))
	}
	again := run(t, o, b, nil, nil)
	b.Eventually(t, "the rest came", func() bool { return slices.Contains(again.topics(), "remote/a=999") })
	var want []string
	for i := 5; i < 1000; i++ {
		want = append(want, fmt.Sprintf("remote/a=%d", i))
	}
	got := again.topics()
	for len(got) > 0 && got[0] < want[0] { // acknowledged at the last moment, which Mosquitto may not have read
		got = got[1:]
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%d events, not %d: %v", len(got), len(want), got[:min(20, len(got))])
	}
}

// Events that were unacknowledged at the stop are sent after a restart.
func TestOutGoesOnAfterARestart(t *testing.T) {
	t.Parallel()
	m := newMosquitto(t, "")
	there := newClient(t, m.url(), "there", "home/#")
	b := newBus()
	o := options(m.url())
	o.Out = []Out{{Filter: "home/#"}}
	const n = 2000
	for i := range n {
		offer(b, "client:x", "home/a", fmt.Sprint(i), false)
	}
	for stops := 1; ; stops++ {
		r := run(t, o, b, nil, nil)
		b.Eventually(t, "some acknowledged", func() bool { return b.Acknowledged() >= min(n, stops*400) })
		r.stop()
		b.Mu.Lock()
		place := b.Acknowledged()
		b.Mu.Unlock()
		if place == n {
			break
		}
	}
	got, _ := there.until(n)
	for i, g := range got {
		if g != fmt.Sprintf("home/a=%d", i) {
			t.Fatalf("message %d is %s", i, g)
		}
	}
}

func TestRetainAndQoS(t *testing.T) {
	m := newMosquitto(t, "")
	b := newBus()
	o := options(m.url())
	o.Out = []Out{{Filter: "keep/+"}, {Filter: "always/+", Retain: "always", QoS: "0"}, {Filter: "never/+", Retain: "never"}}
	run(t, o, b, nil, nil)
	for _, k := range []string{"keep", "always", "never"} {
		offer(b, "client:x", k+"/yes", "1", true)
		offer(b, "client:x", k+"/no", "1", false)
	}
	b.Eventually(t, "all sent", func() bool { return b.Acknowledged() == 6 })
	late := newClient(t, m.url(), "late", "#")
	got, _ := late.until(3)
	slices.Sort(got)
	if want := []string{"always/no=1 retained", "always/yes=1 retained", "keep/yes=1 retained"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
}

func TestRetainedComeOnceInASession(t *testing.T) {
	m := newMosquitto(t, "")
	there := newClient(t, m.url(), "there", "")
	there.do(there.c.Publish("site/state", 1, true, "on"))
	b := newBus()
	o := options(m.url())
	o.In = []In{{Filter: "site/#", QoS: "2"}}
	r := run(t, o, b, nil, nil)
	b.Eventually(t, "the retained one", func() bool { return len(r.events) == 1 && r.events[0]["retain"] == true })
	m.stop()
	b.Eventually(t, "degraded", func() bool { return !connected(b)() })
	m.start()
	b.Eventually(t, "connected", func() bool { return connected(b)() })
	there.do(there.c.Publish("site/x", 2, false, `{"a": 1}`))
	b.Eventually(t, "the next", func() bool { return len(r.events) > 1 })
	b.Mu.Lock()
	defer b.Mu.Unlock()
	if want := (map[string]any{"topic": "site/x", "payload": []byte(`{"a": 1}`), "text": `{"a": 1}`, "json": map[string]any{"a": int64(1)}, "qos": 2, "retain": false}); !reflect.DeepEqual(r.events[1], want) {
		t.Errorf("%v", r.events[1])
	}
}

func TestRefused(t *testing.T) {
	m := newMosquitto(t, "password_file /dev/null")
	m.stop()
	conf := m.dir + "/conf"
	edit(t, conf, "allow_anonymous true", "allow_anonymous false")
	m.start()
	b := newBus()
	o := options(m.url())
	o.In, o.User, o.Password = []In{{Filter: "#"}}, "me", "wrong"
	run(t, o, b, nil, nil)
	b.Eventually(t, "refused", func() bool { return len(b.Conditions) > 0 && strings.Contains(b.Conditions[0], "not authorized") })
}

func TestNobodyThere(t *testing.T) {
	b := newBus()
	o := options("mqtt://127.0.0.1:1")
	o.In = []In{{Filter: "#"}}
	r := run(t, o, b, nil, nil)
	b.Eventually(t, "degraded", func() bool { return len(b.Conditions) > 0 && strings.Contains(b.Conditions[0], "127.0.0.1:1: ") })
	time.Sleep(200 * time.Millisecond) // long enough for several attempts
	r.stop()
	if len(b.Conditions) != 1 {
		t.Errorf("said %d times: %q", len(b.Conditions), b.Conditions)
	}
}
