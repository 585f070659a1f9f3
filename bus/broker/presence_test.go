package broker_test

// This file tests $bus/clients: its content, and the order and the rate of its changes. All of it runs
// on virtual time, over pipes.

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/broker"
	"github.com/postbus/postbus/bus/bustest"
)

// house is a bus with a broker that reports clients, on a disk in memory.
type house struct {
	*testing.T
	disk   *bustest.Disk
	bus    *bus.Bus
	broker *broker.Broker
	pipes  sync.WaitGroup
	from   uint64 // the first sequence of this run
}

func newHouse(t *testing.T, disk *bustest.Disk, options ...func(*broker.Options)) *house {
	t.Helper()
	h := &house{T: t, disk: disk}
	var err error
	if h.bus, err = bus.Open(t.Context(), bus.Options{FS: disk, SegmentSize: 1 << 16}); err != nil {
		t.Fatal(err)
	}
	h.from = h.bus.Last() + 1
	o := broker.Options{Presence: true}
	for _, f := range options {
		f(&o)
	}
	h.broker = broker.New(h.bus, o)
	if err := h.broker.Open(); err != nil {
		t.Fatal(err)
	}
	return h
}

// close stops in order.
func (h *house) close() {
	h.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := h.broker.Close(ctx); err != nil {
		h.Error(err)
	}
	h.pipes.Wait()
	if err := h.bus.Close(); err != nil {
		h.Error(err)
	}
}

// knock connects; expiry is of the session in seconds. It does not wait for CONNACK.
func (h *house) knock(id string, expiry uint32, users ...string) *raw {
	h.Helper()
	props := []byte{0x11, byte(expiry >> 24), byte(expiry >> 16), byte(expiry >> 8), byte(expiry)}
	for _, u := range users {
		props = str(str(append(props, 0x26), u), "")
	}
	connect := append(append(str(nil, "MQTT"), 5, 0, 0, 0, byte(len(props))), props...)
	c := h.pipe()
	send(h, c, 0x10, str(connect, id))
	return c
}

func (h *house) pipe() *raw {
	ours, theirs := net.Pipe()
	h.pipes.Go(func() { h.broker.Serve(theirs, "ws://127.0.0.1/mqtt", true) })
	return &raw{ours, bufio.NewReader(ours)}
}

func (h *house) connect(id string, expiry uint32, users ...string) *raw {
	h.Helper()
	c := h.knock(id, expiry, users...)
	if first, p := c.packet(h); first != 0x20 || p[1] != 0 {
		h.Fatalf("packet %x %x instead of CONNACK", first, p)
	}
	return c
}

// report is one change on $bus/clients.
type report struct {
	seq uint64
	at  time.Time
	id  string
	bus.Presence
	cleared bool
}

// reports lists what was written in this run.
func (h *house) reports() (list []report) {
	h.Helper()
	err := h.bus.History(context.Background(), bus.ClientsFilter, bus.Since{Seq: h.from}, func(e bus.Event) bool {
		r := report{seq: e.Seq, at: e.Time, cleared: len(e.Payload) == 0}
		var ok bool
		if r.id, ok = bus.ClientOf(e.Topic); !ok || e.QoS != 1 || !e.Retain || e.Source != "bus" {
			h.Errorf("%s is not a report: %+v", e.Topic, e)
		}
		if !r.cleared {
			if err := json.Unmarshal(e.Payload, &r.Presence); err != nil {
				h.Error(err)
			}
		}
		list = append(list, r)
		return true
	})
	if err != nil {
		h.Fatal(err)
	}
	return list
}

// state is the retained value of a client; nil: none.
func (h *house) state(id string) *bus.Presence {
	h.Helper()
	topic, _ := bus.ClientTopic(id)
	e, ok := h.bus.RetainedValue(topic)
	if !ok {
		return nil
	}
	p := new(bus.Presence)
	if err := json.Unmarshal(e.Payload, p); err != nil {
		h.Fatal(err)
	}
	return p
}

func (h *house) want(id string, online bool, reason string) {
	h.Helper()
	if p := h.state(id); p == nil || p.Online != online || p.Reason != reason {
		h.Errorf("%s: %+v, want online %v, reason %q", id, p, online, reason)
	}
}

