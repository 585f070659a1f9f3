package stream

import (
	"bytes"

	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// cut is what a proxy does to the next append.
type cut int32

const (
	cutNothing  cut = iota
	cutBefore       // it never arrives
	cutAnswer       // it arrives, its answer doesn't
	cutAndDelay     // the client is cut off, and it arrives later
	cuts4
)

// proxy stands between a bus and its hub.
type proxy struct {
	listener net.Listener
	target   string
	next     atomic.Int32 // a cut
	cuts     atomic.Int32
	refuse   atomic.Bool // connections end at once
	wait     sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
}

func startProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, target: target, conns: map[net.Conn]bool{}}
	p.wait.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.cutAll()
		p.wait.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }
func (p *proxy) arm(c cut)    { p.next.Store(int32(c)) }

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		if p.refuse.Load() {
			client.Close()
			continue
		}
		hub, err := net.Dial("tcp", p.target)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[hub] = true, true
		p.mu.Unlock()
		var swallow atomic.Bool
		p.wait.Go(func() { p.toHub(client, hub, &swallow) })
		p.wait.Go(func() { p.toClient(client, hub, &swallow) })
	}
}

// cutAll ends all connections.
func (p *proxy) cutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

func (p *proxy) end(list ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range list {
		c.Close()
		delete(p.conns, c)
	}
}

func (p *proxy) toHub(client, hub net.Conn, swallow *atomic.Bool) {
	defer p.end(client, hub)
	b := make([]byte, 64<<10)
	for {
		n, err := client.Read(b)
		if err != nil {
			return
		}
		c := cutNothing
		if bytes.Contains(b[:n], []byte("HPUB pbf.")) {
			c = cut(p.next.Swap(int32(cutNothing)))
		}
		if c != cutNothing {
			p.cuts.Add(1)
		}
		switch c {
		case cutBefore:
			return
		case cutAnswer:
			swallow.Store(true)
		case cutAndDelay:
			swallow.Store(true)
			client.Close()
			time.Sleep(30 * time.Millisecond) // the bus is back, and repeats
		}
		if _, err := hub.Write(b[:n]); err != nil {
			return
		}
		if c == cutAnswer || c == cutAndDelay {
			time.Sleep(10 * time.Millisecond) // the hub takes it
			return
		}
	}
}

func (p *proxy) toClient(client, hub net.Conn, swallow *atomic.Bool) {
	defer p.end(client, hub)
	b := make([]byte, 64<<10)
	for {
		n, err := hub.Read(b)
		if err != nil {
			return
		}
		if swallow.Load() {
			continue
		}
		if _, err := client.Write(b[:n]); err != nil && !swallow.Load() {
			return
		}
	}
}
