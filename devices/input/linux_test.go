//go:build linux

package input

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind/kindtest"
)

// event is a record as the kernel writes it.
func event(sec, usec int64, typ, code uint16, amount int32) []byte {
	b := make([]byte, eventSize)
	if wordSize == 8 {
		binary.NativeEndian.PutUint64(b, uint64(sec))
		binary.NativeEndian.PutUint64(b[8:], uint64(usec))
	} else {
		binary.NativeEndian.PutUint32(b, uint32(sec))
		binary.NativeEndian.PutUint32(b[4:], uint32(usec))
	}
	binary.NativeEndian.PutUint16(b[2*wordSize:], typ)
	binary.NativeEndian.PutUint16(b[2*wordSize+2:], code)
	binary.NativeEndian.PutUint32(b[2*wordSize+4:], uint32(amount))
	return b
}

func TestRecords(t *testing.T) {
	b := append(event(1700000000, 250000, 2, 7, -3), event(0, 0, 0, 0, 0)[:5]...)
	list := records(b)
	if len(list) != 1 || list[0] != (record{at: time.Unix(1700000000, 250000000), typ: 2, code: 7, amount: -3}) {
		t.Errorf("%+v", list)
	}
}

func FuzzRecords(f *testing.F) {
	f.Add(event(1, 2, 1, 164, 1))
	f.Fuzz(func(t *testing.T, b []byte) {
		bus := kindtest.NewBus()
		s := New(Options{Types: []string{"key", "rel", "abs", "sw"}, Repeat: true}, bus)
		d := &device{held: map[uint16]time.Time{}}
		var list []record
		for _, r := range records(b) {
			if r.typ != evSyn {
				list = append(list, r)
			}
		}
		if err := s.records(t.Context(), bus.Post, reading{d: d, list: list}); err != nil {
			t.Error(err)
		}
	})
}

func TestPressesAndReleasesArePairs(t *testing.T) {
	b := kindtest.NewBus()
	s := New(Options{Types: []string{"key", "rel"}}, b)
	d := &device{name: "Remote", held: map[uint16]time.Time{}}
	at := func(ms int) time.Time { return time.Unix(1000, int64(ms)*1e6) }
	list := []record{
		{at(0), 1, 30, 0},   // it was pressed before the start
		{at(10), 1, 164, 1}, //
		{at(20), 1, 164, 2}, // repetition is not wanted
		{at(30), 2, 7, -2},
		{at(40), 3, 0, 5}, // unwanted
		{at(60), 1, 164, 0},
		{at(70), 4, 4, 458}, // a scan code
		{at(80), 1, 163, 1},
	}
	if err := s.records(t.Context(), b.Post, reading{d: d, list: list}); err != nil {
		t.Fatal(err)
	}
	if err := s.released(t.Context(), b.Post, d, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	close(b.Events)
	var got []string
	for e := range b.Events {
		w := e["key"].(string) + " " + e["value"].(string)
		if h, ok := e["held"].(float64); ok && h < 10 {
			w += " after " + time.Duration(h*1e9).Round(time.Millisecond).String()
		}
		got = append(got, w)
	}
	if s := strings.Join(got, ", "); s != "KEY_PLAYPAUSE press, REL_DIAL change, KEY_PLAYPAUSE release after 50ms, KEY_NEXTSONG press, KEY_NEXTSONG release" {
		t.Error(s)
	}
}

func TestAnAbsentDeviceIsWaitedFor(t *testing.T) {
	b := kindtest.NewBus()
	s := New(Options{Device: "Remote", Types: []string{"key"}}, b)
	s.dev, s.retry = t.TempDir(), time.Hour // only the kernel's notifications make it look again
	stop := b.Start(t, s, nil)
	if got := b.NextDegraded(t); got != `there is no input device "Remote"; available: none` {
		t.Error(got)
	}
	if err := os.WriteFile(filepath.Join(s.dev, "event0"), nil, 0o600); err != nil { // examined as soon as it appears
		t.Fatal(err)
	}
	if got := b.NextDegraded(t); !strings.Contains(got, "event0 is not an input device") {
		t.Error(got)
	}
	stop()
}
