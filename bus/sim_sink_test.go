package bus

// This file is where the simulated client meets the bus: the sink that takes deliveries and checks
// what holds at every instant, and the disk whose syncs take time.

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/postbus/postbus/bus/bustest"
	"github.com/postbus/postbus/bus/journal"
	"github.com/postbus/postbus/bus/topic"
)

// Deliver implements Sink.
func (k *simConn) Deliver(d *Delivery) Verdict {
	s := k.c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if k.closed {
		if d.QoS > 0 {
			s.failLocked("nothing is delivered to a connection that ended: %s got %d", k.c.name, d.Event.Seq)
		}
		return Full
	}
	if k.c.small && len(d.Event.Payload) > 200 && d.QoS > 0 {
		return TooLarge
	}
	if len(k.queue) >= k.c.space {
		return Full
	}
	if d.Event.Seq > k.s.bus.journal.Durable() {
		s.failLocked("nothing is delivered before it is durable: %s got %d", k.c.name, d.Event.Seq)
	}
	g := &got{seq: d.Event.Seq, gap: d.Gap, id: d.ID, qos: d.QoS, dup: d.Dup, retain: d.Retain, subIDs: slices.Clone(d.SubIDs),
		topic: string(d.Event.Topic), payload: string(d.Event.Payload), at: time.Now()}
	if d.QoS > 0 {
		if d.ID == 0 || k.inflight[d.ID] != nil {
			s.failLocked("packet identifiers are unique in flight: %s got %d as %d", k.c.name, g.seq, d.ID)
		}
		if len(k.inflight) >= k.limit {
			s.failLocked("never more unacknowledged than the limit: %s has %d of %d", k.c.name, len(k.inflight), k.limit)
		}
		k.inflight[d.ID] = g
	}
	k.queue = append(k.queue, g)
	k.log = append(k.log, g)
	s.trace = append(s.trace, fmt.Sprintf("%12s  %s <- %d %s %q id %d qos %d dup %v retain %v gap %d subs %v", time.Since(s.start), k.c.name,
		g.seq, g.topic, g.payload[:min(12, len(g.payload))], g.id, g.qos, g.dup, g.retain, g.gap, g.subIDs))
	return Sent
}

// Release implements Sink.
func (k *simConn) Release(id uint16) bool {
	s := k.c.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if k.closed {
		s.failLocked("nothing is released on a connection that ended: %s got %d", k.c.name, id)
		return false
	}
	if len(k.queue) >= k.c.space {
		return false
	}
	if k.inflight[id] != nil {
		s.failLocked("packet identifiers are unique in flight: %s got %d released", k.c.name, id)
	}
	if len(k.inflight) >= k.limit {
		s.failLocked("never more unacknowledged than the limit: %s has %d of %d", k.c.name, len(k.inflight), k.limit)
	}
	k.inflight[id] = &got{id: id, qos: 2}
	k.releases = append(k.releases, id)
	return true
}

// check compares what came with the model.
func (c *simClient) check() {
	if c.conn == nil {
		return
	}
	k := c.conn
	c.s.mu.Lock()
	log := k.log
	k.log = nil
	c.s.mu.Unlock()
	c.s.model.scan(c.s.bus) // after that: all of the log is durable by now
	for _, g := range log {
		switch {
		case g.seq == 0:
			ok := false
			for _, sp := range c.sess.spans {
				_, inner := topic.SplitShare(sp.f.Filter)
				ok = ok || topic.Match(inner, g.topic)
			}
			if !ok {
				c.s.fail("nothing is delivered that no filter asked for: %s got %s", c.name, g.topic)
			}
		case c.s.ending && c.s.model.events[g.seq] == nil:
			// It became durable with the crash, and the dead disk can't be read: the next life
			// tells.
			if x := c.sess; !g.retain && !strings.HasPrefix(g.topic, "w/") {
				c.s.later = append(c.s.later, func() { x.own(k, g) })
			}
		case g.retain:
			c.sess.retainedMessage(g)
		case strings.HasPrefix(g.topic, "w/"):
			for _, sp := range c.sess.spans {
				if len(g.subIDs) == 1 && sp.f.ID == g.subIDs[0] && sp.endHi == forever {
					g.key = sp.f.Filter
				}
			}
			if g.key == "" {
				for _, sp := range c.sess.spans {
					if len(g.subIDs) == 1 && sp.f.ID == g.subIDs[0] {
						g.key = sp.f.Filter
					}
				}
			}
			if g.key == "" {
				c.s.fail("nothing is delivered that no filter asked for: %s got %d %s", c.name, g.seq, g.topic)
				continue
			}
			c.s.model.shared(k, g, g.key)
		default:
			c.sess.own(k, g)
		}
	}
}

// slowFS gives every sync a duration in virtual time, so that things happen in the middle of it.
type slowFS struct {
	*bustest.Disk
	seed uint64
	n    atomic.Uint64
}

func (f *slowFS) wait() {
	h := (f.seed + f.n.Add(1)) * 0x9e3779b97f4a7c15
	time.Sleep(time.Duration(100+h>>32%3000) * time.Microsecond)
}

func (f *slowFS) Open(name string, create bool) (journal.File, error) {
	file, err := f.Disk.Open(name, create)
	if err != nil {
		return nil, err
	}
	return &slowFile{file, f}, nil
}

func (f *slowFS) SyncDir() error {
	f.wait()
	return f.Disk.SyncDir()
}

type slowFile struct {
	journal.File
	fs *slowFS
}

func (f *slowFile) Sync() error {
	f.fs.wait()
	return f.File.Sync()
}
