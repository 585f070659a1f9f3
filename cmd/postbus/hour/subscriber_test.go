package hour

// This file is a subscriber with a durable session.

import (
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"
)

// subscriber reads its own session, and is a member of a group if it has an account of one.
type subscriber struct {
	profile
	qos     byte
	filters []string
	own     *account
	group   *account // of work/…; nil: it is in none

	lazy bool // it acknowledges some events at a time

	asleep atomic.Bool // it shall not be connected
	known  atomic.Bool // it has a session
	left   atomic.Bool // it is not connected, because it is asleep

	owed    []delivery      // of this connection: deliveries at QoS 1 that are not acknowledged yet
	held    map[uint16]bool // QoS 2: identifiers between PUBREC and PUBREL
	current atomic.Pointer[link]
}

func (t *trouble) subscriber(r *rand.Rand, s *subscriber) {
	defer t.done.Done()
	s.held = map[uint16]bool{}
	var before *link // its last connection, which is still open
	for t.ctx.Err() == nil {
		if s.asleep.Load() {
			if before != nil {
				before.Close()
				before = nil
			}
			s.left.Store(true)
			t.wait(20 * time.Millisecond)
			continue
		}
		s.left.Store(false)
		c := t.connect(s.profile, true)
		if c == nil {
			break
		}
		s.current.Store(c)
		if before != nil {
			before.Close()
			before = nil
		}
		var err error
		switch {
		case s.known.Load() && !c.present:
			t.ledger.mu.Lock()
			t.ledger.violated("%s: the bus has forgotten its session", s.name)
			t.ledger.mu.Unlock()
			fallthrough
		case !s.known.Load():
			clear(s.held)
			if err = c.subscribe(s.qos, s.filters); err == nil {
				s.known.Store(true)
			}
		}
		if err == nil {
			before = s.attend(t, r, c)
		} else {
			c.Close()
		}
		if before == nil && !t.quiet.Load() {
			t.wait(time.Duration(r.Int64N(int64(t.churn/4)) + 1))
		}
	}
	if before != nil {
		before.Close()
	}
}

// attend reads a connection until it ends, or until the client has had enough of it. It returns the connection if
// it is left open.
func (s *subscriber) attend(t *trouble, r *rand.Rand, c *link) (open *link) {
	ended := make(chan struct{})
	stop := make(chan struct{})
	tired := time.Now().Add(t.churn/4 + time.Duration(r.Int64N(int64(t.churn))))
	go func() { // which wakes the reader
		defer close(ended)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-t.ctx.Done():
			case <-tick.C:
				if !s.asleep.Load() && (t.quiet.Load() || time.Now().Before(tired)) {
					continue
				}
			}
			_ = c.SetReadDeadline(time.Now())
			return
		}
	}()
	var at, groupAt uint64
	s.owed = nil
	for {
		first, body, err := c.read()
		if err == nil {
			err = s.packet(t, c, first, body, &at, &groupAt)
		}
		if err != nil {
			break
		}
	}
	close(stop)
	<-ended
	return t.part(r, c)
}

func (s *subscriber) packet(t *trouble, c *link, first byte, body []byte, at, groupAt *uint64) error {
	switch first & 0xF0 {
	case pubPack:
		d, err := parse(c.version, first, body)
		if err != nil {
			return err
		}
		return s.event(t, c, &d, at, groupAt)
	case pubrel & 0xF0:
		id, _, err := answer(body)
		if err != nil {
			return err
		}
		delete(s.held, id)
		return c.ack(pubcomp, id)
	case leave:
		return errLeft
	}
	return nil
}

func (s *subscriber) event(t *trouble, c *link, d *delivery, at, groupAt *uint64) error {
	if d.qos == 2 && s.held[d.id] { // it has this one, and the bus does not know yet
		return c.ack(pubrec, d.id)
	}
	if d.qos != 1 {
		s.take(t, d, at, groupAt)
		if d.qos == 0 {
			return nil
		}
		s.held[d.id] = true
		return c.ack(pubrec, d.id)
	}
	s.owed = append(s.owed, *d)
	if s.lazy && len(s.owed) < 10 && !t.quiet.Load() {
		return nil
	}
	for i := range s.owed {
		s.take(t, &s.owed[i], at, groupAt)
		if err := c.ack(puback, s.owed[i].id); err != nil {
			return err
		}
	}
	s.owed = nil
	return nil
}

// take enters a delivery in the ledger.
func (s *subscriber) take(t *trouble, d *delivery, at, groupAt *uint64) {
	a, last := s.own, at
	if s.group != nil && strings.HasPrefix(d.topic, "work/") {
		a, last = s.group, groupAt
	}
	t.ledger.received(a, d, *last)
	*last = max(*last, d.seq)
}
