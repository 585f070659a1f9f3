package main

// This file has a bus with a valid key that sends what no bus would.

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/fleet/stream"
	"github.com/postbus/postbus/bus/journal"
)

// fleetKey makes a bus's key as a user does, and returns the block for the hub's configuration. The config's
// folder holds the secret.
func fleetKey(t *testing.T, config, name, secret string) string {
	t.Helper()
	code, out, errs := program("fleet", "add", name, "--config", config, "--out", secret)
	if code != 0 {
		t.Fatalf("fleet add: %s", errs)
	}
	from, to := strings.Index(out, "    {"), strings.LastIndex(out, "    }\n")
	if from < 0 || to < from {
		t.Fatalf("fleet add prints no block:\n%s", out)
	}
	return out[from:to] + "    }\n"
}

// lockedHub starts a hub that knows an administrator, and each bus by its key alone. The buses have their keys in
// their folders, secrets/fleet; other names have them in the folder that is returned, with the administrator's.
func lockedHub(t *testing.T, buses []*hubBus, others ...string) (hub *fleetHub, keys string) {
	t.Helper()
	keys = t.TempDir()
	hub = newHub(t, "")
	hub.kill()
	seed, public, err := stream.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	save(t, filepath.Join(keys, "admin"), seed)
	users := fmt.Sprintf("    { nkey: %s }\n", public)
	for _, b := range buses {
		b.configure(entry(hub.url(), `nkey: "secret:fleet", `+everything))
		users += fleetKey(t, b.file("postbus.yaml"), b.name, b.file("secrets/fleet"))
	}
	for _, name := range others {
		users += fleetKey(t, buses[0].file("postbus.yaml"), name, filepath.Join(keys, name))
	}
	hub.configure(t, "authorization {\n  users: [\n"+users+"  ]\n}\n")
	hub.start()
	buses[0].initFleet("--creds", filepath.Join(keys, "admin"))
	return hub, keys
}

// forgery is a message of the fleet's format, with anything in it.
type forgery struct {
	format, kind                      byte
	epoch                             [16]byte
	start, floor, first, last, number uint64
	sent                              int64
	records                           []byte
}

func (f forgery) bytes() []byte {
	b := append([]byte("PBF"), f.format, f.kind, 0, 0, 0)
	b = append(b, f.epoch[:]...)
	for _, v := range [...]uint64{7, f.start, f.floor, f.first, f.last, f.number, uint64(f.sent)} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return append(b, f.records...)
}

// Kinds of messages, see bus/fleet.
const (
	forgedEvents = 1 + iota
	forgedValues
	forgedHello
	forgedLanes
)

// forged is a good message with one event, which change may spoil.
func forged(change func(*forgery, *journal.Record)) []byte {
	now := time.Now().UnixNano()
	r := journal.Record{Seq: 1, Time: now, Kind: journal.KindEvent, Flags: 1, Expiry: journal.NoExpiry, Source: []byte("mole"), Topic: []byte("ev/mole/x"), Payload: []byte("x")}
	f := forgery{format: 1, kind: forgedEvents, start: 1, sent: now}
	copy(f.epoch[:], "the mole's epoch")
	change(&f, &r)
	if f.first == 0 {
		f.first, f.last = r.Seq, r.Seq
	}
	if f.records == nil {
		f.records = journal.Encode(nil, &r)
	}
	return f.bytes()
}

const flagRetained = 0x04

// never is the topic of messages of which no part may be accepted.
const never = "ev/mole/never"

