//go:build ignore

// The load of timers.sh: events of many keys, of which each must come back a second later, and be counted in a
// window. It prints how late they were and what is missing.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

func main() {
	url := flag.String("url", "tcp://127.0.0.1:1883", "the broker")
	keys := flag.Int("keys", 10_000, "number of keys")
	rate := flag.Int("rate", 5_000, "events a second")
	seconds := flag.Int("seconds", 30, "how long")
	wait := flag.Duration("wait", time.Second, "after which time an event must come back")
	rest := flag.Duration("rest", 20*time.Second, "how long to wait for the last ones")
	flag.Parse()

	total := *rate * *seconds
	sent := make([]atomic.Int64, total) // Unix nanoseconds
	var mu sync.Mutex
	var late []time.Duration
	seen := make([]int, total)
	windows := 0
	client := func(id string) paho.Client {
		c := paho.NewClient(paho.NewClientOptions().AddBroker(*url).SetClientID(id).SetCleanSession(false).SetConnectRetry(true).
			SetConnectRetryInterval(100 * time.Millisecond).SetMaxReconnectInterval(time.Second).SetMessageChannelDepth(10_000).SetResumeSubs(true))
		if t := c.Connect(); t.Wait() && t.Error() != nil {
			fail(t.Error())
		}
		return c
	}
	sub := client("timers-sub")
	t := sub.SubscribeMultiple(map[string]byte{"timers/late/#": 1, "timers/window/#": 1}, func(_ paho.Client, m paho.Message) {
		now := time.Now()
		var e struct{ N, Count int }
		if json.Unmarshal(m.Payload(), &e) != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if strings.HasPrefix(m.Topic(), "timers/window/") {
			windows += e.Count
			return
		}
		if e.N < 0 || e.N >= total {
			return
		}
		if seen[e.N]++; seen[e.N] == 1 {
			late = append(late, now.Sub(time.Unix(0, sent[e.N].Load()).Add(*wait)))
		}
	})
	if t.Wait() && t.Error() != nil {
		fail(t.Error())
	}
	pub := client("timers-pub")
	begin := time.Now()
	var acked atomic.Int64
	var waiting sync.WaitGroup
	room := make(chan struct{}, 2000)
	for n := range total {
		if due := begin.Add(time.Duration(n) * time.Second / time.Duration(*rate)); n%50 == 0 {
			time.Sleep(time.Until(due))
		}
		room <- struct{}{}
		sent[n].Store(time.Now().UnixNano())
		tok := pub.Publish(fmt.Sprintf("timers/in/k%d", n%*keys), 1, false, fmt.Sprintf(`{"n":%d,"v":%d}`, n, n%100))
		waiting.Go(func() {
			if tok.Wait(); tok.Error() == nil {
				acked.Add(1)
			}
			<-room
		})
	}
	waiting.Wait()
	took := time.Since(begin)
	for end := time.Now().Add(*rest); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		mu.Lock()
		done := len(late) == total && windows >= total
		mu.Unlock()
		if done {
			break
		}
	}
	mu.Lock()
	defer mu.Unlock()
	repeated := 0
	for _, n := range seen {
		repeated += max(0, n-1)
	}
	fmt.Printf("%d sent at %.0f/s, %d acknowledged, %d came back, %d missing, %d repeated; %d counted in windows\n",
		total, float64(total)/took.Seconds(), acked.Load(), len(late), total-len(late), repeated, windows)
	if len(late) > 0 {
		slices.Sort(late)
		q := func(x float64) time.Duration { return late[int(x*float64(len(late)-1))].Round(100 * time.Microsecond) }
		fmt.Printf("late: median %s, p99 %s, at most %s\n", q(0.5), q(0.99), q(1))
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
