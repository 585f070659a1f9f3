// This file is for the guest's tests: the program, and its MQTT clients.

package vm

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"golang.org/x/sys/unix"
)

// patience bounds one step of a story; the machine is slow.
const patience = 30 * time.Second

// program is /bin/postbus with a folder of plugins and its data.
type program struct {
	dir   string // contains plugins and data
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has ended; then cmd's state is valid
	url   string
}

// postbus writes the plugins, runs the program and waits until they all run.
func postbus(t *testing.T, dir string, plugins map[string]string) *program {
	t.Helper()
	if err := os.MkdirAll(dir+"/plugins", 0o755); err != nil {
		t.Fatal(err)
	}
	for id, text := range plugins {
		if err := os.WriteFile(dir+"/plugins/"+id+".yaml", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p := &program{dir: dir}
	t.Cleanup(func() {
		if log, err := os.ReadFile(dir + "/log"); err == nil && t.Failed() {
			fmt.Printf("Output of postbus:\n%s\n", log)
		}
	})
	p.start(t)
	return p
}

func (p *program) start(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(p.dir+"/log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	addr := p.dir + "/addr"
	if err := os.Remove(addr); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	p.cmd = exec.Command("/bin/postbus", "run", "--plugins-dir", p.dir+"/plugins", "--data-dir", p.dir+"/data", "--addr-file", addr,
		"--mqtt", "tcp://127.0.0.1:0", "--http", "off", "--config", p.dir+"/postbus.yaml")
	if err := os.WriteFile(p.dir+"/postbus.yaml", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p.cmd.Env = []string{"HOME=" + p.dir}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	began := time.Now()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd, ended := p.cmd, make(chan struct{})
	p.ended = ended
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() { p.kill() })
	until(t, "postbus to listen", func() bool {
		select {
		case <-ended:
			t.Fatalf("postbus has ended: %v", cmd.ProcessState)
		default:
		}
		text, err := os.ReadFile(addr)
		_, serr := fmt.Sscan(string(text), &p.url)
		return err == nil && serr == nil
	})
	c := connect(t, p, "watch", true, nil)
	defer c.away()
	list, err := filepath.Glob(p.dir + "/plugins/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range list {
		id := filepath.Base(file[:len(file)-len(".yaml")])
		c.subscribe(t, 1, "$bus/plugins/"+id+"/state")
		for s := (status{}); s.State != "running"; {
			s = decode[status](t, c.next(t).Payload())
		}
	}
	fmt.Printf("postbus and %d plugins ran after %s\n", len(list), time.Since(began).Round(time.Millisecond))
}

// kill is kill -9.
func (p *program) kill() {
	_ = p.cmd.Process.Kill() // fails only when it has ended
	<-p.ended
}

// status is the part of $bus/plugins/<id>/state that the tests use.
type status struct {
	State    string   `json:"state"`
	Counters counters `json:"counters"`
}

type counters struct {
	In      int `json:"in"`
	Dropped int `json:"dropped"`
}

func decode[T any](t *testing.T, payload []byte) (v T) {
	t.Helper()
	if err := json.Unmarshal(payload, &v); err != nil {
		t.Fatalf("%s: %v", payload, err)
	}
	return v
}

// client is an MQTT client with all messages that it received.
type client struct {
	mqtt.Client
	got chan mqtt.Message

	mu   sync.Mutex
	conn net.Conn
}

// connect connects a client. each, which may be nil, is called for each message before it is
// acknowledged.
func connect(t *testing.T, p *program, id string, clean bool, each func(mqtt.Message)) *client {
	t.Helper()
	c := &client{got: make(chan mqtt.Message, 100000)}
	o := mqtt.NewClientOptions().AddBroker(p.url).SetClientID(id).SetCleanSession(clean).SetAutoReconnect(false).SetConnectTimeout(patience)
	o.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { // also for messages that arrive before it subscribes again
		if each != nil {
			each(m)
		}
		c.got <- m
	})
	o.SetCustomOpenConnectionFn(func(u *url.URL, _ mqtt.ClientOptions) (net.Conn, error) {
		conn, err := net.DialTimeout("tcp", u.Host, patience)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.conn = conn
		return conn, err
	})
	c.Client = mqtt.NewClient(o)
	await(t, "connecting "+id, c.Connect())
	t.Cleanup(c.away)
	return c
}

func await(t *testing.T, what string, token mqtt.Token) {
	t.Helper()
	if !token.WaitTimeout(patience) {
		t.Fatalf("%s: no answer within %s", what, patience)
	}
	if err := token.Error(); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func (c *client) subscribe(t *testing.T, qos byte, filter string) {
	t.Helper()
	await(t, "subscribing "+filter, c.Subscribe(filter, qos, nil))
}

func (c *client) publish(t *testing.T, topic, payload string) {
	t.Helper()
	await(t, "publishing "+topic, c.Publish(topic, 1, false, payload))
}

func (c *client) next(t *testing.T) mqtt.Message {
	t.Helper()
	select {
	case m := <-c.got:
		return m
	case <-time.After(patience):
		t.Fatalf("nothing came within %s", patience)
		return nil
	}
}

// away disconnects the client like an unplugged cable: without a DISCONNECT.
func (c *client) away() {
	c.mu.Lock()
	c.conn.Close()
	c.mu.Unlock()
	c.Disconnect(0)
}

// until polls a condition that nothing signals.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %s for %s", patience, what)
		}
	}
}

// mount mounts a file system, once.
func mount(t *testing.T, what, where, kind string) {
	t.Helper()
	if err := os.MkdirAll(where, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(what, where, kind, 0, ""); err != nil && !errors.Is(err, unix.EBUSY) {
		t.Fatalf("mounting %s at %s: %v", what, where, err)
	}
}

// write replaces a file in one step, as an editor does.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+"~", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+"~", path); err != nil {
		t.Fatal(err)
	}
}
