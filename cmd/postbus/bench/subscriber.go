package bench

// This file is a subscriber: it reads a batch, judges it, and acknowledges it with one write.

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// subscriber reads one connection; several may feed the same check.
type subscriber struct {
	check *check
	link  *link
	lat   latencies
	out   []byte // acknowledgements of the batch

	// pace is the minimum time between two reads at full speed. A broker that writes packet by
	// packet would otherwise wake a reader for each, which takes the CPU time that the broker
	// needs. 0: read at once.
	pace time.Duration

	first, last int64           // clocks of the first and the latest receipt
	held        map[uint16]bool // QoS 2: identifiers between PUBREC and PUBREL
}

func newSubscriber(k *check) *subscriber {
	return &subscriber{check: k, link: k.newLink(), out: make([]byte, 0, 4096)}
}

// step does one read and processes the packets in it. quiet reports that nothing was received for a
// tick.
func (s *subscriber) step(c *conn) (quiet bool, err error) {
	// Packets may have arrived together with the CONNACK or SUBACK.
	if err := s.take(c); err != nil {
		return false, err
	}
	if early := s.pace - time.Duration(clock()-c.readAt); early > 0 && c.readReset > 0 {
		nap(early)
	}
	if err := c.fill(); timedOut(err) {
		return true, nil
	} else if err != nil {
		return false, err
	}
	return false, s.take(c)
}

// take judges every complete packet in the buffer.
func (s *subscriber) take(c *conn) error {
	if c.r == c.w {
		return nil
	}
	s.out = s.out[:0]
	s.check.mu.Lock()
	err := s.judge(c)
	s.check.mu.Unlock()
	if len(s.out) > 0 {
		if werr := c.write(s.out); err == nil {
			err = werr
		}
	}
	return err
}

func (s *subscriber) judge(c *conn) error {
	for {
		p, ok, err := c.next()
		if err != nil || !ok {
			return err
		}
		switch p.kind() {
		case typePublish:
			qos, id, payload, err := p.publish()
			if err != nil {
				return err
			}
			switch qos {
			case 1:
				s.out = appendAck(s.out, typePuback, id)
			case 2:
				s.out = appendAck(s.out, typePubrec, id)
				if s.held[id] {
					continue // the same delivery, not an event received twice
				}
				if s.held == nil {
					s.held = map[uint16]bool{}
				}
				s.held[id] = true
			}
			if c.v5 {
				gap := false
				if gap, payload, err = readProperties(payload); err != nil {
					return err
				}
				if gap {
					s.check.counts.Gaps++
				}
			}
			if m, ok := s.check.see(s.link, payload, p.head&flagDup != 0, c.readAt); ok {
				s.lat.add(m.stamp, c.readAt)
				if s.first == 0 {
					s.first = c.readAt
				}
				s.last = c.readAt
			}
		case typePubrel & 0xF0:
			id, err := p.identifier()
			if err != nil {
				return err
			}
			delete(s.held, id)
			s.out = appendAck(s.out, typePubcomp, id)
		case typePingresp, typeSuback:
		case typeDisconnect: // MQTT 5: the broker sends it before it closes
			return errClosed
		default:
			return fmt.Errorf("%w: type %#x to a subscriber", errMalformed, p.head)
		}
	}
}

// run reads until done returns true. It calls done when nothing was received for a tick, and once a
// second.
func (s *subscriber) run(c *conn, done func(quiet bool) bool) error {
	asked := clock()
	for {
		quiet, err := s.step(c)
		if err != nil {
			return err
		}
		if quiet || c.readAt-asked > int64(time.Second) {
			if done(quiet) {
				return nil
			}
			asked = c.readAt
		}
	}
}

// complete makes the done of run. Once finished returns a clock other than 0 (publishing ended
// then), reading ends when no event is missing and nothing arrives, or when nothing new arrived for
// idle. If a broker repeats forever, reading ends after two seconds.
func complete(k *check, publishers []*publisher, idle time.Duration, finished func() int64) func(bool) bool {
	return func(quiet bool) bool {
		end := finished()
		if end == 0 {
			return false
		}
		since := time.Duration(clock() - max(end, k.lastNew()))
		if k.missing(publishers) == 0 {
			return quiet || since > 2*time.Second
		}
		return since > idle
	}
}

// ended replaces errors that follow from a cancelled context by its cause.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
		return context.Cause(ctx)
	}
	return err
}
