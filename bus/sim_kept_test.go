package bus

// This file is kept values in the simulation: what clients publish with them, and the values that the
// model wants.

import (
	"fmt"

	"github.com/postbus/postbus/bus/journal"
)

// keep gives an event a kept value, or clears one with it.
func (s *sim) keep(e *Event) {
	e.Kept.Topic = fmt.Sprint(KeptPrefix, "sim/", s.rnd.IntN(6))
	if s.chance(20) {
		return
	}
	s.keptN++
	e.Kept.Value = fmt.Appendf(nil, "kept %05d", s.keptN)
	if s.chance(10) { // over several sectors
		e.Kept.Value = append(e.Kept.Value, make([]byte, 400+s.rnd.IntN(1500))...)
	}
}

// sendKept publishes an event of QoS 0 that has a kept value.
func (c *simClient) sendKept(e Event) {
	p := &simPub{c: c, conn: c.conn, key: string(e.Kept.Value), mayRepeat: true}
	if p.key != "" {
		c.s.model.pubs[p.key] = p
	}
	commit, err := c.s.bus.Send(e)
	if err != nil {
		p.refused = c.s.life
		c.s.log("%s is refused %s: %v", c.name, e.Kept.Topic, err)
		c.conn.doomed = true
		return
	}
	p.commit = commit
	c.s.log("%s -> %s %.12q alone", c.name, e.Kept.Topic, p.key)
	c.s.pubs = append(c.s.pubs, p)
}

const voidPayload = "void"

// publishVoid writes an event on a condition that does not hold.
func (c *simClient) publishVoid() {
	e := Event{Topic: "n/void", Payload: []byte(voidPayload), QoS: 1, Source: c.name}
	c.s.keep(&e)
	r := e.Record()
	r.Kind, r.Cause = journal.KindConditional, 0
	_, err := c.s.bus.journal.Append(r)
	c.s.log("%s -> void, with %s: %v", c.name, e.Kept.Topic, err)
}

// keep takes over the kept value of a record that counts. What was published with the event counts,
// and not what the record holds.
func (m *model) keep(r *journal.Record) {
	name, value := string(r.KeptTopic), string(r.Kept)
	if r.Kind == kindKept {
		p := m.pubs[value]
		if p == nil && value != "" {
			return // it was published with an event of the journal, which is not there yet
		}
		if p != nil && p.refused == m.s.life {
			m.s.fail("a kept value that was refused is not accepted: %.12q as %d", value, r.Seq)
		}
		m.byPayload[value] = r.Seq
	} else if p := m.pubs[string(r.Payload)]; p != nil {
		name, value = string(p.rec.KeptTopic), string(p.rec.Kept)
	}
	if name == "" {
		return
	}
	e := &simEvent{seq: r.Seq, topic: name, payload: value, retain: true, at: r.Time, expiry: journal.NoExpiry}
	m.kept[r.Seq] = e
	m.retained[name] = append(m.retained[name], e)
}

// damage notes that a record is not readable any more.
func (m *model) damage(seq uint64) {
	for _, e := range []*simEvent{m.events[seq], m.kept[seq]} {
		if e != nil {
			e.damaged = true
		}
	}
}
