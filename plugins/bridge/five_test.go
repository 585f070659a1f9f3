package bridge

// This file tests MQTT 5 with a simulated remote, and with a real one.

import (
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v5 "github.com/eclipse/paho.golang/packets"

	"github.com/postbus/postbus/plugins/kind"
)

// remote5 is a simulated remote of MQTT 5; its CONNACK has the given properties.
func remote5(t *testing.T, connack func(*v5.Connack), play func(n int, c net.Conn)) (url string) {
	url = fakeRemote(t, nil, func(n int, c net.Conn) {
		if _, err := v5.ReadPacket(c); err != nil {
			return
		}
		a := v5.NewControlPacket(v5.CONNACK)
		if connack != nil {
			connack(a.Content.(*v5.Connack))
		}
		_, _ = a.WriteTo(c)
		play(n, c)
	})
	threeOnly.Delete(strings.TrimPrefix(url, "mqtt://"))
	return url
}

// serve5 answers SUBSCRIBE and PINGREQ until the connection ends, and gives each the PUBLISH
// packets.
func serve5(c net.Conn, each func(*v5.Publish)) {
	for {
		p, err := v5.ReadPacket(c)
		if err != nil {
			return
		}
		switch p := p.Content.(type) {
		case *v5.Subscribe:
			a := v5.NewControlPacket(v5.SUBACK)
			a.Content.(*v5.Suback).PacketID = p.PacketID
			for _, s := range p.Subscriptions {
				a.Content.(*v5.Suback).Reasons = append(a.Content.(*v5.Suback).Reasons, s.QoS)
				if !s.NoLocal || !s.RetainAsPublished {
					a.Content.(*v5.Suback).Reasons[0] = 0x80
				}
			}
			_, _ = a.WriteTo(c)
		case *v5.Pingreq:
			_, _ = v5.NewControlPacket(v5.PINGRESP).WriteTo(c)
		case *v5.Publish:
			each(p)
		}
	}
}

func ack5(c net.Conn, id uint16, code byte) {
	a := v5.NewControlPacket(v5.PUBACK)
	a.Content.(*v5.Puback).PacketID, a.Content.(*v5.Puback).ReasonCode = id, code
	_, _ = a.WriteTo(c)
}

func outOnly(url string) Options {
	o := options(url)
	o.Out = []Out{{Filter: "#"}}
	return o
}

func user(p *v5.Publish, key string) string {
	for _, u := range p.Properties.User {
		if u.Key == key {
			return u.Value
		}
	}
	return ""
}

func TestWhatTravelsOut(t *testing.T) {
	got := make(chan *v5.Publish, 10)
	url := remote5(t, nil, func(_ int, c net.Conn) {
		serve5(c, func(p *v5.Publish) { got <- p; ack5(c, p.PacketID, 0) })
	})
	b := newBus()
	one := byte(1)
	props := (&v5.Properties{PayloadFormat: &one, ContentType: "text/plain", ResponseTopic: "answers", CorrelationData: []byte{1, 0}, User: []v5.User{{Key: "a", Value: "1"}, {Key: "a", Value: "2"}}}).Pack(v5.PUBLISH)
	offer(b, "client:x", "cmd", "on", false, map[string]any{"properties": props, "expiry": time.Minute, "hops": 3})
	offer(b, "plugin:other", "came", "from afar", false, map[string]any{"properties": (&v5.Properties{User: []v5.User{{Key: originProp, Value: "elsewhere"}}}).Pack(v5.PUBLISH)})
	offer(b, "client:x", "malformed", "", false, map[string]any{"properties": []byte{0x26, 0xff}})
	offer(b, "client:x", "round", "", false, map[string]any{"hops": maxHops})
	offer(b, "client:x", "last", "", false)
	run(t, outOnly(url), b, nil, nil)
	p := <-got
	if q := p.Properties; q.ContentType != "text/plain" || q.ResponseTopic != "answers" || string(q.CorrelationData) != "\x01\x00" || *q.PayloadFormat != 1 || *q.MessageExpiry < 50 || *q.MessageExpiry > 60 {
		t.Errorf("%v", p)
	}
	if want := []v5.User{{Key: "a", Value: "1"}, {Key: "a", Value: "2"}, {Key: hopsProp, Value: "4"}, {Key: originProp, Value: "here"}}; !reflect.DeepEqual(p.Properties.User, want) {
		t.Errorf("%v", p.Properties.User)
	}
	if p := <-got; user(p, originProp) != "elsewhere" || user(p, hopsProp) != "1" || len(p.Properties.User) != 2 {
		t.Errorf("%v", p)
	}
	if p := <-got; p.Topic != "malformed" || user(p, hopsProp) != "1" {
		t.Errorf("%v", p)
	}
	if p := <-got; p.Topic != "last" {
		t.Errorf("%v", p)
	}
	b.Eventually(t, "all are acknowledged", func() bool { return b.Acknowledged() == 5 && b.Losses[loopReason] == 1 })
}

