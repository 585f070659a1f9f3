package main

// This file kills the real programs and the databases while events are stored.

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

var killedEvents = flag.Int("sql.events", 30_000, "how many events TestKilledWhileItStores publishes")

// programs builds postbus and postbus-sql, and returns their folder.
func programs(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("needs the go command")
	}
	dir := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", dir+"/", "../postbus", ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return dir
}

// busProcess is a postbus that is killed and started again.
type busProcess struct {
	t    *testing.T
	args []string
	log  buffer
	cmd  *exec.Cmd
}

func (b *busProcess) start() {
	b.t.Helper()
	b.cmd = exec.Command(b.args[0], b.args[1:]...)
	b.cmd.Stdout, b.cmd.Stderr = &b.log, &b.log
	b.cmd.Env = append(os.Environ(), "HOME="+b.t.TempDir(), "XDG_STATE_HOME=", "STATE_DIRECTORY=")
	if err := b.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
}

// runs waits until the plugin runs for the first time.
func (b *busProcess) runs() {
	b.t.Helper()
	until(b.t, "the plugin runs", func() bool {
		log := b.log.String()
		if strings.Contains(log, "error:") || strings.Contains(log, "plugin file refused") {
			b.t.Fatal(log)
		}
		return strings.Contains(log, "plugin=store generation=1")
	})
}

func (b *busProcess) kill() {
	_ = b.cmd.Process.Kill()
	_ = b.cmd.Wait()
}

