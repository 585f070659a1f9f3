package bus_test

// This file is segments of the journal that go missing: what sessions, groups and the operator are
// notified of.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/bustest"
	"github.com/postbus/postbus/bus/journal"
)

// withBacklog is a disk with a closed bus: the session "reader" of n/# and the group "$share/work/n/#" were
// offline for 100 events in many segments. Of the topic "n/other" are the last 20.
func withBacklog(t *testing.T) (d *bustest.Disk, segments []string) {
	t.Helper()
	ctx := context.Background()
	d = bustest.NewDisk(1)
	b := open(t, d, bus.Options{SegmentSize: 1024})
	for name, filter := range map[string]string{"reader": "n/#", "other": "n/other", "worker": "$share/work/n/#", "elsewhere": "m/#"} {
		s, err := b.Subscribe(ctx, name, filter)
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
	for i := range 100 {
		topic := "n/first"
		if i >= 80 {
			topic = "n/other"
		}
		if _, err := b.Publish(ctx, bus.Event{Topic: topic, Payload: fmt.Appendf(nil, "event %03d", i), QoS: 1, Retain: i == 50}); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Wait() // a snapshot covers what has been offered to sessions, which may be less than what is durable
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := d.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if strings.HasSuffix(n, ".seg") {
			segments = append(segments, n)
		}
	}
	return d, segments
}

// take receives all that a subscription has, up to the event "end".
func take(t *testing.T, b *bus.Bus, name, filter string) (got []string, missed uint64) {
	t.Helper()
	ctx := context.Background()
	s, err := b.Subscribe(ctx, name, filter)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for {
		e, err := s.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		missed += e.Missed
		if err := s.Ack(e); err != nil {
			t.Fatal(err)
		}
		if string(e.Payload) == "end" {
			return got, missed
		}
		got = append(got, string(e.Payload))
	}
}

// TestSessionsAreToldWhatAMissingSegmentHeld, and nobody else is.
func TestSessionsAreToldWhatAMissingSegmentHeld(t *testing.T) {
	for _, indexed := range []bool{true, false} {
		for _, which := range []string{"first", "middle", "late"} {
			t.Run(fmt.Sprintf("%s/indexed=%v", which, indexed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d, segs := withBacklog(t)
					name := map[string]string{"first": segs[1], "middle": segs[len(segs)/2], "late": segs[len(segs)-2]}[which]
					lost := strings.Count(string(d.Content(name)), "event ")
					if lost == 0 {
						t.Fatal("no event in the segment")
					}
					d.Lose(name)
					if !indexed {
						d.Lose(strings.Replace(name, ".seg", ".idx", 1))
					}
					var log strings.Builder
					b := open(t, d, bus.Options{SegmentSize: 1024, Logger: slog.New(slog.NewTextHandler(&log, nil))})
					defer b.Close()
					if h := b.Holes(); len(h) != 1 || int(h[0].To-h[0].From)+1 < lost || b.Stats().Journal.Missing < uint64(lost) {
						t.Errorf("holes %v, %d missing; %d events are gone", h, b.Stats().Journal.Missing, lost)
					}
					if !strings.Contains(log.String(), name) {
						t.Errorf("the log does not name %s:\n%s", name, log.String())
					}
					if strings.Contains(log.String(), "as they were before") {
						t.Errorf("the snapshot covers the hole, and the log says that state is lost:\n%s", log.String())
					}
					for _, topic := range []string{"n/other", "m/x"} {
						if _, err := b.Publish(context.Background(), bus.Event{Topic: topic, Payload: []byte("end"), QoS: 1}); err != nil {
							t.Fatal(err)
						}
					}
					for _, c := range []struct {
						name, filter string
						events       int
						reported     bool
					}{
						{"reader", "n/#", 100, true},
						{"worker", "$share/work/n/#", 100, true},
						{"other", "n/other", 20, which == "late" || !indexed}, // the index shows that the topic was not among them
						{"elsewhere", "m/#", 0, !indexed},
					} {
						got, missed := take(t, b, c.name, c.filter)
						gone := c.events - len(got)
						if c.reported && (int(missed) < gone || int(missed) > lost+10) || !c.reported && (missed > 0 || gone > 0) {
							t.Errorf("%s got %d of %d and gets a gap of %d, of %d", c.name, len(got), c.events, missed, lost)
						}
						if !slices.IsSorted(got) {
							t.Errorf("%s got %q", c.name, got)
						}
					}
					if kept, err := b.Retained("n/first"); err != nil || len(kept) != 1 || string(kept[0].Payload) != "event 050" {
						t.Errorf("retained: %v, %v", kept, err)
					}
					counted := lostBySession(b)
					if counted["$share/work/n/#"] == 0 {
						t.Error("the group has no count of what it lost")
					}
					if err := b.Close(); err != nil {
						t.Fatal(err)
					}
					again := open(t, d, bus.Options{SegmentSize: 1024})
					defer again.Close()
					if now := lostBySession(again); !maps.Equal(now, counted) {
						t.Errorf("lost, by session: %v before a restart, %v after it", counted, now)
					}
				})
			})
		}
	}
}

