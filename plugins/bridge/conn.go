// This file is a connection after its handshake. One goroutine writes a queue, and the caller
// reads.

package bridge

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

const (
	maxConnack = 64 << 10         // bytes of a CONNACK, which may contain texts
	maxPacket  = 16 << 20         // bytes of a packet that is read; of a larger message only the topic is read
	stuck      = 30 * time.Second // the connection fails when a pending write makes no progress for so long
	piece      = 32 << 10         // bytes that must be written within stuck
)

var errClosed = errors.New("the connection was closed")

// conn is a connection. send, ack and fail never block, and any goroutine may call them.
type conn struct {
	nc    net.Conn
	r     *bufio.Reader
	codec codec

	answered bool          // CONNACK was received
	room     chan struct{} // of an action: one slot for each message in flight
	terms    terms
	keep     time.Duration

	mu     sync.Mutex
	queue  []item // bounded by the messages in flight in both directions
	err    error
	wake   chan struct{}
	dead   chan struct{}
	writer sync.WaitGroup
}

type item struct {
	p       *packet
	written func()
}

func newConn(nc net.Conn, v codec) *conn {
	return &conn{nc: nc, r: bufio.NewReader(nc), codec: v, wake: make(chan struct{}, 1), dead: make(chan struct{})}
}

// five reports whether the connection speaks MQTT 5.
func (c *conn) five() bool {
	_, is := c.codec.(five)
	return is
}

// start begins writing, and pings twice in each keep-alive interval. The remote may set an interval
// of its own.
func (c *conn) start(keep time.Duration) {
	c.room = make(chan struct{}, c.terms.inflight)
	if c.keep = keep; c.terms.keepAlive > 0 {
		c.keep = c.terms.keepAlive
	}
	c.writer.Go(func() {
		ping := time.NewTicker(c.keep / 2)
		defer ping.Stop()
		w := bufio.NewWriter(timely{c})
		whole := true // only whole packets were written so far
		for {
			select {
			case <-c.dead:
				if whole {
					c.flushAndDisconnect()
				}
				c.nc.Close()
				return
			case <-ping.C:
				c.send(&packet{kind: pingreq}, nil)
			case <-c.wake:
			}
			if err := c.flush(w); err != nil {
				whole = false
				c.fail(err)
			}
		}
	})
}

// flushAndDisconnect sends the queue, mostly acknowledgements, and DISCONNECT, if the connection takes them
// quickly.
func (c *conn) flushAndDisconnect() {
	_ = c.nc.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
	w := bufio.NewWriter(c.nc)
	if c.flush(w) == nil {
		_ = c.codec.encode(c.nc, &packet{kind: disconnect})
	}
}

func (c *conn) flush(w *bufio.Writer) error {
	c.mu.Lock()
	items := c.queue
	c.queue = nil
	c.mu.Unlock()
	for _, i := range items {
		if err := c.codec.encode(w, i.p); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, i := range items {
		if i.written != nil {
			i.written()
		}
	}
	return nil
}

// timely gives each piece of a write its own deadline, so that a slow connection doesn't count as
// dead.
type timely struct{ c *conn }

func (t timely) Write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		t.c.mu.Lock()
		if t.c.err == nil { // otherwise fail has set the deadline in which a begun packet may be finished
			_ = t.c.nc.SetWriteDeadline(time.Now().Add(stuck))
		}
		t.c.mu.Unlock()
		var m int
		m, err = t.c.nc.Write(b[n:min(len(b), n+piece)])
		n += m
	}
	return n, err
}

// send queues a packet. It calls written, if not nil, once the operating system has the packet.
func (c *conn) send(p *packet, written func()) {
	c.mu.Lock()
	c.queue = append(c.queue, item{p, written})
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// ack acknowledges a message: QoS 1 with PUBACK, QoS 2 with PUBREC.
func (c *conn) ack(p *packet) {
	switch p.msg.qos {
	case 1:
		c.send(&packet{kind: puback, id: p.id}, nil)
	case 2:
		c.send(&packet{kind: pubrec, id: p.id}, nil)
	}
}

// fail ends the connection. The first error is kept as the reason.
func (c *conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	if c.err = err; err == nil {
		c.err = errClosed
	}
	close(c.dead)
	_ = c.nc.SetReadDeadline(time.Now())                              // wakes read
	_ = c.nc.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)) // wakes the writer
}

// end ends the connection and waits for its goroutine.
func (c *conn) end() {
	c.fail(errClosed)
	hard := time.AfterFunc(300*time.Millisecond, func() { bottom(c.nc).Close() })
	c.writer.Wait()
	hard.Stop()
}

