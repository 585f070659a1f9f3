// This file: one connection after its handshake: a goroutine that writes a queue, and a reader that is the caller's.

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
	maxConnack = 64 << 10         // bytes of a CONNACK, which may hold texts
	maxPacket  = 16 << 20         // bytes of a packet that is read; of a larger message only the topic is
	stuck      = 30 * time.Second // without a byte written, when there is something to write
	piece      = 32 << 10         // bytes that have to be written within stuck
)

var errClosed = errors.New("the connection was closed")

// conn is a connection. send, ack and fail never block and may be called by any goroutine.
type conn struct {
	nc    net.Conn
	r     *bufio.Reader
	codec codec

	answered bool          // CONNACK came
	room     chan struct{} // of an action: one for each message in flight
	terms    terms
	keep     time.Duration

	mu     sync.Mutex
	queue  []item // bounded by what is in flight either way
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

// five reports whether MQTT 5 is spoken.
func (c *conn) five() bool {
	_, is := c.codec.(five)
	return is
}

// start begins to write, and to ping twice in each keep; the remote may have one of its own.
func (c *conn) start(keep time.Duration) {
	c.room = make(chan struct{}, c.terms.inflight)
	if c.keep = keep; c.terms.keepAlive > 0 {
		c.keep = c.terms.keepAlive
	}
	c.writer.Go(func() {
		ping := time.NewTicker(c.keep / 2)
		defer ping.Stop()
		w := bufio.NewWriter(timely{c})
		whole := true // what was written so far are whole packets
		for {
			select {
			case <-c.dead:
				if whole {
					c.farewell()
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

// farewell sends what is in the queue, mostly acknowledgements, and DISCONNECT, if that is quickly done.
func (c *conn) farewell() {
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

// timely gives each piece of a write its own time, so that a slow connection isn't a dead one.
type timely struct{ c *conn }

func (t timely) Write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		t.c.mu.Lock()
		if t.c.err == nil { // else fail has set the deadline that counts, for what is begun to be finished
			_ = t.c.nc.SetWriteDeadline(time.Now().Add(stuck))
		}
		t.c.mu.Unlock()
		var m int
		m, err = t.c.nc.Write(b[n:min(len(b), n+piece)])
		n += m
	}
	return n, err
}

// send puts a packet in the queue; written, if any, is called once it is in the system's hands.
func (c *conn) send(p *packet, written func()) {
	c.mu.Lock()
	c.queue = append(c.queue, item{p, written})
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// ack acknowledges a message: QoS 1 by PUBACK, QoS 2 by PUBREC.
func (c *conn) ack(p *packet) {
	switch p.msg.qos {
	case 1:
		c.send(&packet{kind: puback, id: p.id}, nil)
	case 2:
		c.send(&packet{kind: pubrec, id: p.id}, nil)
	}
}

// fail ends the connection; the first reason counts.
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
	_ = c.nc.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)) // and the writer
}

// end ends the connection and waits for its goroutine.
func (c *conn) end() {
	c.fail(errClosed)
	hard := time.AfterFunc(300*time.Millisecond, func() { bottom(c.nc).Close() })
	c.writer.Wait()
	hard.Stop()
}

// bottom is the network's connection, whose Close doesn't say good-bye first.
func bottom(nc net.Conn) net.Conn {
	for {
		b, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			return nc
		}
		nc = b.NetConn()
	}
}

// reason is why the connection ended, or err when it hasn't.
func (c *conn) reason(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	return err
}

// readConnack reads the answer to CONNECT, which decode understands.
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
			err = nonsense(fmt.Errorf("%v", r))
		}
	}()
	c.answered = true
	c.terms, err = decode(b)
	return err
}

// read calls each for every packet until the connection ends or each returns an error, and lost for messages that are too large, which it
// acknowledges. Silence of one and a half keep is the end: we ping, so there is an answer. The error is never nil.
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

// buffered is what a reader has read already.
func buffered(r *bufio.Reader) io.Reader {
	return io.LimitReader(r, int64(r.Buffered()))
}

// ended is an error of the network in words that don't change each time, as the port numbers of our side do.
func ended(err error) error {
	var late net.Error
	var op *net.OpError
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("it closed the connection")
	case errors.As(err, &late) && late.Timeout():
		return errors.New("it has fallen silent")
	case errors.As(err, &op) && op.Op != "dial":
		return op.Err
	}
	return err
}

// patient gives each read its own time.
type patient struct {
	c    *conn
	time time.Duration
}

func (p patient) Read(b []byte) (int, error) {
	p.c.mu.Lock()
	err := p.c.err
	if err == nil { // else fail has set the deadline that counts
		_ = p.c.nc.SetReadDeadline(time.Now().Add(p.time))
	}
	p.c.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return p.c.nc.Read(b)
}

// size is the length of the packet that comes next, with its header, which stays to be read.
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
	return 0, errors.New("it doesn't speak MQTT: a packet's length has no end")
}

// packet reads a packet of n bytes. The libraries weren't made for hostile bytes.
func (c *conn) packet(n int) (p *packet, err error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(c.r, b); err != nil {
		return nil, err
	}
	defer func() {
		if r := recover(); r != nil {
			err = nonsense(fmt.Errorf("%v", r))
		}
	}()
	return c.codec.decode(b)
}

// skip reads of a message of n bytes what is needed to acknowledge it.
func (c *conn) skip(n int) (*packet, error) {
	head, err := c.r.ReadByte()
	if err != nil {
		return nil, err
	}
	if kind(head>>4) != publish {
		return nil, fmt.Errorf("it sent a packet of %d bytes that is no message", n)
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
