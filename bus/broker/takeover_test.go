package broker_test

// This file tests what only shows when clients race: takeovers, and subscribing after a publish.

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/broker"
)

func knock(t *testing.T, addr string, version byte, connect string) *wire {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := c.Write(encode(connect, "", version)); err != nil {
		t.Fatal(err)
	}
	return &wire{Conn: c, r: bufio.NewReader(c), version: version}
}

// TestTakeovers: of many simultaneous connections with one identifier, each gets CONNACK before any
// other packet, and one remains [MQTT-3.14.0-1] [MQTT-3.1.4-3]. One that has not been accepted when the
// next one comes is refused.
func TestTakeovers(t *testing.T) {
	t.Parallel()
	addr, _ := start(t, t.TempDir(), bus.Options{SegmentSize: 1 << 16}, broker.Options{})
	for round := range 4 {
		var wg sync.WaitGroup
		gone := make(chan struct{}, 12)
		stays := make(chan struct{}) // closed when all but one have ended
		pongs := 0                   // from those that remain; read once all have ended
		var mu sync.Mutex
		for range 12 {
			w := knock(t, addr, v5, "CONNECT id=same keep sessionexpiry=60")
			wg.Go(func() {
				got, err := w.read(answerTimeout)
				if strings.HasPrefix(got, "CONNACK 88 reason=a_newer_connection") {
					got = "closed"
				}
				if err != nil || !strings.HasPrefix(got, "CONNACK 00") && got != "closed" {
					t.Errorf("the first packet is %q %v", got, err)
				}
				asked := make(chan struct{})
				go func() {
					defer close(asked)
					<-stays
					_, _ = w.Write(encode("PINGREQ", "", v5)) // fails for a connection that has ended
				}()
				if got != "closed" {
					got, err = w.read(answerTimeout)
				}
				switch {
				case err == nil && strings.HasPrefix(got, "PINGRESP"):
					mu.Lock()
					pongs++
					mu.Unlock()
				case err != nil || got != "closed" && !strings.HasPrefix(got, "DISCONNECT 8e"):
					t.Errorf("the second packet is %q %v", got, err)
				}
				gone <- struct{}{}
				<-asked
			})
		}
		for range 11 {
			<-gone
		}
		close(stays)
		wg.Wait()
		if pongs != 1 {
			t.Fatalf("round %d: %d connections stay", round, pongs)
		}
	}
}

// TestRetainedIsThere: a client that subscribes after a retained publish was acknowledged gets it,
// as a retained message or live.
func TestRetainedIsThere(t *testing.T) {
	t.Parallel()
	addr, _ := start(t, t.TempDir(), bus.Options{SegmentSize: 1 << 16}, broker.Options{})
	pub := knock(t, addr, v5, "CONNECT id=pub")
	if got, _ := pub.read(answerTimeout); !strings.HasPrefix(got, "CONNACK 00") {
		t.Fatal(got)
	}
	for i := range 100 {
		sub := knock(t, addr, v5, fmt.Sprintf("CONNECT id=sub%d", i))
		if got, _ := sub.read(answerTimeout); !strings.HasPrefix(got, "CONNACK 00") {
			t.Fatal(got)
		}
		topic := fmt.Sprint("t", i)
		_, _ = pub.Write(encode(fmt.Sprintf("PUBLISH %s x q1 id=1 retain", topic), "", v5))
		if got, _ := pub.read(answerTimeout); got != "PUBACK 1" {
			t.Fatal(got)
		}
		_, _ = sub.Write(encode(fmt.Sprintf("SUBSCRIBE 1 %s,1", topic), "", v5))
		for _, want := range []string{"SUBACK 1 01", "PUBLISH " + topic + " x q1"} {
			if got, err := sub.read(time.Minute); !strings.HasPrefix(got, want) {
				t.Fatalf("round %d: got %q %v, want %s", i, got, err, want)
			}
		}
		sub.Close()
	}
}

// TestLastWords: a client in the middle of sending a packet that is too large reads nothing until
// it has sent it, and still gets the reason [MQTT-3.1.2-24].
func TestLastWords(t *testing.T) {
	t.Parallel()
	addr, _ := start(t, t.TempDir(), bus.Options{SegmentSize: 1 << 16}, broker.Options{})
	for range 5 {
		w := knock(t, addr, v5, "CONNECT id=large")
		if got, err := w.read(answerTimeout); !strings.HasPrefix(got, "CONNACK 00") {
			t.Fatal(got, err)
		}
		packet := append([]byte{0x30}, varint(nil, 2<<20)...)
		if _, err := w.Write(append(packet, make([]byte, 2<<20)...)); err != nil {
			t.Fatal(err)
		}
		if got, err := w.read(answerTimeout); !strings.HasPrefix(got, "DISCONNECT 95") {
			t.Fatalf("got %q %v", got, err)
		}
	}
}