func (h *house) wantNone(ids ...string) {
	h.Helper()
	for _, id := range ids {
		if p := h.state(id); p != nil {
			h.Errorf("%s: %+v, want no value", id, p)
		}
	}
}

func TestPresence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, bustest.NewDisk(1))
		began := time.Now()
		pump := h.connect("pump/1", 60)
		lamp := h.connect("lamp", 0)
		synctest.Wait()
		h.want("pump/1", true, "")
		if p := h.state("pump/1"); !p.Persistent || p.Version != "5" || p.Transport != "ws" || p.Address != "pipe" || !p.Since.Equal(began.UTC().Truncate(time.Millisecond)) {
			t.Errorf("%+v", p)
		}
		time.Sleep(10 * time.Second)
		send(t, lamp, 0xE0, nil)
		pump.Close()
		time.Sleep(100 * time.Millisecond)
		h.want("lamp", false, "the client disconnected")
		h.want("pump/1", false, "the connection was lost")
		if p := h.state("pump/1"); p.Since.Sub(began).Truncate(time.Second) != 10*time.Second {
			t.Errorf("offline since %s", p.Since)
		}
		if n := len(h.reports()); n != 4 {
			t.Errorf("%d reports, want 4", n)
		}
		time.Sleep(55 * time.Second)
		h.want("pump/1", false, "the connection was lost") // its session has not expired
		time.Sleep(10 * time.Second)
		h.wantNone("pump/1")
		time.Sleep(23*time.Hour + 58*time.Minute)
		h.want("lamp", false, "the client disconnected")
		time.Sleep(2 * time.Minute)
		h.wantNone("lamp")

		// Reasons.
		for reason, end := range map[string]func(*raw){
			"the client disconnected with reason code 0x04": func(c *raw) { send(t, c, 0xE0, []byte{4}) },
			"an administrator ended the connection":         func(*raw) { h.broker.Disconnect("x") },
		} {
			time.Sleep(2 * time.Second)
			c := h.connect("x", 0)
			end(c)
			_ = c.Conn.Close()
			time.Sleep(2 * time.Second)
			h.want("x", false, reason)
		}

		// A client that ends its session with DISCONNECT.
		ends := h.connect("ends", 3600)
		send(t, ends, 0xE0, []byte{0, 5, 0x11, 0, 0, 0, 0})
		ends.Close()
		time.Sleep(2 * time.Second)
		h.want("ends", false, "the client disconnected")
		if p := h.state("ends"); p != nil && p.Persistent {
			t.Errorf("%+v", p)
		}

		// An identifier without a topic is not remembered: its memory would be without a bound.
		h.connect(strings.Repeat("/", 400), 0).Close()
		time.Sleep(2 * time.Second)
		if list := h.broker.AbsentAfter("", 10); slices.ContainsFunc(list, func(id string) bool { return len(id) > 300 }) {
			t.Errorf("%q", list)
		}

		// Identifiers that are not worth remembering.
		before := len(h.reports())
		for _, quick := range []*raw{h.connect("", 0), h.connect("web-0", 3600, "transient")} {
			send(t, quick, 0xE0, nil)
		}
		time.Sleep(2 * time.Second)
		if n := len(h.reports()); n != before {
			t.Errorf("%d reports of clients that were there for a moment", n-before)
		}
		slow, random := h.connect("", 0), h.connect("web-1", 3600, "transient")
		time.Sleep(2 * time.Second)
		if n := len(h.reports()); n != before+2 {
			t.Errorf("%d reports of two transient clients", n-before)
		}
		h.want("web-1", true, "")
		slow.Close()
		random.Close()
		time.Sleep(2 * time.Second)
		h.wantNone("web-1")
		for _, r := range h.reports()[before+2:] {
			if !r.cleared {
				t.Errorf("a transient client's end is reported: %+v", r)
			}
		}

		// A session that is dropped.
		c := h.connect("dropped", 3600)
		time.Sleep(2 * time.Second)
		c.Close()
		time.Sleep(2 * time.Second)
		if err := h.bus.Drop(t.Context(), "dropped"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		h.wantNone("dropped")

		stays := h.connect("stays", 0)
		go func() { _, _, _ = stays.read(); stays.Close() }()
		time.Sleep(2 * time.Second)
		h.close()
		h2 := newHouse(t, h.disk)
		synctest.Wait()
		h2.want("stays", false, "the bus stops")
		if n := len(h2.reports()); n != 0 {
			t.Errorf("%d reports after a stop in order", n)
		}
		h2.close()
	})
}

