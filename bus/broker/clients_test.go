package broker_test

// This file runs real clients against a real broker: Mosquitto's tools, paho for MQTT 3 and 5, and
// MQTT.js under Node. Each does the same: miss events and get them in order, QoS 2, retained, a
// will.

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	pahov5 "github.com/eclipse/paho.golang/paho"
	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/broker"
)

// realClient is a kind of client. Collected messages are "topic qos retain payload".
type realClient interface {
	// subscribe makes a persistent session with a filter and disconnects.
	subscribe(t *testing.T, id, filter string, qos byte)
	// collect resumes a session until n messages arrived; with a filter it subscribes first.
	collect(t *testing.T, id, filter string, qos byte, n int) []string
	publish(t *testing.T, topic string, qos byte, retain bool, payloads ...string)
	// die connects with the will "bye" of QoS 1 and closes without DISCONNECT.
	die(t *testing.T, id, will string)
}

func TestClients(t *testing.T) {
	t.Parallel()
	for name, make := range map[string]func(t *testing.T, addr string, b *bus.Bus) realClient{
		"mosquitto 3.1.1": func(t *testing.T, addr string, b *bus.Bus) realClient { return newMosquitto(t, addr, b, "mqttv311") },
		"mosquitto 5":     func(t *testing.T, addr string, b *bus.Bus) realClient { return newMosquitto(t, addr, b, "mqttv5") },
		"paho 3.1.1":      func(_ *testing.T, addr string, b *bus.Bus) realClient { return pahoClient{addr, b} },
		"paho 5":          func(_ *testing.T, addr string, b *bus.Bus) realClient { return paho5{addr, b} },
		"MQTT.js 3.1.1":   func(t *testing.T, addr string, _ *bus.Bus) realClient { return newMQTTjs(t, addr, 4) },
		"MQTT.js 5":       func(t *testing.T, addr string, _ *bus.Bus) realClient { return newMQTTjs(t, addr, 5) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr, b := start(t, t.TempDir(), bus.Options{SegmentSize: 1 << 20}, broker.Options{})
			c := make(t, addr, b)
			for qos := byte(1); qos <= 2; qos++ {
				id, topic := fmt.Sprint("missed", qos), fmt.Sprint("missed/", qos)
				var payloads, want []string
				for i := range 300 {
					payloads = append(payloads, fmt.Sprint(i))
					want = append(want, fmt.Sprintf("%s %d 0 %d", topic, qos, i))
				}
				c.subscribe(t, id, topic+"/#", qos)
				c.publish(t, topic, qos, false, payloads...)
				compare(t, c.collect(t, id, "", qos, len(want)), want)
				if qos == 2 {
					c.publish(t, topic, qos, false, "last")
					compare(t, c.collect(t, id, "", qos, 1), []string{topic + " 2 0 last"})
				}
			}
			c.publish(t, "kept", 1, true, "old", "new")
			compare(t, c.collect(t, "kept", "kept", 2, 1), []string{"kept 1 1 new"})
			c.subscribe(t, "heir", "will", 2)
			c.die(t, "mortal", "will")
			compare(t, c.collect(t, "heir", "", 2, 1), []string{"will 1 0 bye"})
		})
	}
}

func compare(t *testing.T, got, want []string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("message %d differs: got %d, want %d messages\ngot  %q\nwant %q", i, len(got), len(want), got[min(i, len(got)):min(i+5, len(got))], want[min(i, len(want)):min(i+5, len(want))])
		}
	}
}

// command runs a client that is a program.
func command(t *testing.T, stdin, name string, args ...string) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s%s", name, args, err, out, errs.Bytes())
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

type mosquitto struct {
	bus  *bus.Bus
	args []string
}

func newMosquitto(t *testing.T, addr string, b *bus.Bus, version string) realClient {
	if _, err := exec.LookPath("mosquitto_sub"); err != nil {
		t.Skip("mosquitto_sub is missing: install the Debian package mosquitto-clients")
	}
	host, port, _ := net.SplitHostPort(addr)
	return mosquitto{b, []string{"-h", host, "-p", port, "-V", version}}
}

