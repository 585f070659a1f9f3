package bus_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/bustest"
)

// countingSink has room for a number of deliveries, and counts them.
type countingSink struct {
	room, got int
	ids       []uint16
}

func (s *countingSink) Deliver(d *bus.Delivery) bus.Verdict {
	if s.room == 0 {
		return bus.Full
	}
	s.room--
	s.got++
	if d.ID != 0 {
		s.ids = append(s.ids, d.ID)
	}
	return bus.Sent
}
func (s *countingSink) Release(uint16) bool { return true }

// A new subscription gets all retained messages, also when the window or the sink is full in the
// middle of a batch.
func TestRetainedMessagesWaitForRoom(t *testing.T) {
	for qos := range byte(2) {
		synctest.Test(t, func(t *testing.T) {
			b := open(t, bustest.NewDisk(1), bus.Options{})
			for i := range 200 {
				send(t, b, bus.Event{Topic: fmt.Sprint("home/", i), Payload: []byte("v"), QoS: 1, Retain: true})
			}
			s, _, err := b.Attach(context.Background(), bus.SessionOptions{Name: "client", Clean: true})
			if err != nil {
				t.Fatal(err)
			}
			sink := &countingSink{room: 5}
			s.Start(sink, 7)
			if err := s.Subscribe(context.Background(), []bus.Filter{{Filter: "home/#", QoS: qos}}); err != nil {
				t.Fatal(err)
			}
			for range 200 {
				synctest.Wait()
				for _, id := range sink.ids {
					if !s.Ack(id) {
						t.Fatalf("%d is not in flight", id)
					}
				}
				sink.ids, sink.room = nil, 5
				s.Kick()
			}
			if sink.got != 200 {
				t.Errorf("QoS %d: %d retained messages came, want 200", qos, sink.got)
			}
			s.Detach(true, 0)
			b.Close()
		})
	}
}
