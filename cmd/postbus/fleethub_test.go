package main

// This file runs hubs and the buses of a fleet as real programs, which tests kill and start again.

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/cmd/postbus/internal/programtest"
)

// hubServer builds nats-server once. The folder is removed at the end of all tests.
var hubServer = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "postbus-hub")
	if err != nil {
		return "", err
	}
	builtIn.Store(&dir)
	file := filepath.Join(dir, "nats-server")
	if out, err := exec.Command("go", "build", "-o", file, "github.com/nats-io/nats-server/v2").CombinedOutput(); err != nil {
		return "", fmt.Errorf("building nats-server: %w\n%s", err, out)
	}
	return file, nil
})

// fleetHub is a hub, which runs as a program of its own.
type fleetHub struct {
	*killed
	addr   string // host and port
	config string // the file
	log    *syncBuffer
}

// newHub starts a hub on loopback; more is a part of its configuration. It is killed at the end of the test.
func newHub(t *testing.T, more string) *fleetHub {
	t.Helper()
	path, err := hubServer()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	h := &fleetHub{addr: programtest.FreePort(t), config: filepath.Join(dir, "hub.conf"), log: &syncBuffer{}}
	h.configure(t, more)
	h.killed = &killed{t: t, path: path, args: []string{"-c", h.config}, log: h.log}
	t.Cleanup(func() {
		if h.cmd != nil {
			h.kill()
		}
	})
	h.start()
	return h
}

// configure writes the hub's configuration, for its next start. Without a store in more it has one in its folder.
func (h *fleetHub) configure(t *testing.T, more string) {
	t.Helper()
	text := fmt.Sprintf("listen: %q\nserver_name: hub\n%s\n", h.addr, more)
	if !strings.Contains(more, "jetstream") {
		text += fmt.Sprintf("jetstream { store_dir: %q }\n", filepath.Join(filepath.Dir(h.config), "store"))
	}
	save(t, h.config, []byte(text))
}

func (h *fleetHub) url() string { return "nats://" + h.addr }

// start waits until clients can connect.
func (h *fleetHub) start() {
	h.t.Helper()
	h.killed.start()
	soon(h.t, "the hub listens", func() bool {
		c, err := net.Dial("tcp", h.addr)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// hubBus is a bus of a fleet, which runs as a program of its own.
type hubBus struct {
	*killed
	name, dir string
	mqtt, api string
	log       *syncBuffer
	more      string // further keys of the config
}

// everything shares and takes all below ev.
const everything = `share: [{filter: "ev/#"}], take: [{filter: "ev/#"}], since: all`

// newFleetBus does not start the bus. entries are those of the key fleet, without the bus's name.
func newFleetBus(t *testing.T, name string, entries ...string) *hubBus {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{"plugins.d", "secrets"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	b := &hubBus{name: name, dir: dir, mqtt: "tcp://" + programtest.FreePort(t), api: programtest.FreePort(t), log: &syncBuffer{}}
	b.configure(entries...)
	b.killed = newKilled(t, b.log, "run", "--config", b.file("postbus.yaml"), "--mqtt", b.mqtt, "--http", b.api, "--log-level", "info")
	b.api = "http://" + b.api
	return b
}

func (b *hubBus) file(name string) string { return filepath.Join(b.dir, name) }

// configure writes the config, for the next start.
func (b *hubBus) configure(entries ...string) {
	text := "data_dir: data\nretention: {age: 24h, size: 8GiB}\n" + b.more
	if len(entries) > 0 {
		text += "fleet:\n"
	}
	for _, e := range entries {
		text += fmt.Sprintf("  - {bus: %s, %s}\n", b.name, e)
	}
	if err := os.WriteFile(b.file("postbus.yaml"), []byte(text), 0o600); err != nil {
		panic(err)
	}
}

// entry is an entry of the fleet home.
func entry(hub, more string) string { return fmt.Sprintf("name: home, hub: [%q], %s", hub, more) }

// start waits until the bus is ready.
func (b *hubBus) start() {
	b.t.Helper()
	b.killed.start()
	soon(b.t, b.name+" is ready", func() bool { return ask(b.api+"/readyz", nil) })
}

// end stops the bus in order.
func (b *hubBus) end() {
	b.t.Helper()
	if err := b.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		b.t.Fatal(err)
	}
	if err := b.cmd.Wait(); err != nil {
		b.t.Errorf("%s ends: %v\n%s", b.name, err, b.log)
	}
	b.cmd = nil
}

// values are the retained values that match.
func (b *hubBus) values(filter string) map[string]string {
	var list []struct{ Topic, Payload string }
	if !ask(b.api+"/api/v1/topics?limit=10000&filter="+url.QueryEscape(filter), &list) {
		return nil
	}
	values := map[string]string{}
	for _, v := range list {
		values[v.Topic] = v.Payload
	}
	return values
}

// journal calls do with the journal of a bus that has ended.
func (b *hubBus) journal(do func(*bus.Bus)) {
	b.t.Helper()
	j, err := bus.Open(context.Background(), bus.Options{Dir: b.file("data"), Pins: []string{"fleet/home/0", "fleet/home/1"}})
	if err != nil {
		b.t.Fatal(err)
	}
	defer j.Close()
	do(j)
}

// events are the events below ev in the journal of a bus that has ended, by the bus that they are of, in their order.
func (b *hubBus) events() map[string][]string {
	b.t.Helper()
	list := map[string][]string{}
	b.journal(func(j *bus.Bus) {
		err := j.History(context.Background(), "ev/#", bus.Since{Seq: 1}, func(e bus.Event) bool {
			of := e.Origin.Bus
			if of == "" {
				of = b.name
			}
			list[of] = append(list[of], e.Topic+" "+string(e.Payload))
			return true
		})
		if err != nil {
			b.t.Error(err)
		}
	})
	return list
}

// program runs a command of the program in this process.
func program(args ...string) (code int, out, errs string) {
	var o, e bytes.Buffer
	m := Main{Stdin: strings.NewReader(""), Stdout: &o, Stderr: &e}
	code = m.Run(context.Background(), args)
	return code, o.String(), e.String()
}

// initFleet makes the stream on the hub, as a user does.
func (b *hubBus) initFleet(more ...string) {
	b.t.Helper()
	soon(b.t, "the stream is made", func() bool {
		code, _, errs := program(append([]string{"fleet", "init", "--config", b.file("postbus.yaml")}, more...)...)
		if code != 0 {
			b.t.Log(errs)
		}
		return code == 0
	})
}

// awaited waits longer than soon does, for what a whole backlog has to pass.
func awaited(t *testing.T, limit time.Duration, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !f(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never came true: %s", what)
		}
	}
}
