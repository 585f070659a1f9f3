package broker_test

// This file stops the broker while clients do not read. All of it runs on virtual time, over pipes
// that hold no bytes.

import (
	"bufio"
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/broker"
	"github.com/postbus/postbus/bus/bustest"
)

// closing is a connection that sends a last message when it is closed, like TLS and WebSocket.
type closing struct{ net.Conn }

func (c closing) NetConn() net.Conn { return c.Conn }

func (c closing) Close() error {
	_ = c.SetWriteDeadline(time.Now().Add(5 * time.Second))
	_, _ = c.Write([]byte("bye"))
	return c.Conn.Close()
}

// TestAStopWaitsForNoClientThatDoesNotRead: Close returns when its context ends, also if it ended
// connections whose last bytes nobody reads.
func TestAStopWaitsForNoClientThatDoesNotRead(t *testing.T) {
	for name, wrap := range map[string]func(net.Conn) net.Conn{
		"over TCP":                  func(c net.Conn) net.Conn { return c },
		"over TLS and as WebSocket": func(c net.Conn) net.Conn { return closing{c} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const limit = 2 * time.Second
				b, err := bus.Open(t.Context(), bus.Options{FS: bustest.NewDisk(1)})
				if err != nil {
					t.Fatal(err)
				}
				k := broker.New(b, broker.Options{})
				if err := k.Open(); err != nil {
					t.Fatal(err)
				}
				var serving sync.WaitGroup
				dial := func(id string) *raw {
					ours, theirs := net.Pipe()
					serving.Go(func() { k.Serve(wrap(theirs), "pipe", true) })
					c := &raw{ours, bufio.NewReader(ours)}
					connect := append(str(nil, "MQTT"), 5, 2, 0, 0, 0)
					send(t, c, 0x10, str(connect, id))
					if first, _ := c.packet(t); first != 0x20 {
						t.Fatalf("packet %x instead of CONNACK", first)
					}
					send(t, c, 0x82, append(str([]byte{0, 1, 0}, "t"), 0))
					if first, _ := c.packet(t); first != 0x90 {
						t.Fatalf("packet %x instead of SUBACK", first)
					}
					return c
				}
				ended := make(chan struct{})
				reads := dial("reads")
				go func() {
					defer close(ended)
					defer reads.Conn.Close()
					for {
						first, _, err := reads.read()
						if err != nil {
							t.Errorf("the client that reads got no DISCONNECT: %v", err)
						}
						if err != nil || first == 0xE0 {
							return
						}
					}
				}()
				dial("does not read")
				leaves := dial("leaves and does not read")
				if _, err := b.Publish(t.Context(), bus.Event{Topic: "t", Payload: []byte("x")}); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				send(t, leaves, 0xE0, nil)
				synctest.Wait()

				start := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				if err := k.Close(ctx); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(start); took > limit {
					t.Errorf("the stop took %s, of at most %s", took, limit)
				}
				<-ended
				serving.Wait()
				if err := b.Close(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}
