package fleet

// This file is what the importer makes of a message: which events are new, which are missing before them, and
// how old they are.

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/fleet/stream"
	"github.com/postbus/postbus/bus/journal"
)

// batch is what one append takes.
type batch struct {
	list []bus.Imported
	seen map[string]uint64
	lane map[string]string // its bus
	at   place
	n    uint64
}

// Bounds of a batch.
const (
	batchEvents   = 2000
	batchMessages = 256
)

func (m *importer) newBatch() *batch {
	return &batch{seen: map[string]uint64{}, lane: map[string]string{}, at: m.at.place}
}

// pass adds that the events of a lane up to a number are known or lost.
func (b *batch) pass(name string, key []byte, number, lost uint64) {
	b.list = append(b.list, bus.Imported{What: bus.ImportPassed, Bus: name, Lost: lost, Record: journal.Record{Lane: key, Number: number}})
	b.seen[string(key)], b.lane[string(key)] = number, name
}

// add adds a message to a batch. again: messages before it are missing, and the stream is to be read once more.
func (m *importer) add(b *batch, msg stream.Message) (again bool) {
	b.n++
	name, lane, ok := splitSubject(m.o.Fleet, msg.Subject)
	if !ok {
		return false
	}
	g, err := decodeHeader(msg.Data)
	switch {
	case err != nil:
		m.refuse(name, err)
		if errors.Is(err, errFormat) && len(m.unread) < maxUnread {
			m.unread[msg.Subject] = true
		}
	case g.Epoch == m.bus.Epoch(): // this bus's own
	case m.unread[msg.Subject]:
	case g.Kind == groupHello:
		m.noteHello(msg)
	case g.Kind == groupOfLanes:
		if m.addEnds(b, name, &g, msg) {
			return true
		}
	case g.Kind == groupOfValues:
		m.addValues(b, name, &g, msg)
	case g.Kind == groupOfEvents:
		if m.addEvents(b, name, lane, &g, msg) {
			return true
		}
	}
	b.at = placeOf(m.info.Created, msg)
	return false
}

// seenUpTo is what of a lane was appended or left out.
func (m *importer) seenUpTo(b *batch, key []byte) (uint64, bool) {
	n, known := b.seen[string(key)]
	if !known {
		n, known = m.seen[string(key)]
	}
	if folded, ok := m.bus.SeenUpTo(key); ok {
		n, known = max(n, folded), true
	}
	return n, known
}

// addEvents adds the events of a lane that are new.
func (m *importer) addEvents(b *batch, name, lane string, g *group, msg stream.Message) (again bool) {
	key := laneKey(g.Epoch, name, lane)
	if len(key) > journal.MaxLane {
		m.refuse(name, fmt.Errorf("the name of lane %q is too long", lane))
		return false
	}
	seen, again := m.begun(b, name, lane, key, g.Start, g.Floor, msg)
	if again {
		return true
	}
	if g.Last <= seen {
		m.peer(name, func(p *Peer) { p.Repeats++ })
		return false
	}
	records, err := g.records()
	if err != nil {
		m.refuse(name, err)
		return false
	}
	age, now := m.onHub(msg), time.Now().UnixNano()
	for _, r := range records {
		if r.Seq <= seen || !m.takesFrom(name, r.Topic) {
			continue
		}
		r.Lane, r.Number = key, r.Seq
		if !m.arrive(name, r, g.Sent, age, now) {
			continue
		}
		b.list = append(b.list, bus.Imported{What: bus.ImportEvent, Bus: name, Record: *r})
	}
	b.seen[string(key)], b.lane[string(key)] = g.Last, name
	return false
}

