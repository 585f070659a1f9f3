package bus

// This file is the stamps of retained values, by which buses that exchange them end with the same one:
// the last writer of a topic wins.
//
// A value that this bus accepts gets a stamp when it is appended, see StampRetained; one of another bus
// brings its own. The fold compares: what has a smaller stamp than the topic has already replaces
// nothing. It is still delivered, as an event. Records in the journal alone decide, so that every replay
// decides alike.

import (
	"bytes"
	"cmp"
	"encoding/binary"

	"github.com/postbus/postbus/bus/journal"
)

// stamp tells which of two values of a topic is newer.
type stamp struct {
	at  int64  // Unix nanoseconds of a clock that only rises; 0: no stamp
	tie uint64 // of the bus that gave it, between equal ones
}

func (s stamp) compare(o stamp) int {
	return cmp.Or(cmp.Compare(s.at, o.at), cmp.Compare(s.tie, o.tie))
}

// tieOf is the tie of the bus whose journal has an epoch.
func tieOf(epoch [16]byte) uint64 { return binary.BigEndian.Uint64(epoch[:]) }

// StampRetained makes the bus give a stamp to each retained event that it accepts: higher than all
// before, and not before its time. Topics that begin with $ get none.
func (b *Bus) StampRetained(on bool) {
	if on {
		// Values that were accepted before have none, and count by their time where it matters.
		b.journal.RaiseStamp(b.journal.Latest())
	}
	b.stamping.Store(on)
}

// stamp asks the journal for a stamp of a retained event that the bus accepts.
func (b *Bus) stamp(r *journal.Record) {
	if r.Flags&flagRetain != 0 && b.stamping.Load() && !bytes.HasPrefix(r.Topic, []byte{'$'}) {
		r.Stamp = journal.NextStamp
	}
}

// stampOf is the stamp of a record. Its tie is right also when it has none.
func (b *Bus) stampOf(r *journal.Record) stamp {
	if isOwn(r) {
		return stamp{r.Stamp, b.tie}
	}
	return stampIn(r)
}

// stampIn is stampOf for a record of another bus. An offered value may not say whose it is.
func stampIn(r *journal.Record) stamp {
	st := stamp{at: r.Stamp}
	if len(r.Lane) >= epochSize {
		st.tie = tieOf([16]byte(r.Lane[:epochSize]))
	}
	return st
}

// noteStamp folds what each record says about time: the highest stamp, and which tombstones are old.
func (b *Bus) noteStamp(r *journal.Record) {
	b.highest = max(b.highest, r.Stamp)
	b.retained.forgetTombs(r.Time)
}

// retain folds a retained event: its value replaces that of the topic unless its stamp is smaller.
func (b *Bus) retain(r *journal.Record) {
	t := &b.retained
	if r.Stamp == 0 && !t.stamped.Load() {
		t.set(r, inJournal, stamp{})
		return
	}
	before, st := b.stampBefore(r), b.stampOf(r)
	switch {
	case st.at != 0 && st.compare(before) < 0:
		return
	case st.at == 0 && before.at != 0: // it is the newest for this bus, so it has to be for the others
		st.at = max(r.Time, before.at+1)
		b.highest = max(b.highest, st.at)
		b.journal.RaiseStamp(st.at)
	}
	t.set(r, inJournal, st)
	t.bury(r, st)
}

// offerWins reports whether a value that another bus offers is newer than what the topic has.
func (b *Bus) offerWins(r *journal.Record) bool { return b.stampOf(r).compare(b.stampBefore(r)) > 0 }

// stampBefore returns the stamp of what a record's topic has. A value without one counts by its time
// against one of another bus, because that is the stamp with which it is offered to other buses, see
// OwnRetained. From then on it has this stamp.
func (b *Bus) stampBefore(r *journal.Record) stamp {
	t := &b.retained
	st, present := t.stampOf(r.Topic)
	if st.at != 0 || !present || isOwn(r) {
		return st
	}
	var rec journal.Record
	if !b.readRetained(string(r.Topic), &rec) {
		return stamp{}
	}
	st = b.stampOf(&rec)
	st.at = rec.Time
	t.setStamp(r.Topic, st)
	b.highest = max(b.highest, st.at)
	b.journal.RaiseStamp(st.at)
	return st
}

