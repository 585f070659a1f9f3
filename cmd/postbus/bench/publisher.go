package bench

// This file is a publisher: a window of unacknowledged events, sent in batches, resent after a lost
// connection.

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// The states of a slot in the window.
const (
	slotFree = iota
	slotSent // awaits PUBACK or PUBREC
	slotRel  // awaits PUBCOMP
)

// publisher survives its connections, as a client with a persistent session does.
type publisher struct {
	index int
	qos   byte
	idle  time.Duration
	eager bool // without a rate: wait for many free slots, then fill them with one write

	// pace is the minimum time between two reads of acknowledgements while more than half of the
	// window is open. Then nothing waits for acknowledgements, and a broker that writes them one by
	// one costs a wake-up for each.
	pace time.Duration

	// batch contains depth copies of the packet; sending changes only the bytes that differ.
	batch           []byte
	stride, depth   int
	idAt, payloadAt int

	acks latencies // from sending to PUBACK or PUBREC; belongs to the reader of acknowledgements
	wake chan struct{}

	mu        sync.Mutex
	next      uint64 // the sequence to send next
	base      uint64 // the lowest unfinished sequence
	state     []uint8
	sentAt    []int64
	acked     bitset // acknowledged: the broker is responsible for these
	firstSend int64
	lastAck   int64
	progress  int64 // clock of the latest send or acknowledgement
}

// plan is what one run of a publisher sends.
type plan struct {
	count uint64  // stop at this sequence; 0: until the sending context ends
	rate  float64 // a second; 0: unlimited
}

func newPublisher(o Options, index int) *publisher {
	p := &publisher{index: index, qos: byte(o.QoS), idle: o.Idle, eager: o.Rate == 0, wake: make(chan struct{}, 1)}
	one, idAt, payloadAt := appendPublish(nil, o.Topic, p.qos, o.Size)
	p.idAt, p.payloadAt, p.stride = idAt, payloadAt, len(one)
	mark{run: o.run, publisher: uint32(index)}.put(one[payloadAt:])
	p.depth = max(1, bufferSize/len(one))
	if p.qos > 0 {
		p.depth = min(p.depth, o.Window)
		p.state, p.sentAt = make([]uint8, o.Window), make([]int64, o.Window)
	}
	if p.eager && o.Window >= 500 {
		p.pace = min(time.Duration(o.Publishers)*pace, time.Millisecond)
	}
	for range p.depth {
		p.batch = append(p.batch, one...)
	}
	return p
}

func newPublishers(o Options) []*publisher {
	all := make([]*publisher, o.Publishers)
	for i := range all {
		all[i] = newPublisher(o, i)
	}
	return all
}

// set makes packet i of the batch the event seq.
func (p *publisher) set(i int, seq uint64, stamp int64, flags byte) {
	b := p.batch[i*p.stride : (i+1)*p.stride]
	b[0] = typePublish | p.qos<<1 | flags
	if p.qos > 0 {
		binary.BigEndian.PutUint16(b[p.idAt:], uint16(seq%uint64(len(p.state)))+1)
	}
	binary.BigEndian.PutUint64(b[p.payloadAt+seqOffset:], seq)
	binary.BigEndian.PutUint64(b[p.payloadAt+stampOffset:], uint64(stamp))
}

// run resends events that an earlier connection left unacknowledged, sends until the plan or the
// context sending ends, and returns when everything is acknowledged. ctx aborts it: the connection
// is bound to it.
func (p *publisher) run(ctx, sending context.Context, c *conn, pl plan) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("publisher %d: %w", p.index, err)
		}
	}()
	if p.qos == 0 {
		if err := p.send(ctx, sending, c, pl, nil); err != nil {
			return err
		}
		if err := c.ping(); err != nil {
			return err
		}
		p.mu.Lock()
		p.lastAck = clock()
		p.mu.Unlock()
		return nil
	}
	p.mu.Lock()
	p.progress = clock()
	p.mu.Unlock()
	var readErr error
	var enough atomic.Bool
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		readErr = p.readAcks(c, &enough)
	}()
	err = p.send(ctx, sending, c, pl, gone)
	if err == nil {
		err = p.settled(gone)
	}
	if err == nil {
		enough.Store(true)
		c.nc.SetReadDeadline(time.Now())
	} else if timedOut(err) {
		c.close()
	}
	<-gone // after a broken connection it still reads acknowledgements that arrived
	if errors.Is(err, errGone) {
		err = readErr
	}
	return err
}

