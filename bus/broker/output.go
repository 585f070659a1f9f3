package broker

// This file is the output path: a bounded buffer and the barrier in it. Any goroutine appends to
// the buffer without blocking, and one goroutine empties it. Bytes behind a mark wait for that
// mark's commit. So an acknowledgement is sent when its event is durable, and never if the disk
// fails.

import (
	"io"
	"net"
	"sync"
	"time"

	"github.com/postbus/postbus/bus/broker/frame"
	"github.com/postbus/postbus/bus/journal"
)

// mark states that the buffer's bytes from an offset on wait for a commit.
type mark struct {
	from   int
	commit journal.Commit
}

// Write implements net.Conn for mochi's packets. It queues them behind the bytes in the buffer.
func (c *conn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		return 0, net.ErrClosed
	}
	c.queueBuffer()
	c.out = append(c.out, p...)
	c.welcomed = true // the first packet that mochi writes is CONNACK
	c.startFlush()
	return len(p), nil
}

// refusePublish queues an acknowledgement that refuses a publish, with a reason if the client asked
// for problem information.
func (c *conn) refusePublish(typ byte, id uint16, code byte, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		return
	}
	if !c.connect.RequestProblemInfo { // [MQTT-3.1.2-29]
		text = ""
	}
	c.queueBuffer()
	before := len(c.out)
	c.out = frame.AppendAckText(c.out, c.version, typ, id, code, text)
	if m := int(c.connect.MaximumPacketSize); m > 0 && len(c.out)-before > m { // [MQTT-3.4.2-2]
		c.out = frame.AppendAck(c.out[:before], c.version, typ, id, code)
	}
	c.startFlush()
}

// acknowledge queues an acknowledgement that waits for commit. With a zero commit it waits only for
// the bytes before it.
func (c *conn) acknowledge(typ byte, id uint16, code byte, commit journal.Commit) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending {
		return
	}
	c.queueBuffer()
	if !commit.IsZero() {
		if n := len(c.marks); n == 0 || !c.marks[n-1].commit.SameGroup(commit) {
			c.marks = append(c.marks, mark{from: len(c.out), commit: commit})
		}
	}
	c.out = frame.AppendAck(c.out, c.version, typ, id, code)
	c.startFlush()
}

// startFlush starts a flush unless one runs. The caller holds mu.
func (c *conn) startFlush() {
	if c.flushing || c.dead {
		return
	}
	c.flushing = true
	c.broker.tasks.Add(1)
	go c.flush()
}

// outBuffers are the buffers of connections with queued output; an idle connection has none.
var outBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

func (c *conn) queueBuffer() {
	if c.out == nil {
		c.out = *outBuffers.Get().(*[]byte)
	}
}

func giveBuffer(b []byte) {
	if cap(b) > 0 && cap(b) <= 1<<20 {
		b = b[:0]
		outBuffers.Put(&b)
	}
}

// flush writes durable bytes until the buffer is empty.
func (c *conn) flush() {
	defer c.broker.tasks.Done()
	var spare []byte
	for {
		c.mu.Lock()
		n, wait := c.durable()
		if c.dead {
			c.flushing = false
			c.mu.Unlock()
			c.broker.releaseRefused(c)
			return
		}
		if n == 0 && wait.IsZero() {
			if len(c.out) == 0 {
				giveBuffer(c.out)
				c.out = nil
			}
			ending := c.ending
			c.flushing = false
			c.dead = ending
			c.watchLocked(c.broker.o.Load().OutputBuffer)
			c.wakeReader()
			c.mu.Unlock()
			giveBuffer(spare)
			if ending {
				c.linger()
				c.broker.releaseRefused(c)
			}
			return
		}
		if n == 0 {
			ending := c.ending
			c.mu.Unlock()
			if !c.await(wait, ending) {
				c.abort()
			}
			continue
		}
		chunk := c.out[:n]
		if spare == nil {
			spare = *outBuffers.Get().(*[]byte)
		}
		c.out = append(spare[:0], c.out[n:]...)
		spare = nil
		for i := range c.marks {
			c.marks[i].from -= n
		}
		c.mu.Unlock()
		wrote, err := c.raw.Write(chunk)
		c.broker.count.bytesOut.Add(uint64(wrote))
		spare = chunk[:0]
		if err != nil {
			c.abort()
			continue
		}
		c.room(wrote)
	}
}

