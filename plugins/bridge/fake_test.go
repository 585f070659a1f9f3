package bridge

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/postbus/postbus/bus/topic"
)

const self = "plugin:garden"

func TestMain(m *testing.M) {
	before := runtime.NumGoroutine()
	code := m.Run()
	for end := time.Now().Add(time.Minute); code == 0 && !fuzzing() && runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			buf := make([]byte, 1<<20)
			fmt.Printf("%d goroutines, %d before\n%s\n", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
			code = 1
			break
		}
	}
	os.Exit(code)
}

// fakeEnv is a small bus: a journal, and one cursor in it that advances at acknowledgements.
type fakeEnv struct {
	t  *testing.T
	mu sync.Mutex

	journal []map[string]any
	place   int // all before it are acknowledged
	acked   map[int]bool
	more    chan struct{} // closed and replaced at every change

	degraded []string
	lost     map[string]int
}

func newEnv(t *testing.T) *fakeEnv {
	return &fakeEnv{t: t, acked: map[int]bool{}, more: make(chan struct{}), lost: map[string]int{}}
}

func (e *fakeEnv) Log() *slog.Logger { return slog.New(slog.DiscardHandler) }
func (e *fakeEnv) Source() string    { return self }
func (e *fakeEnv) Origin() string    { return "here" }
func (e *fakeEnv) Degraded(err error) {
	e.change(func() { e.degraded = append(e.degraded, fmt.Sprint(err)) })
}
func (e *fakeEnv) Lost(n int, reason string) { e.change(func() { e.lost[reason] += n }) }

func (e *fakeEnv) change(f func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	f()
	close(e.more)
	e.more = make(chan struct{})
}

// publish puts an event in the journal.
func (e *fakeEnv) publish(source, topic, payload string, retain bool) {
	e.change(func() {
		e.journal = append(e.journal, map[string]any{"topic": topic, "payload": []byte(payload), "qos": 1, "retain": retain, "source": source, "time": time.Now(), "seq": uint64(len(e.journal) + 1), "redelivered": false})
	})
}

// Consume replays the journal from the cursor, and then follows it.
func (e *fakeEnv) Consume(ctx context.Context, name string, filters []string, each func(map[string]any, func(error))) error {
	var out sync.WaitGroup
	defer out.Wait() // as the bus does: an event that is never done keeps it from ending
	e.mu.Lock()
	at := e.place
	e.mu.Unlock()
	for {
		e.mu.Lock()
		more := e.more
		var m map[string]any
		if at < len(e.journal) {
			m = e.journal[at]
		}
		e.mu.Unlock()
		if m == nil {
			select {
			case <-more:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		i := at
		at++
		wanted := false
		for _, f := range filters {
			wanted = wanted || topic.Match(f, m["topic"].(string))
		}
		out.Add(1)
		ack := func(err error) {
			defer out.Done()
			if err != nil {
				return
			}
			e.change(func() {
				e.acked[i] = true
				for e.acked[e.place] {
					e.place++
				}
			})
		}
		if !wanted {
			ack(nil)
			continue
		}
		each(m, ack)
	}
}

// until waits for a condition on what e holds.
func (e *fakeEnv) until(what string, cond func() bool) {
	e.t.Helper()
	end := time.After(time.Minute)
	for {
		e.mu.Lock()
		ok, more := cond(), e.more
		e.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-more:
		case <-end:
			e.mu.Lock()
			defer e.mu.Unlock()
			e.t.Fatalf("waited too long: %s; %d of %d acknowledged, degraded %q, lost %v", what, e.place, len(e.journal), e.degraded, e.lost)
		}
	}
}

// connected returns a condition: the source reports no error, so it is subscribed.
func (e *fakeEnv) connected() func() bool {
	return func() bool { return len(e.degraded) > 0 && e.degraded[len(e.degraded)-1] == "<nil>" }
}

// running is a source that runs. Its events are appended to a list and, as passthrough does, to the
// journal.
type running struct {
	env    *fakeEnv
	events []map[string]any
	stop   func() error
}

// run starts a source. hold, if not nil, says which events are not acknowledged.
func run(t *testing.T, o Options, env *fakeEnv, change func(*Source), hold func(f map[string]any) bool) *running {
	t.Helper()
	if errs := o.Check(); errs != nil {
		t.Fatal(errs)
	}
	s := New(o, env)
	s.first, s.longest = 10*time.Millisecond, 50*time.Millisecond
	asks(&s.link)
	s.told = "not connected yet" // so that the source reports when it is connected
	if change != nil {
		change(s)
	}
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := &running{env: env}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- s.Stream(ctx, func(ctx context.Context, _ time.Time, f map[string]any, done func(error)) error {
			env.change(func() { r.events = append(r.events, f) })
			if hold != nil && hold(f) {
				return nil
			}
			env.publish(self, f["topic"].(string), string(f["payload"].([]byte)), f["retain"].(bool))
			done(nil)
			return nil
		})
	}()
	var once sync.Once
	var err error
	r.stop = func() error {
		once.Do(func() {
			cancel()
			select {
			case err = <-ended:
			case <-time.After(time.Minute):
				err = errors.New("it doesn't end")
			}
		})
		return err
	}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
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

// fuzzing reports whether the test's program is fuzzing, which leaves goroutines behind.
func fuzzing() bool { return flag.Lookup("test.fuzz").Value.String() != "" }
