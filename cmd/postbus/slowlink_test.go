package main

// This file is a slow and broken link between a bus and its hub.

import (
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// slowLink forwards connections to a hub.
type slowLink struct {
	listener net.Listener
	target   string
	tasks    sync.WaitGroup
	delay    time.Duration // each way
	rate     int           // bytes a second each way, of all connections together; 0: no limit
	cuts     float64       // the probability that a connection is cut, four times a second

	mu    sync.Mutex
	off   bool
	free  [2]time.Time // when each way has passed what was sent before
	conns map[net.Conn]bool
	ended chan struct{}
}

func newSlowLink(t *testing.T, target string, change func(*slowLink)) *slowLink {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &slowLink{listener: l, target: target, conns: map[net.Conn]bool{}, ended: make(chan struct{})}
	change(s)
	s.tasks.Go(s.accept)
	if s.cuts > 0 {
		s.tasks.Go(s.cutSome)
	}
	t.Cleanup(func() {
		close(s.ended)
		l.Close()
		s.setOff(true)
		s.tasks.Wait()
	})
	return s
}

func (s *slowLink) url() string { return "nats://" + s.listener.Addr().String() }

func (s *slowLink) accept() {
	for {
		bus, err := s.listener.Accept()
		if err != nil {
			return
		}
		hub, err := net.Dial("tcp", s.target)
		s.mu.Lock()
		if err != nil || s.off {
			bus.Close()
			if err == nil {
				hub.Close()
			}
			s.mu.Unlock()
			continue
		}
		s.conns[bus], s.conns[hub] = true, true
		s.mu.Unlock()
		for way, pair := range [2][2]net.Conn{{bus, hub}, {hub, bus}} {
			s.forward(way, pair[0], pair[1])
		}
	}
}

// chunk is what was read, and when the link has brought it.
type chunk struct {
	data []byte
	at   time.Time
}

func (s *slowLink) forward(way int, from, to net.Conn) {
	queue := make(chan chunk, 64)
	s.tasks.Go(func() {
		defer close(queue)
		for {
			b := make([]byte, 4<<10)
			n, err := from.Read(b)
			if err != nil {
				return
			}
			select {
			case queue <- chunk{b[:n], s.arrival(way, n)}:
			case <-s.ended:
				return
			}
		}
	})
	s.tasks.Go(func() {
		defer func() {
			from.Close()
			to.Close()
			for range queue {
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.conns, from)
			delete(s.conns, to)
		}()
		for c := range queue {
			select {
			case <-time.After(time.Until(c.at)):
			case <-s.ended:
				return
			}
			if _, err := to.Write(c.data); err != nil {
				return
			}
		}
	})
}

// arrival is when n bytes that are sent now are at the other end.
func (s *slowLink) arrival(way, n int) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.rate > 0 {
		if s.free[way].Before(now) {
			s.free[way] = now
		}
		s.free[way] = s.free[way].Add(time.Duration(n) * time.Second / time.Duration(s.rate))
		now = s.free[way]
	}
	return now.Add(s.delay)
}

// setOff cuts all connections and refuses others, or ends that.
func (s *slowLink) setOff(off bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.off = off; off {
		for c := range s.conns {
			c.Close()
		}
	}
}

func (s *slowLink) cutSome() {
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.ended:
			return
		}
		s.mu.Lock()
		for c := range s.conns {
			if rand.Float64() < s.cuts/2 { // a connection has two ends
				c.Close()
			}
		}
		s.mu.Unlock()
	}
}

// flap cuts the link for a while, again and again.
func (s *slowLink) flap(total, each time.Duration) {
	for end := time.Now().Add(total); time.Now().Before(end); {
		time.Sleep(each) // how long the link is up is the test's subject
		s.setOff(true)
		time.Sleep(each / 3)
		s.setOff(false)
	}
}
