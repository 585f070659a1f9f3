package bus

// This file is tombstones: what remains of a retained value with a stamp that was cleared, so that an
// older value of another bus does not come back.

import (
	"container/heap"
	"container/list"
	"encoding/binary"
	"errors"
	"time"

	"github.com/postbus/postbus/bus/journal"
)

// A tombstone counts until a record is folded whose time is tombLife later. There are at most maxTombs;
// the one of the oldest sequence is forgotten first.
const (
	tombLife = 7 * 24 * time.Hour
	maxTombs = 100_000
)

// tombstone is a topic that was cleared.
type tombstone struct {
	topic string
	stamp stamp
	time  int64  // of the record that cleared it
	seq   uint64 // of that record
	at    int    // in times
	elem  *list.Element
}

// tombstones holds the tombstones by their topics, sequences and times. Only the fold changes it.
type tombstones struct {
	byTopic map[string]*tombstone
	order   list.List // of *tombstone, by their sequences
	times   tombsByTime
}

func (s *tombstones) add(t *tombstone) {
	if s.byTopic == nil {
		s.byTopic = map[string]*tombstone{}
	}
	if old := s.byTopic[t.topic]; old != nil {
		s.remove(old)
	}
	if len(s.byTopic) >= maxTombs {
		s.remove(s.order.Front().Value.(*tombstone))
	}
	s.byTopic[t.topic] = t
	t.elem = s.order.PushBack(t)
	heap.Push(&s.times, t)
}

func (s *tombstones) remove(t *tombstone) {
	delete(s.byTopic, t.topic)
	s.order.Remove(t.elem)
	heap.Remove(&s.times, t.at)
}

// old reports whether a record of a time ends a tombstone.
func (s *tombstones) old(now int64) bool {
	return len(s.times) > 0 && now-s.times[0].time > int64(tombLife)
}

// tombsByTime is a heap of tombstones.
type tombsByTime []*tombstone

func (h tombsByTime) Len() int           { return len(h) }
func (h tombsByTime) Less(i, j int) bool { return h[i].time < h[j].time }
func (h tombsByTime) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

func (h *tombsByTime) Push(x any) {
	t := x.(*tombstone)
	t.at = len(*h)
	*h = append(*h, t)
}

func (h *tombsByTime) Pop() any {
	n := len(*h) - 1
	t := (*h)[n]
	(*h)[n] = nil
	*h = (*h)[:n]
	return t
}

// bury leaves a tombstone where a record cleared a topic with a stamp, and removes it where the record
// set a value.
func (t *retainedSet) bury(r *journal.Record, st stamp) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.was, string(r.Topic))
	if len(r.Payload) > 0 || st.at == 0 {
		if tomb := t.tombs.byTopic[string(r.Topic)]; tomb != nil {
			t.tombs.remove(tomb)
		}
		return
	}
	t.stamped.Store(true)
	t.tombs.add(&tombstone{topic: string(r.Topic), stamp: st, time: r.Time, seq: r.Seq})
}

// forgetTombs removes the tombstones that a record of a time ends.
func (t *retainedSet) forgetTombs(now int64) {
	if !t.tombs.old(now) { // only the fold, which asks, changes them
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.tombs.old(now) {
		t.tombs.remove(t.tombs.times[0])
	}
}

// tombsOf lists the tombstones with a tie, by their sequences.
func (t *retainedSet) tombsOf(tie uint64) (list []*tombstone) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for e := t.tombs.order.Front(); e != nil; e = e.Next() {
		if tomb := e.Value.(*tombstone); tomb.stamp.tie == tie {
			list = append(list, tomb)
		}
	}
	return list
}

// record is a tombstone as the event that left it.
func (t *tombstone) record() *journal.Record {
	return &journal.Record{Seq: t.seq, Time: t.time, Kind: journal.KindEvent, Flags: flagRetain | 1,
		Expiry: journal.NoExpiry, Topic: []byte(t.topic), Stamp: t.stamp.at}
}

// tombBatch is about how many bytes of tombstones a record of a snapshot holds.
const tombBatch = 64 << 10

// storedTombs lists the tombstones as records of a snapshot: of each
//
//	seq u64 · time i64 · stamp i64 · tie u64 · topic length u16 · topic
func (t *retainedSet) storedTombs() (records []*journal.Record) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	le := binary.LittleEndian
	var b []byte
	flush := func() {
		records = append(records, &journal.Record{Kind: kindTombs, Expiry: journal.NoExpiry, Payload: b})
		b = nil
	}
	for e := t.tombs.order.Front(); e != nil; e = e.Next() {
		tomb := e.Value.(*tombstone)
		for _, v := range []uint64{tomb.seq, uint64(tomb.time), uint64(tomb.stamp.at), tomb.stamp.tie} {
			b = le.AppendUint64(b, v)
		}
		b = le.AppendUint16(b, uint16(len(tomb.topic)))
		if b = append(b, tomb.topic...); len(b) >= tombBatch {
			flush()
		}
	}
	if len(b) > 0 {
		flush()
	}
	return records
}

var errTombs = errors.New("tombstones in the snapshot: their lengths are wrong")

// restoreTombs restores tombstones of a snapshot.
func (t *retainedSet) restoreTombs(b []byte) error {
	const header = 34
	le := binary.LittleEndian
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(b) > 0 {
		if len(b) < header || len(b)-header < int(le.Uint16(b[32:])) {
			return errTombs
		}
		end := header + int(le.Uint16(b[32:]))
		t.tombs.add(&tombstone{topic: string(b[header:end]), seq: le.Uint64(b), time: int64(le.Uint64(b[8:])),
			stamp: stamp{int64(le.Uint64(b[16:])), le.Uint64(b[24:])}})
		b = b[end:]
	}
	t.stamped.Store(true)
	return nil
}