func TestWhatTravelsIn(t *testing.T) {
	minute := uint32(60)
	one := byte(1)
	send := func(c net.Conn, p *v5.Publish) { _, _ = p.ToControlPacket().WriteTo(c) }
	acks := make(chan uint16, 10)
	url := remote5(t, nil, func(_ int, c net.Conn) {
		alias := 7
		send(c, &v5.Publish{Topic: "a", Payload: []byte("on"), QoS: 1, PacketID: 1, Retain: true, Properties: &v5.Properties{ContentType: "text/plain", MessageExpiry: &minute, PayloadFormat: &one,
			SubscriptionIdentifier: &alias, User: []v5.User{{Key: "k", Value: "v"}, {Key: hopsProp, Value: "2"}, {Key: originProp, Value: "elsewhere"}}}})
		send(c, &v5.Publish{Topic: "ours", QoS: 1, PacketID: 2, Properties: &v5.Properties{User: []v5.User{{Key: originProp, Value: "here"}}}})
		send(c, &v5.Publish{Topic: "round", QoS: 1, PacketID: 3, Properties: &v5.Properties{User: []v5.User{{Key: hopsProp, Value: "16"}}}})
		send(c, &v5.Publish{Topic: "bad", QoS: 1, PacketID: 4, Properties: &v5.Properties{ContentType: "\xff"}})
		send(c, &v5.Publish{Topic: "b", Payload: []byte{0xff}, QoS: 1, PacketID: 5, Properties: &v5.Properties{PayloadFormat: &one}})
		for {
			p, err := v5.ReadPacket(c)
			if err != nil {
				return
			}
			if a, ok := p.Content.(*v5.Puback); ok {
				acks <- a.PacketID
			}
		}
	})
	b := newBus()
	r := run(t, inOnly(url), b, nil, nil)
	for want := uint16(1); want <= 5; want++ {
		if id := <-acks; id != want {
			t.Errorf("PUBACK %d, not %d", id, want)
		}
	}
	b.Mu.Lock()
	defer b.Mu.Unlock()
	if len(r.events) != 2 {
		t.Fatalf("%v", r.events)
	}
	f := r.events[0]
	props, _ := unpackProps(f["properties"].([]byte))
	if props.ContentType != "text/plain" || *props.PayloadFormat != 1 || props.MessageExpiry != nil || props.SubscriptionIdentifier != nil ||
		!reflect.DeepEqual(props.User, []v5.User{{Key: "k", Value: "v"}, {Key: originProp, Value: "elsewhere"}}) {
		t.Errorf("%v", props)
	}
	if f["hops"] != 2 || f["retain"] != true || f["expiry"].(time.Duration) > time.Minute || f["expiry"].(time.Duration) < 50*time.Second {
		t.Errorf("%v", f)
	}
	if f := r.events[1]; f["topic"] != "b" || f["properties"] != nil || f["expiry"] != nil {
		t.Errorf("%v", f)
	}
	if b.Losses[loopReason] != 1 || b.Losses["a message of the remote with malformed properties: a property is not UTF-8"] != 1 {
		t.Errorf("%v", b.Losses)
	}
}

// An event that waits longer than its expiry is lost, and reported as lost, also on the way to a
// remote of MQTT 3.1.1.
func TestExpiredWhileTheRemoteIsAway(t *testing.T) {
	for name, three := range map[string]bool{"MQTT 5": false, "MQTT 3.1.1": true} {
		t.Run(name, func(t *testing.T) {
			m := newMosquitto(t, "")
			there := newClient(t, m.url(), "there", "#")
			m.stop()
			b := newBus()
			expiry := map[string]any{"expiry": time.Minute}
			offer(b, "client:x", "cmd", "0", false, expiry)
			offer(b, "client:x", "cmd", "1", false, expiry)
			offer(b, "client:x", "cmd", "2", false, expiry, map[string]any{"time": time.Now().Add(-time.Minute)}) // it expired while it waited
			run(t, outOnly(m.url()), b, func(s *Source) { s.link.noFive = three }, nil)
			b.Eventually(t, "degraded", func() bool { return len(b.Conditions) > 0 })
			m.start()
			got, _ := there.until(2)
			b.Eventually(t, "all are acknowledged", func() bool { return b.Acknowledged() == 3 })
			if b.Losses["expired before it was sent to the remote"] != 1 || !reflect.DeepEqual(got, []string{"cmd=0", "cmd=1"}) {
				t.Errorf("%v %q", b.Losses, got)
			}
		})
	}
}

