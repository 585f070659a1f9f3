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

// TestConnectionsPerAddress: one address can't take the connections of others. IPv6 counts by network.
func TestConnectionsPerAddress(t *testing.T) {
	t.Parallel()
	b := openBus(t)
	_, k := serve(t, b, broker.Options{PerAddress: 2})
	n := 0
	dial := func(host string, local bool) (c net.Conn, answer string) {
		t.Helper()
		here, there := net.Pipe()
		t.Cleanup(func() { here.Close() })
		go k.Serve(from{there, &net.TCPAddr{IP: net.ParseIP(host), Port: 1}}, "test", local)
		n++
		if _, err := here.Write(encode("CONNECT", fmt.Sprint("c", n), v5)); err != nil {
			t.Fatal(err)
		}
		w := &wire{Conn: here, r: bufio.NewReader(here), version: v5}
		got, err := w.read(answerTimeout)
		if err != nil {
			t.Fatal(err)
		}
		return here, got
	}
	want := func(host string, local bool, prefix string) net.Conn {
		t.Helper()
		c, got := dial(host, local)
		if !strings.HasPrefix(got, prefix) {
			t.Errorf("%s: %s, want %s", host, got, prefix)
		}
		return c
	}
	first := want("192.0.2.1", false, "CONNACK 00")
	want("192.0.2.1", false, "CONNACK 00")
	want("192.0.2.1", false, "CONNACK 97 reason=limits.connections_per_address")
	want("192.0.2.2", false, "CONNACK 00")
	want("2001:db8::1", false, "CONNACK 00")
	want("2001:db8::2", false, "CONNACK 00")
	want("2001:db8::3", false, "CONNACK 97")
	want("2001:db8:0:1::3", false, "CONNACK 00")
	for range 4 {
		want("127.0.0.1", true, "CONNACK 00")
	}
	first.Close()
	eventually(t, "the place is free", func() bool {
		_, got := dial("192.0.2.1", false)
		return strings.HasPrefix(got, "CONNACK 00")
	})
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
