package fleet

// This file is how far a share is on the hub, and how the exporter finds that out.

import (
	"context"
	"fmt"
	"maps"

	"github.com/postbus/postbus/bus/fleet/stream"
)

// progress is how far a share is on the hub.
type progress struct {
	place                   // of the last message that was sent
	Done  uint64            `json:"done"`            // every event of the share up to this number is on the hub, or was
	Lanes map[string]uint64 `json:"lanes,omitempty"` // number of the last event of each lane
	Start uint64            `json:"start"`           // the number at which its layout begins
	Bus   string            `json:"bus"`             // its layout's
	Ended bool              `json:"ended,omitempty"` // its layout ended, and all its events are on the hub
}

func (p *progress) clone() *progress {
	c := *p
	if c.Lanes = maps.Clone(p.Lanes); c.Lanes == nil {
		c.Lanes = map[string]uint64{}
	}
	return &c
}

// laneState is where a lane stands on the hub.
type laneState struct {
	seq    uint64 // of the last message on its subject, whoever wrote it
	number uint64 // of this bus's last event on the hub; 0: there is none
	floor  uint64 // number of an earlier event that expired on the hub; 0: not known
}

// locate finds out what the hub has of a share.
func (x *exporter) locate(ctx context.Context, l *layout, index int) (*shareExport, error) {
	s := &shareExport{exporter: x, layout: l, index: index, name: l.name(index), lanes: map[string]*laneState{}, budget: groupBytes}
	done := uint64(0)
	var newest stream.Message // of this bus
	read := func(m stream.Message) error {
		_, lane, ok := splitSubject(x.o.Fleet, m.Subject)
		if !ok {
			return nil
		}
		st := &laneState{seq: m.Seq}
		s.lanes[lane] = st
		g, err := decodeHeader(m.Data)
		if err != nil || g.Kind != groupOfEvents || g.Epoch != x.bus.Epoch() {
			return nil // written by another bus of this name; ours follows it
		}
		st.number, done = g.Last, max(done, g.Done)
		if m.Seq > newest.Seq {
			newest = m
		}
		if l.Share[index].Lane == 0 {
			done = max(done, g.Last)
		}
		return nil
	}
	// Everything that is written before a message is on the hub as long as the message is.
	subject := subjectOf(x.o.Fleet, l.Bus, s.name)
	if m, ok, err := x.hub.Last(ctx, subject); err != nil {
		return nil, err
	} else if ok {
		_ = read(m)
	}
	if l.Share[index].Lane > 0 {
		if err := x.hub.LastPerSubject(ctx, subject+".>", 0, read); err != nil {
			return nil, err
		}
	}
	if newest.Seq > 0 && l.until == 0 {
		if err := s.compare(ctx, newest); err != nil {
			return nil, err
		}
	}
	kept := x.kept[s.name]
	trusted := false
	if kept != nil {
		var err error
		if trusted, err = kept.holds(ctx, x.hub, x.info); err != nil {
			return nil, err
		}
		s.sent = kept.Done
		for lane, number := range kept.Lanes {
			st := s.lanes[lane]
			if st == nil { // its messages have expired, or are lost and come again
				st = &laneState{}
				s.lanes[lane] = st
			}
			switch {
			case st.number != 0:
			case trusted || number <= done:
				st.floor = number
			case x.info.First > 1:
				// The hub lost what the number says. What it had before that may have expired.
				st.floor = done
			}
		}
	}
	switch {
	case trusted:
		s.next = max(done, kept.Done) + 1
	case newest.Seq > 0:
		s.next = done + 1
		if kept != nil {
			e := fmt.Sprintf("%d to %d", s.next, kept.Done)
			x.log.Warn("the hub has lost events that it had; they are sent again", "share", l.Share[index].Filter, "numbers", e)
		}
	default:
		s.next = l.From
		if kept != nil && kept.Done > 0 {
			x.log.Warn("the hub has lost the events that it had; those in the journal are sent again", "share", l.Share[index].Filter)
		}
	}
	s.next = max(s.next, l.From)
	s.floor = l.From - 1
	if kept != nil && x.info.First > kept.Seq+1 {
		// Messages that were sent after the position was stored may have expired: of lanes that the hub does
		// not know it is not certain that nothing is missing.
		s.unsure = s.next - 1
	}
	p := &progress{place: place{Created: x.info.Created.UnixNano()}, Lanes: map[string]uint64{}}
	if trusted {
		p = kept.clone()
	}
	p.Done, p.Start, p.Bus = s.next-1, l.From, l.Bus
	if newest.Seq > p.Seq { // as long as the hub has it, it has what Done says
		p.place = placeOf(x.info.Created, newest)
	}
	for lane, st := range s.lanes {
		if n := max(st.number, st.floor); n > 0 {
			p.Lanes[lane] = n
		}
	}
	x.setProgress(s.name, p)
	x.log.Debug("events are sent", "share", l.Share[index].Filter, "from_seq", s.next, "until_seq", l.until, "hub_has", done)
	return s, nil
}
