package bench

// This file is one connection: a big read buffer, batched writes, coarse deadlines.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"
)

const (
	bufferSize = 64 << 10
	maxPacket  = 32 << 20 // nothing a broker sends back here is larger

	tick       = 200 * time.Millisecond // how often an idle reader wakes
	stallLimit = 60 * time.Second       // the longest a write may block
)

// epoch is the zero of stamps: publishers and subscribers of one process compare them.
var epoch = time.Now()

// clock is the monotonic time in nanoseconds since epoch; it goes into payloads.
func clock() int64 { return int64(time.Since(epoch)) }

// conn is owned by the goroutine that reads; others may call write.
type conn struct {
	nc     net.Conn
	unbind func() bool // stops watching the context
	v5     bool        // it speaks MQTT 5

	buf    []byte
	r, w   int   // buf[r:w] is unread
	readAt int64 // clock of the latest fill

	// The clocks at which the deadlines must be set again.
	readReset  int64
	writeReset atomic.Int64
}

func newConn(ctx context.Context, nc net.Conn) *conn {
	c := &conn{nc: nc, buf: make([]byte, bufferSize)}
	c.unbind = context.AfterFunc(ctx, func() { nc.Close() })
	return c
}

func (c *conn) close() {
	c.unbind()
	c.nc.Close()
}

// disconnect sends DISCONNECT and closes; a broker that closes first is not an error.
func (c *conn) disconnect() error {
	defer c.close()
	return c.write([]byte{typeDisconnect, 0})
}

// fill does one read. It waits up to a tick and then returns an error for which timedOut is true.
// It sets the deadline only twice a tick, which saves a call a read.
func (c *conn) fill() error {
	if c.r == c.w {
		c.r, c.w = 0, 0
	} else if len(c.buf)-c.w < bufferSize/4 {
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	}
	if now := clock(); now >= c.readReset {
		if err := c.nc.SetReadDeadline(time.Now().Add(tick)); err != nil {
			return err
		}
		c.readReset = now + int64(tick/2)
	}
	n, err := c.nc.Read(c.buf[c.w:])
	c.readAt = clock()
	c.w += n
	if n > 0 {
		return nil
	}
	if timedOut(err) {
		c.readReset = 0
	}
	if errors.Is(err, io.EOF) {
		return errClosed
	}
	return err
}

var errClosed = errors.New("the broker closed the connection")

func timedOut(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// next returns the next packet in the buffer; false when none is complete.
func (c *conn) next() (packet, bool, error) {
	p, size, need, err := split(c.buf[c.r:c.w])
	if err != nil || size > 0 {
		c.r += size
		return p, size > 0, err
	}
	if need > maxPacket {
		return p, false, fmt.Errorf("%w: %d bytes announced", errMalformed, need)
	}
	if need > len(c.buf) {
		grown := make([]byte, need+bufferSize)
		c.w = copy(grown, c.buf[c.r:c.w])
		c.r, c.buf = 0, grown
	}
	return p, false, nil
}

// write sends b with one call; it may run in parallel with fill.
func (c *conn) write(b []byte) error {
	if now := clock(); now >= c.writeReset.Load() {
		if err := c.nc.SetWriteDeadline(time.Now().Add(stallLimit)); err != nil {
			return err
		}
		c.writeReset.Store(now + int64(stallLimit/4))
	}
	_, err := c.nc.Write(b)
	return err
}

// ask sends b and waits for a packet of that kind. Use it only while no other packets are in
// flight.
func (c *conn) ask(b []byte, kind byte) (packet, error) {
	return c.askFor(b, kind, connectLimit)
}

func (c *conn) askFor(b []byte, kind byte, limit time.Duration) (packet, error) {
	if err := c.write(b); err != nil {
		return packet{}, err
	}
	for end := clock() + int64(limit); ; {
		p, ok, err := c.next()
		if err != nil {
			return p, err
		}
		if ok && p.kind() == kind {
			return p, nil
		}
		if ok {
			return p, fmt.Errorf("%w: type %#x where %#x belongs", errMalformed, p.head, kind)
		}
		if err := c.fill(); timedOut(err) {
			if clock() > end {
				return p, fmt.Errorf("no answer (packet type %#x) within %s", kind, limit)
			}
		} else if err != nil {
			return p, err
		}
	}
}

// subscribe subscribes to the filters, all at one QoS, and checks the granted QoS.
func (c *conn) subscribe(qos byte, filters ...string) error {
	p, err := c.ask(appendSubscribe(nil, c.v5, 1, qos, filters...), typeSuback)
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", filters[0], err)
	}
	codes := len(p.body) - len(filters) // MQTT 5: properties precede them
	if codes < 2 || codes > 2 && !c.v5 {
		return fmt.Errorf("subscribe to %s: %w: SUBACK of %d bytes", filters[0], errMalformed, len(p.body))
	}
	for i, got := range p.body[codes:] {
		if got != qos {
			return withHint(fmt.Errorf("subscribe to %s: %w: asked for QoS %d, the broker answered %#x", filters[i],
				errRefused, qos, got), "let this user subscribe there, or choose another --topic or --qos")
		}
	}
	return nil
}

// ping waits until the broker has read everything sent before.
func (c *conn) ping() error {
	_, err := c.askFor([]byte{typePingreq, 0}, typePingresp, stallLimit)
	return err
}
