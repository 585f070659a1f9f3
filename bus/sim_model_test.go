package bus

// This file is the model that the simulation compares with: the accepted events in their order, as
// read from the journal, and from that what each session, group and retained topic should have.

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/postbus/postbus/bus/journal"
	"github.com/postbus/postbus/bus/topic"
)

type simEvent struct {
	seq                    uint64
	topic, payload, source string
	qos                    byte
	retain                 bool
	at                     int64
	expiry                 uint32
	damaged                bool
}

func (e *simEvent) expired(now time.Time) bool {
	return e.expiry != journal.NoExpiry && now.UnixNano()-e.at > int64(e.expiry)*int64(time.Second)
}

type model struct {
	s         *sim
	events    map[uint64]*simEvent
	order     []uint64
	scanned   uint64
	corrupted bool
	missing   []uint64 // sequences that somebody removed from the disk
	first     uint64   // what is older was allowed to go
	byPayload map[string]uint64
	retained  map[string][]*simEvent // by topic: changes in order, also of kept values
	kept      map[uint64]*simEvent   // kept values, by the sequences of their records
	pubs      map[string]*simPub
	groups    map[string]*simGroup
	wills     map[string]*simWill
	reopening bool
	far       uint64 // the last number of the other bus
}

func (m *model) init(s *sim) {
	*m = model{s: s, events: map[uint64]*simEvent{}, byPayload: map[string]uint64{}, retained: map[string][]*simEvent{},
		kept: map[uint64]*simEvent{}, pubs: map[string]*simPub{}, groups: map[string]*simGroup{}, wills: map[string]*simWill{}}
}

// scan takes over what has become durable.
func (m *model) scan(b *Bus) {
	m.first = max(m.first, b.journal.First())
	r := b.journal.Reader(m.scanned + 1)
	defer r.Release()
	var rec journal.Record
	for {
		ok, err := r.Next(&rec)
		if err != nil || !ok {
			return // a dead disk: the next life tells
		}
		if rec.Kind.Conditional() && rec.Seq > b.visible.Load() {
			return // whether a conditional event counts is not decided yet
		}
		m.scanned = rec.Seq
		switch {
		case b.counts(&rec):
			m.add(&rec)
		case rec.Kind == kindKept:
			m.keep(&rec)
		}
	}
}

func (m *model) add(r *journal.Record) {
	e := &simEvent{seq: r.Seq, topic: string(r.Topic), payload: string(r.Payload), source: string(r.Source),
		qos: r.Flags & flagQoS, retain: r.Flags&flagRetain != 0, at: r.Time, expiry: r.Expiry}
	if e.payload == voidPayload {
		m.s.fail("an event counts only if its condition holds: %d", e.seq)
	}
	m.keep(r)
	m.addImported(r)
	m.events[e.seq] = e
	m.order = append(m.order, e.seq)
	if e.retain {
		m.retained[e.topic] = append(m.retained[e.topic], e)
	}
	key := e.payload
	if key == "" {
		key = fmt.Sprint("clear ", r.ID, " ", e.topic, e.at)
	}
	was, again := m.byPayload[key]
	m.byPayload[key] = e.seq
	if p := m.pubs[key]; p != nil {
		if p.refused == m.s.life {
			m.s.fail("a publish that was refused is not accepted: %q as %d", key, e.seq)
		}
		if again && !p.mayRepeat && !m.events[was].damaged {
			m.s.fail("a QoS 2 publish is accepted once under its packet identifier: %q as %d and %d", key, was, e.seq)
		}
	}
	if w := m.wills[e.payload]; w != nil {
		w.published(m, e)
	}
	for _, g := range m.groups {
		if g.expects(e) {
			g.expected[e.seq] = true
		}
	}
}

// reopened compares the recovered journal with what was durable, and takes over what turned out to
// be.
func (m *model) reopened() {
	s := m.s
	r := s.bus.journal.Reader(1)
	defer r.Release()
	found := map[uint64]bool{}
	known := m.scanned
	m.reopening = true
	defer func() { m.reopening = false }()
	var rec journal.Record
	for {
		ok, err := r.Next(&rec)
		if err != nil {
			s.fail("the journal is readable after a crash: %v", err)
		}
		if err != nil || !ok {
			break
		}
		found[rec.Seq] = true
		if rec.Kind == kindKept && rec.Seq > known {
			m.keep(&rec)
		}
		if !s.bus.counts(&rec) {
			continue
		}
		if e := m.events[rec.Seq]; e != nil {
			if e.payload != string(rec.Payload) || e.topic != string(rec.Topic) {
				s.fail("a sequence that someone saw is not used again: %d was %q and is %q", rec.Seq, e.payload, rec.Payload)
			}
		} else if rec.Seq <= known {
			s.fail("a sequence that was passed does not come back: %d is %q, %d was durable", rec.Seq, rec.Payload, known)
		} else {
			m.add(&rec)
		}
	}
	for _, seq := range m.order {
		if e := m.events[seq]; seq >= m.first && !found[seq] && !e.damaged {
			s.fail("an event that was durable survives: %d %q is gone; the journal has %d damaged places and the segments%s", seq, e.payload, s.bus.journal.Stats().Damaged, s.segments())
		}
	}
	if n := s.bus.journal.Stats().Damaged; n > 0 && !m.corrupted {
		s.fail("a torn end is not damage: %d places are called damaged on a disk that kept what was synced", n)
	}
	if holes := s.bus.journal.Holes(); len(holes) > 0 && !m.corrupted && len(m.missing) == 0 {
		s.fail("nothing is called missing on a disk that kept what was synced: %v of the segments%s", holes, s.segments())
	}
	end := s.bus.journal.Durable()
	m.scanned = max(m.scanned, end)
	for _, p := range m.pubs {
		if p.acked && m.byPayload[p.key] == 0 {
			s.fail("an acknowledged event is never lost: %q, acknowledged as %d, is gone", p.key, p.commit.Seq())
		}
	}
	for _, c := range s.clients {
		c.sess.restarted(end)
	}
}

