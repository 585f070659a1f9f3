package fleet

// This file is offers: a bus that is new, or that lost events, says hello, and each bus offers it the
// retained values that were published there. An offer is a message beside the lanes. It holds only values
// whose events are on the hub already, so that a bus that reads the stream in its order knows them or will
// not get them as events.

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/postbus/postbus/bus/fleet/stream"
	"github.com/postbus/postbus/bus/journal"
)

// offerPause is the minimum time between two offers.
const offerPause = 10 * time.Second

// laneEnd is the last event of a lane. The list of them tells a bus that was away what it has missed, also in
// lanes that bring nothing more.
type laneEnd struct {
	Lane  string `json:"lane"`
	Start uint64 `json:"start"`
	Last  uint64 `json:"last"`
}

// maxLaneEnds bounds the list. The lanes that ended first are left out.
const maxLaneEnds = 4096

// offerValues offers the retained values of this bus whenever another one has said hello since the last offer.
func (x *exporter) offerValues(ctx context.Context, l *layout, shares []*shareExport) error {
	last, err := x.lastOn(ctx, l.Bus, offerLane)
	if err != nil {
		return err
	}
	if err := x.readHellos(ctx); err != nil {
		return err
	}
	ends, err := x.lastOn(ctx, l.Bus, lanesLane)
	if err != nil {
		return err
	}
	every := max(x.info.MaxAge/4, time.Minute)
	if x.info.MaxAge <= 0 {
		every = maxAge / 4
	}
	next := time.Now()
	switch {
	case x.isOwn(ends):
		next = next.Add(every - x.info.Now.Sub(ends.Stored))
	case ends.Seq > 0:
		x.log.Info("the hub has events of an earlier bus of this name; this one continues with a journal of its own", "bus", x.o.Bus)
	}
	for {
		hello := x.hellos.Load()
		g, err := decodeHeader(last.Data)
		offered := hello == 0 || err == nil && g.Final && x.isOwn(last) && hello < last.Seq
		if !offered {
			if last, err = x.offer(ctx, l, shares, last); err != nil {
				return err
			}
		}
		// The ends of the lanes follow the values, so that a bus which takes a value from an offer does not
		// take its event, too, if the lane is sent again.
		if hello > ends.Seq || !offered || !time.Now().Before(next) {
			if ends, err = x.sendLanes(ctx, ends); err != nil {
				return err
			}
			next = time.Now().Add(every)
		}
		wait := time.After(time.Until(next))
		wake := x.wake
		if !offered {
			wait, wake = time.After(offerPause), nil
		}
		select {
		case <-wake:
		case <-wait:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// isOwn reports whether a message is of this bus's journal.
func (x *exporter) isOwn(m stream.Message) bool {
	g, err := decodeHeader(m.Data)
	return err == nil && g.Epoch == x.bus.Epoch()
}

// sendLanes sends how far each lane is on the hub.
func (x *exporter) sendLanes(ctx context.Context, behind stream.Message) (stream.Message, error) {
	var list []laneEnd
	for _, p := range x.allProgress() {
		if p.Bus != x.o.Bus {
			continue // a bus speaks for its own name alone
		}
		for lane, last := range p.Lanes {
			list = append(list, laneEnd{lane, p.Start, last})
		}
	}
	slices.SortFunc(list, func(a, b laneEnd) int { return cmp.Or(cmp.Compare(b.Last, a.Last), cmp.Compare(a.Lane, b.Lane)) })
	const size = maxLaneName + 80 // of one, at most
	list = list[:min(len(list), maxLaneEnds, (x.maxData-groupHeader)/size)]
	b, err := json.Marshal(list)
	if err != nil {
		return behind, err
	}
	g := x.newGroup(groupOfLanes)
	g.Records = b
	return x.put(ctx, &g, behind)
}

// newGroup is a group of this bus without records.
func (e *Entry) newGroup(kind groupKind) group {
	return group{Kind: kind, Epoch: e.bus.Epoch(), Run: e.process, Sent: time.Now().UnixNano()}
}

// put puts a group on the hub, behind the last message of its subject, when the rate allows it.
func (x *exporter) put(ctx context.Context, g *group, behind stream.Message) (stream.Message, error) {
	data := g.encode()
	if err := x.limit.wait(ctx, len(data)); err != nil {
		return behind, err
	}
	return stream.Commit(ctx, x.writer, behind.Subject, behind, data)
}

// lastOn returns the last message of a lane, or one with its subject alone.
func (e *Entry) lastOn(ctx context.Context, bus, lane string) (stream.Message, error) {
	subject := subjectOf(e.o.Fleet, bus, lane)
	m, ok, err := e.hub.Last(ctx, subject)
	if !ok {
		m = stream.Message{Subject: subject}
	}
	return m, err
}

// readHellos finds the newest hello of another bus.
func (x *exporter) readHellos(ctx context.Context) error {
	return x.hub.LastPerSubject(ctx, prefix+"."+x.o.Fleet+".*."+helloLane, 0, func(m stream.Message) error {
		x.noteHello(m)
		return nil
	})
}

// noteHello is called with every hello that is read.
func (e *Entry) noteHello(m stream.Message) {
	g, err := decodeHeader(m.Data)
	if err != nil || g.Epoch == e.bus.Epoch() {
		return
	}
	for {
		was := e.hellos.Load()
		if m.Seq <= was {
			return
		}
		if e.hellos.CompareAndSwap(was, m.Seq) {
			break
		}
	}
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// offer sends one offer, and returns its last message.
func (x *exporter) offer(ctx context.Context, l *layout, shares []*shareExport, last stream.Message) (stream.Message, error) {
	done := x.bus.Last()
	var filters []string
	for _, s := range shares {
		done = min(done, s.position()-1)
		filters = append(filters, l.Share[s.index].Filter)
	}
	g := x.newGroup(groupOfValues)
	g.Done = done
	var err error
	commit := func() bool {
		last, err = x.put(ctx, &g, last)
		g.Records = g.Records[:0]
		return err == nil
	}
	n := 0
	each := func(r *journal.Record) bool {
		if r.Seq > done {
			return true // the lane brings it
		}
		before := len(g.Records)
		g.Records = x.encode(g.Records, r, g.Sent)
		switch {
		case len(g.Records) <= min(groupBytes, x.limit.group(), x.maxData-groupHeader) && n < groupEvents:
			n++
			return true
		case before == 0:
			if len(g.Records) > x.maxData-groupHeader {
				x.quiet.Warn(x.log, x.o.Fleet, "a retained value is too large for the hub: raise max_payload in its config", "topic", string(r.Topic), "bytes", len(r.Payload))
				g.Records = g.Records[:0]
				return true
			}
			n = 0
			return commit()
		}
		one := append([]byte(nil), g.Records[before:]...)
		g.Records = g.Records[:before]
		if n = 1; !commit() {
			return false
		}
		g.Records = append(g.Records, one...)
		return true
	}
	if rerr := x.bus.OwnRetained(ctx, filters, each); rerr != nil || err != nil {
		return last, cmp.Or(err, rerr)
	}
	g.Final = true
	commit()
	return last, err
}

// sayHello asks all other buses for their values.
func (e *Entry) sayHello(ctx context.Context) error {
	last, err := e.lastOn(ctx, e.o.Bus, helloLane)
	if err != nil {
		return err
	}
	g := e.newGroup(groupHello)
	hub, err := e.hub.Bind()
	if err != nil {
		return err
	}
	_, err = stream.Commit(ctx, hub, last.Subject, last, g.encode())
	return err
}
