package bus_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/bustest"
)

// latest is a sink that keeps the last payload of each topic. It takes no retained message until it is
// open, as a connection does until its SUBACK is written.
type latest struct {
	mu     sync.Mutex
	values map[string]string
	open   atomic.Bool
}

func (l *latest) Deliver(d *bus.Delivery) bus.Verdict {
	if d.Initial && !l.open.Load() {
		return bus.Full
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.values[string(d.Event.Topic)] = string(d.Event.Payload)
	return bus.Sent
}

func (l *latest) value(topic string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.values[topic]
}

func (l *latest) Release(uint16) bool { return true }

// TestAnAnnouncedValueIsNotFollowedByAnOlderOne: values that the bus announces about itself change while
// a new subscriber is sent those that were there.
func TestAnAnnouncedValueIsNotFollowedByAnOlderOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		b := open(t, bustest.NewDisk(1), bus.Options{})
		for i := range 10 {
			b.Announce(fmt.Sprint("$bus/plugins/", i, "/state"), []byte("starting"))
		}
		sink := &latest{values: map[string]string{}}
		s := attach(t, b, "dashboard", 0)
		s.Start(sink, 20)
		if err := s.Subscribe(ctx, []bus.Filter{{Filter: "$bus/plugins/+/state"}}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for i := range 9 {
			b.Announce(fmt.Sprint("$bus/plugins/", i, "/state"), []byte("rejected"))
		}
		b.Announce("$bus/plugins/9/state", nil)
		sink.open.Store(true)
		s.Kick()
		synctest.Wait()
		for topic, got := range sink.values {
			want := "rejected"
			if strings.Contains(topic, "/9/") {
				want = ""
			}
			if got != want {
				t.Errorf("%s: the last value is %q, want %q", topic, got, want)
			}
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if len(sink.values) != 10 {
			t.Errorf("%d topics arrived, want 10", len(sink.values))
		}
	})
}

// TestAnnouncementsRaceWithASubscription: in whichever order they meet, the subscriber ends with the
// newest values.
func TestAnnouncementsRaceWithASubscription(t *testing.T) {
	ctx := context.Background()
	b := open(t, bustest.NewDisk(1), bus.Options{})
	for round := range 300 {
		sink := &latest{values: map[string]string{}}
		sink.open.Store(true)
		s := attach(t, b, fmt.Sprint("client ", round), 0)
		s.Start(sink, 20)
		var announced sync.WaitGroup
		announced.Go(func() {
			for i := range 50 {
				b.Announce(fmt.Sprint("$bus/x/", i%10), fmt.Append(nil, round, "-", i/10))
			}
		})
		if err := s.Subscribe(ctx, []bus.Filter{{Filter: "$bus/x/+"}}); err != nil {
			t.Fatal(err)
		}
		announced.Wait()
		for i := range 10 {
			for end := time.Now().Add(10 * time.Second); sink.value(fmt.Sprint("$bus/x/", i)) == ""; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("round %d: no value of topic %d", round, i)
				}
			}
		}
		s.Detach(true, 0) // nothing more is delivered
		for topic, got := range sink.values {
			if want := fmt.Sprint(round, "-4"); got != want {
				t.Fatalf("round %d: %s: the last value is %s, want %s", round, topic, got, want)
			}
		}
	}
}
