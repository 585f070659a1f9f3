package broker_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/broker"
)

// start runs a bus with a broker on a loopback port.
func start(t testing.TB, dir string, bo bus.Options, ko broker.Options) (addr string, b *bus.Bus) {
	t.Helper()
	level := slog.LevelWarn
	if testing.Verbose() {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	bo.Dir, bo.Logger, ko.Logger = dir, log, log
	b, err := bus.Open(context.Background(), bo)
	if err != nil {
		t.Fatal(err)
	}
	addr, _ = serve(t, b, ko)
	return addr, b
}

// serve puts a broker in front of a bus, and ends both with the test.
func serve(t testing.TB, b *bus.Bus, ko broker.Options) (addr string, k *broker.Broker) {
	t.Helper()
	k = broker.New(b, ko)
	if err := k.Open(); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	k.Listen(l, "tcp", true)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := k.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String(), k
}

func client(t testing.TB, addr, id string, clean bool, f paho.MessageHandler, more ...func(*paho.ClientOptions)) paho.Client {
	t.Helper()
	o := paho.NewClientOptions().AddBroker("tcp://" + addr).SetClientID(id).SetCleanSession(clean).SetAutoReconnect(false)
	if f != nil {
		o.SetDefaultPublishHandler(f)
	}
	for _, m := range more {
		m(o)
	}
	c := paho.NewClient(o)
	wait(t, c.Connect())
	return c
}

func wait(t testing.TB, tok paho.Token) {
	t.Helper()
	if !tok.WaitTimeout(time.Minute) {
		t.Fatal("no answer within a minute")
	}
	if err := tok.Error(); err != nil {
		t.Fatal(err)
	}
}

func TestMissedEventsComeInOrder(t *testing.T) {
	for qos := byte(1); qos <= 2; qos++ {
		addr, _ := start(t, t.TempDir(), bus.Options{}, broker.Options{})
		sub := client(t, addr, "sub", false, nil)
		wait(t, sub.Subscribe("a/#", qos, nil))
		sub.Disconnect(10)
		pub := client(t, addr, "pub", true, nil)
		const n = 3000
		var last paho.Token
		for i := range n {
			last = pub.Publish(fmt.Sprintf("a/%d", i%3), qos, false, fmt.Append(nil, i))
		}
		wait(t, last)
		got := make(chan string, n)
		client(t, addr, "sub", false, func(_ paho.Client, m paho.Message) { got <- string(m.Payload()) })
		for i := range n {
			select {
			case p := <-got:
				if p != fmt.Sprint(i) {
					t.Fatalf("QoS %d: got %s, want %d", qos, p, i)
				}
			case <-time.After(time.Minute):
				t.Fatalf("QoS %d: event %d does not come", qos, i)
			}
		}
	}
}
