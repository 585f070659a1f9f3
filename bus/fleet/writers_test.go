package fleet

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/bustest"
	"github.com/postbus/postbus/bus/fleet/stream"
)

// mute is a connection on which nobody answers, so that a second writer is not found beforehand.
type mute struct{ *link }

func (mute) Ask(context.Context, string, []byte) ([]byte, error) { return nil, stream.ErrNobody }

// TestTwoWritersOfOneLane: two processes of one bus write at the same time. The compare-and-set lets each event
// through once, in order, and one of them says that the name is taken.
func TestTwoWritersOfOneLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, err := bus.Open(context.Background(), bus.Options{FS: bustest.NewDisk(1)})
		if err != nil {
			t.Fatal(err)
		}
		hub := newModelHub(1)
		ctx := context.Background()
		var entries []*Entry
		var stops []func()
		for i := range 2 {
			l := mute{newLink(hub, uint64(i))}
			e := New(b, func(context.Context) (Hub, error) { return l, nil }, Options{Fleet: "home", Bus: "attic", Share: []Share{{Filter: "ev/#"}}})
			entries, stops = append(entries, e), append(stops, running(t, e))
		}
		conflict := false
		for i := range 500 {
			if _, err := b.Publish(ctx, bus.Event{Topic: "ev/x", Payload: fmt.Append(nil, i), QoS: 1}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Millisecond)
			for _, e := range entries {
				conflict = conflict || e.Status().State == StateConflict
			}
		}
		time.Sleep(time.Minute)
		if !conflict {
			t.Errorf("no writer says that another one has the name: %+v", entries[0].Status())
		}
		next := 0
		for _, m := range hub.msgs {
			g, err := decodeHeader(m.Data)
			if err != nil || g.Kind != groupOfEvents {
				continue
			}
			records, err := g.records()
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range records {
				if string(r.Payload) != fmt.Sprint(next) {
					t.Fatalf("message %d has event %s, want %d", m.Seq, r.Payload, next)
				}
				next++
			}
		}
		if next != 500 {
			t.Errorf("%d events of 500 are on the hub", next)
		}
		for _, stop := range stops {
			stop()
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