// TestPresenceOfAFlappingClient: a client that comes and goes 200 times a second is reported about
// once a second, with its newest state, and so is the last.
func TestPresenceOfAFlappingClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, bustest.NewDisk(1))
		for i := range 2000 {
			c := h.connect("flap", uint32(i%2)*60)
			if i%3 == 0 {
				send(t, c, 0xE0, nil)
			}
			time.Sleep(5 * time.Millisecond)
			c.Close()
			synctest.Wait()
		}
		time.Sleep(2 * time.Second)
		list := h.reports()
		if n := len(list); n < 9 || n > 12 {
			t.Errorf("%d reports in 10 s of 2,000 connections", n)
		} else {
			t.Logf("%d reports in 10 s of 2,000 connections", n)
		}
		for i := 1; i < len(list); i++ {
			if d := list[i].at.Sub(list[i-1].at); d < time.Second {
				t.Errorf("two reports in %s", d)
			}
		}
		h.want("flap", false, "the connection was lost")
		h.close()
	})
}

// TestPresenceAtTakeovers: whatever the order in which connections of one client come and go, what
// is reported last is the truth, and a takeover is never reported as offline.
func TestPresenceAtTakeovers(t *testing.T) {
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			h := newHouse(t, bustest.NewDisk(seed))
			var conns []*raw
			var wg sync.WaitGroup
			online := false // no step since the first connection has ended one from outside
			for range 60 {
				switch n := rnd.IntN(10); {
				case n < 6: // one to three at once
					for range 1 + rnd.IntN(3) {
						c := h.knock("same", uint32(rnd.IntN(2)*60))
						conns = append(conns, c)
						wg.Go(func() {
							for {
								if _, _, err := c.read(); err != nil {
									c.Conn.Close()
									return
								}
							}
						})
					}
					online = true
				case n < 8:
					h.broker.Disconnect("same")
				default:
					for _, c := range conns {
						c.Close()
					}
					conns = nil
					online = false
				}
				if rnd.IntN(2) == 0 {
					time.Sleep(time.Duration(rnd.IntN(1500)) * time.Millisecond)
				}
			}
			time.Sleep(3 * time.Second)
			synctest.Wait()
			list := h.reports()
			is := slices.ContainsFunc(h.bus.Sessions(), func(i bus.SessionInfo) bool { return i.Name == "same" && i.Online })
			if last := list[len(list)-1]; last.Online != is || is && !online {
				t.Errorf("seed %d: the last of %d reports says online %v, the client is online: %v", seed, len(list), last.Online, is)
			}
			for i, r := range list {
				if i > 0 && r.at.Sub(list[i-1].at) < time.Second {
					t.Errorf("seed %d: two reports in %s", seed, r.at.Sub(list[i-1].at))
				}
				if r.Reason == "another connection took the session over" && i+1 < len(list) && list[i+1].Online && list[i+1].at.Sub(r.at) < 1100*time.Millisecond {
					t.Errorf("seed %d: a takeover is reported as offline: %+v, %+v", seed, r, list[i+1])
				}
			}
			h.close()
			wg.Wait()
		})
	}
}

