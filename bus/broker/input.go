package broker

// This file is the input path. It reads packets, has the guard (package frame) check each one, and
// passes it to the bus or to mochi.
//
// Backpressure means that reading stops, and TCP slows the client down. Reading stops while
//
//   - the journal has as many bytes to write as it takes from all clients together
//     (journal.Options.MaxPending): Bus.Append waits until the disk has caught up;
//   - the client does not read what it is sent: twice Options.OutputBuffer bytes wait for it;
//   - the client, or its user with all clients, is above its rate: see rate.go.
//
// Each of these ends without another packet of this client: by the disk, by the client's reading,
// by the clock. So the wait never depends on a PUBREL or PUBACK that is stuck behind a publish. An
// open QoS 2 publish (PUBREC sent, PUBREL not received) is one bit in an idSet, so no limit on them
// is needed.

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/postbus/postbus/bus/broker/frame"
)

const (
	smallBuffer = 1 << 10
	largeBuffer = 64 << 10
)

var inBuffers = sync.Pool{New: func() any { b := make([]byte, largeBuffer); return &b }}

// run reads and handles packets, one after the other, until the connection ends.
func (c *conn) run() error {
	defer c.rest()
	for {
		need, err := c.next()
		switch {
		case err != nil:
		case c.isEnding():
			return nil
		case need > 0:
			err = c.fill(need)
		}
		if err != nil {
			return c.refuse(err)
		}
	}
}

// next handles the next packet in the buffer if it is complete. Otherwise it returns how many bytes
// that takes.
func (c *conn) next() (need int, err error) {
	b := c.in[c.r:c.w]
	h, ok, ferr := frame.ReadHeader(b)
	switch {
	case ferr != nil:
		return 0, ferr
	case !ok:
		return len(b) + 1, nil
	}
	limit := c.broker.o.Load().PacketSize
	if c.version == 0 {
		limit = min(limit, connectSize)
		if h.Type != frame.TypeConnect {
			return 0, &frame.Error{Code: frame.CodeProtocolError, Reason: "the first packet is not CONNECT", Statement: "MQTT-3.1.0-1"}
		}
	}
	if h.Len > limit {
		return 0, &frame.Error{Code: frame.CodePacketTooLarge, Reason: fmt.Sprintf("packet of %d bytes, above the maximum of %d", h.Len, limit), Statement: "MQTT-3.2.2-15"}
	}
	if len(b) < h.Len {
		return h.Len, nil
	}
	c.broker.count.packetsIn.Add(1)
	c.r += h.Len
	return 0, c.handle(h, b[:h.Len])
}

// handle processes one complete packet. The frequent types go to the bus; the others go to mochi
// after a check.
func (c *conn) handle(h frame.Header, p []byte) error {
	if c.version == 0 {
		return apart(func() error { return c.open(p, h.Body) })
	}
	switch h.Type {
	case frame.TypePublish:
		if wait, limit := c.rateWait(); wait > 0 {
			c.kick() // acknowledgements that arrived before do not wait
			if err := c.slowDown(wait, limit); err != nil {
				return err
			}
		}
		return c.publish(p)
	case frame.TypePuback, frame.TypePubrec, frame.TypePubrel, frame.TypePubcomp:
		return c.acknowledged(p)
	}
	if ferr := frame.Check(p, c.version); ferr != nil {
		return ferr
	}
	switch h.Type {
	case frame.TypePingreq:
		_, err := c.Write([]byte{frame.TypePingresp << 4, 0}) // [MQTT-3.12.4-1]
		return err
	case frame.TypeAuth:
		return &frame.Error{Code: frame.CodeProtocolError, Reason: "AUTH without an authentication method", Statement: "MQTT-4.12.0-6"}
	case frame.TypeDisconnect:
		c.goodbye = len(p) < 3 || p[2] == frame.CodeSuccess // [MQTT-3.14.4-3]
		c.farewell = "the client disconnected"
		if !c.goodbye {
			c.farewell = fmt.Sprintf("the client disconnected with reason code 0x%02X", p[2])
		}
		c.goodbyeExpiry = c.version == frame.V5
	}
	return apart(func() error { return c.pass(h, p[h.Body:]) })
}

