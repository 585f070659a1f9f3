package hour

// This file is a publisher. At QoS 1 it gives up events whose connection ends before their acknowledgement; at
// QoS 2 it sends them again. So the bus may accept each event once at most.

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/postbus/postbus/cmd/postbus/internal/programtest"
)

var errLeft = errors.New("the bus ends the connection")

// maxFlight is how many events a publisher sends before an acknowledgement.
const maxFlight = 5

// flight is an event without an acknowledgement, or at QoS 2 without PUBCOMP.
type flight struct {
	serial   int
	id       uint16
	packet   []byte // to send it again
	received bool   // PUBREC arrived
}

type publisher struct {
	profile
	number int
	qos    byte
	zones  []uint8

	inFlight []flight
	next     uint16
	idle     atomic.Bool // the test is quiet, and nothing is in flight
	refusals atomic.Uint64
	accepted atomic.Uint64
}

func (t *trouble) publisher(r *rand.Rand, p *publisher) {
	defer t.done.Done()
	var before *link
	for t.ctx.Err() == nil {
		p.rest(t)
		c := t.connect(p.profile, p.qos == 2)
		if c == nil {
			break
		}
		if before != nil {
			before.Close()
			before = nil
		}
		before = p.attend(t, r, c)
		if p.qos == 1 {
			p.inFlight = nil
		}
		if before == nil && !t.quiet.Load() {
			t.wait(time.Duration(r.Int64N(int64(t.churn/4)) + 1))
		}
	}
	if before != nil {
		before.Close()
	}
}

// rest tells the test whether the publisher has something to do, and waits while it has not.
func (p *publisher) rest(t *trouble) {
	for t.quiet.Load() && len(p.inFlight) == 0 && t.ctx.Err() == nil {
		p.idle.Store(true)
		t.wait(10 * time.Millisecond)
	}
	p.idle.Store(false)
}

type incoming struct {
	first byte
	body  []byte
}

func (p *publisher) attend(t *trouble, r *rand.Rand, c *link) (open *link) {
	in, stop := make(chan incoming), make(chan struct{})
	reader := make(chan struct{})
	go func() {
		defer close(reader)
		defer close(in)
		for {
			first, body, err := c.read()
			if err != nil {
				return
			}
			select {
			case in <- incoming{first, body}:
			case <-stop:
				return
			}
		}
	}()
	err := p.repeat(c)
	tired := time.NewTimer(t.churn/4 + time.Duration(r.Int64N(int64(t.churn))))
	defer tired.Stop()
	for leaving := false; err == nil && !leaving; {
		pause := time.NewTimer(t.every/2 + time.Duration(r.Int64N(int64(t.every))))
		select {
		case <-t.ctx.Done():
			leaving = true
		case <-tired.C:
			leaving = true
		case x, ok := <-in:
			if err = errLeft; ok {
				err = p.packet(t, c, x)
			}
		case <-pause.C:
			if quiet := t.quiet.Load(); !quiet && len(p.inFlight) < maxFlight {
				err = p.send(t, r, c)
			} else if quiet && len(p.inFlight) == 0 {
				leaving = true
			}
		}
		pause.Stop()
	}
	if open = t.part(r, c); open != nil && p.qos == 2 && len(p.inFlight) > 0 {
		open.Close() // nobody reads it: what arrives on it now must not count
		open = nil
	}
	close(stop)
	if open != nil {
		_ = open.SetReadDeadline(time.Now())
	}
	<-reader
	return open
}

// repeat sends again what a durable session has in flight [MQTT-4.4.0-1].
func (p *publisher) repeat(c *link) error {
	if !c.present && len(p.inFlight) > 0 && p.qos == 2 {
		for i := range p.inFlight {
			if p.inFlight[i].received {
				return fmt.Errorf("%s: the bus has forgotten a session with events in flight", p.name)
			}
		}
	}
	for _, f := range p.inFlight {
		b := append([]byte(nil), f.packet...)
		b[0] |= 0x08
		if f.received {
			b = programtest.Packet(pubrel, []byte{byte(f.id >> 8), byte(f.id)})
		}
		if err := c.send(b); err != nil {
			return err
		}
	}
	return nil
}

func (p *publisher) send(t *trouble, r *rand.Rand, c *link) error {
	zone := p.zones[r.IntN(len(p.zones))]
	topic := fmt.Sprintf("ev/%d/%d", zone, p.number)
	if zone == workZone {
		topic = fmt.Sprintf("work/%d", p.number)
	}
	var lifetime uint32
	if zone == shortZone && p.version == v5 {
		lifetime = 1
	}
	serial := t.ledger.begin(p.number, zone)
	p.next = p.next%1000 + 1
	b := publish(p.version, topic, payload(p.number, serial), p.qos, p.next, false, lifetime)
	p.inFlight = append(p.inFlight, flight{serial: serial, id: p.next, packet: b})
	return c.send(b)
}

func (p *publisher) packet(t *trouble, c *link, x incoming) error {
	if x.first == leave {
		return errLeft
	}
	id, code, err := answer(x.body)
	if err != nil {
		return err
	}
	for i := range p.inFlight {
		f := &p.inFlight[i]
		if f.id != id {
			continue
		}
		switch {
		case x.first == pubcomp:
			p.inFlight = append(p.inFlight[:i], p.inFlight[i+1:]...)
			return nil
		case code >= 0x80:
			if code == codeNotAuthorized {
				p.refusals.Add(1)
				t.ledger.settle(p.number, f.serial, refused)
			}
			p.inFlight = append(p.inFlight[:i], p.inFlight[i+1:]...)
			return nil
		case x.first == puback:
			t.ledger.settle(p.number, f.serial, acked)
			p.accepted.Add(1)
			p.inFlight = append(p.inFlight[:i], p.inFlight[i+1:]...)
			return nil
		case x.first == pubrec:
			if !f.received {
				f.received = true
				t.ledger.settle(p.number, f.serial, acked)
				p.accepted.Add(1)
			}
			return c.ack(pubrel, id)
		}
	}
	if x.first == pubrec {
		return c.ack(pubrel, id)
	}
	return nil
}