// errGone says that the reader of acknowledgements ended; its error says why.
var errGone = errors.New("connection gone")

// send is the writing side.
func (p *publisher) send(ctx, sending context.Context, c *conn, pl plan, gone chan struct{}) error {
	if p.qos > 0 {
		if err := p.resend(c); err != nil {
			return err
		}
	}
	p.mu.Lock()
	start, first := clock(), p.next
	if p.firstSend == 0 {
		p.firstSend = start
	}
	p.mu.Unlock()
	for sending.Err() == nil && ctx.Err() == nil && (pl.count == 0 || p.next < pl.count) {
		n := p.depth
		if pl.count > 0 {
			n = int(min(uint64(n), pl.count-p.next))
		}
		if pl.rate > 0 {
			due, sent := uint64(float64(clock()-start)/1e9*pl.rate)+1, p.next-first
			if sent >= due {
				pause(sending, time.Duration(start+int64(float64(sent)/pl.rate*1e9)-clock()))
				continue
			}
			n = int(min(uint64(n), due-sent))
		}
		stamp := clock()
		if p.qos > 0 {
			room, waited, err := p.room(n, gone)
			if err != nil {
				return err
			}
			n = min(n, room)
			if waited && pl.rate > 0 {
				// The latency of an event that waited for the window counts from when it was due.
				stamp = min(clock(), start+int64(float64(p.next-first)/pl.rate*1e9))
			} else {
				stamp = clock()
			}
		}
		p.mu.Lock()
		for i := range n {
			seq := p.next + uint64(i)
			p.set(i, seq, stamp, 0)
			if p.qos > 0 {
				slot := seq % uint64(len(p.state))
				p.state[slot], p.sentAt[slot] = slotSent, stamp
			}
		}
		p.next += uint64(n)
		p.progress = stamp
		p.mu.Unlock()
		if err := c.write(p.batch[:n*p.stride]); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// resend repeats unacknowledged events in order, with the same packet identifiers.
func (p *publisher) resend(c *conn) error {
	p.mu.Lock()
	base, next := p.base, p.next
	p.mu.Unlock()
	n := 0
	var rels []byte
	for seq := base; seq < next; seq++ {
		slot := seq % uint64(len(p.state))
		p.mu.Lock()
		state, stamp := p.state[slot], p.sentAt[slot]
		p.mu.Unlock()
		switch state {
		case slotSent:
			p.set(n, seq, stamp, flagDup)
			n++
		case slotRel:
			rels = appendAck(rels, typePubrel, uint16(slot)+1)
		}
		if n == p.depth {
			if err := c.write(p.batch[:n*p.stride]); err != nil {
				return err
			}
			n = 0
		}
	}
	if n == 0 && len(rels) == 0 {
		return nil
	}
	return c.write(append(rels, p.batch[:n*p.stride]...))
}

// room waits until at least one slot is free; an eager publisher waits for enough slots for a good
// batch. waited reports whether the window was full.
func (p *publisher) room(n int, gone chan struct{}) (free int, waited bool, err error) {
	want := 1
	if p.eager {
		want = min(n, max(1, len(p.state)/4))
	}
	for {
		p.mu.Lock()
		free = len(p.state) - int(p.next-p.base)
		p.mu.Unlock()
		if free >= want {
			return free, waited, nil
		}
		waited = true
		select {
		case <-p.wake:
		case <-gone:
			return 0, true, errGone
		}
	}
}

// settled waits until everything sent is acknowledged.
func (p *publisher) settled(gone chan struct{}) error {
	for {
		p.mu.Lock()
		done := p.base == p.next
		p.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-p.wake:
		case <-gone:
			return errGone
		}
	}
}

// readAcks frees slots until enough is set, the connection ends, or there is no progress for
// p.idle.
func (p *publisher) readAcks(c *conn, enough *atomic.Bool) error {
	var rels []byte
	for !enough.Load() {
		if err := c.fill(); timedOut(err) {
			p.mu.Lock()
			stuck := p.next > p.base && clock()-p.progress > int64(p.idle)
			open := p.next - p.base
			p.mu.Unlock()
			if stuck {
				return withHint(fmt.Errorf("%d events wait for an acknowledgement and none came for %s", open, p.idle),
					"see whether the broker still runs; --idle waits longer")
			}
			continue
		} else if err != nil {
			return err
		}
		p.mu.Lock()
		var err error
		rels, err = p.takeAcks(c, rels[:0])
		open := int(p.next - p.base)
		p.mu.Unlock()
		select {
		case p.wake <- struct{}{}:
		default:
		}
		if err == nil && len(rels) > 0 {
			err = c.write(rels)
		}
		if err != nil {
			return err
		}
		if early := p.pace - time.Duration(clock()-c.readAt); early > 0 && open > len(p.state)/2 {
			nap(early)
		}
	}
	return nil
}

// takeAcks processes every acknowledgement in the buffer. The caller holds mu.
func (p *publisher) takeAcks(c *conn, rels []byte) ([]byte, error) {
	now := c.readAt
	for {
		pk, ok, err := c.next()
		if err != nil || !ok {
			return rels, err
		}
		id, err := pk.identifier()
		if err != nil {
			return rels, err
		}
		slot := int(id) - 1
		if slot < 0 || slot >= len(p.state) {
			return rels, fmt.Errorf("%w: acknowledgement of packet identifier %d, which was never used",
				errMalformed, id)
		}
		kind, state := pk.kind(), p.state[slot]
		if kind == typePubrec && p.qos == 2 {
			rels = appendAck(rels, typePubrel, id)
		}
		switch {
		case kind == typePuback && p.qos == 1 && state == slotSent:
			p.acknowledged(slot, now)
			p.state[slot] = slotFree
		case kind == typePubrec && p.qos == 2 && state == slotSent:
			p.acknowledged(slot, now)
			p.state[slot] = slotRel
		case kind == typePubcomp && state == slotRel:
			p.state[slot] = slotFree
		}
		p.progress = now
		for p.base < p.next && p.state[p.base%uint64(len(p.state))] == slotFree {
			p.base++
		}
	}
}

func (p *publisher) acknowledged(slot int, now int64) {
	window := uint64(len(p.state))
	seq := p.base + (uint64(slot)+window-p.base%window)%window
	p.acked.add(seq)
	p.acks.add(p.sentAt[slot], now)
	p.lastAck = now
}

// pause sleeps for d, at most a tick, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(min(d, tick))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// tally adds up the results of a set of publishers.
type tally struct {
	sent, acked uint64
	first, last int64   // clocks of the first event sent and the last acknowledgement
	acks        [3]hist // by phase
}

func total(publishers []*publisher) tally {
	var t tally
	for _, p := range publishers {
		p.mu.Lock()
		t.sent += p.next
		t.acked += p.acked.count
		if t.first == 0 || p.firstSend > 0 && p.firstSend < t.first {
			t.first = p.firstSend
		}
		t.last = max(t.last, p.lastAck)
		for i := range t.acks {
			t.acks[i].merge(&p.acks.h[i])
		}
		p.mu.Unlock()
	}
	return t
}
