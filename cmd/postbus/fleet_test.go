//go:build unix

package main

// This file tests what a bus shows of its fleet, and of events that other buses accepted first.

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/fleet"
	"github.com/postbus/postbus/bus/journal"
	"github.com/postbus/postbus/bus/web"
)

// TestOriginOfALine: the origin is the bus's, never the publisher's.
func TestOriginOfALine(t *testing.T) {
	for name, c := range map[string]struct {
		properties []string
		want       string
	}{
		"from another bus": {[]string{"k", "v", "gap", "2", "origin", "attic", "origin-time", "2026-01-31T12:00:00Z", "seq", "7", "time", "2026-01-31T12:00:01Z", "source", "@fleet/attic/lamp"},
			`{"topic":"","payload":"","qos":0,"retain":false,"seq":7,"time":"2026-01-31T12:00:01Z","source":"@fleet/attic/lamp","origin":{"bus":"attic","time":"2026-01-31T12:00:00Z"},"gap":2,"properties":[["k","v"]]}`},
		"without its time": {[]string{"origin-time", "x", "origin", "attic", "seq", "7", "time", "t", "source", "@fleet/attic/lamp"},
			`{"topic":"","payload":"","qos":0,"retain":false,"seq":7,"time":"t","source":"@fleet/attic/lamp","origin":{"bus":"attic"},"properties":[["origin-time","x"]]}`},
		"forged": {[]string{"origin", "attic", "origin-time", "2026-01-31T12:00:00Z", "seq", "7", "time", "t", "source", "lamp"},
			`{"topic":"","payload":"","qos":0,"retain":false,"seq":7,"time":"t","source":"lamp","properties":[["origin","attic"],["origin-time","2026-01-31T12:00:00Z"]]}`},
	} {
		p := &paho.Publish{Properties: &paho.PublishProperties{}}
		for i := 0; i < len(c.properties); i += 2 {
			p.Properties.User.Add(c.properties[i], c.properties[i+1])
		}
		if got, err := json.Marshal(newLine(p)); err != nil || string(got) != c.want {
			t.Errorf("%s: got %s\nwant %s", name, got, c.want)
		}
	}
}

func TestShownSource(t *testing.T) {
	for source, want := range map[string]string{"lamp": "lamp", "@fleet/attic/lamp": "lamp at attic", "@fleet/attic/plugin:door": "plugin:door at attic",
		"@fleet/attic/a/b": "a/b at attic", "@fleet/attic": "@fleet/attic", "": ""} {
		if got := shownSource(source); got != want {
			t.Errorf("%s: %s, want %s", source, got, want)
		}
	}
}

// TestFiguresOfAFleet: each figure is in its place, in the metrics and in the table of fleet status.
func TestFiguresOfAFleet(t *testing.T) {
	at := time.Unix(1_000_000_000, 500_000_000)
	s := fleet.Status{Fleet: "home", Bus: "desk", Hub: []string{"tls://a:4222", "tls://b:4222"}, State: fleet.StateConflict, Error: "because", Hint: "do this",
		Sent: 1, SentBytes: 2, Waiting: 3, Received: 4, Behind: 5,
		Peers: map[string]*fleet.Peer{"cellar": {}, "attic": {Events: 6, Repeats: 7, Lost: 8, Expired: 9, Refused: 10, Last: at}}}
	want := web.FleetFigures{Fleet: "home", Hub: 1, State: "conflict", Groups: 1, Bytes: 2, Waiting: 3, Received: 4, Behind: 5,
		Peers: []web.PeerFigures{{Bus: "attic", Events: 6, Repeats: 7, Lost: 8, Expired: 9, Refused: 10, Last: 1_000_000_000.5}, {Bus: "cellar"}}}
	if got := figuresOf(&s, 1); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	var out bytes.Buffer
	m := &Main{Stdout: &out}
	if err := m.printFleets([]fleet.Status{s}); err != nil {
		t.Fatal(err)
	}
	table := "home as desk at tls://a:4222 tls://b:4222: conflict, 3 to send, 5 to read\n  error: because\n  hint: do this\n" +
		"  BUS     EVENTS  LAST                 LOST  EXPIRED  REFUSED\n" +
		"  attic   6       " + at.Local().Format(time.DateTime) + "  8     9        10\n" +
		"  cellar  0       -                    0     0        0\n"
	if out.String() != table {
		t.Errorf("got\n%s\nwant\n%s", out.String(), table)
	}
}