// pass gives a packet to mochi.
func (c *conn) pass(h frame.Header, body []byte) error {
	pk := packets.Packet{ProtocolVersion: c.version,
		FixedHeader: packets.FixedHeader{Type: h.Type, Qos: h.Flags >> 1 & 3, Remaining: len(body)}}
	body = append([]byte(nil), body...) // mochi keeps parts of it
	var err error
	switch h.Type {
	case frame.TypeSubscribe:
		err = pk.SubscribeDecode(body)
	case frame.TypeUnsubscribe:
		err = pk.UnsubscribeDecode(body)
	case frame.TypeDisconnect:
		err = pk.DisconnectDecode(body)
	}
	if err == nil {
		err = c.broker.server.InjectPacket(c.client, pk)
	}
	var code packets.Code
	if errors.As(err, &code) && code.Code >= frame.CodeUnspecified {
		return &frame.Error{Code: code.Code, Reason: code.Reason}
	}
	return err
}

// apart runs f on its own goroutine and waits for it. mochi's frames are large, and a stack that
// has grown for them once would remain with an idle connection.
func apart(f func() error) (err error) {
	done := make(chan struct{})
	var panicked any
	go func() {
		defer close(done)
		defer func() { panicked = recover() }()
		err = f()
	}()
	<-done
	if panicked != nil {
		panic(panicked)
	}
	return err
}

// refuse records why the connection ends, and tells an MQTT 5 client.
func (c *conn) refuse(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) && !c.isEnding() {
		err = &frame.Error{Code: 0x8D, Reason: "no packet received within one and a half keep alive intervals", Statement: "MQTT-3.1.2-22"}
	}
	var ferr *frame.Error
	if !errors.As(err, &ferr) {
		return err
	}
	c.mu.Lock()
	if c.failed == nil {
		c.failed = ferr
	}
	if !c.ending && c.version == frame.V5 && c.welcomed {
		c.disconnect(ferr.Code, ferr.Reason)
	}
	c.mu.Unlock()
	c.goodbye = false
	c.broker.count.refused.Add(1)
	return err
}

func (c *conn) isEnding() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ending
}

// fill reads until at least need bytes are in the buffer. The buffer grows with the bytes that
// arrive, never with the length that a header claims.
func (c *conn) fill(need int) error {
	c.rest()
	c.kick()
	c.backpressure()
	for c.w-c.r < need {
		if c.session == nil && c.w-c.r == len(c.in) && c.in != nil {
			if err := c.place.Charge(max(2*len(c.in), largeBuffer)); err != nil {
				return err
			}
		}
		c.makeRoom()
		c.extendDeadline()
		n, err := c.raw.Read(c.in[c.w:])
		c.w += n
		c.broker.count.bytesIn.Add(uint64(n))
		c.bytesIn.Add(uint64(n))
		if n == 0 && err != nil {
			if c.isEnding() {
				return net.ErrClosed
			}
			return err
		}
	}
	return nil
}

// makeRoom moves the unread bytes to the front of a buffer that has space.
func (c *conn) makeRoom() {
	held := c.w - c.r
	switch {
	case c.in == nil:
		c.small = make([]byte, smallBuffer)
		c.in = c.small
	case held == len(c.in): // one packet fills it: double it
		var b []byte
		if 2*held <= largeBuffer {
			b = *inBuffers.Get().(*[]byte)
		} else {
			b = make([]byte, 2*held)
		}
		copy(b, c.in[c.r:c.w])
		c.giveInput()
		c.in = b
	case c.w == len(c.in) && len(c.in) == smallBuffer: // one read filled it: much data is arriving
		b := *inBuffers.Get().(*[]byte)
		copy(b, c.in[c.r:c.w])
		c.in = b
	case held == 0 && (len(c.in) > largeBuffer || len(c.in) > smallBuffer && c.w < smallBuffer):
		// A packet that was larger than usual is processed, or the last read was short.
		c.giveInput()
		c.in = c.small
	default:
		copy(c.in, c.in[c.r:c.w])
	}
	c.r, c.w = 0, held
}

func (c *conn) giveInput() {
	if len(c.in) == largeBuffer {
		b := c.in
		inBuffers.Put(&b)
	}
}

// extendDeadline sets the keep alive deadline, at most once a second [MQTT-3.1.2-22].
func (c *conn) extendDeadline() {
	if c.session == nil {
		return // the CONNECT deadline remains
	}
	now := time.Now()
	if c.keepAlive == 0 {
		if !c.deadline.IsZero() {
			c.deadline = time.Time{}
			c.setReadDeadline(c.deadline)
		}
		return
	}
	want := now.Add(c.keepAlive + c.keepAlive/2)
	if want.Sub(c.deadline) >= min(time.Second, c.keepAlive/4) || c.deadline.IsZero() || c.deadline.After(want) {
		c.deadline = want
		c.setReadDeadline(want)
	}
}

// setReadDeadline never replaces the deadline that Close has set.
func (c *conn) setReadDeadline(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ending {
		_ = c.raw.SetReadDeadline(t)
	}
}
