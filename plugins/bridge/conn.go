// This file: one connection after its handshake: a goroutine that writes a queue, and a reader that is the caller's.

package bridge

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

const (
	maxPacket = 16 << 20         // bytes of a packet that is read; of a larger message only the topic is
	stuck     = 30 * time.Second // without a byte written, when there is something to write
	piece     = 32 << 10         // bytes that have to be written within stuck
)

var errClosed = errors.New("the connection was closed")

// conn is a connection. send, ack and fail never block and may be called by any goroutine.
type conn struct {
	nc net.Conn
	r  *bufio.Reader

	mu     sync.Mutex
	queue  []item // bounded by what is in flight either way
	err    error
	wake   chan struct{}
	dead   chan struct{}
	writer sync.WaitGroup
}

type item struct {
	p       packets.ControlPacket
	written func()
}

func newConn(nc net.Conn) *conn {
	return &conn{nc: nc, r: bufio.NewReader(nc), wake: make(chan struct{}, 1), dead: make(chan struct{})}
}

// start begins to write, and to ping twice in each keep.
func (c *conn) start(keep time.Duration) {
	c.writer.Go(func() {
		ping := time.NewTicker(keep / 2)
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
				c.send(packets.NewControlPacket(packets.Pingreq), nil)
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
		_ = packets.NewControlPacket(packets.Disconnect).Write(c.nc)
	}
}

func (c *conn) flush(w *bufio.Writer) error {
	c.mu.Lock()
	items := c.queue
	c.queue = nil
	c.mu.Unlock()
	for _, i := range items {
		if err := i.p.Write(w); err != nil {
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
func (c *conn) send(p packets.ControlPacket, written func()) {
	c.mu.Lock()
	c.queue = append(c.queue, item{p, written})
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// ack acknowledges a message: QoS 1 by PUBACK, QoS 2 by PUBREC.
func (c *conn) ack(p *packets.PublishPacket) {
	switch p.Qos {
	case 1:
		a := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
		a.MessageID = p.MessageID
		c.send(a, nil)
	case 2:
		a := packets.NewControlPacket(packets.Pubrec).(*packets.PubrecPacket)
		a.MessageID = p.MessageID
		c.send(a, nil)
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

// connack reads the answer to CONNECT.
func (c *conn) connack() (present bool, err error) {
	n, err := c.size()
	if err != nil {
		return false, err
	}
	if n > 1024 {
		return false, errors.New("it doesn't speak MQTT")
	}
	p, err := c.packet(n)
	if err != nil {
		return false, err
	}
	a, ok := p.(*packets.ConnackPacket)
	if !ok {
		return false, errors.New("it doesn't speak MQTT")
	}
	if a.ReturnCode != packets.Accepted {
		return false, refusal(a.ReturnCode)
	}
	return a.SessionPresent, nil
}

// read calls each for every packet until the connection ends or each returns an error, and lost for messages that are too large, which it
// acknowledges. Silence of one and a half keep is the end: we ping, so there is an answer. The error is never nil.
func (c *conn) read(keep time.Duration, each func(packets.ControlPacket) error, lost func(topic string)) error {
	c.r = bufio.NewReader(io.MultiReader(buffered(c.r), patient{c, keep + keep/2}))
	for {
		n, err := c.size()
		var p packets.ControlPacket
		switch {
		case err == nil && n > maxPacket:
			p, err = c.skip(n)
		case err == nil:
			p, err = c.packet(n)
		}
		if err != nil {
			return c.reason(ended(err))
		}
		if m, ok := p.(*packets.PublishPacket); ok && n > maxPacket {
			lost(m.TopicName)
			c.ack(m)
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

// packet reads a packet of n bytes. Package packets wasn't made for hostile bytes.
func (c *conn) packet(n int) (p packets.ControlPacket, err error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(c.r, b); err != nil {
		return nil, err
	}
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("it sent a packet that makes no sense: %v", r)
		}
	}()
	if p, err = packets.ReadPacket(bytes.NewReader(b)); err != nil {
		return nil, fmt.Errorf("it sent a packet that makes no sense: %v", err) // not %w: an io.EOF in it is not the connection's
	}
	return p, nil
}

// skip reads of a message of n bytes what is needed to acknowledge it.
func (c *conn) skip(n int) (packets.ControlPacket, error) {
	head, err := c.r.ReadByte()
	if err != nil {
		return nil, err
	}
	if head>>4 != packets.Publish {
		return nil, fmt.Errorf("it sent a packet of %d bytes that is no message", n)
	}
	n--
	for b := byte(0x80); b >= 0x80; n-- {
		if b, err = c.r.ReadByte(); err != nil {
			return nil, err
		}
	}
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.Qos = head >> 1 & 3
	var two [2]byte
	if _, err = io.ReadFull(c.r, two[:]); err != nil {
		return nil, err
	}
	name := make([]byte, binary.BigEndian.Uint16(two[:]))
	if _, err = io.ReadFull(c.r, name); err != nil {
		return nil, err
	}
	n -= 2 + len(name)
	p.TopicName = string(name)
	if p.Qos > 0 {
		if _, err = io.ReadFull(c.r, two[:]); err != nil {
			return nil, err
		}
		n -= 2
		p.MessageID = binary.BigEndian.Uint16(two[:])
	}
	_, err = io.CopyN(io.Discard, c.r, int64(n))
	return p, err
}

func subscribePacket(rules []In) *packets.SubscribePacket {
	p := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	p.MessageID = subscribeID
	for _, r := range rules {
		p.Topics, p.Qoss = append(p.Topics, r.Filter), append(p.Qoss, r.QoS.Level())
	}
	return p
}

func pubcomp(id uint16) *packets.PubcompPacket {
	p := packets.NewControlPacket(packets.Pubcomp).(*packets.PubcompPacket)
	p.MessageID = id
	return p
}
