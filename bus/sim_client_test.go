package bus

// This file is the simulated client with the part of a broker that stands between it and the bus.

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/postbus/postbus/bus/journal"
)

// got is one delivery as it came.
type got struct {
	seq, gap       uint64
	id             uint16
	qos            byte
	dup, retain    bool
	subIDs         []uint32
	topic, payload string
	at             time.Time
	key            string // of the group
}

// simConn is one connection: a sink with bounded room.
type simConn struct {
	c        *simClient
	s        *Session
	limit    int
	queue    []*got // not acknowledged
	log      []*got // not checked
	releases []uint16
	inflight map[uint16]*got
	last     uint64
	closed   bool
	doomed   bool            // the broker ends it: something was refused
	known    map[uint16]bool // QoS 2 identifiers whose publish came on this connection
	will     *simWill
}

// simPub is one publish of QoS 1 or 2.
type simPub struct {
	c         *simClient
	conn      *simConn
	key       string
	rec       journal.Record
	commit    journal.Commit
	id        uint16
	acked     bool
	released  bool
	refused   int // the life in which the disk refused it
	mayRepeat bool
}

// simClient is a client with its session.
type simClient struct {
	s        *sim
	name     string
	expiry   uint32
	shares   bool
	small    bool // takes no large events
	busy     bool
	dropping int // calls of Drop that have not returned
	space    int
	conn     *simConn
	sess     *simSession
	outgoing []*simPub // QoS 2 handshakes
	nextID   uint16
	will     *simWill // of its last connection
}

func newSimClient(s *sim, i int) *simClient {
	c := &simClient{s: s, name: string(rune('a' + i)), space: 1 + s.rnd.IntN(10)}
	c.sess = newSimSession(&s.model, c.name)
	c.small = s.chance(10)
	switch {
	case s.chance(35):
		c.shares = true
		c.expiry = NeverExpires
	case s.chance(20):
		c.expiry = 0
	case s.chance(50):
		c.expiry = uint32(1 + s.rnd.IntN(60))
	default:
		c.expiry = uint32(600 + s.rnd.IntN(4000))
	}
	return c
}

func (c *simClient) connect(clean bool) {
	s, b := c.s, c.s.bus
	o := SessionOptions{Name: c.name, Clean: clean, Expiry: c.expiry}
	will, before := (*simWill)(nil), c.will
	if s.chance(50) {
		will = s.model.newWill(c)
		o.Will = &Will{Topic: "n/will", Payload: []byte(will.key), QoS: 1, Retain: s.chance(10), Delay: will.delay}
		switch {
		case s.chance(20):
			o.Will.QoS = 2
		case s.chance(25):
			o.Will.QoS = 0
		}
		if s.chance(30) {
			o.Will.Topic = "w/will"
		}
	}
	s.log("%s connects, clean %v, expiry %d, will %v", c.name, clean, c.expiry, will)
	if clean || c.sess.expiry == 0 {
		before.dueNow()
	}
	k := &simConn{c: c, limit: 1 + s.rnd.IntN(6), inflight: map[uint16]*got{}, known: map[uint16]bool{}}
	offline := time.Duration(0)
	if !c.sess.offAt.IsZero() {
		offline = time.Since(c.sess.offAt)
	}
	var present bool
	began := time.Now()
	s.async(c, func() (err error) {
		k.s, present, err = b.Attach(context.Background(), o)
		return err
	}, func(err error) {
		x := c.sess
		if b.ctx.Err() != nil || err != nil {
			s.log("%s is refused: %v", c.name, err)
			x.void()
			x.gone = false // the record may have been written
			before.doubt()
			c.will = nil
			return
		}
		s.log("%s is connected, limit %d, present %v", c.name, k.limit, present)
		if clean && present {
			s.fail("a clean start forgets the session: %s", c.name)
		}
		if !present && !clean && x.alive && (x.expiry == NeverExpires || offline+5*time.Second < time.Duration(x.expiry)*time.Second) {
			s.fail("a session survives until it expires: %s is gone after %s of %d s", c.name, offline, x.expiry)
		}
		if present && x.gone {
			s.fail("a session that ended does not come back: %s", c.name)
		}
		if !present {
			x.void()
			c.sess = newSimSession(&s.model, c.name)
			x = c.sess
			for _, p := range c.outgoing {
				p.mayRepeat = true
			}
			c.outgoing = nil
		}
		x.online, x.gone, x.unclear = true, false, false
		k.s.mu.Lock()
		silent := k.s.unrecorded
		k.s.mu.Unlock()
		x.silent = x.silent || silent
		before.returned(s, began, present && !silent, silent)
		if c.will = nil; will != nil && !silent {
			will.state = willNever // while the client is there
			c.will, k.will = will, will
		}
		x.alive = c.expiry > 0 && (x.alive || !silent) // without a record it is as doubtful as before
		x.expiry = c.expiry
		c.conn = k
		k.s.Start(k, k.limit)
		c.resend()
	})
}