// corrupt damages an event in an old segment.
func (m *model) corrupt() {
	s := m.s
	names, err := s.disk.List()
	if err != nil {
		return
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, ".seg") })
	if len(names) < 3 {
		return
	}
	name := names[s.rnd.IntN(len(names)-2)]
	f, err := s.disk.Open(name, false)
	if err != nil {
		return
	}
	size, _ := f.Size()
	data := make([]byte, size)
	f.ReadAt(data, 0)
	at := bytes.Index(data, []byte("event "))
	if at < 0 {
		return
	}
	key := string(data[at : at+len("event 00000")])
	seq := m.byPayload[key]
	if seq == 0 {
		return
	}
	s.disk.Corrupt(name, at+7)
	s.log("event %d %q is damaged in %s", seq, key, name)
	m.damage(seq)
	m.corrupted = true
}

// valueAt is the retained value of a topic as of seq; sure is false when damage hides it.
func (m *model) valueAt(topic string, seq uint64) (v *simEvent, sure bool) {
	sure = true
	for _, e := range m.retained[topic] {
		if e.seq > seq {
			break
		}
		if v = e; e.damaged {
			sure = false
		} else {
			sure = true
		}
		if e.payload == "" {
			v = nil
		}
	}
	return v, sure
}

func (m *model) compareRetained(got map[string]string, now time.Time) {
	for _, topic := range slices.Sorted(maps.Keys(m.retained)) {
		v, sure := m.valueAt(topic, ^uint64(0))
		if !sure {
			continue
		}
		want := ""
		if v != nil && !v.expired(now) {
			want = v.payload
		}
		if got[topic] != want {
			m.s.fail("what is retained or kept is the last value: %s has %.20q, want %.20q", topic, got[topic], want)
		}
	}
}

// span is one filter of a session, from its SUBSCRIBE to its end, as exactly as the client knows.
type span struct {
	f               Filter
	fromLo, fromHi  uint64            // events up to fromLo are not covered, behind fromHi they are
	endLo, endHi    uint64            // events up to endLo are covered, behind endHi they are not
	sure            bool              // it was acknowledged
	got             map[string]uint64 // retained messages received
	wantsRetained   bool
	forbidsRetained bool
}

const forever = ^uint64(0)

func (sp *span) matches(e *simEvent, name string) bool {
	return topic.Match(sp.f.Filter, e.topic) && !(sp.f.NoLocal && e.source == name)
}
func (sp *span) may(seq uint64) bool  { return seq > sp.fromLo && seq <= sp.endHi }
func (sp *span) must(seq uint64) bool { return sp.sure && seq > sp.fromHi && seq <= sp.endLo }

// sentMark is what a session has had of one event.
type sentMark struct {
	id             uint16
	acked, receivd int // the life of the bus in which it was
}

// simSession is what the model knows of a session.
type simSession struct {
	m        *model
	name     string
	spans    []*span
	sent     map[uint64]*sentMark
	top      uint64 // highest event that was delivered
	reported uint64 // sum of the gaps that were reported
	unsure   uint64 // events up to here may carry DUP: the bus crashed while the client was connected
	online   bool
	silent   bool // it was attached while the disk refused the record of it
	unclear  bool // it has not come back since a crash
	alive    bool // it surely exists
	gone     bool // it surely does not
	offAt    time.Time
	offLife  int
	expiry   uint32
	retSent  map[uint64]bool
}

func newSimSession(m *model, name string) *simSession {
	return &simSession{m: m, name: name, sent: map[uint64]*sentMark{}, retSent: map[uint64]bool{}}
}

// void makes all expected events uncertain, because the session may be a new one.
func (x *simSession) void() {
	x.alive = false
	for _, sp := range x.spans {
		sp.sure = false
		x.m.leaves(x, sp)
	}
}

func (x *simSession) restarted(end uint64) {
	// The record that it left may not have been durable; then it counts as there until it comes
	// back.
	if x.online || x.offLife == x.m.s.life-1 || x.unclear {
		x.unsure = end
		x.unclear = true
		x.online = false
	}
	for _, sp := range x.spans {
		sp.fromLo = min(sp.fromLo, end)
		if sp.fromHi != forever {
			sp.fromHi = min(sp.fromHi, end)
		}
		sp.endLo = min(sp.endLo, max(end, sp.endLo))
		if sp.endLo != forever {
			sp.endLo = min(sp.endLo, end)
		}
	}
}

