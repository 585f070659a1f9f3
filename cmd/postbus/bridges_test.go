package main

// This file tests bridges between real buses: rings of them end, and an event's properties travel.

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	paho5 "github.com/eclipse/paho.golang/paho"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/auth"
	"github.com/postbus/postbus/cmd/postbus/internal/programtest"
)

// bridged is a bus that accepts a bridge as the user link, which is trusted or not.
func bridged(t *testing.T, hash string, believed bool) *ran {
	t.Helper()
	dir := t.TempDir()
	r := &ran{t: t, dir: dir, log: &syncBuffer{}, mqtt: "tcp://" + programtest.FreePort(t)}
	for _, d := range []string{"plugins.d", "secrets"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	r.write("secrets/link", "secret")
	all := `publish: ["#"], subscribe: ["#", "$bus/#", "$SYS/#"]`
	r.write("postbus.yaml", fmt.Sprintf("data_dir: data\nusers: [{name: link, password: %q, %s, bridge: %v}]\nanonymous: {%s}\n", hash, all, believed, all))
	r.start()
	return r
}

// sessions lists the sessions of a running bus.
func (r *ran) sessions() (list []bus.SessionInfo) {
	r.t.Helper()
	resp, err := http.Get(r.http + "/api/v1/sessions")
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil {
		err = json.Unmarshal(b, &list)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return list
}

// settled waits until no bridge has anything to send.
func settled(t *testing.T, buses []*ran) {
	t.Helper()
	soon(t, "the bridges are done", func() bool {
		for _, r := range buses {
			for _, s := range r.sessions() {
				if strings.Contains(s.Name, "next") && s.Lag > 0 {
					return false
				}
			}
		}
		return true
	})
}

func next(t *testing.T, got <-chan string) string {
	t.Helper()
	select {
	case line := <-got:
		return line
	case <-time.After(20 * time.Second):
		t.Fatal("nothing comes")
		return ""
	}
}

// TestARingOfBridgesEnds has three buses in a ring, each with a bridge to the next: an event is
// published at each of them, and is delivered once at each of the others.
func TestARingOfBridgesEnds(t *testing.T) {
	hash, err := auth.Hash("secret")
	if err != nil {
		t.Fatal(err)
	}
	for name, rules := range map[string]string{
		"out":      `out: [{filter: "x/#"}]`,
		"in":       `in: [{filter: "x/#"}]`,
		"both":     `{in: [{filter: "x/#"}], out: [{filter: "x/#"}]}`,
		"renaming": `out: [{filter: "x/#", prefix: "x/"}]`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			buses := []*ran{bridged(t, hash, true), bridged(t, hash, true), bridged(t, hash, true)}
			var got []<-chan string
			for i, r := range buses {
				to := buses[(i+1)%len(buses)]
				got = append(got, r.listen("#"))
				r.write("plugins.d/next.yaml", fmt.Sprintf("source:\n  bridge:\n    url: %s\n    client_id: ring-%d\n    user: link\n    password: secret:link\n    %s\n",
					strings.Replace(to.mqtt, "tcp:", "mqtt:", 1), i, strings.ReplaceAll(strings.Trim(rules, "{}"), ", out", "\n    out")))
				soon(t, "the bridge is connected", func() bool {
					return slices.ContainsFunc(to.sessions(), func(s bus.SessionInfo) bool {
						return s.Name == fmt.Sprint("ring-", i) && s.Online && s.Bridge && (!strings.Contains(rules, "in:") || len(s.Filters) > 0)
					})
				})
				if strings.Contains(rules, "out:") {
					soon(t, "the bridge reads", func() bool {
						return slices.ContainsFunc(r.sessions(), func(s bus.SessionInfo) bool { return strings.Contains(s.Name, "next") && len(s.Filters) > 0 })
					})
				}
			}
			for i, r := range buses {
				r.publish(fmt.Sprint("x/", i), "1")
			}
			came := make([]map[string]int, len(buses))
			for i := range buses { // each event arrives at each bus
				came[i] = map[string]int{}
				for j := range buses {
					want := fmt.Sprint("x/", j, " 1")
					if name == "renaming" {
						want = strings.Repeat("x/", (i-j+len(buses))%len(buses)) + want
					}
					for came[i][want] == 0 {
						came[i][next(t, got[i])]++
					}
				}
			}
			settled(t, buses)
			for i, r := range buses {
				r.publish("end", fmt.Sprint(i))
				for came[i][fmt.Sprint("end ", i)] == 0 {
					came[i][next(t, got[i])]++
				}
				if len(came[i]) != len(buses)+1 {
					t.Errorf("bus %d: %v", i, came[i])
				}
				maxCopies := 1
				if name == "both" { // there are two paths to each of the others
					maxCopies = 2
				}
				for event, n := range came[i] {
					if n > maxCopies || n > 1 && strings.HasPrefix(event, fmt.Sprint("x/", i)) {
						t.Errorf("bus %d has %d of %s", i, n, event)
					}
				}
			}
		})
	}
}