// An event that the remote refuses is sent again if that may help, and is lost and counted
// otherwise.
func TestRefusedEvents(t *testing.T) {
	var refusals atomic.Int32
	url := remote5(t, nil, func(_ int, c net.Conn) {
		serve5(c, func(p *v5.Publish) {
			switch {
			case p.Topic == "full" && refusals.Add(1) <= 2:
				ack5(c, p.PacketID, 0x97)
			case p.Topic == "secret":
				ack5(c, p.PacketID, 0x87)
			default:
				ack5(c, p.PacketID, 0x10) // no matching subscribers: a success
			}
		})
	})
	b := newBus()
	for _, topic := range []string{"a", "secret", "full", "b"} {
		offer(b, "client:x", topic, "", false)
	}
	run(t, outOnly(url), b, nil, nil)
	b.Eventually(t, "all are acknowledged", func() bool { return b.Acknowledged() == 4 })
	b.Mu.Lock()
	defer b.Mu.Unlock()
	if !reflect.DeepEqual(b.Losses, map[string]int{"it refused an event: we are not authorized": 1}) {
		t.Errorf("%v", b.Losses)
	}
	if !slices.ContainsFunc(b.Conditions, func(s string) bool { return strings.Contains(s, "it refused an event: a quota is used up") }) {
		t.Errorf("%q", b.Conditions)
	}
}

// The limits in the remote's CONNACK hold.
func TestTheRemotesLimits(t *testing.T) {
	two, no, thousand := uint16(2), byte(0), uint32(1000)
	got := make(chan *v5.Publish, 100)
	var open atomic.Int32
	url := remote5(t, func(a *v5.Connack) {
		a.Properties.ReceiveMaximum, a.Properties.RetainAvailable, a.Properties.MaximumPacketSize = &two, &no, &thousand
	}, func(_ int, c net.Conn) {
		serve5(c, func(p *v5.Publish) {
			if n := open.Add(1); n > 2 {
				t.Errorf("%d in flight", n)
			}
			got <- p
			if p.Topic == "t/0" { // it is acknowledged with the second, so that two are always in flight
				return
			}
			open.Add(-1)
			ack5(c, p.PacketID-1, 0)
			if p.Topic == "fits" {
				ack5(c, p.PacketID, 0)
			}
		})
	})
	b := newBus()
	for i := range 5 {
		offer(b, "client:x", fmt.Sprint("t/", i), "x", true)
	}
	offer(b, "client:x", "fits", strings.Repeat("x", 850), false)
	offer(b, "client:x", "large", strings.Repeat("x", 1000), false)
	run(t, outOnly(url), b, nil, nil)
	for i := range 5 {
		p := <-got
		if p.Topic != fmt.Sprint("t/", i) || p.Retain {
			t.Errorf("%v", p)
		}
	}
	if p := <-got; p.Topic != "fits" {
		t.Errorf("%v", p)
	}
	b.Eventually(t, "all are acknowledged", func() bool { return b.Acknowledged() == 7 })
	if b.Losses["larger than the remote's maximum packet size"] != 1 {
		t.Errorf("%v", b.Losses)
	}
}

// A remote that ends the connection says why.
func TestTheRemoteDisconnects(t *testing.T) {
	url := remote5(t, nil, func(n int, c net.Conn) {
		if n == 0 {
			d := v5.NewControlPacket(v5.DISCONNECT)
			d.Content.(*v5.Disconnect).ReasonCode = 0x8E
			_, _ = d.WriteTo(c)
			return
		}
		serve5(c, func(*v5.Publish) {})
	})
	b := newBus()
	run(t, inOnly(url), b, nil, nil)
	b.Eventually(t, "it is said, and connected again", func() bool {
		return connected(b)() && slices.ContainsFunc(b.Conditions, func(s string) bool { return strings.Contains(s, "another connection has our client_id") })
	})
	// It has spoken MQTT 5: when it closes a connection without an answer, that is no reason to
	// fall back.
	l := options(url).link()
	l.spokeFive = true
	dead := fakeRemote(t, nil, func(_ int, c net.Conn) {
		if v := (&sniffed{Conn: c}).version(); v != 5 {
			t.Errorf("version %x", v)
		}
	})
	l.addr = strings.TrimPrefix(dead, "mqtt://")
	if _, err := l.connect(t.Context(), false); err == nil {
		t.Error("connected")
	}
}

// An action's message that is refused permanently isn't retried.
func TestActionOfMQTT5(t *testing.T) {
	url := remote5(t, nil, func(_ int, c net.Conn) {
		serve5(c, func(p *v5.Publish) {
			switch p.Topic {
			case "secret":
				ack5(c, p.PacketID, 0x87)
			case "full":
				ack5(c, p.PacketID, 0x97)
			default:
				ack5(c, p.PacketID, 0)
			}
		})
	})
	o := actionDefaults()
	o.URL = url
	a := NewAction(o, newBus())
	defer a.Close()
	for topic, want := range map[string]string{"a": "<nil>", "secret": "permanent", "full": "again"} {
		err := a.Do(t.Context(), Args{Topic: topic})
		got := "again"
		if kind.IsPermanent(err) {
			got = "permanent"
		} else if err == nil {
			got = "<nil>"
		}
		if got != want {
			t.Errorf("%s: %v", topic, err)
		}
	}
}
