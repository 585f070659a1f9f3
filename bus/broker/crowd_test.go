package broker_test

// This file is a flood of QoS 0 on virtual time: a subscriber that keeps up loses nothing, and one
// that does not delays no publisher.

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/broker"
	"github.com/postbus/postbus/bus/bustest"
)

// flooded is a broker whose clients are connected by pipes: a write ends when the other end has
// read it.
type flooded struct {
	t       *testing.T
	bus     *bus.Bus
	k       *broker.Broker
	over    chan struct{}
	readers sync.WaitGroup
}

func newFlooded(t *testing.T) *flooded {
	b, err := bus.Open(context.Background(), bus.Options{FS: bustest.NewDisk(1), SegmentSize: 1 << 16})
	if err != nil {
		t.Fatal(err)
	}
	k := broker.New(b, broker.Options{})
	if err := k.Open(); err != nil {
		t.Fatal(err)
	}
	return &flooded{t: t, bus: b, k: k, over: make(chan struct{})}
}

func (f *flooded) close() {
	close(f.over)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := f.k.Close(ctx); err != nil {
		f.t.Error(err)
	}
	if err := f.bus.Close(); err != nil {
		f.t.Error(err)
	}
	f.readers.Wait()
}

func (f *flooded) client(id string) *raw {
	ours, theirs := net.Pipe()
	f.k.Listen(once(theirs), "pipe", true)
	send(f.t, ours, 0x10, str(append(str(nil, "MQTT"), 4, 2, 0, 0), id))
	k := &raw{ours, bufio.NewReaderSize(ours, 64<<10)}
	if typ, _ := k.packet(f.t); typ != 0x20 {
		f.t.Fatalf("packet %x instead of CONNACK", typ)
	}
	return k
}

// once is a listener with one connection.
func once(c net.Conn) net.Listener {
	l := &pipeListener{c: make(chan net.Conn, 1), done: make(chan struct{})}
	l.c <- c
	return l
}

type pipeListener struct {
	c    chan net.Conn
	done chan struct{}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.c:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error   { close(l.done); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// subscriber subscribes at QoS 0 and counts the bytes that arrive, read by read. It reads step
// bytes at a time, once every so often; 0 is as fast as possible.
func (f *flooded) subscriber(id string, step int, every time.Duration) (got *atomic.Int64) {
	c := f.client(id)
	send(f.t, c, 0x82, append(str([]byte{0, 1}, "flood"), 0))
	if typ, _ := c.packet(f.t); typ != 0x90 {
		f.t.Fatalf("packet %x instead of SUBACK", typ)
	}
	if every > 0 {
		c.r = bufio.NewReaderSize(slowly{c.Conn, step, every, f.over}, 64<<10)
	}
	got = new(atomic.Int64)
	f.readers.Go(func() {
		for {
			if _, _, err := c.read(); err != nil {
				return
			}
			got.Add(1)
		}
	})
	return got
}

// flood publishes from n clients at once, and returns when the broker has read everything.
func (f *flooded) flood(n, events, size int) {
	done := make(chan struct{})
	for p := range n {
		c := f.client(fmt.Sprint("pub", p))
		body := append(str(nil, "flood"), make([]byte, size)...)
		one := append(varint([]byte{0x30}, len(body)), body...)
		go func() {
			defer func() { done <- struct{}{} }()
			batch := bytes.Repeat(one, max(1, (64<<10)/len(one)))
			for left := events * len(one); left > 0; {
				n, err := c.Write(batch[:min(left, len(batch))])
				if err != nil {
					f.t.Error(err)
					return
				}
				left -= n
			}
			if _, err := c.Write([]byte{0xC0, 0}); err != nil {
				f.t.Error(err)
			}
			if typ, _, err := c.read(); err != nil || typ != 0xD0 {
				f.t.Errorf("%x, %v instead of PINGRESP", typ, err)
			}
			c.Close()
		}()
	}
	for range n {
		<-done
	}
}

// slowly reads a little at a time.
type slowly struct {
	r     io.Reader
	step  int
	every time.Duration
	over  chan struct{}
}

func (s slowly) Read(p []byte) (int, error) {
	select {
	case <-time.After(s.every):
		return s.r.Read(p[:min(len(p), s.step)])
	case <-s.over:
		return 0, io.EOF
	}
}

func TestAFloodLosesNothing(t *testing.T) {
	for _, c := range []struct{ publishers, events, size int }{{4, 30_000, 128}, {16, 10_000, 128}, {16, 1000, 4096}} {
		t.Run(fmt.Sprintf("%d publishers, %d bytes", c.publishers, c.size), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFlooded(t)
				defer f.close()
				got := []*atomic.Int64{f.subscriber("fast", 0, 0), f.subscriber("as fast", 0, 0)}
				f.flood(c.publishers, c.events, c.size)
				synctest.Wait()
				for _, n := range got {
					if n := int(n.Load()); n != c.publishers*c.events {
						t.Errorf("%d of %d events came", n, c.publishers*c.events)
					}
				}
			})
		})
	}
}

func TestASlowSubscriberMakesNobodyWait(t *testing.T) {
	for name, pace := range map[string]struct {
		step  int
		every time.Duration
		many  int
	}{
		"dead":      {1, time.Hour, 1},
		"slow":      {8 << 10, 10 * time.Millisecond, 1},
		"in bursts": {64 << 10, time.Second, 1},
		"many":      {8 << 10, 10 * time.Millisecond, 20},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFlooded(t)
				defer f.close()
				fast := f.subscriber("fast", 0, 0)
				var slow *atomic.Int64
				for i := range pace.many {
					slow = f.subscriber(fmt.Sprint("slow", i), pace.step, pace.every)
				}
				const publishers, events = 4, 20_000
				start := time.Now()
				f.flood(publishers, events, 128)
				// One pause for each subscriber until it counts as slow, and a margin for the
				// disk's clock and the like.
				if took := time.Since(start); took > time.Duration(1+pace.many)*75*time.Millisecond {
					t.Errorf("the publishers were held up for %v", took)
				}
				synctest.Wait()
				if n := fast.Load(); n != publishers*events {
					t.Errorf("%d of %d events came to the fast subscriber", n, publishers*events)
				}
				if n := slow.Load(); n == publishers*events {
					t.Error("the slow subscriber is not slow")
				}
			})
		})
	}
}

// TestAFewEventsNeverWait: a crowd does not delay a publisher that does not flood.
func TestAFewEventsNeverWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlooded(t)
		defer f.close()
		f.subscriber("dead", 1, time.Hour)
		c := f.client("few")
		body := append(str(nil, "flood"), make([]byte, 15<<10)...)
		start := time.Now()
		for range 100 { // far more than the buffer can hold, one every 20 ms
			send(t, c, 0x30, body)
			time.Sleep(20 * time.Millisecond)
			synctest.Wait()
		}
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("100 events, one every 20 ms, took %v", took)
		}
		send(t, c, 0x32, append(binary.BigEndian.AppendUint16(str(nil, "other"), 1), 'x'))
		if typ, _ := c.packet(t); typ != 0x40 {
			t.Errorf("packet %x instead of PUBACK", typ)
		}
		c.Close()
	})
}