// durable returns how many bytes of the buffer may be sent now, and the commit that the next bytes
// wait for. The caller holds mu.
func (c *conn) durable() (int, journal.Commit) {
	for len(c.marks) > 0 {
		m := &c.marks[0]
		select {
		case <-m.commit.Done():
		default:
			return m.from, m.commit
		}
		if err := m.commit.Err(); err != nil {
			// The client must not learn that this was accepted: bytes behind the mark are never
			// sent.
			c.out = c.out[:m.from]
			c.marks = nil
			c.ending = true
			if c.failed == nil {
				c.failed = err
			}
			_ = c.raw.SetReadDeadline(time.Unix(1, 0))
			return len(c.out), journal.Commit{}
		}
		c.marks = c.marks[1:]
	}
	c.marks = nil
	return len(c.out), journal.Commit{}
}

// await waits for a commit; once the connection ends it waits for closeTimeout at most.
func (c *conn) await(commit journal.Commit, ending bool) bool {
	if !ending {
		select {
		case <-commit.Done():
			return true
		case <-c.gone:
		}
	}
	t := time.NewTimer(closeTimeout)
	defer t.Stop()
	select {
	case <-commit.Done():
		return true
	case <-t.C:
		return false
	}
}

// abort closes the socket at once.
func (c *conn) abort() {
	c.mu.Lock()
	c.ending, c.dead = true, true
	c.out, c.marks = nil, nil
	c.watchLocked(0)
	c.wakeReader()
	c.mu.Unlock()
	c.closeSocket()
}

// closeSocket is the last use of the socket.
func (c *conn) closeSocket() {
	c.raw.Close()
	c.broker.mu.Lock()
	delete(c.broker.sockets, c)
	c.broker.mu.Unlock()
}

// wakeReader continues a reading goroutine that backpressure blocks. The caller holds mu.
func (c *conn) wakeReader() {
	if c.drained != nil {
		close(c.drained)
		c.drained = nil
	}
}

// These are how long a closed socket still receives input. A client in the middle of a large packet
// reads nothing before it has sent all of it.
const (
	lingerFor      = time.Second
	lingerStopping = 250 * time.Millisecond
)

// linger closes a socket so that the client can still read the last packets. With unread input, a
// plain close would reset the connection before the client reads them.
func (c *conn) linger() {
	if t, ok := c.raw.(interface{ CloseWrite() error }); ok && t.CloseWrite() == nil {
		d := lingerFor
		select {
		case <-c.broker.stop:
			d = lingerStopping
		default:
		}
		// The reading goroutine ends first. A new deadline would prolong a read that Close's
		// deadline was to end, and a connection that takes the session over waits for that read.
		select {
		case <-c.gone:
		case <-time.After(d):
		}
		_ = c.raw.SetReadDeadline(time.Now().Add(d))
		_, _ = io.Copy(io.Discard, c.raw)
	}
	c.closeSocket()
}

// room records that the socket has taken bytes. It continues deliveries and the reading goroutine
// when the buffer has space again.
func (c *conn) room(wrote int) {
	limit := c.broker.o.Load().OutputBuffer
	c.mu.Lock()
	c.occupancy.taken += wrote
	c.bytesOut += uint64(wrote)
	c.watchLocked(limit)
	kick := c.wantRoom && !c.hold && len(c.out) < limit/2
	if kick {
		c.wantRoom = false
	}
	if len(c.out) < limit {
		c.wakeReader()
	}
	c.mu.Unlock()
	if kick && c.session != nil {
		c.session.Kick()
	}
}

// backpressure blocks the reading goroutine while the client does not read its acknowledgements.
func (c *conn) backpressure() {
	limit := c.broker.o.Load().OutputBuffer
	c.mu.Lock()
	if len(c.out) < 2*limit || c.ending {
		c.mu.Unlock()
		return
	}
	if c.drained == nil {
		c.drained = make(chan struct{})
	}
	ch := c.drained
	c.mu.Unlock()
	<-ch
}