// hostile are messages, each for a lane of its own. epoch is of another bus's journal.
func hostile(epoch [16]byte) map[string][]byte {
	spoiled := func(change func(*forgery, *journal.Record)) []byte { return forged(change) }
	record := func(change func(*journal.Record)) []byte {
		return forged(func(_ *forgery, r *journal.Record) { change(r) })
	}
	good := forged(func(*forgery, *journal.Record) {})
	many := func(n int) []byte {
		return forged(func(f *forgery, r *journal.Record) {
			for r.Seq = 1; r.Seq <= uint64(n); r.Seq++ {
				f.records = journal.Encode(f.records, r)
			}
			f.first, f.last = 1, uint64(n)
		})
	}
	lanes := func(last uint64, n int) []byte {
		var list []map[string]any
		for i := range n {
			list = append(list, map[string]any{"lane": fmt.Sprint("none-", i), "start": 1, "last": last})
		}
		b, _ := json.Marshal(list)
		return forged(func(f *forgery, _ *journal.Record) { f.kind, f.records = forgedLanes, b })
	}
	return map[string][]byte{
		"nothing":         {},
		"garbage":         bytes.Repeat([]byte{0xff, 0, 1}, 1000),
		"magic-only":      []byte("PBF"),
		"half-a-header":   good[:40],
		"half-a-record":   good[:len(good)-3],
		"no-records":      good[:88],
		"bad-checksum":    append(append(bytes.Clone(good[:30]), good[30]^1), good[31:]...),
		"newer-format":    spoiled(func(f *forgery, r *journal.Record) { f.format, r.Topic = 2, []byte(never) }),
		"unknown-kind":    spoiled(func(f *forgery, r *journal.Record) { f.kind, r.Topic = 200, []byte(never) }),
		"records-swapped": spoiled(func(f *forgery, r *journal.Record) { f.first, f.last, r.Seq, r.Topic = 1, 9, 5, []byte(never) }),
		"backwards":       spoiled(func(f *forgery, _ *journal.Record) { f.start, f.first, f.last = 5, 9, 8 }),
		"number-2^62":     spoiled(func(f *forgery, r *journal.Record) { r.Seq = 1 << 62; f.floor = 1<<62 - 1 }),
		"number-2^63":     spoiled(func(f *forgery, r *journal.Record) { r.Seq, f.floor, r.Topic = 1<<63, 1<<63-1, []byte(never) }),
		"number-2^64": spoiled(func(f *forgery, r *journal.Record) {
			r.Seq, f.floor, r.Topic = math.MaxUint64, math.MaxUint64-1, []byte(never)
		}),
		"too-many-events": many(5000),
		"huge":            record(func(r *journal.Record) { r.Payload = make([]byte, 900<<10) }),
		"others-epoch":    spoiled(func(f *forgery, r *journal.Record) { f.epoch = epoch; r.Seq = 1 << 40 }),
		"ends-2^62":       lanes(1<<62, 3),
		"ends-2^64":       lanes(math.MaxUint64, 3),
		"ends-many":       lanes(3, 1000),
		"dollar":          record(func(r *journal.Record) { r.Topic = []byte("$bus/fleet/attic") }),
		"dollar-place":    record(func(r *journal.Record) { r.Topic = []byte("$plugin/fleet/home/0/import"); r.Flags |= flagRetained }),
		"dollar-value": spoiled(func(f *forgery, r *journal.Record) {
			f.kind, r.Topic, r.Stamp, r.Flags = forgedValues, []byte("$plugin/fleet/home/layouts"), 1<<62, 1|flagRetained
		}),
		"wildcard":     record(func(r *journal.Record) { r.Topic = []byte("ev/#") }),
		"zero-in-name": record(func(r *journal.Record) { r.Topic = []byte("ev/\x00") }),
		"no-topic":     record(func(r *journal.Record) { r.Topic = nil }),
		"no-utf-8":     record(func(r *journal.Record) { r.Topic = []byte("ev/\xff") }),
		"qos-3":        record(func(r *journal.Record) { r.Flags = 3 }),
		"all-flags":    record(func(r *journal.Record) { r.Flags = 0xff }),
		"a-session":    record(func(r *journal.Record) { r.Kind = 3 }),
		"bad-props":    record(func(r *journal.Record) { r.Props = []byte{1, 2, 3, 0xff} }),
		"last-stamp":   record(func(r *journal.Record) { r.Flags, r.Stamp = 1|flagRetained, journal.LatestStamp }),
		"year-2400":    record(func(r *journal.Record) { r.Topic, r.Flags, r.Stamp = []byte(never), 1|flagRetained, math.MaxInt64 }),
		"stamp-minus":  record(func(r *journal.Record) { r.Topic, r.Flags, r.Stamp = []byte(never), 1|flagRetained, math.MinInt64 }),
		"value-2400": spoiled(func(f *forgery, r *journal.Record) {
			f.kind, r.Stamp, r.Flags = forgedValues, math.MaxInt64, 1|flagRetained
		}),
		"time-min": spoiled(func(f *forgery, r *journal.Record) { f.sent, r.Time, r.Expiry = math.MaxInt64, math.MinInt64, 10 }),
		"time-max": spoiled(func(f *forgery, r *journal.Record) { f.sent, r.Time = math.MinInt64, math.MaxInt64 }),
		"own-lane": record(func(r *journal.Record) { r.Lane, r.Number, r.At = []byte("the epoch of another bus.x"), 1, 1 }),
	}
}

