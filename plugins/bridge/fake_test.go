package bridge

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/postbus/postbus/bus/topic"
	"github.com/postbus/postbus/plugins/kind/kindtest"
)

func TestMain(m *testing.M) { kindtest.Main(m) }

// newBus makes a bus whose Consume delivers the events that match its filters.
func newBus() *kindtest.Bus {
	b := kindtest.NewBus()
	b.Consuming.Match = topic.Match
	return b
}

// offer offers an event; more are further fields.
func offer(b *kindtest.Bus, source, topic, payload string, retain bool, more ...map[string]any) {
	e := map[string]any{"topic": topic, "payload": []byte(payload), "qos": 1, "retain": retain, "source": source, "time": time.Now()}
	for _, m := range more {
		maps.Copy(e, m)
	}
	b.Offer(e)
}

// locked calls f with the lock that Eventually holds while it looks.
func locked(b *kindtest.Bus, f func()) {
	b.Mu.Lock()
	defer b.Mu.Unlock()
	f()
}

// connected returns a condition: the source reports no error, so it is subscribed.
func connected(b *kindtest.Bus) func() bool { return func() bool { return b.Last() == "<nil>" } }

// running is a source that runs. Its events are appended to a list, which b.Mu protects, and, as
// passthrough does, published.
type running struct {
	events []map[string]any
	stop   func()
}

// run starts a source. hold, if not nil, says which events are not acknowledged.
func run(t *testing.T, o Options, b *kindtest.Bus, change func(*Source), hold func(f map[string]any) bool) *running {
	t.Helper()
	if errs := o.Check(); errs != nil {
		t.Fatal(errs)
	}
	s := New(o, b)
	s.first, s.longest = 10*time.Millisecond, 50*time.Millisecond
	asks(&s.link)
	s.reported = "not connected yet" // so that the source reports when it is connected
	if change != nil {
		change(s)
	}
	r := &running{}
	r.stop = b.Start(t, s, func(ctx context.Context) error {
		return s.Stream(ctx, func(_ context.Context, _ time.Time, f map[string]any, done func(error)) error {
			locked(b, func() { r.events = append(r.events, f) })
			if hold != nil && hold(f) {
				return nil
			}
			offer(b, b.Source(), f["topic"].(string), string(f["payload"].([]byte)), f["retain"].(bool))
			done(nil)
			return nil
		})
	})
	return r
}

func (r *running) topics() []string {
	var all []string
	for _, f := range r.events {
		all = append(all, fmt.Sprintf("%s=%s", f["topic"], f["payload"]))
	}
	return all
}

// mosquitto is a real broker that can be stopped and started.
type mosquitto struct {
	t    *testing.T
	dir  string
	port int
	cmd  *exec.Cmd
}

func newMosquitto(t *testing.T, more string) *mosquitto {
	t.Helper()
	if _, err := exec.LookPath("mosquitto"); err != nil {
		t.Skip("needs Debian's mosquitto")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &mosquitto{t: t, dir: t.TempDir(), port: l.Addr().(*net.TCPAddr).Port}
	l.Close()
	conf := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location %s/\nmax_queued_messages 0\nuser root\n%s\n", m.port, m.dir, more)
	if err := os.WriteFile(filepath.Join(m.dir, "conf"), []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	m.start()
	t.Cleanup(m.stop)
	return m
}

func (m *mosquitto) url() string { return fmt.Sprintf("mqtt://127.0.0.1:%d", m.port) }

func (m *mosquitto) start() {
	m.t.Helper()
	var log bytes.Buffer
	m.cmd = exec.Command("mosquitto", "-c", filepath.Join(m.dir, "conf"))
	m.cmd.Stderr = &log
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", m.port))
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(end) {
			m.t.Fatalf("mosquitto: %v: %s", err, &log)
		}
	}
}

// stop stops it as an upgrade does: it saves its sessions.
func (m *mosquitto) stop() {
	if m.cmd == nil {
		return
	}
	_ = m.cmd.Process.Signal(os.Interrupt)
	_ = m.cmd.Wait()
	m.cmd = nil
}

// client is another client of the remote, with a persistent session.
type client struct {
	t    *testing.T
	c    paho.Client
	mu   sync.Mutex
	got  []string
	more chan struct{}
}

func newClient(t *testing.T, url, id, filter string) *client {
	t.Helper()
	c := &client{t: t, more: make(chan struct{}, 1)}
	o := paho.NewClientOptions().AddBroker(url).SetClientID(id).SetCleanSession(false).SetMaxReconnectInterval(50 * time.Millisecond).SetConnectRetry(true).SetConnectRetryInterval(20 * time.Millisecond)
	o.SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) {
		c.mu.Lock()
		s := fmt.Sprintf("%s=%s", m.Topic(), m.Payload())
		if m.Retained() {
			s += " retained"
		}
		c.got = append(c.got, s)
		c.mu.Unlock()
		select {
		case c.more <- struct{}{}:
		default:
		}
	})
	c.c = paho.NewClient(o)
	c.do(c.c.Connect())
	if filter != "" {
		c.do(c.c.Subscribe(filter, 1, nil))
	}
	t.Cleanup(func() { c.c.Disconnect(50) })
	return c
}

func (c *client) do(tok paho.Token) {
	c.t.Helper()
	if !tok.WaitTimeout(time.Minute) || tok.Error() != nil {
		c.t.Fatal("paho:", tok.Error())
	}
}

func (c *client) publish(topic, payload string) {
	c.t.Helper()
	c.do(c.c.Publish(topic, 1, false, payload))
}

// until waits for n different messages. It returns them in the order of their first arrival, and
// the total number of messages.
func (c *client) until(n int) (first []string, all int) {
	c.t.Helper()
	end := time.After(time.Minute)
	for {
		seen := map[string]bool{}
		first = nil
		c.mu.Lock()
		for _, g := range c.got {
			if !seen[g] {
				seen[g] = true
				first = append(first, g)
			}
		}
		all = len(c.got)
		c.mu.Unlock()
		if len(first) >= n {
			return first, all
		}
		select {
		case <-c.more:
		case <-end:
			c.t.Fatalf("%d of %d came: %s", len(first), n, strings.Join(first[max(0, len(first)-5):], " "))
		}
	}
}

// edit replaces text in a file.
func edit(t *testing.T, path, old, new string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(b), old) {
		t.Fatal(err, "nothing to replace")
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(b), old, new, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}
