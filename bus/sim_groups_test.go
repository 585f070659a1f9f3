package bus

// This file is the part of the model that knows what each shared subscription must get and holds.

import (
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/postbus/postbus/bus/topic"
)

// simGroup is what the model knows of a shared subscription.
type simGroup struct {
	key, filter string
	members     map[*simSession]bool // that are durable and sure
	from        uint64
	expected    map[uint64]bool
	held        map[uint64]*holding
	reported    uint64
}

type holding struct {
	conn  *simConn
	life  int
	acked bool
}

func (m *model) group(key string) *simGroup {
	g := m.groups[key]
	if g == nil {
		_, inner := topic.SplitShare(key)
		g = &simGroup{key: key, filter: inner, members: map[*simSession]bool{}, expected: map[uint64]bool{}, held: map[uint64]*holding{}, from: forever}
		m.groups[key] = g
	}
	return g
}

func (m *model) joins(x *simSession, sp *span) {
	if strings.HasPrefix(sp.f.Filter, "$share/") {
		g := m.group(sp.f.Filter)
		if len(g.members) == 0 {
			g.from = sp.fromHi
		}
		g.members[x] = true
	}
}

func (m *model) leaves(x *simSession, sp *span) {
	if strings.HasPrefix(sp.f.Filter, "$share/") {
		g := m.group(sp.f.Filter)
		delete(g.members, x)
		if len(g.members) == 0 {
			g.from = forever
			clear(g.expected)
		}
	}
}

func (g *simGroup) expects(e *simEvent) bool {
	return e.seq > g.from && e.qos > 0 && topic.Match(g.filter, e.topic)
}

// delivered checks that an event has one holder.
func (m *model) shared(conn *simConn, g *got, key string) {
	s := m.s
	group := m.group(key)
	e := m.events[g.seq]
	if e == nil || e.payload != g.payload || e.topic != g.topic {
		s.fail("nothing is delivered that is not durable: %s got %d %q, the journal has %+v", key, g.seq, g.payload, e)
		return
	}
	if h := group.held[g.seq]; h != nil && h.life == s.life {
		if h.acked {
			s.fail("an event that a member of a group acknowledged goes to no other: %d of %s to %s after %s", g.seq, key, conn.c.name, h.conn.c.name)
		}
		if !h.conn.closed {
			s.fail("an event goes to one member of a group: %d of %s to %s, and %s has it", g.seq, key, conn.c.name, h.conn.c.name)
		}
	}
	group.reported += g.gap
	group.held[g.seq] = &holding{conn: conn, life: s.life, acked: g.qos == 0}
}

func (m *model) checkGroups() {
	for _, key := range slices.Sorted(maps.Keys(m.groups)) {
		g := m.groups[key]
		var missing []uint64
		excused := uint64(0)
		for seq := range g.expected {
			if g.held[seq] != nil {
				continue
			}
			if e := m.events[seq]; m.excused(e) {
				excused++
			} else {
				missing = append(missing, seq)
			}
		}
		sort.Slice(missing, func(i, j int) bool { return missing[i] < missing[j] })
		if len(missing) > 0 {
			m.s.fail("a group's event reaches one of its members: %v of %s reached none", missing, key)
		}
		reported := g.reported
		if gg := m.s.bus.group(key); gg != nil {
			gg.mu.Lock()
			reported += gg.unreportedGapLocked()
			gg.mu.Unlock()
		}
		if excused > reported {
			m.s.fail("a loss is reported: %s lost %d events and got reports of %d", key, excused, reported)
		}
	}
}
