package broker_test

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/broker"
)

// from is a connection that comes from an address.
type from struct {
	net.Conn
	addr net.Addr
}

func (f from) RemoteAddr() net.Addr { return f.addr }

// TestHalfAConnect: connections that don't log in share a budget, and those of the address that has
// most of them end first.
func TestHalfAConnect(t *testing.T) {
	t.Parallel()
	b := openBus(t)
	_, k := serve(t, b, broker.Options{})
	dial := func(host string, port int) net.Conn {
		here, there := net.Pipe()
		t.Cleanup(func() { here.Close() })
		go k.Serve(from{there, &net.TCPAddr{IP: net.ParseIP(host), Port: port}}, "test", false)
		return here
	}
	connect := encode("CONNECT user="+strings.Repeat("x", 2000)+":y", "honest", v5)
	var honest []net.Conn
	for i := range 20 {
		c := dial("2001:db8:1::1", i+1)
		if _, err := c.Write(connect[:1500]); err != nil { // its memory is charged
			t.Fatal(err)
		}
		honest = append(honest, c)
	}
	half := encode("CONNECT user="+strings.Repeat("x", 60000)+":y", "flood", v5)[:50000]
	var ended atomic.Int32
	var flood sync.WaitGroup
	const hostile = 400
	for i := range hostile {
		c := dial(fmt.Sprint("2001:db8:2::", i%10), i+1) // one network
		flood.Go(func() {
			_, _ = c.Write(half) // fails when it is ended meanwhile
			go func() {
				_, _ = c.Read(make([]byte, 1))
				ended.Add(1)
			}()
		})
	}
	flood.Wait()
	const most = (16 << 20) / (64 << 10)
	eventually(t, "the hostile connections are ended", func() bool { return hostile-int(ended.Load()) <= most })
	for i, c := range honest {
		if _, err := c.Write(connect[1500:]); err != nil {
			t.Fatalf("honest connection %d was ended: %v", i, err)
		}
		w := &wire{Conn: c, r: bufio.NewReader(c), version: v5}
		got, err := w.read(answerTimeout)
		if err != nil || !strings.HasPrefix(got, "CONNACK 00") {
			t.Fatalf("honest connection %d got %q, %v", i, got, err)
		}
		c.Close()
	}
}

func openBus(t *testing.T) *bus.Bus {
	t.Helper()
	b, err := bus.Open(t.Context(), bus.Options{Dir: t.TempDir(), SegmentSize: 1 << 16})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}
