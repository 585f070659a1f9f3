package attack

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

const (
	memory = 256 << 20 // of the cgroup
	honest = "the honest client's password"
)

var (
	lasts = flag.Duration("attack.for", 500*time.Millisecond, "how long each attack lasts")
	peer  = flag.String("attack.peer", "", "mosquitto: also attack that, for comparison")
	only  = flag.String("attack.only", "", "only the attacks whose name has this text")
)

// client is the honest client: a device that publishes at QoS 1 and one that reads it, a hundred events a
// second. It comes back by itself.
type client struct {
	out, in paho.Client
	run     uint64 // events of an earlier client are redelivered after a restart
	mu      sync.Mutex
	sent    uint64 // events whose PUBACK has arrived: all up to this number
	got     uint64
	wrong   string // an event that came out of order
	took    []time.Duration
	lost    int // connections that ended
	stop    context.CancelFunc
	done    sync.WaitGroup
}

func options(at target, id string) *paho.ClientOptions {
	url, o := "tcp://"+at.mqtt, paho.NewClientOptions()
	if at.who != nil {
		url = "ssl://" + at.mqtt
		o.SetTLSConfig(at.who.client(&at.who.honest))
	}
	return o.AddBroker(url).SetClientID(id).SetUsername("honest").SetPassword(honest).SetCleanSession(false).
		SetMaxReconnectInterval(200 * time.Millisecond).SetConnectRetry(true).SetConnectRetryInterval(100 * time.Millisecond).SetConnectTimeout(10 * time.Second).SetKeepAlive(30 * time.Second)
}

func newClient(t *testing.T, b *broker) *client {
	t.Helper()
	c := &client{run: rand.Uint64()}
	ended := func(paho.Client, error) {
		c.mu.Lock()
		c.lost++
		c.mu.Unlock()
	}
	o := options(b.target, "honest-in").SetConnectionLostHandler(ended)
	o.SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) {
		run, n, at := binary.BigEndian.Uint64(m.Payload()), binary.BigEndian.Uint64(m.Payload()[8:]), time.Unix(0, int64(binary.BigEndian.Uint64(m.Payload()[16:])))
		if run != c.run {
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.took = append(c.took, time.Since(at))
		switch {
		case n == c.got+1:
			c.got = n
		case n > c.got+1 && c.wrong == "":
			c.wrong = fmt.Sprintf("event %d follows %d", n, c.got)
		}
	})
	c.in, c.out = paho.NewClient(o), paho.NewClient(options(b.target, "honest-out").SetConnectionLostHandler(ended))
	for _, p := range []paho.Client{c.in, c.out} {
		if token := p.Connect(); !token.WaitTimeout(time.Minute) || token.Error() != nil {
			t.Fatalf("the honest client can't connect: %v", token.Error())
		}
	}
	if token := c.in.Subscribe("honest/#", 1, nil); !token.WaitTimeout(time.Minute) || token.Error() != nil {
		t.Fatalf("the honest client can't subscribe: %v", token.Error())
	}
	var ctx context.Context
	ctx, c.stop = context.WithCancel(context.Background())
	c.done.Go(func() { c.publish(ctx) })
	return c
}

// publish sends an event every 10 ms, or as soon as the one before is acknowledged.
func (c *client) publish(ctx context.Context) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for n := uint64(1); ; n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		payload := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, c.run), n)
		payload = binary.BigEndian.AppendUint64(payload, uint64(time.Now().UnixNano()))
		token := c.out.Publish("honest/x", 1, false, payload)
		select {
		case <-token.Done():
		case <-ctx.Done():
			return
		}
		if token.Error() != nil { // it may have arrived: the bus is right to deliver it
			continue
		}
		c.mu.Lock()
		c.sent = n
		c.mu.Unlock()
	}
}

// latency returns the median and the 99th percentile since the last call, and how many connections ended.
func (c *client) latency() (p50, p99 time.Duration, events, ended int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := slices.Sorted(slices.Values(c.took))
	ended, c.took, c.lost = c.lost, nil, 0
	if len(list) == 0 {
		return 0, 0, 0, ended
	}
	return list[len(list)/2], list[len(list)*99/100], len(list), ended
}

// complete reports what is missing: every acknowledged event arrives, in order.
func (c *client) complete() error {
	c.stop()
	c.done.Wait()
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		c.mu.Lock()
		sent, got, wrong := c.sent, c.got, c.wrong
		c.mu.Unlock()
		switch {
		case wrong != "":
			return errors.New(wrong)
		case got >= sent:
			return nil
		case time.Now().After(end):
			return fmt.Errorf("%d events were acknowledged, %d arrived", sent, got)
		}
	}
}