// own checks a delivery of the session's own subscriptions from the journal.
func (x *simSession) own(conn *simConn, g *got) {
	s := x.m.s
	e := x.m.events[g.seq]
	if e == nil || e.payload != g.payload || e.topic != g.topic {
		s.fail("nothing is delivered that is not durable: %s got %d %q, the journal has %+v", x.name, g.seq, g.payload, e)
		return
	}
	var lo, hi byte
	allowed := false
	may, must := map[uint32]bool{}, map[uint32]bool{}
	for _, sp := range x.spans {
		if !sp.matches(e, x.name) || !sp.may(e.seq) {
			continue
		}
		allowed = true
		hi = max(hi, min(sp.f.QoS, e.qos))
		if sp.f.ID != 0 {
			may[sp.f.ID] = true
		}
		if sp.must(e.seq) {
			lo = max(lo, min(sp.f.QoS, e.qos))
			if sp.f.ID != 0 {
				must[sp.f.ID] = true
			}
		}
	}
	if !allowed {
		s.fail("nothing is delivered that no filter asked for: %s got %d %s %q", x.name, g.seq, g.topic, g.payload)
	}
	if g.qos < lo || g.qos > hi {
		s.fail("an event comes at the lower of its QoS and its subscription's: %s got %d at %d, want %d to %d", x.name, g.seq, g.qos, lo, hi)
	}
	for _, id := range g.subIDs {
		if !may[id] {
			s.fail("an event carries the identifiers of the subscriptions that match: %s got %d with %d", x.name, g.seq, id)
		}
		delete(must, id)
	}
	if len(must) > 0 {
		s.fail("an event carries the identifiers of the subscriptions that match: %s got %d without %v", x.name, g.seq, must)
	}
	if g.seq <= conn.last {
		s.fail("on a connection events come in the journal's order: %s got %d after %d", x.name, g.seq, conn.last)
	}
	conn.last = g.seq
	x.reported += g.gap
	was := x.sent[g.seq]
	if was == nil {
		cut := s.options.SessionBacklog > 0 && g.seq <= x.unsure // a crash may bring back what a limit had taken
		if g.seq < x.top && !cut {
			s.fail("a session's events come in the journal's order: %s got %d first after %d", x.name, g.seq, x.top)
		}
		x.top = max(x.top, g.seq)
		if g.dup && g.seq > x.unsure {
			s.fail("DUP only on what may have been sent before: %s got %d", x.name, g.seq)
		}
		if e.expired(g.at) && !(g.dup && g.seq <= x.unsure) {
			s.fail("an expired event is not delivered: %s got %d", x.name, g.seq)
		}
		x.sent[g.seq] = &sentMark{id: g.id}
		return
	}
	if g.qos == 0 {
		return
	}
	switch {
	case was.acked == s.life:
		s.fail("an acknowledged event is not repeated: %s got %d again", x.name, g.seq)
	case was.receivd == s.life:
		s.fail("an event that was received (PUBREC) is not repeated: %s got %d again", x.name, g.seq)
	case !g.dup && !x.silent:
		s.fail("a redelivery carries DUP: %s got %d again without", x.name, g.seq)
	case g.id != was.id:
		s.fail("a redelivery keeps its packet identifier: %s got %d as %d and then as %d", x.name, g.seq, was.id, g.id)
	}
}

// retainedMessage checks a retained message that a subscription brought.
func (x *simSession) retainedMessage(g *got) {
	s := x.m.s
	e := x.m.events[g.seq]
	if e == nil || e.payload != g.payload || !e.retain {
		s.fail("a retained message is a durable one: %s got %d %s %q", x.name, g.seq, g.topic, g.payload)
		return
	}
	ok := false
	for _, sp := range x.spans {
		// A newer value of QoS 0 that came while the client was offline has replaced the one that
		// it had to get.
		if sp.matches(e, x.name) && !sp.forbidsRetained && (e.seq <= sp.fromHi || e.qos == 0) {
			ok = true
			sp.got[e.topic] = e.seq
		}
	}
	if !ok {
		s.fail("retained messages come only where a subscription asks for them: %s got %d %s", x.name, g.seq, g.topic)
	}
	x.reported += g.gap
}

// expects reports whether the session must have had the event.
func (x *simSession) expects(e *simEvent) bool {
	for _, sp := range x.spans {
		if !strings.HasPrefix(sp.f.Filter, "$share/") && sp.matches(e, x.name) && sp.must(e.seq) && min(sp.f.QoS, e.qos) > 0 {
			return true
		}
	}
	return false
}

// excused: the contract lets it be lost, when it is reported.
func (m *model) excused(e *simEvent) bool {
	return e.expiry != journal.NoExpiry || e.damaged || m.s.options.SessionBacklog > 0 || len(e.payload) > 200
}
