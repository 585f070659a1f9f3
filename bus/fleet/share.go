package fleet

// This file sends the events of one share: it reads the journal, divides events into lanes, and puts groups on
// the hub.

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/postbus/postbus/bus/fleet/stream"
	"github.com/postbus/postbus/bus/journal"
)

// shareExport sends the events of one share of one layout.
type shareExport struct {
	*exporter
	layout *layout
	index  int
	name   string
	lanes  map[string]*laneState
	floor  uint64 // events up to here that are not on the hub are lost
	unsure uint64 // events up to here may have been in lanes that are not in lanes
	sent   uint64 // events up to here were on the hub before: if they are not in the journal, that is no news
	budget int    // bytes of a group

	mu   sync.Mutex
	next uint64 // the number from which on events are to be sent
}

func (s *shareExport) position() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next
}

// run sends the events of the share until its layout ends.
func (s *shareExport) run(ctx context.Context) error {
	filter := s.layout.Share[s.index].Filter
	for {
		from := s.position()
		if s.layout.until != 0 && from >= s.layout.until {
			s.updateProgress(s.name, func(p *progress) { p.Ended = true })
			return nil
		}
		own, err := s.bus.ReadOwn(ctx, from, []string{filter}, groupEvents, s.budget)
		if err != nil {
			return err
		}
		for _, lost := range own.Lost {
			s.lose(lost.From, lost.To, "not kept for the hub")
		}
		next := own.Next
		if s.layout.until != 0 {
			next = min(next, s.layout.until)
		}
		for _, lane := range s.split(own.Records) {
			if err := s.send(ctx, lane, from-1); err != nil {
				return err
			}
		}
		if next == from {
			if err := s.bus.WaitFor(ctx, from); err != nil {
				return err
			}
			continue
		}
		s.mu.Lock()
		s.next = next
		s.mu.Unlock()
		s.updateProgress(s.name, func(p *progress) { p.Done = next - 1 })
	}
}

// lose notes that events are not in the journal any more.
func (s *shareExport) lose(from, to uint64, reason string) {
	if s.layout.until != 0 {
		to = min(to, s.layout.until-1)
	}
	if to < from {
		return
	}
	s.floor = max(s.floor, to)
	if to > s.sent {
		n := to - max(from-1, s.sent)
		s.log.Error("events were lost before the hub had them", "from_seq", from, "to_seq", to, "at_most", n, "reason", reason)
		s.bus.ReportLoss("@fleet/"+s.o.Fleet, reason, n)
	}
}

// laneGroup is the events of one lane, in their order.
type laneGroup struct {
	name    string
	records []*journal.Record
}

// split divides events into lanes, in the order of their first events. It leaves out those that belong to
// another share or layout.
func (s *shareExport) split(records []*journal.Record) []*laneGroup {
	var list []*laneGroup
	byName := map[string]*laneGroup{}
	for _, r := range records {
		if s.layout.until != 0 && r.Seq >= s.layout.until || s.layout.shareOf(r.Topic) != s.index {
			continue
		}
		name := s.layout.lane(s.index, string(r.Topic))
		if s.lanes[name] == nil && byName[name] == nil && len(s.lanes)+len(byName) >= maxLanes {
			name = s.name + ".=="
		}
		g := byName[name]
		if g == nil {
			g = &laneGroup{name: name}
			byName[name] = g
			list = append(list, g)
		}
		g.records = append(g.records, r)
	}
	return list
}

// maxLanes bounds the subjects of a share: clients may publish to any number of topics. Further lanes share
// one.
const maxLanes = 1024

// send sends the events of a lane that the hub has not got. done: all events of the share up to this number
// are on the hub.
func (s *shareExport) send(ctx context.Context, lane *laneGroup, done uint64) error {
	st := s.lanes[lane.name]
	if st == nil {
		st = &laneState{floor: s.unsure}
		s.lanes[lane.name] = st
	}
	g := s.newGroup(groupOfEvents)
	g.Start, g.Done = s.layout.From, done
	var data []byte
	for len(lane.records) > 0 {
		data, g.First, g.Last = data[:0], 0, 0
		g.Sent = time.Now().UnixNano()
		for len(lane.records) > 0 {
			r := lane.records[0]
			if r.Seq <= max(st.number, st.floor) {
				lane.records = lane.records[1:]
				continue
			}
			before := len(data)
			data = s.encode(data, r, g.Sent)
			if len(data) > s.maxData-groupHeader {
				if before > 0 {
					data = data[:before]
					break
				}
				data = data[:0]
				s.tooLarge(r)
				lane.records = lane.records[1:]
				continue
			}
			if g.First == 0 {
				g.First = r.Seq
			}
			g.Last = r.Seq
			lane.records = lane.records[1:]
		}
		if g.First == 0 {
			return nil
		}
		g.Floor, g.Records = max(st.number, st.floor, min(s.floor, g.First-1)), data
		if err := s.commit(ctx, lane.name, st, &g); err != nil {
			return err
		}
	}
	return nil
}

// tooLarge counts an event that the hub can't take.
func (s *shareExport) tooLarge(r *journal.Record) {
	s.quiet.Warn(s.log, s.o.Fleet, "an event is too large for the hub: raise max_payload in its config", "topic", string(r.Topic), "seq", r.Seq, "bytes", len(r.Payload), "max_payload", s.maxData)
	s.floor = max(s.floor, r.Seq)
	s.bus.ReportLoss("@fleet/"+s.o.Fleet, "too large for the hub", 1)
}

// commit puts a group on the hub, behind the lane's last message.
func (s *shareExport) commit(ctx context.Context, lane string, st *laneState, g *group) error {
	subject := subjectOf(s.o.Fleet, s.layout.Bus, lane)
	data := g.encode()
	if err := s.limit.wait(ctx, len(data)); err != nil {
		return err
	}
	began := time.Now()
	m, err := stream.Commit(ctx, s.writer, subject, stream.Message{Seq: st.seq, Subject: subject}, data)
	if err != nil {
		return s.moved(subject, err)
	}
	switch took := time.Since(began); { // so that an event of another lane never waits long for this one
	case took > time.Second:
		s.budget = max(s.budget/2, 2<<10)
	case took < 200*time.Millisecond:
		s.budget = min(s.budget*2, groupBytes)
	}
	s.budget = min(s.budget, s.limit.group())
	st.seq, st.number = m.Seq, g.Last
	s.updateProgress(s.name, func(p *progress) {
		p.place = placeOf(s.info.Created, m)
		p.Lanes[lane] = g.Last
	})
	s.countSent(len(data))
	return nil
}

// moved explains why a group was refused: the hub forgot, or somebody else writes with this bus's name.
func (s *shareExport) moved(subject string, err error) error {
	var m *stream.Moved
	if !errors.As(err, &m) {
		return err
	}
	g, derr := decodeHeader(m.Last.Data)
	switch {
	case m.Last.Seq == 0 || derr != nil:
		return fmt.Errorf("the hub has lost what it had on %s: %w", subject, err)
	case g.Epoch != s.bus.Epoch():
		return fmt.Errorf("%w: a bus with another journal writes on %s", errNameTaken, subject)
	case g.Run != s.process && s.foreign(g.Run):
		return fmt.Errorf("%w: a copy of this bus's data writes on %s", errNameTaken, subject)
	}
	return fmt.Errorf("%s on the hub is not where it was: %w", strings.TrimPrefix(subject, prefix+"."), err)
}