// stampOf returns the stamp of a topic's value, or of what was its last, and whether it has a value.
func (t *retainedSet) stampOf(topic []byte) (st stamp, present bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if b, i := t.entryLocked(topic); b != nil {
		return b.stampOf(i), true
	}
	if tomb := t.tombs.byTopic[string(topic)]; tomb != nil {
		return tomb.stamp, false
	}
	return t.was[string(topic)], false
}

// setStamp gives a topic's value a stamp.
func (t *retainedSet) setStamp(topic []byte, st stamp) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if b, i := t.entryLocked(topic); b != nil {
		b.setStamp(i, st)
		t.stamped.Store(true)
	}
}

// entryLocked returns the block and the position of a topic's value; nil when it has none.
func (t *retainedSet) entryLocked(topic []byte) (*topicBlock, int) {
	if len(t.blocks) == 0 {
		return nil, 0
	}
	b := t.blocks[t.blockOf(topic)]
	if i, found := b.find(topic); found {
		return b, i
	}
	return nil, 0
}

// stampOf returns the stamp of an entry.
func (b *topicBlock) stampOf(i int) stamp {
	if b.stamps == nil {
		return stamp{}
	}
	return b.stamps[i]
}

// setStamp sets the stamp of an entry.
func (b *topicBlock) setStamp(i int, st stamp) {
	if st.at == 0 {
		st = stamp{} // a tie alone says nothing
	}
	if b.stamps == nil {
		if st.at == 0 {
			return
		}
		b.stamps = make([]stamp, len(b.values), cap(b.values))
	}
	b.stamps[i] = st
}

// replaced is a value with a stamp that was replaced or cleared while a snapshot of the state before was
// being written. The snapshot lacks the value, which nobody needs: the record that replaced it is in the
// journal behind it. But records between the two were compared with its stamp, and a replay has to
// decide alike.
type replaced struct {
	topic string
	seq   uint64
	stamp stamp
}

// openWindow begins to note values up to a sequence that are replaced, closeWindow ends that and lists
// them as records of the snapshot.
func (t *retainedSet) openWindow(at uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.window, t.gone = at, nil
}

func (t *retainedSet) closeWindow() (records []*journal.Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, g := range t.gone {
		records = append(records, &journal.Record{Seq: g.seq, Kind: kindReplaced, Expiry: journal.NoExpiry,
			Topic: []byte(g.topic), Stamp: g.stamp.at, Number: g.stamp.tie})
	}
	t.window, t.gone = 0, nil
	return records
}

// replaceLocked notes that an entry is replaced or removed.
func (t *retainedSet) replaceLocked(b *topicBlock, i int) {
	if b.stamps != nil && b.stamps[i].at != 0 && b.values[i].seq <= t.window {
		t.gone = append(t.gone, replaced{string(b.topic(i)), b.values[i].seq, b.stamps[i]})
	}
}

// restoreReplaced restores the stamp of a value that was replaced while the snapshot was being written.
// The snapshot may hold the value all the same.
func (t *retainedSet) restoreReplaced(r *journal.Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	st := stamp{r.Stamp, r.Number}
	t.stamped.Store(true)
	if b, i := t.entryLocked(r.Topic); b != nil && b.values[i].seq == r.Seq {
		b.setStamp(i, st)
		return
	}
	if t.was == nil {
		t.was = map[string]stamp{}
	}
	t.was[string(r.Topic)] = st
}

// restamp gives a value that is written to a snapshot the stamp that it has in the index, where its
// record has none.
func (t *retainedSet) restamp(r *journal.Record) {
	if r.Stamp != 0 || r.Kind == kindKept || !t.stamped.Load() {
		return
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	if b, i := t.entryLocked(r.Topic); b != nil && b.values[i].seq == r.Seq {
		r.Stamp = b.stampOf(i).at
	}
}

// storedStamps lists the stamps that are in no value, as records of a snapshot.
func (b *Bus) storedStamps() (records []*journal.Record) {
	if b.highest > 0 {
		records = append(records, &journal.Record{Kind: kindHighest, Expiry: journal.NoExpiry, Stamp: b.highest})
	}
	return append(records, b.retained.storedTombs()...)
}
