package bus_test

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/bustest"
)

// TestDamageThatABacklogLimitPassesIsCounted: a consumer that lags too far behind gets the number
// of all events that it lost, including one that could not be read when the limit passed it.
func TestDamageThatABacklogLimitPassesIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const events = 200
		d := bustest.NewDisk(1)
		o := bus.Options{SegmentSize: 4096, CacheSize: 1, Limits: bus.Limits{SessionBacklog: 10}}
		b := open(t, d, o)
		s, err := b.Subscribe(context.Background(), "reader", "n")
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		for i := range events {
			if _, err := b.Publish(context.Background(), bus.Event{Topic: "n", Payload: fmt.Appendf(nil, "event %03d", i), QoS: 1}); err != nil {
				t.Fatal(err)
			}
		}
		corrupt(t, d, "event 005")
		time.Sleep(5 * time.Second) // the limit is enforced
		if s, err = b.Subscribe(context.Background(), "reader", "n"); err != nil {
			t.Fatal(err)
		}
		missed, got := uint64(0), uint64(0)
		for last := fmt.Sprintf("event %03d", events-1); ; {
			e, err := s.Next(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			missed += e.Missed
			got++
			if err := s.Ack(e); err != nil {
				t.Fatal(err)
			}
			if string(e.Payload) == last {
				break
			}
		}
		if missed+got != events || got > 10 {
			t.Errorf("%d events arrived and %d are called missed, of %d", got, missed, events)
		}
		s.Close()
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// corrupt damages the record whose payload it is, where it lies in a segment.
func corrupt(t *testing.T, d *bustest.Disk, payload string) {
	t.Helper()
	names, err := d.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		f, err := d.Open(name, false)
		if err != nil {
			t.Fatal(err)
		}
		size, err := f.Size()
		if err != nil {
			t.Fatal(err)
		}
		data := make([]byte, size)
		if _, err := f.ReadAt(data, 0); err != nil {
			t.Fatal(err)
		}
		if at := bytes.Index(data, []byte(payload)); at >= 0 {
			d.Corrupt(name, at)
			return
		}
	}
	t.Fatalf("no file holds %s", payload)
}