// TestHostileBus has a bus with a valid key that sends hostile messages while the others exchange events: they count
// what they refuse, lose nothing, and keep their memory.
func TestHostileBus(t *testing.T) {
	t.Parallel()
	buses := []*hubBus{newFleetBus(t, "attic"), newFleetBus(t, "desk")}
	hub, keys := lockedHub(t, buses, "mole")
	var feeds []*feed
	for _, b := range buses {
		b.start()
		feeds = append(feeds, newFeed(t, b, 500))
	}
	defer func() {
		if t.Failed() {
			for _, b := range buses {
				t.Logf("%s:\n%s", b.name, lastLines(b.log, 40))
			}
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	seed, err := os.ReadFile(filepath.Join(keys, "mole"))
	if err != nil {
		t.Fatal(err)
	}
	mole, err := stream.Open(ctx, stream.Options{URLs: []string{hub.url()}, Creds: seed, Inbox: stream.InboxOf("home", "mole"),
		Stream: "PBF_home", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer mole.Close()
	send := func(lane string, data []byte) {
		t.Helper()
		if _, err := mole.Append(ctx, "pbf.home.mole."+lane, 0, data); err != nil {
			t.Fatalf("%s: %v", lane, err)
		}
	}
	var epoch [16]byte
	var lane string
	soon(t, "attic has sent events", func() bool {
		err := mole.LastPerSubject(ctx, "pbf.home.attic.>", 0, func(m stream.Message) error {
			if len(m.Data) > 88 && m.Data[4] == forgedEvents {
				copy(epoch[:], m.Data[8:])
				lane = strings.TrimPrefix(m.Subject, "pbf.home.attic.")
			}
			return nil
		})
		return err == nil && lane != ""
	})
	before := buses[0].memory()
	for name, data := range hostile(epoch) {
		send(strings.NewReplacer("^", "-").Replace(name), data)
	}
	// In the name of attic, in its lane, and beside it.
	send(lane, forged(func(f *forgery, r *journal.Record) { f.epoch = epoch; r.Seq = 1 << 40; f.floor = 1<<40 - 1 }))
	for _, subject := range []string{"pbf.home.attic." + lane, "pbf.home.desk.new", "pbf.other.mole.x"} {
		var f *stream.Fault
		if _, err := mole.Append(ctx, subject, 0, forged(func(*forgery, *journal.Record) {})); !errors.As(err, &f) {
			t.Errorf("publishing on %s: %v", subject, err)
		}
	}
	for n := range 300 {
		send(fmt.Sprint("lane-", n), forged(func(*forgery, *journal.Record) {}))
		if err := mole.Signal("pbf.home.mole.signal", bytes.Repeat([]byte("x"), 10000)); err != nil {
			t.Fatal(err)
		}
	}
	send("last", forged(func(_ *forgery, r *journal.Record) { r.Topic, r.Flags = []byte("ev/last/mole"), 1|flagRetained }))
	began := time.Now()
	for _, b := range buses {
		awaited(t, time.Minute, b.name+" has read everything", func() bool { return len(b.values("ev/last/mole")) == 1 })
		b.log.waitFor(t, "what another bus sent can't be imported")
	}
	t.Logf("read after %s", time.Since(began).Round(time.Millisecond))
	for _, f := range feeds {
		f.end()
	}
	awaited(t, time.Minute, "the buses have all events", func() bool {
		return len(buses[0].values("ev/end/#")) == 2 && len(buses[1].values("ev/end/#")) == 2
	})
	after := buses[0].memory()
	t.Logf("memory of attic: %d MiB before, %d MiB after", before>>20, after>>20)
	if after > before+128<<20 {
		t.Errorf("memory rose from %d to %d bytes", before, after)
	}
	for _, b := range buses {
		b.end()
	}
	attic, desk := buses[0].events(), buses[1].events()
	if f := compareOrder(attic["attic"], desk["attic"]); f != (faults{}) {
		t.Errorf("from attic to desk: %+v", f)
	}
	if f := compareOrder(desk["desk"], attic["desk"]); f != (faults{}) {
		t.Errorf("from desk to attic: %+v", f)
	}
	for of, list := range attic {
		if of != "attic" && of != "desk" && of != "mole" {
			t.Errorf("attic has %d events of %s", len(list), of)
		}
	}
	for i, f := range feeds {
		if missing := compareOrder(f.acked, []map[string][]string{attic, desk}[i][f.bus]).lost; missing > 0 {
			t.Errorf("%s lost %d of its own events", f.bus, missing)
		}
	}
	for _, b := range buses {
		b.journal(func(j *bus.Bus) {
			for _, filter := range []string{"$bus/#", "$plugin/#", never} {
				err := j.History(t.Context(), filter, bus.Since{Seq: 1}, func(e bus.Event) bool {
					if e.Origin.Bus != "" {
						t.Errorf("%s accepted an event of %s: %s", b.name, e.Origin.Bus, e.Topic)
					}
					return true
				})
				if err != nil {
					t.Error(err)
				}
			}
			for _, name := range []string{"ev/last/mole", "ev/end/attic", "ev/end/desk"} {
				if _, ok := j.RetainedValue(name); !ok {
					t.Errorf("%s has no %s", b.name, name)
				}
			}
		})
	}
}

// memory is the resident memory of the program, in bytes; 0 where the system does not tell.
func (b *hubBus) memory() (bytes int64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", b.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	_, _ = fmt.Sscan(rest, &bytes)
	return bytes << 10
}
