package bus

// This file is what the bus has seen of other buses: the last number of each lane. A lane is the events
// of one journal that travel together, in the order of their numbers. So one number tells which of them
// the bus has, and the fold drops an event that arrives again.

import (
	"container/list"

	"github.com/postbus/postbus/bus/internal/sched"
	"github.com/postbus/postbus/bus/journal"
)

// Bounds on the lanes that are remembered. The lane whose last event is the oldest is forgotten first.
const (
	maxLanes    = 4096    // of one bus
	maxAllLanes = 1 << 17 // of all buses
)

// laneSet holds the last number of each lane. Only the fold changes it, and its records alone decide, so
// that every replay decides alike.
type laneSet struct {
	mu    sched.RWMutex
	lanes map[string]*lane
	order list.List             // of *lane, by the sequence of their last record
	buses map[string]*list.List // the same, of each bus
}

// lane is one lane of another bus.
type lane struct {
	name   string
	bus    string
	number uint64 // of its last event
	seq    uint64 // of the record that brought it
	inAll  *list.Element
	inBus  *list.Element
}

// seen returns the last number of a lane, and whether the lane is known.
func (s *laneSet) seen(name []byte) (number uint64, known bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	l := s.lanes[string(name)]
	if l == nil {
		return 0, false
	}
	return l.number, true
}

// pass moves a lane to a number, and returns the one before; false when the lane is there already.
func (s *laneSet) pass(name []byte, bus string, number, seq uint64) (before uint64, moved bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.lanes[string(name)]
	switch {
	case l == nil:
		l = s.addLocked(string(name), bus)
	case number <= l.number:
		return l.number, false
	case l.bus != bus: // the other bus was renamed
		s.leaveBusLocked(l)
		s.joinBusLocked(l, bus)
	}
	before = l.number
	l.number, l.seq = number, seq
	s.order.MoveToBack(l.inAll)
	s.buses[l.bus].MoveToBack(l.inBus)
	return before, true
}

// addLocked adds a lane, and forgets another one when there are too many.
func (s *laneSet) addLocked(name, bus string) *lane {
	if s.lanes == nil {
		s.lanes, s.buses = map[string]*lane{}, map[string]*list.List{}
	}
	if own := s.buses[bus]; own != nil && own.Len() >= maxLanes {
		s.removeLocked(own.Front().Value.(*lane))
	} else if s.order.Len() >= maxAllLanes {
		s.removeLocked(s.order.Front().Value.(*lane))
	}
	l := &lane{name: name}
	s.lanes[name] = l
	l.inAll = s.order.PushBack(l)
	s.joinBusLocked(l, bus)
	return l
}

func (s *laneSet) joinBusLocked(l *lane, bus string) {
	own := s.buses[bus]
	if own == nil {
		own = list.New()
		s.buses[bus] = own
	}
	if own.Len() >= maxLanes {
		s.removeLocked(own.Front().Value.(*lane))
		s.buses[bus] = own // also when that was its only one
	}
	l.bus, l.inBus = bus, own.PushBack(l)
}

func (s *laneSet) leaveBusLocked(l *lane) {
	own := s.buses[l.bus]
	own.Remove(l.inBus)
	if own.Len() == 0 {
		delete(s.buses, l.bus)
	}
}

func (s *laneSet) removeLocked(l *lane) {
	s.leaveBusLocked(l)
	s.order.Remove(l.inAll)
	delete(s.lanes, l.name)
}

// stored lists the lanes as records of a snapshot, in the order in which they are to be restored.
func (s *laneSet) stored() (records []*journal.Record) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for e := s.order.Front(); e != nil; e = e.Next() {
		l := e.Value.(*lane)
		records = append(records, &journal.Record{Seq: l.seq, Kind: kindPassed, Expiry: journal.NoExpiry,
			Source: []byte(importSource(l.bus, nil)), Lane: []byte(l.name), Number: l.number})
	}
	return records
}
