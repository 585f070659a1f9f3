package bus_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/bustest"
)

// heldSink counts the sinks that are being given an event, and holds each until release is closed. It does not
// hold the first ones, free of them.
type heldSink struct {
	inside  *atomic.Int32
	release <-chan struct{}
	free    *int
}

func (s heldSink) Deliver(*bus.Delivery) bus.Verdict {
	if *s.free > 0 {
		*s.free--
		return bus.Sent
	}
	s.inside.Add(1)
	<-s.release
	s.inside.Add(-1)
	return bus.Sent
}

func (heldSink) Release(uint16) bool { return true }

// TestFewClientsReadThePastAtATime: however many clients replay history or a long backlog, half of the
// processors are left for live events and for clients that missed a few.
func TestFewClientsReadThePastAtATime(t *testing.T) {
	const clients, events = 40, 3000
	ctx := context.Background()
	filter := map[string]bus.Filter{
		"history":        {Filter: "$replay/24h/past/#"},
		"a long backlog": {Filter: "past/#", QoS: 1},
		"many retained":  {Filter: "past/#"},
	}
	for _, kind := range []string{"history", "a long backlog", "many retained"} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := open(t, bustest.NewDisk(1), bus.Options{})
				away := attach(t, b, "missed a few", 100)
				away.Start(&collector{}, 20)
				if err := away.Subscribe(ctx, []bus.Filter{{Filter: "few", QoS: 1}}); err != nil {
					t.Fatal(err)
				}
				for i := range clients {
					if kind != "a long backlog" {
						break
					}
					s := attach(t, b, fmt.Sprint("client ", i), 100)
					s.Start(&collector{}, 20)
					if err := s.Subscribe(ctx, []bus.Filter{filter[kind]}); err != nil {
						t.Fatal(err)
					}
					s.Detach(true, 100)
				}
				if kind == "many retained" {
					retainMany(t, b, "past/", events)
				} else {
					publishMany(t, b, "past/x", 0, events)
				}
				synctest.Wait() // it has passed them all
				away.Detach(true, 100)
				publishMany(t, b, "few", 0, 5)

				var inside atomic.Int32
				release := make(chan struct{})
				var subscribed sync.WaitGroup
				for i := range clients {
					s := attach(t, b, fmt.Sprint("client ", i), 100)
					free := 0
					if kind == "many retained" {
						free = 16 // which need no turn
					}
					s.Start(heldSink{&inside, release, &free}, 20)
					if kind != "a long backlog" {
						subscribed.Go(func() {
							if err := s.Subscribe(ctx, []bus.Filter{filter[kind]}); err != nil {
								t.Error(err)
							}
						})
					}
				}
				synctest.Wait()
				if got, want := int(inside.Load()), max(1, runtime.GOMAXPROCS(0)/2); got != want {
					t.Errorf("%d clients are served from the past at a time, want %d", got, want)
				}

				// Meanwhile a client that missed a few events gets them, and one that missed none stays live.
				back := attach(t, b, "missed a few", 100)
				got := &collector{}
				back.Start(got, 20)
				publishMany(t, b, "few", 5, 10)
				synctest.Wait()
				inOrder(t, got.got, 0, 10)

				// A request over HTTP reads in its turn, too, and its own wait takes none from others.
				var asked sync.WaitGroup
				answered, read := 0, false
				asked.Go(func() {
					b.RetainedValues([]string{"past/1"}, func(bus.Event) bool { return true })
					read = true
				})
				asked.Go(func() {
					err := b.History(ctx, "past/#", bus.Since{Seq: 1}, func(bus.Event) bool {
						answered++
						b.RetainedValues([]string{"past/x", "past/1"}, func(bus.Event) bool { return true })
						return answered < 1000
					})
					if err != nil {
						t.Error(err)
					}
				})
				synctest.Wait()
				if answered > 0 || read {
					t.Errorf("history, %t, or a retained value, %t, was read without a turn", answered > 0, read)
				}

				close(release)
				asked.Wait()
				if answered != 1000 {
					t.Errorf("%d events of the history", answered)
				}
				subscribed.Wait()
				synctest.Wait()
				if err := b.Close(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

func retainMany(t *testing.T, b *bus.Bus, prefix string, n int) {
	t.Helper()
	var last bus.Pending
	for i := range n {
		var err error
		if last, err = b.Send(bus.Event{Topic: fmt.Sprint(prefix, i), Payload: []byte("v"), QoS: 1, Retain: true}); err != nil {
			t.Fatal(err)
		}
	}
	if <-last.Done(); last.Err() != nil {
		t.Fatal(last.Err())
	}
}
