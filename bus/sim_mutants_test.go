package bus

// This file is defects that the simulation has to find, see bus/internal/seeds.

import (
	"flag"
	"testing"

	"github.com/postbus/postbus/bus/internal/seeds"
)

var simMutants = flag.Bool("sim.mutants", false, "run TestSimulationFindsDefects, which builds the tests once a defect")

// defect is one way in which the code could be wrong.
type defect struct {
	name  string
	edits []edit
}

type edit struct{ file, old, new string }

var defects = []defect{
	{"a group's lock is taken while a session's is held", []edit{
		{"session.go", "	s.leftAt = time.Now()\n	s.mu.Unlock()\n", "	s.leftAt = time.Now()\n"},
		{"session.go", "		g.refreshMembers()\n	}\n	if !durable {", "		g.refreshMembers()\n	}\n	s.mu.Unlock()\n	if !durable {"},
	}},
	{"a last will is not bound to the connection that left it", []edit{
		{"state.go", "s.will == nil || s.opened != r.Cause", "s.will == nil"},
	}},
	{"a session that was opened again is dropped all the same", []edit{
		{"state.go", "		if d.Opened != s.opened {\n			return nil\n		}\n		b.endSession(s)", "		b.endSession(s)"},
	}},
	{"a session's filters leave the index before its offset is read", []edit{
		{"session.go", "	s.detachLocked() // before the index forgets its filters\n", ""},
		{"session.go", "				s.bus.index.remove(sub)\n			}\n		}\n	}\n", "				s.bus.index.remove(sub)\n			}\n		}\n	}\n	s.detachLocked()\n"},
	}},
	{"a group's filter leaves the index before its offset is read", []edit{
		{"group.go", "		g.stopLiveLocked() // before the index forgets its filter\n		g.bus.index.remove(g.subs[0])\n", "		g.bus.index.remove(g.subs[0])\n		g.stopLiveLocked()\n"},
	}},
	{"a publish is acknowledged before it is synced", []edit{
		{"journal/writer.go", "	err := l.write(g)\n", "	close(g.commit.done)\n	err := l.write(g)\n"},
		{"journal/writer.go", "	close(g.commit.done)\n	l.o.Schedule.Point(\"writer acknowledges\")\n", ""},
		{"journal/writer.go", "	for _, g := range []*group{g, waiting} {\n", "	for _, g := range []*group{waiting} {\n"},
	}},
	{"groups are written but not synced", []edit{
		{"journal/writer.go", "		if err := l.active.Sync(); err != nil {\n			return err\n		}\n		l.count", "		l.count"},
	}},
	{"events are visible before they are durable", []edit{
		{"journal/writer.go", "	err := l.write(g)\n", "	l.rd.Lock()\n	l.tail = append(l.tail, g)\n	l.rd.Unlock()\n	l.durable.Store(g.last)\n	l.mu.Lock()\n	close(l.progress)\n	l.progress = make(chan struct{})\n	l.mu.Unlock()\n	err := l.write(g)\n"},
		{"journal/writer.go", "	l.tail = append(l.tail, g)\n	l.tailSize +=", "	l.tailSize +="},
	}},
	{"a cursor is stored past what is in flight", []edit{
		{"window.go", "			return e.seq - 1\n", "			continue\n"},
	}},
	{"a live cursor is stored past the durable end", []edit{
		{"window.go", "		return max(c.next-1, c.bus.completed.Load())\n", "		return max(c.next-1, c.bus.journal.Next()+2)\n"},
		{"cursor.go", "		c.next = max(c.next, c.bus.completed.Load()+1)\n", "		c.next = max(c.next, c.bus.journal.Next()+3)\n"},
	}},
	{"a redelivery has lost its DUP", []edit{
		{"cursor.go", "		c.window[i].dup = true\n", ""},
	}},
	{"redeliveries come in the wrong order", []edit{
		{"window.go", "	for i := range c.window {\n		e := &c.window[i]\n		if e.sent ||", "	for i := len(c.window) - 1; i >= 0; i-- {\n		e := &c.window[i]\n		if e.sent ||"},
	}},
	{"a redelivery has another packet identifier", []edit{
		{"window.go", "		d.ID, d.Dup, d.Gap = e.id, e.dup, e.gap\n", "		e.id = e.id%65535 + 1\n		d.ID, d.Dup, d.Gap = e.id, e.dup, e.gap\n"},
	}},
	{"after a crash a redelivery carries no DUP", []edit{
		{"snapshot.go", "			s.maybeSent = end\n", ""},
	}},
	{"the event for which there was no room is skipped", []edit{
		{"cursor.go", "		c.setLocked(modeStalled)\n		c.next = r.Seq\n", "		c.setLocked(modeStalled)\n		c.next = r.Seq + 1\n"},
	}},
	{"an unsubscribed filter still matches what is read", []edit{
		{"state.go", "	sub.until.Store(seq)\n", "	defer sub.until.Store(forever - 1)\n"},
	}},
	{"an unsubscribed filter still matches what is live", []edit{
		{"state.go", "	if s.sink.Load() != nil {\n		s.bus.index.remove(sub)\n	}\n	return false", "	return false"},
		{"cursor.go", "	return seq > s.from && (until == 0 || seq < until)", "	return seq > s.from && until != 1"},
	}},
	{"a filter ends before what was accepted while it stood is delivered", []edit{
		{"cursor.go", "until == 0 || until > pos\n", "until == 0 && pos != forever\n"},
	}},
	{"NoLocal is ignored when reading", []edit{
		{"cursor.go", "s.covers(r.Seq) && !(s.NoLocal && string(r.Source) == s.session.name)", "s.covers(r.Seq)"},
	}},
	{"the limit of deliveries in flight is off by one", []edit{
		{"cursor.go", "s == nil || c.out >= c.limit ||", "s == nil || c.out > c.limit ||"},
	}},
	{"what a group's member left goes to nobody", []edit{
		{"group.go", "			e.sent = false\n			c.out--\n", ""},
	}},
	{"a QoS 2 publish that is repeated is taken for a new one after a crash", []edit{
		{"state.go", "				s.received[r.ID] = true\n", ""},
	}},
	{"a clean start keeps the old subscriptions", []edit{
		{"state.go", "	if s != nil && (o.Clean || s.expiry == 0) {", "	if s != nil && s.expiry == 0 {"},
	}},
	{"retention ignores the sessions", []edit{
		{"housekeeping.go", "		need = min(need, max(pos, from)+1)\n", "		need = max(need, pos+1)\n"},
	}},
	{"the backlog limit takes events silently", []edit{
		{"housekeeping.go", "		c.loseLocked(\"backlog limit\", cut)\n", ""},
	}},
	{"a cleared retained message stays after a restart", []edit{
		{"retained.go", "		b.remove(i)\n		if len(b.ends) == 0 {", "		if false {"},
	}},
	{"a snapshot forgets a kept value", []edit{
		{"snapshot.go", "				value = keptAlone(&rec)\n", "				continue\n"},
	}},
	{"a snapshot forgets a kept value that the snapshot before it holds", []edit{
		{"snapshot.go", "		if !r.Kind.Event() && r.Kind != kindKept || ", "		if !r.Kind.Event() || "},
	}},
	{"one of the two values of a record takes the place of the other in a snapshot", []edit{
		{"retained.go", "c != 0 || a.kept == b.kept {", "c != 0 || true {"},
	}},
	{"a kept value is set although its event is void", []edit{
		{"state.go", "			b.void.add(r.Seq)\n", "			b.void.add(r.Seq)\n			b.retained.setKept(r, inJournal)\n"},
	}},
	{"a kept value is set before its event is written", []edit{
		{"bus.go", "	c, err := b.journal.Append(r)\n", "	if len(r.KeptTopic) > 0 {\n		alone := keptAlone(r)\n		b.journal.Append(&alone)\n	}\n	event := withoutKept(r)\n	c, err := b.journal.Append(&event)\n"},
	}},
	{"a kept value that is cleared stays", []edit{
		{"state.go", "		if len(r.KeptTopic) > 0 {\n", "		if len(r.Kept) > 0 {\n"},
	}},
	{"an event of another bus is not compared with what was seen", []edit{
		{"import.go", "		_, moved := b.lanes.pass(r.Lane, busOf(r.Source), r.Number, r.Seq)\n		return moved\n", "		b.lanes.pass(r.Lane, busOf(r.Source), r.Number, r.Seq)\n		return true\n"},
	}},
	{"a snapshot forgets what was seen of another bus", []edit{
		{"snapshot.go", "	out = append(out, b.lanes.stored()...)\n", ""},
	}},
	{"an import is left out that is only on its way to the disk", []edit{
		{"lanes.go", "	l := s.lanes[string(name)]\n	if l == nil {\n		return 0, false\n	}\n	return l.number, true\n", "	l := s.lanes[string(name)]\n	if l == nil {\n		return 0, false\n	}\n	return l.number + 1, true\n"},
	}},
	{"no will after a crash", []edit{
		{"snapshot.go", "			s.phase = phaseAbsent\n		}\n		s.offlineUntil = end\n", "			s.phase = phaseAbsent\n			s.will = nil\n		}\n		s.offlineUntil = end\n"},
	}},
	{"a will in spite of a goodbye", []edit{
		{"session.go", "	if w == nil || s.closing != nil && s.closing.Clean {", "	if w == nil {"},
		{"state.go", "	if c.Clean {\n		s.setWillLocked(nil)\n	}\n", ""},
	}},
	{"a torn tail is kept", []edit{
		{"journal/recover.go", "		if s.proven || !torn {", "		if s.proven || !torn || size > 0 {"},
	}},
	{"a missing segment is silent", []edit{
		{"journal/reader.go", "		r.lose(from, to)\n		return nil", "		_, _ = from, to\n		return nil"},
	}},
	{"a hole is not noticed", []edit{
		{"journal/holes.go", "		if s.prev > tip {", "		if s.prev > tip && tip == forever {"},
		{"journal/holes.go", "// Hole is a range", "const forever = ^uint64(0)\n\n// Hole is a range"},
	}},
	{"a hole counts no more than one event", []edit{
		{"cursor.go", "		c.loseLocked(\"damaged\", last-first+1)\n", "		c.loseLocked(\"damaged\", 1+0*(last-first))\n"},
	}},
	{"missing first segments are taken for retention's work", []edit{
		{"snapshot.go", "	b.journal.Needed(b.neededFrom())\n", ""},
	}},
	{"a missing newest segment is not noticed", []edit{
		{"journal/recover.go", "	case newest < m.Segment:\n", "	case newest < m.Segment && tip == 1<<60:\n"},
	}},
	{"a segment with another's name is set aside", []edit{
		{"journal/find.go", "		case err == nil && h.epoch != l.epoch:", "		case err == nil && (h.epoch != l.epoch || name != segmentName(h.base)):"},
	}},
	{"a segment that was shortened is trusted", []edit{
		{"journal/recover.go", " && indexed.size <= seg.file {", " {"},
		{"journal/reader.go", "		r.lose(r.next, r.last)\n", ""},
	}},
	{"an event is acknowledged whose file is gone", []edit{
		{"journal/writer.go", "		if err := l.inPlace(); err != nil {\n			return err\n		}\n", ""},
		{"journal/place.go", "		err = l.active.InPlace()\n", ""},
	}},
	{"a retention is interrupted in the wrong order", []edit{
		{"journal/writer.go", "		if l.removed {\n			err = l.fs.SyncDir()\n		}\n", ""},
	}},
}

// TestSimulationFindsDefects wants the simulation to fail for each defect within 20000 seeds. Without
// -sim.mutants it only looks whether the defects still fit the code.
func TestSimulationFindsDefects(t *testing.T) {
	if *simMutants {
		seeds.Plant(t).Pass(20)
	}
	for _, d := range defects {
		t.Run(d.name, func(t *testing.T) {
			planted := seeds.Plant(t)
			for _, e := range d.edits {
				planted.Edit(e.file, e.old, e.new)
			}
			if *simMutants {
				planted.Find(20_000)
			}
		})
	}
}