// TestPresenceAfterAKill: what a killed bus left as online is corrected, except clients that are back,
// also if there are many.
func TestPresenceAfterAKill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, bustest.NewDisk(1))
		const n = 2500
		var conns []*raw
		for i := range n {
			conns = append(conns, h.connect(fmt.Sprint("c", i), uint32(i%2)*3600))
		}
		for _, id := range []string{"", "web-1"} {
			conns = append(conns, h.connect(id, 0, "transient"))
		}
		time.Sleep(3 * time.Second)
		alive := time.Now()
		disk := h.disk.Kill()
		for _, c := range conns {
			c.Close()
		}
		synctest.Wait()
		h.close()

		time.Sleep(time.Hour)
		h = newHouse(t, disk)
		back := h.connect("c7", 3600)
		again := h.connect("c8", 0)
		time.Sleep(5 * time.Second)
		h.want("c7", true, "")
		h.want("c8", true, "")
		offline := 0
		for i := range n {
			if i == 7 || i == 8 {
				continue
			}
			p := h.state(fmt.Sprint("c", i))
			if p == nil || p.Online || p.Reason != "the bus stopped" || p.Since.After(alive) || alive.Sub(p.Since) > 5*time.Second {
				t.Fatalf("c%d: %+v, the bus was alive until %s", i, p, alive)
			}
			offline++
		}
		for _, r := range h.reports() {
			if (r.id == "c7" || r.id == "c8") && !r.Online {
				t.Errorf("%s came back and is reported: %+v", r.id, r)
			}
		}
		h.wantNone("web-1")
		all, err := h.bus.Retained(bus.ClientsFilter)
		if err != nil || len(all) != n {
			t.Errorf("%d clients, want %d: %v", len(all), n, err)
		}
		back.Close()
		again.Close()

		// The sessions expire, and then the others are forgotten.
		time.Sleep(time.Hour + time.Minute)
		if all, _ = h.bus.Retained(bus.ClientsFilter); len(all) != n/2 {
			t.Errorf("%d clients after their sessions ended, want %d", len(all), n/2)
		}
		time.Sleep(23 * time.Hour)
		if all, _ = h.bus.Retained(bus.ClientsFilter); len(all) != 0 {
			t.Errorf("%d clients after a day", len(all))
		}
		h.close()
	})
}

// TestPresenceWhileTheDiskIsFull: connections do not wait, and the newest state is written later.
func TestPresenceWhileTheDiskIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, bustest.NewDisk(1))
		stays := h.connect("stays", 0)
		time.Sleep(2 * time.Second)
		h.disk.Fill(true)
		for h.bus.Ready() == nil { // what fits into the last segment is accepted
			_, _ = h.bus.Publish(t.Context(), bus.Event{Topic: "t", Payload: make([]byte, 1<<10), QoS: 1})
		}
		before := time.Now()
		for i := range 300 {
			c := h.connect(fmt.Sprint("e", i%100), 0)
			if i < 250 {
				c.Close()
			}
		}
		stays.Close()
		if d := time.Since(before); d > time.Second {
			t.Errorf("connecting took %s", d)
		}
		time.Sleep(time.Minute)
		h.disk.Fill(false)
		time.Sleep(time.Minute)
		h.want("stays", false, "the connection was lost")
		for i := range 100 {
			h.want(fmt.Sprint("e", i), i >= 50, map[bool]string{false: "the connection was lost", true: ""}[i >= 50])
		}
		h.close()
	})
}

// TestAbsentClientsAreBounded: of clients without a session the newest ten thousand are kept.
func TestAbsentClientsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, bustest.NewDisk(1))
		for i := range 10_050 {
			h.connect(fmt.Sprintf("e%05d", i), 0).Close()
			if i%100 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		time.Sleep(5 * time.Second)
		all, err := h.bus.Retained(bus.ClientsFilter)
		if err != nil || len(all) != 10_000 {
			t.Errorf("%d clients: %v", len(all), err)
		}
		h.wantNone("e00000")
		h.want("e10049", false, "the connection was lost")
		h.close()
	})
}

// BenchmarkPresenceAfterAKill is the correction of 100,000 clients that a killed bus left as online: the
// start does not wait for it.
func BenchmarkPresenceAfterAKill(b *testing.B) {
	const n = 100_000
	for range b.N {
		b.StopTimer()
		dir := b.TempDir()
		on, err := bus.Open(b.Context(), bus.Options{Dir: dir})
		if err != nil {
			b.Fatal(err)
		}
		var last bus.Pending
		for i := range n {
			topic, _ := bus.ClientTopic(fmt.Sprint("c", i))
			if last, err = on.Report(topic, []byte(`{"online":true,"since":"2026-01-02T03:04:05Z","address":"192.0.2.9:9","version":"3.1.1","transport":"tcp","persistent":false}`)); err != nil {
				b.Fatal(err)
			}
		}
		<-last.Done()
		if err := on.Close(); err != nil {
			b.Fatal(err)
		}
		if on, err = bus.Open(b.Context(), bus.Options{Dir: dir}); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		k := broker.New(on, broker.Options{Presence: true})
		began := time.Now()
		if err := k.Open(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(began).Microseconds()), "µs/open")
		for first := on.Last(); on.Last() < first+n; time.Sleep(time.Millisecond) {
		}
		b.StopTimer()
		ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
		_ = k.Close(ctx)
		cancel()
		_ = on.Close()
	}
}