// bottom returns the network connection beneath TLS and WebSocket. Its Close sends no closing
// message first.
func bottom(nc net.Conn) net.Conn {
	for {
		b, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			return nc
		}
		nc = b.NetConn()
	}
}

// reason returns why the connection ended, or err while it is open.
func (c *conn) reason(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	return err
}

// readConnack reads the answer to CONNECT and decodes it with decode.
func (c *conn) readConnack(decode func(b []byte) (terms, error)) (err error) {
	n, err := c.size()
	if err != nil {
		return err
	}
	if n > maxConnack {
		return errNotMQTT
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(c.r, b); err != nil {
		return err
	}
	defer func() {
		if r := recover(); r != nil {
			err = malformed(fmt.Errorf("%v", r))
		}
	}()
	c.answered = true
	c.terms, err = decode(b)
	return err
}

// read calls each for every packet, until the connection ends or each returns an error. It
// acknowledges messages that are too large, and calls lost for them. Silence of one and a half
// keep-alive intervals ends the connection, because our pings must be answered. The error is never
// nil.
func (c *conn) read(each func(*packet) error, lost func(topic string)) error {
	c.r = bufio.NewReader(io.MultiReader(buffered(c.r), patient{c, c.keep + c.keep/2}))
	for {
		n, err := c.size()
		var p *packet
		switch {
		case err == nil && n > maxPacket:
			p, err = c.skip(n)
		case err == nil:
			p, err = c.packet(n)
		}
		if err != nil {
			return c.reason(ended(err))
		}
		if n > maxPacket {
			lost(p.msg.topic)
			c.ack(p)
			continue
		}
		if err := each(p); err != nil {
			return err
		}
		if err := c.reason(nil); err != nil {
			return err
		}
	}
}

// buffered returns the bytes that r has read already.
func buffered(r *bufio.Reader) io.Reader {
	return io.LimitReader(r, int64(r.Buffered()))
}

// ended words a network error without parts that change each time, such as our port number.
func ended(err error) error {
	var late net.Error
	var op *net.OpError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("it closed the connection")
	case errors.As(err, &late) && late.Timeout():
		return errors.New("it does not respond any more")
	case errors.As(err, &op) && op.Op != "dial":
		return op.Err
	}
	return err
}

// patient gives each read its own deadline.
type patient struct {
	c    *conn
	time time.Duration
}

func (p patient) Read(b []byte) (int, error) {
	p.c.mu.Lock()
	err := p.c.err
	if err == nil { // otherwise fail has set the deadline that counts
		_ = p.c.nc.SetReadDeadline(time.Now().Add(p.time))
	}
	p.c.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return p.c.nc.Read(b)
}

// size returns the length of the next packet with its header, without consuming the header.
func (c *conn) size() (int, error) {
	n, shift := 0, 0
	for i := 1; i <= 4; i++ {
		b, err := c.r.Peek(i + 1)
		if err != nil {
			return 0, err
		}
		n |= int(b[i]&0x7f) << shift
		if b[i] < 0x80 {
			return n + i + 1, nil
		}
		shift += 7
	}
	return 0, errors.New("it doesn't speak MQTT: a packet's length is malformed")
}

// packet reads a packet of n bytes. It recovers from panics, since the libraries weren't written
// for hostile input.
func (c *conn) packet(n int) (p *packet, err error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(c.r, b); err != nil {
		return nil, err
	}
	defer func() {
		if r := recover(); r != nil {
			err = malformed(fmt.Errorf("%v", r))
		}
	}()
	return c.codec.decode(b)
}

// skip discards a message of n bytes and keeps what is needed to acknowledge it.
func (c *conn) skip(n int) (*packet, error) {
	head, err := c.r.ReadByte()
	if err != nil {
		return nil, err
	}
	if packetKind(head>>4) != publish {
		return nil, fmt.Errorf("it sent a packet of %d bytes that is not a PUBLISH", n)
	}
	n--
	for b := byte(0x80); b >= 0x80; n-- {
		if b, err = c.r.ReadByte(); err != nil {
			return nil, err
		}
	}
	p := &packet{kind: publish, msg: &message{qos: head >> 1 & 3}}
	var two [2]byte
	if _, err = io.ReadFull(c.r, two[:]); err != nil {
		return nil, err
	}
	name := make([]byte, binary.BigEndian.Uint16(two[:]))
	if _, err = io.ReadFull(c.r, name); err != nil {
		return nil, err
	}
	n -= 2 + len(name)
	p.msg.topic = string(name)
	if p.msg.qos > 0 {
		if _, err = io.ReadFull(c.r, two[:]); err != nil {
			return nil, err
		}
		n -= 2
		p.id = binary.BigEndian.Uint16(two[:])
	}
	_, err = io.CopyN(io.Discard, c.r, int64(n))
	return p, err
}
