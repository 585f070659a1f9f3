package bus_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/postbus/postbus/bus"
)

// BenchmarkComeBack is sessions that were absent and all come back, with one filter and one missed
// event each.
func BenchmarkComeBack(b *testing.B) {
	for _, n := range []int{2500, 5000, 10000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				u, err := bus.Open(context.Background(), bus.Options{Dir: b.TempDir()})
				if err != nil {
					b.Fatal(err)
				}
				connect := func(subscribe bool, sink bus.Sink) {
					var wg sync.WaitGroup
					sem := make(chan bool, 256)
					for i := range n {
						sem <- true
						wg.Go(func() {
							defer func() { <-sem }()
							s, _, err := u.Attach(context.Background(), bus.SessionOptions{Name: fmt.Sprint("c", i), Expiry: bus.NeverExpires})
							if err != nil {
								b.Error(err)
								return
							}
							s.Start(sink, 100)
							if subscribe {
								if err := s.Subscribe(context.Background(), []bus.Filter{{Filter: fmt.Sprintf("d/%d/cmd", i), QoS: 1}}); err != nil {
									b.Error(err)
								}
								s.Detach(true, bus.NeverExpires)
							}
						})
					}
					wg.Wait()
				}
				connect(true, &takeAll{})
				for i := range n {
					if _, err := u.Send(bus.Event{Topic: fmt.Sprintf("d/%d/cmd", i), Payload: []byte("x"), QoS: 1}); err != nil {
						b.Fatal(err)
					}
				}
				got := &counter{want: n, done: make(chan bool)}
				b.StartTimer()
				start := time.Now()
				connect(false, got)
				<-got.done
				b.Logf("%d sessions: %s", n, time.Since(start).Round(time.Millisecond))
				b.StopTimer()
				if err := u.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

type counter struct {
	mu   sync.Mutex
	n    int
	want int
	done chan bool
}

func (c *counter) Deliver(*bus.Delivery) bus.Verdict {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n++; c.n == c.want {
		close(c.done)
	}
	return bus.Sent
}
func (c *counter) Release(uint16) bool { return true }