// TestKilledWhileItStores publishes events while the bus is killed twice and the database three
// times. Each event is there once, in order.
func TestKilledWhileItStores(t *testing.T) {
	bin := programs(t)
	t.Run("SQLite", func(t *testing.T) {
		s := newSQLiteSubject(t)
		b := newBus(t, bin, "sqlite:"+s.open.File, "")
		if err := os.MkdirAll(s.open.Folder, 0o700); err != nil {
			t.Fatal(err)
		}
		killedWhileItStores(t, b, s, func() { // of a database in a file, what writes is killed
			until(t, "postbus-sql runs", func() bool { return len(children(b.cmd.Process.Pid)) > 0 })
			for _, pid := range children(b.cmd.Process.Pid) {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		})
		s.holds("PRAGMA integrity_check", "ok")
	})
	t.Run("Postgres", func(t *testing.T) {
		p := newPostgres(t)
		p.start()
		s := newPostgresSubject(t, p)
		// The order of the rows on disk is not that of the insertions: after a crash Postgres also
		// fills pages that it left half empty.
		s.exec("CREATE TABLE readings (inserted bigint GENERATED ALWAYS AS IDENTITY, n bigint, at timestamptz, text text, postbus_id text UNIQUE)")
		killedWhileItStores(t, newBus(t, bin, p.url(), p.pwd), s, func() {
			p.kill()
			p.start()
		})
	})
}

// newBus is a bus with a plugin that stores the events of in/# in the table readings.
func newBus(t *testing.T, bin, url, password string) *busProcess {
	t.Helper()
	dir := t.TempDir()
	secret := ""
	if password != "" {
		secret = `, password: "secret:db"`
	}
	for name, text := range map[string]string{
		"postbus.yaml": "data_dir: data\nplugins_dir: plugins.d\nretention: {size: 2GiB}\n",
		"plugins.d/store.yaml": fmt.Sprintf(`source: {mqtt: {topics: [in/#]}}
actions:
  - sql: {url: %q%s, table: readings, columns: {n: "${event.json.n}", at: "${event.json.at}", text: "${event.text}"}, types: {n: integer}, create: true, batch: {count: 500}}
    retry: {backoff: 10ms..100ms}
`, url, secret),
		"secrets/db": password,
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := &busProcess{t: t, args: []string{filepath.Join(bin, "postbus"), "run", "--config", filepath.Join(dir, "postbus.yaml"), "--mqtt", "tcp://127.0.0.1:" + freePort(t), "--http", "off"}}
	t.Cleanup(func() {
		if b.cmd != nil {
			b.kill()
		}
	})
	return b
}

func killedWhileItStores(t *testing.T, b *busProcess, s *subject, killDatabase func()) {
	events := *killedEvents
	b.start()
	b.runs()
	url := b.args[len(b.args)-3]
	c := paho.NewClient(paho.NewClientOptions().AddBroker(url).SetClientID("writer").SetCleanSession(false).SetConnectRetry(true).
		SetConnectRetryInterval(20 * time.Millisecond).SetMaxReconnectInterval(50 * time.Millisecond).SetOrderMatters(true))
	if tok := c.Connect(); !tok.WaitTimeout(time.Minute) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	defer c.Disconnect(50)
	stored := func() int {
		n := 0
		if len(s.all(s.tables())) > 0 {
			fmt.Sscan(s.all("SELECT CAST(count(*) AS text) FROM readings")[0][0], &n)
		}
		return n
	}
	killBus := func() { b.kill(); b.start() }
	kills := []func(){killDatabase, killBus, killDatabase, killBus, killDatabase}
	n := 0
	began := time.Now()
	for i := range len(kills) + 1 {
		var toks []paho.Token
		for end := events * (i + 1) / (len(kills) + 1); n < end; n++ {
			toks = append(toks, c.Publish("in/"+strconv.Itoa(n%7), 1, false, fmt.Sprintf(`{"n":%d,"at":"2026-01-31T12:00:00Z","text":"it's \"quoted\" ü"}`, n)))
			if len(toks) == 1000 || n == end-1 { // acknowledged events only: a client repeats the others, as new events
				for _, tok := range toks {
					if !tok.WaitTimeout(2*time.Minute) || tok.Error() != nil {
						t.Fatalf("event %d was not acknowledged: %v", n, tok.Error())
					}
				}
				toks = toks[:0]
			}
		}
		if i < len(kills) {
			at := stored()
			until(t, "more is stored", func() bool { return stored() > min(at+100, n-100) }) // in the middle of the work
			kills[i]()
			if i%2 == 1 {
				until(t, "the client is back", c.IsConnectionOpen)
			}
		}
	}
	until(t, "all are stored", func() bool { return stored() >= events })
	took := time.Since(began)
	t.Logf("%d events in %s: %.0f/s with the kills, limited by the publisher", events, took.Round(time.Millisecond), float64(events)/took.Seconds())
	got := s.all(s.inOrder())
	if len(got) != events {
		t.Errorf("%d rows of %d events", len(got), events)
	}
	for i, r := range got {
		if want := strconv.Itoa(i); r[0] != want {
			t.Fatalf("row %d is event %s", i, r[0])
		}
	}
	if dead := strings.Count(b.log.String(), "failed for good"); dead > 0 {
		t.Errorf("%d dead letters:\n%s", dead, b.log.String())
	}
	if strings.Contains(b.log.String(), "secret-of-the-test") {
		t.Error("the password is in the log")
	}
	b.kill()
}

// tables is a query that has a row if there is the table.
func (s *subject) tables() string {
	if s.open.File != "" {
		return "SELECT name FROM sqlite_master WHERE name = 'readings'"
	}
	return "SELECT 1 WHERE to_regclass('readings') IS NOT NULL"
}

// inOrder is a query for the events in the order in which they were stored.
func (s *subject) inOrder() string {
	if s.open.File != "" {
		return "SELECT n FROM readings ORDER BY rowid"
	}
	return "SELECT n::text FROM readings ORDER BY inserted"
}

// TestTheQueueWaits for a database that is away when the bus starts, and is stored when it is there. Poison
// becomes a dead letter.
func TestTheQueueWaits(t *testing.T) {
	p := newPostgres(t)
	b := newBus(t, programs(t), p.url(), p.pwd)
	b.start()
	url := b.args[len(b.args)-3]
	c := paho.NewClient(paho.NewClientOptions().AddBroker(url).SetClientID("writer").SetConnectRetry(true).SetConnectRetryInterval(20 * time.Millisecond))
	if tok := c.Connect(); !tok.WaitTimeout(time.Minute) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	defer c.Disconnect(50)
	b.runs()
	dead := make(chan string, 100)
	if tok := c.Subscribe("$bus/dead/store", 1, func(_ paho.Client, m paho.Message) { dead <- string(m.Payload()) }); !tok.WaitTimeout(time.Minute) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	for n := range 20 {
		value := strconv.Itoa(n)
		if n == 7 {
			value = `"seven"`
		}
		if tok := c.Publish("in/a", 1, false, `{"n":`+value+`,"at":"2026-01-31T12:00:00Z"}`); !tok.WaitTimeout(time.Minute) || tok.Error() != nil {
			t.Fatal(tok.Error())
		}
	}
	until(t, "it was tried", func() bool {
		return strings.Contains(b.log.String(), "postbus-sql") || len(children(b.cmd.Process.Pid)) > 0
	})
	p.start()
	select {
	case d := <-dead:
		if !strings.Contains(d, `\"seven\"`) || !strings.Contains(d, "22P02") || strings.Contains(d, p.pwd) {
			t.Errorf("%s", d)
		}
	case <-time.After(time.Minute):
		t.Fatalf("no dead letter\n%s", b.log.String())
	}
	s := newPostgresSubject(t, p)
	until(t, "the others are stored", func() bool {
		conn, err := p.connect()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.Background())
		n := 0
		_ = conn.QueryRow(context.Background(), "SELECT count(*) FROM readings").Scan(&n) // there may be no table yet
		return n == 19
	})
	if got := s.all("SELECT n::text FROM readings ORDER BY readings.n"); got[7][0] != "8" {
		t.Errorf("%v", got)
	}
	if strings.Contains(b.log.String(), p.pwd) {
		t.Error("the password is in the log")
	}
}
