package bus_test

// This file is the data directory across versions: format 1 is upgraded without a loss, a newer one
// is left alone.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/bustest"
	"github.com/postbus/postbus/bus/journal"
)

// copyFormat1 copies testdata/format1, which a program of format 1 left behind when it was killed:
// a session with a last will and 24 missed events, a shared group with 24 jobs, and 3 retained
// topics.
func copyFormat1(t *testing.T) (dir string, names []string) {
	t.Helper()
	dir = t.TempDir()
	entries, err := os.ReadDir("testdata/format1")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join("testdata/format1", e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, e.Name()), b, 0o600); err != nil {
			t.Fatal(err)
		}
		names = append(names, e.Name())
	}
	return dir, names
}

type takeAll struct{ events []string }

func (s *takeAll) Deliver(d *bus.Delivery) bus.Verdict {
	s.events = append(s.events, fmt.Sprintf("%s %s", d.Event.Topic, d.Event.Payload))
	return bus.Sent
}
func (s *takeAll) Release(uint16) bool { return true }

func checkFormat1(t *testing.T, dir string) {
	t.Helper()
	b, err := bus.Open(t.Context(), bus.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	lag := map[string]uint64{}
	for _, s := range b.Sessions() {
		lag[s.Name] = s.Lag
	}
	if lag["kitchen"] != 24 || lag["$share/work/jobs/#"] != 24 {
		t.Errorf("the backlogs are %v, want 24 each", lag)
	}
	retained, err := b.Retained("home/#")
	if err != nil || len(retained) != 3 {
		t.Fatalf("%d retained, err %v", len(retained), err)
	}
	for i, want := range []string{"value 18", "value 22", "value 20"} {
		if string(retained[i].Payload) != want || len(retained[i].Properties.User()) != 1 {
			t.Errorf("%s retains %q, want %q", retained[i].Topic, retained[i].Payload, want)
		}
	}
	var got []string
	err = b.History(t.Context(), "home/#", bus.Since{Seq: 1}, func(e bus.Event) bool {
		got = append(got, string(e.Payload))
		return true
	})
	if err != nil || len(got) != 24 || got[0] != "value 0" || got[23] != "value 23" {
		t.Errorf("history: %d events %v, err %v", len(got), got, err)
	}
}

func TestFormat1IsUpgraded(t *testing.T) {
	dir, names := copyFormat1(t)
	for range 2 { // and opened again
		checkFormat1(t, dir)
	}
	var meta struct{ Format int }
	b, err := os.ReadFile(filepath.Join(dir, "meta.json"))
	if err != nil || json.Unmarshal(b, &meta) != nil || meta.Format != 2 {
		t.Errorf("meta.json is %s, err %v", b, err)
	}
	for _, n := range names {
		_, err := os.Stat(filepath.Join(dir, n))
		if strings.HasSuffix(n, ".seg") && !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s still lies beside meta.json", n)
		}
	}
}

// A crash at any step of the upgrade: the next start goes on with it.
func TestFormat1IsUpgradedAfterACrashInTheMiddle(t *testing.T) {
	_, names := copyFormat1(t)
	for moved := range names {
		dir, names := copyFormat1(t)
		if err := os.Mkdir(filepath.Join(dir, "journal"), 0o700); err != nil {
			t.Fatal(err)
		}
		for _, n := range names[:moved] {
			if n == "meta.json" {
				continue
			}
			if err := os.Rename(filepath.Join(dir, n), filepath.Join(dir, "journal", n)); err != nil {
				t.Fatal(err)
			}
		}
		checkFormat1(t, dir)
	}
}

func TestARecordOfANewerVersionStopsTheStart(t *testing.T) {
	d := bustest.NewDisk(1)
	l, err := journal.Open(context.Background(), d, journal.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.Append(&journal.Record{Kind: 50, Source: []byte("somebody")})
	if err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = bus.Open(t.Context(), bus.Options{FS: d})
	if err == nil || !strings.Contains(err.Error(), "record 1 is of kind 50") || !strings.Contains(err.Error(), "start that version") {
		t.Fatalf("error %v", err)
	}
}