// begun returns up to which number the events of a lane are here, or lost. The hub has none between that and
// before; if it should have, they are reported as lost, unless this bus is new. again: see add.
func (m *importer) begun(b *batch, name, lane string, key []byte, start, before uint64, msg stream.Message) (seen uint64, again bool) {
	seen, known := m.seenUpTo(b, key)
	if !known {
		seen = start - 1
		if msg.Seq <= m.at.Fresh && before > seen {
			if m.toldLoss != nil {
				m.toldLoss(name, lane, seen, before)
			}
			b.pass(name, key, before, 0)
			return before, false
		}
	}
	if before <= seen {
		return seen, false
	}
	// A bus that makes holes on purpose causes that once a minute.
	if msg.Seq > m.settled && m.again[string(key)] < before && time.Since(m.reread[name]) > time.Minute && len(m.reread) < maxUnread {
		m.reread[name] = time.Now()
		// A hub that lost its newest messages without our notice has them again further ahead in its stream,
		// before this one.
		m.again[string(key)] = before
		return seen, true
	}
	m.lost(name, lane, seen, before)
	b.pass(name, key, before, before-seen)
	m.at.Hello = false // retained values may be among what is lost
	return before, false
}

// addEnds looks for lanes whose last events did not come.
func (m *importer) addEnds(b *batch, name string, g *group, msg stream.Message) (again bool) {
	var list []laneEnd
	if err := json.Unmarshal(g.Records, &list); err != nil || len(list) > maxLaneEnds {
		m.refuse(name, fmt.Errorf("the list of lanes: %d entries, %w", len(list), err))
		return false
	}
	for _, l := range list {
		key := laneKey(g.Epoch, name, l.Lane)
		if len(key) > journal.MaxLane || l.Start == 0 || l.Last > maxNumber || m.unread[subjectOf(m.o.Fleet, name, l.Lane)] {
			continue
		}
		if _, again := m.begun(b, name, l.Lane, key, l.Start, l.Last, msg); again {
			return true
		}
	}
	return false
}

// addValues adds retained values that a bus offers.
func (m *importer) addValues(b *batch, name string, g *group, msg stream.Message) {
	records, err := g.records()
	if err != nil {
		m.refuse(name, err)
		return
	}
	age, now := m.onHub(msg), time.Now().UnixNano()
	for _, r := range records {
		if !m.takesFrom(name, r.Topic) || r.Flags&flagRetain == 0 {
			continue
		}
		r.Lane, r.Number = append([]byte(nil), g.Epoch[:]...), 0 // the stamp alone decides
		if m.arrive(name, r, g.Sent, age, now) {
			b.list = append(b.list, bus.Imported{What: bus.ImportValue, Bus: name, Record: *r})
		}
	}
}

// flagRetain is the flag of a retained event in its record.
const flagRetain = 0x04

// arrive measures how old an event is; false: it has expired on its way.
func (m *importer) arrive(name string, r *journal.Record, sent int64, age time.Duration, now int64) bool {
	age += max(0, time.Duration(sent-r.Time))
	r.At = now - int64(age)
	if r.Flags&flagRetain != 0 && r.Stamp == 0 {
		r.Stamp = r.At
	}
	if r.Expiry == journal.NoExpiry {
		return true
	}
	left := time.Duration(r.Expiry)*time.Second - age
	if left <= 0 {
		m.peer(name, func(p *Peer) { p.Expired++ })
		m.bus.ReportLoss("@fleet/"+name, "expired", 1)
		return false
	}
	r.Expiry = uint32(min(int64((left-1)/time.Second)+1, math.MaxUint32-1))
	return true
}

// onHub is how long the hub has had a message, by the hub's clock.
func (m *importer) onHub(msg stream.Message) time.Duration {
	if msg.Stored.IsZero() {
		return 0
	}
	return max(0, m.info.Now.Add(time.Since(m.infoAt)).Sub(msg.Stored))
}

// takesFrom reports whether this bus takes a topic from another.
func (m *importer) takesFrom(from string, name []byte) bool {
	for i := range m.takes {
		if t := &m.o.Take[i]; (t.From == "" || t.From == from) && m.takes[i].Match(name) {
			return true
		}
	}
	return false
}

// lost tells that events of a lane are not on the hub any more.
func (m *importer) lost(name, lane string, seen, floor uint64) {
	m.peer(name, func(p *Peer) { p.Lost = min(p.Lost+floor-seen, maxNumber) })
	if m.toldLoss != nil {
		m.toldLoss(name, lane, seen, floor)
	}
	m.quiet.Log(m.log, slog.LevelError, name, "events of another bus are lost: neither the hub nor that bus kept them", "from", name, "lane", lane, "after_seq", seen, "to_seq", floor, "at_most", floor-seen)
}
