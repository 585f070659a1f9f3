package bus

import "github.com/postbus/postbus/bus/topic"

// This file is shared subscriptions. A group is a cursor whose sink is the next member that has
// room. With a persistent member it is a durable work queue.

// maxGroupFlight is how many deliveries of one group may be in flight for each of its members.
const maxGroupFlight = 100

// maxRefused is how many events of a group may wait for a member that is offline, because those that
// are online refuse them. With more the group waits as a whole.
const maxRefused = 1000

// group is the cursor of $share/name/filter. Its mu guards members and turn.
type group struct {
	cursor
	key     string
	size    int             // of all; under Bus.mu
	all     []*subscription // of every session, online or not
	members []*subscription // online
	turn    int
}

func (b *Bus) group(key string) *group {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.groups[key]
}

// addToGroup adds a session's shared subscription to its group. The first member creates the group.
func (b *Bus) addToGroup(sub *subscription, seq uint64) *group {
	b.mu.Lock()
	g := b.groups[sub.Filter.Filter]
	if g == nil {
		_, inner := topic.SplitShare(sub.Filter.Filter)
		g = &group{key: sub.Filter.Filter, cursor: cursor{bus: b, name: sub.Filter.Filter, next: seq + 1, shared: true}}
		g.mu.Use(b.o.schedule, g.key)
		g.subs = []*subscription{{Filter: Filter{Filter: inner, QoS: 1}, pattern: compile(inner), cursor: &g.cursor, from: seq}}
		b.groups[g.key] = g
		b.persisted[g.key] = seq // a start before a record of positions begins there
	}
	g.size++
	b.mu.Unlock()
	g.mu.Lock()
	g.all = append(g.all, sub)
	g.durable = g.durable || sub.session.durable
	g.mu.Unlock()
	sub.cursor = &g.cursor
	return g
}

// dropFromGroup removes a subscription; the last one ends the group.
func (b *Bus) dropFromGroup(sub *subscription) {
	b.mu.Lock()
	g := b.groups[sub.Filter.Filter]
	if g == nil {
		b.mu.Unlock()
		return
	}
	if g.size--; g.size == 0 {
		delete(b.groups, g.key)
		delete(b.persisted, g.key)
	}
	b.mu.Unlock()
	g.mu.Lock()
	g.all = without(g.all, sub)
	g.durable = false
	for _, m := range g.all {
		g.durable = g.durable || m.session.durable
	}
	g.mu.Unlock()
	g.refreshMembers()
}

// refreshMembers updates the list of online members, and starts or stops the group's cursor.
func (g *group) refreshMembers() {
	if g == nil {
		return
	}
	g.mu.Lock()
	g.members = nil
	for _, m := range g.all {
		if m.session.sink.Load() != nil {
			g.members = append(g.members, m)
		}
	}
	was := g.sink.Load() != nil
	switch is := len(g.members) > 0; {
	case is && !was:
		g.bus.index.add(g.subs[0])
		g.attachLocked((*groupSink)(g))
	case !is && was:
		// Events in flight stay with their members: each returns them when it detaches.
		g.stopLiveLocked() // before the index forgets its filter
		g.bus.index.remove(g.subs[0])
		g.removeSinkLocked()
	}
	g.membership++
	if g.refusedLocked() > 0 {
		g.stopLiveLocked() // so that the pump offers it again
	}
	g.limit = maxGroupFlight * max(1, len(g.members))
	g.kickLocked()
	g.mu.Unlock()
}

// refusedLocked counts the events that wait for another member.
func (c *cursor) refusedLocked() (n int) {
	for i := range c.window {
		if e := &c.window[i]; e.refusedBy > 0 && !e.done && !e.sent {
			n++
		}
	}
	return n
}

// groupSink gives each delivery to the next member that takes it. An event that all online members
// refuse, because it is too large for them or they may not read it, waits for the others; it is lost
// when there are no others. The group's mu is held.
type groupSink group

func (g *groupSink) Deliver(d *Delivery) Verdict {
	answer, full := Full, len(g.members) == 0
	for range g.members {
		g.turn = (g.turn + 1) % len(g.members)
		m := g.members[g.turn]
		switch v := m.session.deliverShared(&g.cursor, d, m); v {
		case Sent, sentUnacked:
			return v
		case Full:
			full = true
		default:
			answer = v
		}
	}
	switch {
	case full:
		return Full
	case len(g.members) < len(g.all):
		return refused
	}
	return answer
}

// Release is never called: groups deliver at QoS 0 and 1.
func (g *groupSink) Release(uint16) bool { return true }

// deliverShared delivers a group's event through the session, whose window holds it until it is
// acknowledged.
func (s *Session) deliverShared(g *cursor, d *Delivery, sub *subscription) Verdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	sink := s.sink.Load()
	if sink == nil {
		return Full
	}
	l := *d
	l.Dup = false // for this client it is not a redelivery
	l.QoS = min(d.QoS, sub.QoS, 1)
	l.Meta, l.SubIDs = sub.Meta, nil
	l.Retain = sub.RetainAsPublished && d.Event.Flags&flagRetain != 0
	if sub.ID != 0 {
		l.SubIDs = []uint32{sub.ID}
	}
	if l.QoS == 0 {
		l.ID = 0
		if v := (*sink).Deliver(&l); v != Sent {
			return v
		}
		return sentUnacked
	}
	if s.out >= s.limit {
		return Full
	}
	l.ID = packetID(d.Event.Seq)
	for s.inFlight(l.ID) {
		l.ID = l.ID%65535 + 1
	}
	if v := (*sink).Deliver(&l); v != Sent {
		return v
	}
	s.window = append(s.window, entry{seq: d.Event.Seq, id: l.ID, sent: true, group: g})
	s.foreign++
	s.out++
	return Sent
}

// inFlight reports whether an identifier is in use.
func (c *cursor) inFlight(id uint16) bool {
	for i := range c.window {
		if c.window[i].id == id && !c.window[i].done {
			return true
		}
	}
	return false
}

// ackShared processes a member's acknowledgement.
func (c *cursor) ackShared(seq uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.window {
		if e := &c.window[i]; e.seq == seq && !e.done {
			if !e.sent { // returned to the group in between
				c.out++
			}
			c.finishLocked(e)
			break
		}
	}
	if c.is(modeStalled) {
		c.kickLocked()
	}
}

// returnToGroup redelivers an event that a detached member had not acknowledged to another member
// [MQTT-4.8.2-5].
func (c *cursor) returnToGroup(seq uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.window {
		if e := &c.window[i]; e.seq == seq && e.sent && !e.done {
			e.sent = false
			c.out--
			break
		}
	}
	c.stopLiveLocked()
	c.kickLocked()
}
