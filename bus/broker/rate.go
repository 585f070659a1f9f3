package broker

// This file limits how much a client, and a user with all of its clients, publishes in a second. It loses
// no event: reading slows down.

import (
	"net"
	"sync"
	"time"
)

// Rate is what may be published in a second; 0: no limit.
type Rate struct {
	Events int
	Bytes  int64 // of PUBLISH packets
}

func (r Rate) none() bool { return r.Events <= 0 && r.Bytes <= 0 }

// meter measures a rate, after a burst of one second's events and bytes.
type meter struct {
	events, bytes bucket
	last          time.Time
}

// take counts one event.
func (m *meter) take(limit Rate, size int, now time.Time) {
	passed := time.Duration(-1)
	if !m.last.IsZero() {
		passed = now.Sub(m.last)
	}
	m.last = now
	m.events.take(float64(limit.Events), 1, passed)
	m.bytes.take(float64(limit.Bytes), float64(size), passed)
}

// wait returns how long the next event has to wait since the last one was taken, and for which limit.
func (m *meter) wait(events, bytes string) (time.Duration, string) {
	e, b := m.events.wait(), m.bytes.wait()
	if e >= b {
		return e, events
	}
	return b, bytes
}

// longestWait is the maximum that a client waits after one event, however large it is: a client whose
// PINGREQ isn't answered gives up.
const longestWait = 10 * time.Second

// bucket is a token bucket.
type bucket struct {
	tokens float64
	limit  float64 // a second; 0: none
}

// take takes n tokens. passed is the time since the last call; below zero: this is the first.
func (b *bucket) take(limit, n float64, passed time.Duration) {
	if limit <= 0 {
		b.limit = 0
		return
	}
	if passed < 0 || b.limit == 0 {
		b.tokens = limit
	} else {
		b.tokens = min(limit, b.tokens+passed.Seconds()*limit)
	}
	b.limit = limit
	b.tokens = max(b.tokens-n, -longestWait.Seconds()*limit)
}

func (b *bucket) wait() time.Duration {
	if b.limit == 0 || b.tokens >= 0 {
		return 0
	}
	return time.Duration(-b.tokens / b.limit * float64(time.Second))
}

// sharedMeter is the meter of a user's clients.
type sharedMeter struct {
	mu      sync.Mutex
	meter   meter
	clients int // guarded by Broker.mu
}

// joinUser gives a connection the meter of its user.
func (b *Broker) joinUser(c *conn) {
	if c.user == "" {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	m := b.users[c.user]
	if m == nil {
		m = &sharedMeter{}
		b.users[c.user] = m
	}
	m.clients++
	c.userRate = m
}

// leaveUserLocked forgets the meter with the user's last connection. The caller holds Broker.mu.
func (b *Broker) leaveUserLocked(c *conn) {
	if c.userRate == nil {
		return
	}
	if c.userRate.clients--; c.userRate.clients == 0 {
		delete(b.users, c.user)
	}
	c.userRate = nil
}

// takeRate counts an event of the client.
func (c *conn) takeRate(o *Options, size int) {
	if o.PublishRate.none() && o.UserRate.none() {
		c.metered = false
		return
	}
	now := time.Now()
	c.metered = true
	c.rate.take(o.PublishRate, size, now)
	if u := c.userRate; u != nil {
		u.mu.Lock()
		u.meter.take(o.UserRate, size, now)
		u.mu.Unlock()
	}
}

// rateWait returns how long the next event has to wait, and for which limit.
func (c *conn) rateWait() (wait time.Duration, limit string) {
	if !c.metered {
		return 0, ""
	}
	wait, limit = c.rate.wait("publish_rate", "publish_size")
	if u := c.userRate; u != nil {
		u.mu.Lock()
		w, l := u.meter.wait("user_publish_rate", "user_publish_size")
		u.mu.Unlock()
		if w > wait {
			wait, limit = w, l
		}
	}
	return wait, limit
}

// slowDown waits before the next event is read.
func (c *conn) slowDown(wait time.Duration, limit string) error {
	c.broker.count.delayed.Add(1)
	c.broker.quiet.Warn(c.broker.log, c.id, "client slowed down by limits."+limit, "client", c.id, "user", c.user, "remote", c.remote)
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-c.closed:
		return net.ErrClosed
	}
}