// TestWhatABridgeCarries is one bridge, both ways: the properties of an MQTT 5 client's event
// arrive at the other bus, and its remaining expiry.
func TestWhatABridgeCarries(t *testing.T) {
	t.Parallel()
	hash, err := auth.Hash("secret")
	if err != nil {
		t.Fatal(err)
	}
	here, there := bridged(t, hash, true), bridged(t, hash, false)
	here.write("plugins.d/next.yaml", fmt.Sprintf("source:\n  bridge:\n    url: %s\n    client_id: carries\n    user: link\n    password: secret:link\n    in: [{filter: \"back/#\"}]\n    out: [{filter: \"go/#\"}]\n",
		strings.Replace(there.mqtt, "tcp:", "mqtt:", 1)))
	soon(t, "the bridge is connected", func() bool {
		return slices.ContainsFunc(there.sessions(), func(s bus.SessionInfo) bool { return s.Name == "carries" && len(s.Filters) > 0 }) &&
			slices.ContainsFunc(here.sessions(), func(s bus.SessionInfo) bool { return strings.Contains(s.Name, "next") && len(s.Filters) > 0 })
	})
	here.log.waitFor(t, "does not know our user as a bridge")
	for topic, ways := range map[string][2]*ran{"go/x": {here, there}, "back/x": {there, here}} {
		got := make(chan *paho5.Publish, 10)
		sub := client5(t, ways[1], func(p *paho5.Publish) { got <- p })
		if _, err := sub.Subscribe(t.Context(), &paho5.Subscribe{Subscriptions: []paho5.SubscribeOptions{{Topic: topic, QoS: 1}}}); err != nil {
			t.Fatal(err)
		}
		pub := client5(t, ways[0], nil)
		minute := uint32(60)
		props := &paho5.PublishProperties{ContentType: "text/plain", ResponseTopic: "answers/1", CorrelationData: []byte("7"), MessageExpiry: &minute,
			User: paho5.UserProperties{{Key: "a", Value: "1"}}}
		if _, err := pub.Publish(t.Context(), &paho5.Publish{Topic: topic, QoS: 1, Payload: []byte("on"), Properties: props}); err != nil {
			t.Fatal(err)
		}
		var p *paho5.Publish
		select {
		case p = <-got:
		case <-time.After(20 * time.Second):
			t.Fatal(topic, " does not come")
		}
		q := p.Properties
		if string(p.Payload) != "on" || q.ContentType != "text/plain" || q.ResponseTopic != "answers/1" || string(q.CorrelationData) != "7" || q.User.Get("a") != "1" {
			t.Errorf("%s: %v", topic, p)
		}
		if q.MessageExpiry == nil || *q.MessageExpiry > 60 || *q.MessageExpiry < 30 {
			t.Errorf("%s: expiry %v", topic, q.MessageExpiry)
		}
	}
}

// client5 is an MQTT 5 client of a bus.
func client5(t *testing.T, r *ran, each func(*paho5.Publish)) *paho5.Client {
	t.Helper()
	nc, err := net.Dial("tcp", strings.TrimPrefix(r.mqtt, "tcp://"))
	if err != nil {
		t.Fatal(err)
	}
	c := paho5.NewClient(paho5.ClientConfig{Conn: nc, OnPublishReceived: []func(paho5.PublishReceived) (bool, error){func(p paho5.PublishReceived) (bool, error) {
		if each != nil {
			each(p.Packet)
		}
		return true, nil
	}}})
	if _, err := c.Connect(t.Context(), &paho5.Connect{ClientID: fmt.Sprint("five-", time.Now().UnixNano()), KeepAlive: 30, CleanStart: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Disconnect(&paho5.Disconnect{}) })
	return c
}