type gaps struct {
	takeAll
	gap chan uint64
}

func (g *gaps) Deliver(d *bus.Delivery) bus.Verdict {
	g.gap <- d.Gap
	return bus.Sent
}

// TestAGapCountsWhatAFilterCovered: not events of before it, nor those of QoS 0, which nobody keeps for a
// client that is offline.
func TestAGapCountsWhatAFilterCovered(t *testing.T) {
	for _, c := range []struct {
		name     string
		before   []bus.Filter // subscribed when the missing events came
		after    []bus.Filter
		reported uint64
	}{
		{"QoS 1", []bus.Filter{{Filter: "n/#", QoS: 1}}, nil, 20},
		{"QoS 0", []bus.Filter{{Filter: "n/#"}}, nil, 0},
		{"a filter of later", nil, []bus.Filter{{Filter: "n/#", QoS: 1}}, 0},
		{"both", []bus.Filter{{Filter: "n/#"}}, []bus.Filter{{Filter: "n/+", QoS: 1}}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := context.Background()
				d := bustest.NewDisk(1)
				session := func(b *bus.Bus, sink bus.Sink, filters []bus.Filter) {
					s, _, err := b.Attach(ctx, bus.SessionOptions{Name: "client", Expiry: bus.NeverExpires})
					if err != nil {
						t.Fatal(err)
					}
					if s.Start(sink, 10); len(filters) > 0 {
						if err := s.Subscribe(ctx, filters); err != nil {
							t.Fatal(err)
						}
					}
					synctest.Wait()
					s.Detach(false, bus.NeverExpires)
				}
				publish := func(b *bus.Bus, n int) {
					for range n {
						if _, err := b.Publish(ctx, bus.Event{Topic: "n/x", QoS: 1}); err != nil {
							t.Fatal(err)
						}
					}
				}
				b := open(t, d, bus.Options{})
				session(b, &takeAll{}, c.before)
				if err := b.Close(); err != nil {
					t.Fatal(err)
				}
				b = open(t, d, bus.Options{})
				missing := fmt.Sprintf("%020d", b.Stats().Journal.Last+1)
				publish(b, 20)
				if err := b.Close(); err != nil {
					t.Fatal(err)
				}
				d.Lose(missing + ".seg")
				d.Lose(missing + ".idx")
				b = open(t, d, bus.Options{})
				defer b.Close()
				if n := b.Stats().Journal.Missing; n < 20 || n > 25 {
					t.Fatalf("%d are missing", n)
				}
				publish(b, 1)
				sink := &gaps{gap: make(chan uint64, 100)}
				session(b, sink, c.after) // which takes what it missed, and subscribes
				publish(b, 1)
				session(b, sink, nil)
				reported := uint64(0)
				for len(sink.gap) > 0 {
					reported = max(reported, <-sink.gap) // a redelivery repeats it
				}
				if reported < c.reported || reported > c.reported+5 || c.reported == 0 && reported > 0 {
					t.Errorf("reported %d, want %d", reported, c.reported)
				}
				if lost := b.Stats().Lost["damaged"]; lost < c.reported || c.reported == 0 && lost > 0 {
					t.Errorf("%d are counted as lost", lost)
				}
			})
		})
	}
}