func (c *client) close() {
	c.stop()
	c.in.Disconnect(100)
	c.out.Disconnect(100)
}

// quiet waits for d, or until the broker has ended.
func quiet(b *broker, d time.Duration) {
	select {
	case <-time.After(d):
	case err := <-b.ended:
		b.ended <- err
	}
}

// TestAttacks attacks the bus, and the other broker if one is named: without TLS and with it.
func TestAttacks(t *testing.T) {
	both := func(t *testing.T, attack func(*testing.T, []attack, *identities)) {
		t.Run("plain", func(t *testing.T) { attack(t, attacks, nil) })
		t.Run("TLS", func(t *testing.T) { attack(t, tlsAttacks, newIdentities(t)) })
	}
	t.Run("postbus", func(t *testing.T) { both(t, attackPostbus) })
	if *peer == "mosquitto" {
		t.Run(*peer, func(t *testing.T) { both(t, attackPeer) })
	} else if *peer != "" {
		t.Errorf("-attack.peer=%s: only mosquitto is known", *peer)
	}
}

// attackPostbus attacks the bus with everything, one attack after the other, without a restart in between.
func attackPostbus(t *testing.T, attacks []attack, who *identities) {
	start := postbus(t, who)
	b := start()
	if b.cgroup == "" {
		t.Log("this machine gives no cgroup: the memory is not bounded")
	}
	table := &strings.Builder{}
	c := newClient(t, b)
	for _, a := range attacks {
		if strings.Contains(a.name, *only) && !strike(t, table, b, c, a) {
			t.FailNow()
		}
	}
	if err := c.complete(); err != nil {
		t.Error(err)
	}
	_, _, cpu := b.usage()
	fmt.Fprintf(table, "%d events of the honest client, none lost; %.1f s of processor time in all\n", c.sent, cpu.Seconds())
	c.close()
	b.stop(t)
	began := time.Now()
	b = start()
	rss, _, _ := b.usage()
	fmt.Fprintf(table, "the next start took %.1f s; then %d MiB\n", time.Since(began).Seconds(), rss)
	c = newClient(t, b)
	quiet(b, time.Second)
	if err := c.complete(); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	c.close()
	b.stop(t)
	t.Logf("postbus:\n%s%s", heading, table)
}

const heading = "                                                       before            during                  MiB     CPU  ended\n" +
	"attack                                              p50     p99      p50      p99  events/s   now  most       connections\n"

// strike makes one attack and reports whether the broker survived it.
func strike(t *testing.T, table *strings.Builder, b *broker, c *client, a attack) bool {
	t.Helper()
	calm := min(*lasts, 2*time.Second) // which is what "before" shows
	c.latency()
	quiet(b, calm)
	p50, p99, _, _ := c.latency()
	b.resetPeak()
	_, _, before := b.usage()
	ctx, stop := context.WithTimeout(context.Background(), *lasts)
	defer stop()
	began := time.Now()
	ended := make(chan struct{})
	go func() { a.run(ctx, b.target); close(ended) }()
	quiet(b, *lasts)
	during50, during99, events, connections := c.latency()
	seconds := time.Since(began).Seconds()
	rss, peak, cpu := b.usage()
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	fmt.Fprintf(table, "%-48s %6.1f  %6.1f   %6.1f  %7.1f    %6.1f %5d %5d %6.1fs  %d\n",
		a.name, ms(p50), ms(p99), ms(during50), ms(during99), float64(events)/seconds, rss, peak, (cpu - before).Seconds(), connections)
	if err := b.alive(); err != nil {
		fmt.Fprintf(table, "%s: %v\n", a.name, err)
		t.Errorf("%s: %v", a.name, err)
		return false
	}
	stop()
	select {
	case <-ended:
	case <-time.After(2 * time.Minute):
		t.Errorf("%s does not end", a.name)
	}
	return true
}

// attackPeer attacks another broker, freshly started for each attack because some end it. Nothing about it
// is an error.
func attackPeer(t *testing.T, attacks []attack, who *identities) {
	table := &strings.Builder{}
	for _, a := range attacks {
		if a.only != "" || !strings.Contains(a.name, *only) {
			continue
		}
		t.Run(a.name, func(t *testing.T) {
			b := mosquitto(t, who)()
			c := newClient(t, b)
			defer c.close()
			fake := &testing.T{}
			strike(fake, table, b, c, a)
			if err := c.complete(); err != nil {
				fmt.Fprintf(table, "%s: %v\n", a.name, err)
			}
		})
	}
	t.Logf("%s:\n%s%s", *peer, heading, table)
}