// resend goes on with the QoS 2 handshakes of the last connection.
func (c *simClient) resend() {
	have := c.conn.s.Received()
	for _, p := range slices.Clone(c.outgoing) {
		if c.conn.doomed {
			return
		}
		p.conn = c.conn
		c.conn.known[p.id] = true
		switch {
		case p.released || p.acked:
			p.acked = true
			c.release(p)
		case slices.Contains(have, p.id):
			c.s.log("%s sends %q again; it is known", c.name, p.key)
			p.fate(nil)
		default:
			c.s.log("%s sends %q again", c.name, p.key)
			c.append(p)
		}
	}
}

func (c *simClient) append(p *simPub) {
	r := p.rec
	commit, err := c.s.bus.Append(&r)
	if err != nil {
		p.refused = c.s.life
		c.s.log("%s is refused %q: %v", c.name, p.key, err)
		if c.conn != nil {
			c.conn.doomed = true
		}
		return
	}
	p.refused = 0
	p.commit, p.conn = commit, c.conn
	c.s.log("%s -> %s %q qos %d retain %v expiry %d id %d", c.name, r.Topic, p.key[:min(12, len(p.key))], r.Flags&flagQoS, r.Flags&flagRetain != 0, int32(r.Expiry), r.ID)
	c.s.pubs = append(c.s.pubs, p)
}

// fate is the answer of the bus to a publish.
func (p *simPub) fate(err error) {
	c := p.c
	if err != nil {
		p.refused = c.s.life
		c.s.log("%q is refused: %v", p.key[:min(12, len(p.key))], err)
		if c.conn != nil && c.conn == p.conn {
			c.conn.doomed = true
		}
		return
	}
	p.acked = true
	if p.id != 0 && c.conn != nil && c.conn == p.conn && !c.conn.closed {
		c.release(p)
	}
}

// release ends a QoS 2 publish.
func (c *simClient) release(p *simPub) {
	p.released = true
	commit, err := c.conn.s.Release(p.id)
	k := c.conn
	if err != nil {
		k.doomed = true
		return
	}
	done := func() {
		c.outgoing = slices.DeleteFunc(c.outgoing, func(o *simPub) bool { return o == p })
		delete(k.known, p.id)
	}
	if commit.IsZero() {
		done()
		return
	}
	c.s.ops = append(c.s.ops, &simOp{c: &simClient{}, finished: waitFor(commit), done: func(err error) {
		if err == nil && c.conn == k {
			done()
		} else {
			k.doomed = true
		}
	}})
}

func waitFor(c journal.Commit) chan error {
	out := make(chan error, 1)
	go func() {
		<-c.Done()
		out <- c.Err()
	}()
	return out
}

func (c *simClient) publish(n int) {
	s := c.s
	for range n {
		if c.conn.doomed {
			return
		}
		e := Event{Topic: []string{"n/a/1", "n/a/2", "n/b/1", "n/b", "w/1", "w/2"}[s.rnd.IntN(6)], QoS: 1, Source: c.name}
		s.payload++
		e.Payload = fmt.Appendf(nil, "event %05d", s.payload)
		if s.chance(5) {
			e.Payload = append(e.Payload, make([]byte, 200+s.rnd.IntN(600))...)
		}
		switch {
		case s.chance(10):
			e.QoS = 0
		case s.chance(25):
			e.QoS = 2
		}
		e.Retain = s.chance(15)
		if e.Retain && s.chance(25) && e.QoS < 2 {
			e.Payload = nil
		}
		if s.chance(10) {
			e.Expiry = time.Duration(1+s.rnd.IntN(30)) * time.Second
		}
		if s.chance(30) {
			s.keep(&e)
		}
		if s.chance(3) {
			c.publishVoid()
		}
		r := e.Record()
		if e.QoS == 0 && !e.Retain {
			if e.Kept.Topic != "" {
				c.sendKept(e)
			} else {
				s.bus.PublishNow(r)
			}
			continue
		}
		p := &simPub{c: c, key: string(e.Payload), mayRepeat: e.QoS < 2}
		if e.QoS == 2 {
			c.nextID = c.nextID%50 + 1
			if slices.ContainsFunc(c.outgoing, func(o *simPub) bool { return o.id == c.nextID }) {
				continue
			}
			p.id, r.ID = c.nextID, c.nextID
			c.outgoing = append(c.outgoing, p)
			c.conn.known[p.id] = true
		}
		p.rec = *r
		if p.key != "" {
			s.model.pubs[p.key] = p
		}
		c.append(p)
	}
}