func (m mosquitto) session(id, filter string, qos byte, more ...string) []string {
	args := append(m.args[:6:6], "-i", id, "-c", "-q", fmt.Sprint(qos), "-t", filter)
	if m.args[5] == "mqttv5" {
		args = append(args, "-x", "3600")
	}
	return append(args, more...)
}

func (m mosquitto) subscribe(t *testing.T, id, filter string, qos byte) {
	command(t, "", "mosquitto_sub", m.session(id, filter, qos, "-E")...)
}

func (m mosquitto) collect(t *testing.T, id, filter string, qos byte, n int) []string {
	if filter == "" {
		filter = "nothing/else" // mosquitto_sub must subscribe to something
	}
	return command(t, "", "mosquitto_sub", m.session(id, filter, qos, "-C", strconv.Itoa(n), "-F", "%t %q %r %p")...)
}

func (m mosquitto) publish(t *testing.T, topic string, qos byte, retain bool, payloads ...string) {
	args := append(m.args[:6:6], "-l", "-t", topic, "-q", fmt.Sprint(qos))
	if retain {
		args = append(args, "-r")
	}
	command(t, strings.Join(payloads, "\n")+"\n", "mosquitto_pub", args...)
}

func (m mosquitto) die(t *testing.T, id, will string) {
	cmd := exec.Command("mosquitto_sub", append(m.args[:6:6], "-i", id, "-t", "alive", "-C", "1", "--will-topic", will, "--will-payload", "bye", "--will-qos", "1")...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	online := func() bool {
		return slices.ContainsFunc(m.bus.Sessions(), func(i bus.SessionInfo) bool { return i.Name == id && i.Online })
	}
	for end := time.Now().Add(answerTimeout); !online(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Error(id + " does not connect")
			break
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

type mqttjs struct {
	addr    string
	version int
}

func newMQTTjs(t *testing.T, addr string, version int) realClient {
	if _, err := exec.LookPath("node"); err != nil {
		t.Skip("node is missing: install the Debian package nodejs")
	}
	if _, err := os.Stat("testdata/node/node_modules/mqtt"); err != nil {
		t.Skip("MQTT.js is missing: run `npm ci` in bus/broker/testdata/node")
	}
	return mqttjs{addr, version}
}

func (m mqttjs) run(t *testing.T, o map[string]any) []string {
	o["url"], o["version"] = "mqtt://"+m.addr, m.version
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return command(t, "", "node", "testdata/node/client.js", string(b))
}

func (m mqttjs) subscribe(t *testing.T, id, filter string, qos byte) {
	m.run(t, map[string]any{"do": "subscribe", "id": id, "topic": filter, "qos": qos})
}

func (m mqttjs) collect(t *testing.T, id, filter string, qos byte, n int) []string {
	return m.run(t, map[string]any{"do": "collect", "id": id, "topic": filter, "qos": qos, "count": n})
}

func (m mqttjs) publish(t *testing.T, topic string, qos byte, retain bool, payloads ...string) {
	m.run(t, map[string]any{"do": "publish", "id": "pub", "topic": topic, "qos": qos, "retain": retain, "payloads": payloads})
}

func (m mqttjs) die(t *testing.T, id, will string) {
	m.run(t, map[string]any{"do": "die", "id": id, "topic": will})
}

// TestMQTTjsBursts does the same as zigbee2mqtt at its start with version: 5: it publishes all its
// state without waiting for answers. MQTT.js does not limit that, whatever the broker's Receive
// Maximum is.
func TestMQTTjsBursts(t *testing.T) {
	t.Parallel()
	for qos := byte(1); qos <= 2; qos++ {
		t.Run(fmt.Sprint("QoS ", qos), func(t *testing.T) {
			t.Parallel()
			addr, _ := start(t, t.TempDir(), bus.Options{SegmentSize: 1 << 20}, broker.Options{})
			m := newMQTTjs(t, addr, 5).(mqttjs)
			const count = 5000
			m.subscribe(t, "home", "zigbee2mqtt/+", qos)
			m.run(t, map[string]any{"do": "burst", "id": "z2m", "topic": "zigbee2mqtt/lamp", "qos": qos, "count": count})
			var want []string
			for i := range count {
				want = append(want, fmt.Sprintf("zigbee2mqtt/lamp %d 0 %d", qos, i))
			}
			compare(t, m.collect(t, "home", "", qos, count), want)
		})
	}
}

type pahoClient struct {
	addr string
	bus  *bus.Bus
}

// settle returns when the broker has received all acknowledgements of a client: paho writes them
// after the callback.
func settle(b *bus.Bus, id string) {
	for range 500 {
		if !slices.ContainsFunc(b.Sessions(), func(i bus.SessionInfo) bool { return i.Name == id && i.InFlight > 0 }) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (p pahoClient) connect(t *testing.T, id string, clean bool, f paho.MessageHandler, more ...func(*paho.ClientOptions)) paho.Client {
	t.Helper()
	return client(t, p.addr, id, clean, f, more...)
}

func (p pahoClient) subscribe(t *testing.T, id, filter string, qos byte) {
	c := p.connect(t, id, false, nil)
	wait(t, c.Subscribe(filter, qos, nil))
	c.Disconnect(50)
}

func (p pahoClient) collect(t *testing.T, id, filter string, qos byte, n int) (got []string) {
	ch := make(chan string, n+1000)
	c := p.connect(t, id, false, func(_ paho.Client, m paho.Message) {
		r := 0
		if m.Retained() {
			r = 1
		}
		ch <- fmt.Sprintf("%s %d %d %s", m.Topic(), m.Qos(), r, m.Payload())
	})
	defer c.Disconnect(100)
	if filter != "" {
		wait(t, c.Subscribe(filter, qos, nil))
	}
	got = take(t, ch, n)
	settle(p.bus, id)
	return got
}

func take(t *testing.T, ch chan string, n int) (got []string) {
	t.Helper()
	for len(got) < n {
		select {
		case m := <-ch:
			got = append(got, m)
		case <-time.After(time.Minute):
			t.Fatalf("%d of %d messages came", len(got), n)
		}
	}
	return got
}

func (p pahoClient) publish(t *testing.T, topic string, qos byte, retain bool, payloads ...string) {
	c := p.connect(t, "pub", true, nil)
	var tokens []paho.Token
	for _, s := range payloads {
		tokens = append(tokens, c.Publish(topic, qos, retain, s))
	}
	for _, tok := range tokens {
		wait(t, tok)
	}
	c.Disconnect(10)
}

func (p pahoClient) die(t *testing.T, id, will string) {
	var raw net.Conn
	p.connect(t, id, true, nil, func(o *paho.ClientOptions) {
		o.SetWill(will, "bye", 1, false)
		o.SetCustomOpenConnectionFn(func(_ *url.URL, _ paho.ClientOptions) (net.Conn, error) {
			var err error
			raw, err = net.Dial("tcp", p.addr)
			return raw, err
		})
	})
	raw.Close()
}

type paho5 struct {
	addr string
	bus  *bus.Bus
}

// connect returns the client and a function that ends the connection without DISCONNECT.
func (p paho5) connect(t *testing.T, id string, persistent bool, more func(*pahov5.ClientConfig, *pahov5.Connect)) (*pahov5.Client, *pahov5.Connack, func()) {
	t.Helper()
	raw, err := net.Dial("tcp", p.addr)
	if err != nil {
		t.Fatal(err)
	}
	never := uint32(0xFFFFFFFF)
	conf := pahov5.ClientConfig{ClientID: id, Conn: raw}
	cp := &pahov5.Connect{ClientID: id, KeepAlive: 30, CleanStart: !persistent}
	if persistent {
		cp.Properties = &pahov5.ConnectProperties{SessionExpiryInterval: &never}
	}
	if more != nil {
		more(&conf, cp)
	}
	c := pahov5.NewClient(conf)
	ack, err := c.Connect(t.Context(), cp)
	if err != nil {
		t.Fatal(err)
	}
	return c, ack, func() { raw.Close() }
}

func (p paho5) bye(c *pahov5.Client) { _ = c.Disconnect(&pahov5.Disconnect{}) }

func (p paho5) subscribe(t *testing.T, id, filter string, qos byte) {
	c, _, _ := p.connect(t, id, true, nil)
	p.filter(t, c, filter, qos)
	p.bye(c)
}

func (p paho5) filter(t *testing.T, c *pahov5.Client, filter string, qos byte) {
	t.Helper()
	if _, err := c.Subscribe(t.Context(), &pahov5.Subscribe{Subscriptions: []pahov5.SubscribeOptions{{Topic: filter, QoS: qos}}}); err != nil {
		t.Fatal(err)
	}
}

func (p paho5) collect(t *testing.T, id, filter string, qos byte, n int) []string {
	ch := make(chan string, n+1000)
	c, _, _ := p.connect(t, id, true, func(conf *pahov5.ClientConfig, _ *pahov5.Connect) {
		conf.OnPublishReceived = []func(pahov5.PublishReceived) (bool, error){func(r pahov5.PublishReceived) (bool, error) {
			retain := 0
			if r.Packet.Retain {
				retain = 1
			}
			ch <- fmt.Sprintf("%s %d %d %s", r.Packet.Topic, r.Packet.QoS, retain, r.Packet.Payload)
			return true, nil
		}}
	})
	defer p.bye(c)
	if filter != "" {
		p.filter(t, c, filter, qos)
	}
	got := take(t, ch, n)
	settle(p.bus, id)
	return got
}

func (p paho5) publish(t *testing.T, topic string, qos byte, retain bool, payloads ...string) {
	c, _, _ := p.connect(t, "pub", false, nil)
	for _, s := range payloads {
		if _, err := c.Publish(t.Context(), &pahov5.Publish{Topic: topic, QoS: qos, Retain: retain, Payload: []byte(s)}); err != nil {
			t.Fatal(err)
		}
	}
	p.bye(c)
}

func (p paho5) die(t *testing.T, id, will string) {
	_, _, kill := p.connect(t, id, false, func(_ *pahov5.ClientConfig, cp *pahov5.Connect) {
		cp.WillMessage = &pahov5.WillMessage{Topic: will, Payload: []byte("bye"), QoS: 1}
	})
	kill()
}

// TestPaho5 tests what only MQTT 5 has: a takeover is reported, CONNACK states the limits, Receive
// Maximum is respected.
func TestPaho5(t *testing.T) {
	t.Parallel()
	addr, b := start(t, t.TempDir(), bus.Options{SegmentSize: 1 << 20}, broker.Options{})
	p := paho5{addr, b}
	received := make(chan byte, 1)
	first, ack, _ := p.connect(t, "s", true, func(conf *pahov5.ClientConfig, _ *pahov5.Connect) {
		conf.OnServerDisconnect = func(d *pahov5.Disconnect) { received <- d.ReasonCode }
	})
	if ack.SessionPresent {
		t.Error("a new session is present")
	}
	if m := ack.Properties.ReceiveMaximum; m == nil || *m != 65535 {
		t.Errorf("Receive Maximum %v in CONNACK", m)
	}
	p.filter(t, first, "t", 1)
	ch := make(chan *pahov5.Publish, 100)
	second, ack, _ := p.connect(t, "s", true, func(conf *pahov5.ClientConfig, cp *pahov5.Connect) {
		max := uint16(3)
		cp.Properties.ReceiveMaximum = &max
		conf.EnableManualAcknowledgment = true
		conf.OnPublishReceived = []func(pahov5.PublishReceived) (bool, error){func(r pahov5.PublishReceived) (bool, error) {
			ch <- r.Packet
			return true, nil
		}}
	})
	select {
	case code := <-received:
		if code != 0x8E {
			t.Errorf("DISCONNECT %x on a takeover", code)
		}
	case <-time.After(time.Minute):
		t.Error("no DISCONNECT on a takeover")
	}
	if !ack.SessionPresent {
		t.Error("the session is not present after a takeover")
	}
	var payloads []string
	for i := range 20 {
		payloads = append(payloads, fmt.Sprint(i))
	}
	p.publish(t, "t", 1, false, payloads...)
	for i := 0; i < 20; {
		time.Sleep(20 * time.Millisecond)
		n := len(ch)
		if n > 3 {
			t.Fatalf("%d deliveries in flight, Receive Maximum is 3", n)
		}
		for range n {
			m := <-ch
			if string(m.Payload) != fmt.Sprint(i) {
				t.Fatalf("got %s, want %d", m.Payload, i)
			}
			if err := second.Ack(m); err != nil {
				t.Fatal(err)
			}
			i++
		}
	}
	p.bye(second)
}