// importedData is a data folder with an event of the bus attic, which accepted it at
// 2001-09-09T01:46:40.5Z.
func importedData(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	b, err := bus.Open(t.Context(), bus.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	p, err := b.Import(bus.Imported{What: bus.ImportEvent, Bus: "attic", Record: journal.Record{Flags: 1 | 4, Expiry: journal.NoExpiry, Source: []byte("lamp"),
		Topic: []byte("home/attic/temp"), Payload: []byte("21"), Lane: []byte("0123456789abcdef/a"), Number: 1, Stamp: 1, At: 1_000_000_000_500_000_000}})
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestOriginIsShown: in sub --json, in why, and to plugins, also when they are tried on history.
func TestOriginIsShown(t *testing.T) {
	data := importedData(t)
	folder := t.TempDir()
	const plugin = `source: {mqtt: {topics: [home/attic/#], retained: true}}
publish:
  - when: event.origin.bus == "attic" && event.origin.time < date("2002-01-01T00:00:00Z")
    topic: got/far
    payload: "${event.origin.bus} ${event.origin.time} ${event.source}"
    retain: true
  - {when: event.origin == nil, topic: got/own, payload: "${event.source}"}
tests:
  - event: {topic: home/attic/temp, origin: {bus: attic, time: "2001-09-09T01:46:40.5Z"}, source: "@fleet/attic/lamp"}
    expect: [{topic: got/far, payload: "attic 2001-09-09T01:46:40.5Z @fleet/attic/lamp"}]
  - event: {topic: home/attic/temp, source: lamp}
    expect: [{topic: got/own, payload: lamp}]
`
	file := filepath.Join(folder, "far.yaml")
	if err := os.WriteFile(file, []byte(plugin), 0o600); err != nil {
		t.Fatal(err)
	}
	b := startBus(t, writeConfig(t, t.TempDir(), ""), "--data-dir", data, "--plugins-dir", folder)
	for _, c := range []struct{ want, args string }{
		{`"source":"@fleet/attic/lamp","origin":{"bus":"attic","time":"2001-09-09T01:46:40.5Z"}}`, "sub --json -n 1 -t home/attic/temp --url " + b.mqtt},
		{`"source":"@fleet/attic/lamp","origin":{"bus":"attic","time":"2001-09-09T01:46:40.5Z"}}`, "sub --json -n 1 -t home/attic/temp --since 1 --url " + b.mqtt},
		{"attic 2001-09-09T01:46:40.5Z @fleet/attic/lamp\n", "sub -n 1 -t got/far --url " + b.mqtt},
		{"  published by lamp at attic\n", "why home/attic/temp --url " + b.web},
		{`"origin":{"bus":"attic","time":"2001-09-09T01:46:40.5Z"}`, "why home/attic/temp --json --url " + b.web},
		{"attic 2001-09-09T01:46:40.5Z @fleet/attic/lamp", "plugin replay --since 1 --url " + b.web + " " + file},
	} {
		if got := b.command(strings.Fields(c.args)...); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s\nlacks %s", c.args, got, c.want)
		}
	}
	stopOrderly(t, b.cmd)
}

// fleetBus is the program.
type fleetBus struct {
	t         *testing.T
	cmd       *exec.Cmd
	mqtt, web string
}

func startBus(t *testing.T, config string, args ...string) *fleetBus {
	t.Helper()
	cmd, addresses := bare(t, []string{"HOME=" + t.TempDir()}, append([]string{"--http", "127.0.0.1:0", "--config", config}, args...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b := &fleetBus{t: t, cmd: cmd}
	for _, a := range addresses() {
		if strings.HasPrefix(a, "tcp://") {
			b.mqtt = a
		} else {
			b.web = a
		}
	}
	return b
}

// command runs a command of the program, and returns its output.
func (b *fleetBus) command(args ...string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 30*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, b.cmd.Path, args...)
	c.Env = b.cmd.Env
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		b.t.Fatalf("%s: %v\n%s%s", args, err, out, stderr.Bytes())
	}
	return string(out)
}

// TestTwoBusesAtAHub: an event goes from one program to the other, which shows where it came from in each place.
func TestTwoBusesAtAHub(t *testing.T) {
	hub := newHub(t, "")
	entry := func(bus string) string {
		return writeConfig(t, t.TempDir(), "fleet: [{name: home, bus: "+bus+", hub: [\""+hub.url()+"\"], share: [{filter: home/"+bus+"/#}], take: [{filter: home/#}]}]\n")
	}
	config := entry("attic")
	attic, desk := startBus(t, config, "--data-dir", t.TempDir(), "--plugins-dir", t.TempDir()), startBus(t, entry("desk"), "--data-dir", t.TempDir(), "--plugins-dir", t.TempDir())
	attic.command("fleet", "init", "--config", config)
	for _, b := range []*fleetBus{attic, desk} { // a bus that is new to a hub takes what is published from then on
		for !strings.Contains(b.command("fleet", "status", "--url", b.web), "online") {
			time.Sleep(20 * time.Millisecond)
		}
	}
	attic.command("pub", "--url", attic.mqtt, "-t", "home/attic/temp", "-m", "21", "-r")
	if got := desk.command("sub", "--json", "-n", "1", "-t", "home/attic/temp", "--url", desk.mqtt); !regexp.MustCompile(`"source":"@fleet/attic/[^"/]+","origin":\{"bus":"attic","time":"20`).MatchString(got) {
		t.Errorf("desk got %s", got)
	}
	if got := desk.command("sub", "-n", "1", "-t", "$bus/fleet/attic", "--url", desk.mqtt); !strings.HasPrefix(got, `{"events":1,"fleet":"home","last":"20`) || !strings.HasSuffix(got, `"lost":0,"state":"online"}`+"\n") {
		t.Errorf("$bus/fleet/attic is %s", got)
	}
	status := desk.command("fleet", "status", "--url", desk.web)
	if !regexp.MustCompile(`^home as desk at nats://127\.0\.0\.1:\d+: online, \d+ to send, 0 to read\n  BUS +EVENTS +LAST +LOST +EXPIRED +REFUSED\n  attic +1 +20\d\d-\d\d-\d\d \d\d:\d\d:\d\d +0 +0 +0\n$`).MatchString(status) {
		t.Errorf("status:\n%s", status)
	}
	answer, err := http.Get(desk.web + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	metrics, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(metrics), "\npostbus_fleet_events_total{fleet=\"home\",hub=\"0\",peer=\"attic\"} 1\n") ||
		!regexp.MustCompile(`\npostbus_fleet_last_event_seconds\{fleet="home",hub="0",peer="attic"\} 1\.[0-9]+e\+09\n`).Match(metrics) {
		t.Errorf("metrics:\n%s", metrics)
	}
	stopOrderly(t, attic.cmd)
	stopOrderly(t, desk.cmd)
}