// acknowledge answers up to n deliveries in order, and releases; false when there was nothing.
func (c *simClient) acknowledge(n int) bool {
	s, k := c.s, c.conn
	if k == nil {
		return false
	}
	s.mu.Lock()
	queue := k.queue[:min(n, len(k.queue))]
	k.queue = k.queue[len(queue):]
	releases := k.releases
	k.releases = nil
	s.mu.Unlock()
	c.check()
	free := func(id uint16) {
		s.mu.Lock()
		delete(k.inflight, id)
		s.mu.Unlock()
	}
	for _, id := range releases {
		free(id)
		if !k.s.Ack(id) {
			s.fail("what is in flight can be acknowledged: %s, %d after its release", c.name, id)
		}
		s.log("%s completes %d", c.name, id)
	}
	for _, g := range queue {
		if g.qos == 0 {
			continue
		}
		mark := c.sess.sent[g.seq]
		if g.retain || g.key != "" {
			mark = nil
		}
		if g.qos == 2 {
			if !k.s.Receive(g.id) {
				s.fail("what is in flight can be acknowledged: %s, %d received", c.name, g.id)
			}
			s.log("%s received %d (%d)", c.name, g.seq, g.id)
			if mark != nil {
				mark.receivd = s.life
			}
			if s.chance(50) {
				s.mu.Lock()
				k.releases = append(k.releases, g.id) // PUBCOMP comes later
				s.mu.Unlock()
				continue
			}
		}
		free(g.id)
		if mark != nil {
			mark.acked = s.life
		}
		if g.key != "" {
			if h := s.model.group(g.key).held[g.seq]; h != nil && h.conn == k {
				h.acked = true
			}
		}
		s.log("%s acknowledges %d (%d)", c.name, g.seq, g.id)
		if !k.s.Ack(g.id) {
			s.fail("what is in flight can be acknowledged: %s, %d (%d)", c.name, g.id, g.seq)
		}
	}
	k.s.Kick()
	return len(queue)+len(releases) > 0
}

func (c *simClient) room(n int) {
	s := c.s
	if n < 1000 {
		n = s.rnd.IntN(12)
	}
	s.mu.Lock()
	c.space = n
	s.mu.Unlock()
	if c.conn != nil && c.conn.s != nil {
		c.conn.s.Kick()
	}
}

// closed marks the end of a connection for the model.
func (c *simClient) closed() {
	if c.conn == nil {
		return
	}
	c.s.mu.Lock()
	c.conn.closed = true
	c.s.mu.Unlock()
	c.conn = nil
	if c.sess.offAt.IsZero() || c.sess.online {
		c.sess.offAt = time.Now()
	}
}

// lostConnection: the bus is gone.
func (c *simClient) lostConnection() {
	if c.conn == nil {
		return
	}
	c.conn.will.left(c.expiry)
}

func (c *simClient) disconnect(clean bool, expiry uint32) {
	s, k := c.s, c.conn
	s.log("%s disconnects, clean %v", c.name, clean)
	if !clean {
		k.will.left(expiry)
	}
	k.s.Detach(clean, expiry)
	if clean && k.will != nil {
		k.s.mu.Lock()
		k.will.goodbye = k.s.written
		k.s.mu.Unlock()
	}
	if c.dropping > 0 { // which may come only now
		c.sess.void()
		k.will.doubt()
	}
	c.check()
	c.sess.online = false
	c.closed()
	c.sess.offAt, c.sess.offLife = time.Now(), s.life
	if expiry == 0 {
		c.sess.void()
	}
}

// drop ends the session of a client that is away; busy is the client that waits for it.
func (c *simClient) drop(busy *simClient) {
	s, b, x := c.s, c.s.bus, c.sess
	s.log("%s is dropped", c.name)
	x.void()
	will := c.will
	will.dueNow()
	s.async(busy, func() error { return b.Drop(context.Background(), c.name) }, func(err error) {
		s.log("%s dropped: %v", c.name, err)
		x.gone = err == nil && b == s.bus
		if err != nil {
			will.doubt()
		}
	})
}

// dropInTheMiddle asks for the end of a session that is connected, or about to be.
func (c *simClient) dropInTheMiddle() {
	s, b, k := c.s, c.s.bus, c.conn
	connected := k != nil
	s.log("%s is dropped in the middle, connected %v", c.name, connected)
	if !connected { // it may have come first
		c.sess.void()
		c.will.doubt()
		for _, w := range s.model.wills {
			if w.client == c && w.state == willMust {
				w.doubt()
			}
		}
	}
	c.dropping++
	s.async(&simClient{name: c.name + " in the middle"}, func() error { return b.Drop(context.Background(), c.name) }, func(err error) {
		c.dropping--
		s.log("%s dropped in the middle: %v", c.name, err)
		if k != nil && err == nil && b == s.bus && c.conn == k {
			s.fail("a connected session is not dropped: %s", c.name)
		}
	})
}

// checkExpected compares, at the end, the events of the session with those that it had to get.
func (c *simClient) checkExpected() {
	x, s := c.sess, c.s
	var missing []uint64
	excused := uint64(0)
	for _, seq := range s.model.order {
		e := s.model.events[seq]
		if x.sent[seq] != nil || !x.expects(e) {
			continue
		}
		if s.model.excused(e) {
			excused++
		} else {
			missing = append(missing, seq)
		}
	}
	if len(missing) > 0 {
		s.fail("an acknowledged event is never lost: %s never had %v", c.name, missing)
	}
	reported := x.reported
	if c.conn != nil {
		c.conn.s.mu.Lock()
		reported += c.conn.s.unreportedGapLocked()
		c.conn.s.mu.Unlock()
	}
	if excused > reported {
		s.fail("a loss is reported: %s lost %d events and got reports of %d", c.name, excused, reported)
	}
}