// TestStateThatWentWithASegmentIsReported: behind the newest snapshot nobody knows what changed.
func TestStateThatWentWithASegmentIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, segs := withBacklog(t)
		names, err := d.List()
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			if strings.HasSuffix(n, ".snap") {
				d.Lose(n)
			}
		}
		lost := ""
		for _, s := range segs[2:] { // after the retained value, and of its topic
			if at := strings.Index(string(d.Content(s)), "event 06"); at > 0 && lost == "" {
				lost = s
			}
		}
		d.Lose(lost)
		var log strings.Builder
		b := open(t, d, bus.Options{SegmentSize: 1024, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		defer b.Close()
		if !strings.Contains(log.String(), "sessions, subscriptions and retained values are as they were before the missing records") {
			t.Errorf("the log:\n%s", log.String())
		}
		if !strings.Contains(log.String(), "topics=1 some=[n/first]") {
			t.Errorf("the log does not name the retained topic:\n%s", log.String())
		}
		if n := b.Stats().Lost["missing state"]; n == 0 {
			t.Errorf("lost: %v", b.Stats().Lost)
		}
	})
}

// TestABusWithoutItsDataAcknowledgesNothing, and continues by itself when a file alone was gone.
func TestABusWithoutItsDataAcknowledgesNothing(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows keeps files and folders in their places while they are open")
	}
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "data")
	b, err := bus.Open(ctx, bus.Options{Dir: dir, SegmentSize: 1024})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { b.Close() }()
	s, err := b.Subscribe(ctx, "reader", "n/#")
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	publish := func(i int) error {
		_, err := b.Publish(ctx, bus.Event{Topic: "n", Payload: fmt.Appendf(nil, "event %03d", i), QoS: 1, Retain: true})
		return err
	}
	for i := range 100 {
		if err := publish(i); err != nil {
			t.Fatal(err)
		}
	}
	// All files of the journal, with its snapshots: what memory has is written again.
	files, err := filepath.Glob(filepath.Join(dir, "journal", "*"))
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := publish(999); !errors.Is(err, journal.ErrMisplaced) {
		t.Fatalf("a publish is answered with %v", err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		snaps, _ := filepath.Glob(filepath.Join(dir, "journal", "*.snap"))
		if b.Ready() == nil && len(snaps) > 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("ready: %v, snapshots %q", b.Ready(), snaps)
		}
	}
	if err := publish(100); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Publish(ctx, bus.Event{Topic: "n", Payload: []byte("end"), QoS: 1}); err != nil {
		t.Fatal(err)
	}
	got, missed := take(t, b, "reader", "n/#")
	if n := uint64(len(got)); n < 1 || n+missed < 101 || got[n-1] != "event 100" {
		t.Errorf("%d arrive and %d are called missed, of 101", n, missed)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if b, err = bus.Open(ctx, bus.Options{Dir: dir}); err != nil {
		t.Fatal(err)
	}
	if i := slices.IndexFunc(b.Sessions(), func(i bus.SessionInfo) bool { return i.Name == "@reader" }); i < 0 {
		t.Errorf("after a restart there are the sessions %v", b.Sessions())
	}
	if kept, err := b.Retained("n"); err != nil || len(kept) != 1 || string(kept[0].Payload) != "event 100" {
		t.Errorf("after a restart %v is retained, %v", kept, err)
	}
	// All of it: only a restart helps.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		if err := publish(i); err == nil {
			t.Fatal("a publish is acknowledged")
		}
	}
	if err := b.Ready(); err == nil || !strings.Contains(err.Error(), "restart") {
		t.Errorf("ready: %v", err)
	}
}

func lostBySession(b *bus.Bus) map[string]uint64 {
	lost := map[string]uint64{}
	for _, s := range b.Sessions() {
		for _, n := range s.Lost {
			lost[s.Name] += n
		}
	}
	return lost
}
