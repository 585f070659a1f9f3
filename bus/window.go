package bus

// This file is the window of a cursor: its deliveries in flight, their redelivery, and the position
// that follows from them.

import (
	"github.com/postbus/postbus/bus/journal"
)

// entry is one delivery in the window.
type entry struct {
	seq      uint64
	id       uint16
	sent     bool // in this attachment
	dup      bool // it may have been sent in an earlier attachment
	received bool // QoS 2: PUBREC was received, PUBREL is next
	done     bool // acknowledged, but an earlier one is not
	gap      uint64
	retained *journal.Record // a retained message, not a position in the journal
	sub      *subscription   // of a retained message
	group    *cursor         // belongs to a shared group
	// Of a group's event: the membership whose online members all refused it. It waits for another.
	refusedBy uint64
}

// packetID derives the identifier from the sequence, so that a redelivery after a crash has the
// same one although it was not stored. Two events in one window never share it: the later waits.
func packetID(seq uint64) uint16 { return uint16(seq%65535) + 1 }

// idInUseLocked reports whether the identifier is in flight. Events closer than 65535 sequences
// never share one.
func (c *cursor) idInUseLocked(e *entry) bool {
	if len(c.window) == 0 || c.foreign == 0 && e.retained == nil && e.seq-c.window[0].seq < 65535 {
		return false
	}
	return c.inFlight(e.id)
}

// loseEntryLocked drops an entry of the window. The next unsent entry or the next event reports the
// loss, together with the gap that the dropped entry had to report.
func (c *cursor) loseEntryLocked(i int, reason string) {
	e := &c.window[i]
	e.done = true
	n := 1 + e.gap
	e.gap = 0
	c.countLost(reason, 1)
	for j := i + 1; j < len(c.window); j++ {
		if next := &c.window[j]; !next.done && !next.sent && next.group == nil {
			next.gap += n
			return
		}
	}
	c.gap += n
}

// resendLocked redelivers, in order, the entries that the last attachment left unacknowledged
// [MQTT-4.4.0-1].
func (c *cursor) resendLocked() (room bool, err error) {
	for i := range c.window {
		e := &c.window[i]
		if e.sent || e.done || e.refusedBy > 0 && e.refusedBy == c.membership {
			continue
		}
		s := *c.sink.Load()
		if c.out >= c.limit {
			return false, nil
		}
		if e.received {
			if !s.Release(e.id) {
				return false, nil
			}
			e.sent = true
			c.out++
			continue
		}
		var (
			d  Delivery
			ok bool
		)
		if e.retained != nil {
			d = e.sub.storedDelivery(e.retained)
		} else if d, ok, err = c.rereadLocked(e.seq); err != nil {
			return false, err
		} else if !ok {
			c.loseEntryLocked(i, "damaged")
			continue
		}
		d.ID, d.Dup, d.Gap = e.id, e.dup, e.gap
		switch s.Deliver(&d) {
		case Full:
			return false, nil
		case TooLarge:
			c.loseEntryLocked(i, "too large")
			continue
		case Forbidden:
			c.loseEntryLocked(i, "forbidden")
			continue
		case sentUnacked:
			e.done = true
			continue
		case refused:
			e.refusedBy = c.membership
			continue
		}
		e.sent = true
		c.out++
	}
	c.trimLocked()
	return true, nil
}

// rereadLocked fetches the event of an entry for a redelivery; false when it is damaged.
func (c *cursor) rereadLocked(seq uint64) (Delivery, bool, error) {
	r := c.bus.journal.Reader(seq)
	defer r.Release()
	rec := new(journal.Record)
	if ok, err := r.Next(rec); !ok || err != nil || rec.Seq != seq {
		return Delivery{}, false, err
	}
	rec = cloneRecord(rec)
	m := c.match(rec)
	return Delivery{Event: rec, QoS: max(1, min(m.qos, rec.Flags&flagQoS)), Retain: m.asPub && rec.Flags&flagRetain != 0,
		SubIDs: m.subIDs, Meta: m.meta}, true, nil
}

// findLocked returns the entry with the identifier that was sent in this attachment.
func (c *cursor) findLocked(id uint16) *entry {
	for i := range c.window {
		if e := &c.window[i]; e.id == id && e.sent && !e.done {
			return e
		}
	}
	return nil
}

// finishLocked marks an entry acknowledged and drops acknowledged entries at the window's start.
func (c *cursor) finishLocked(e *entry) {
	e.done = true
	c.out--
	c.trimLocked()
}

func (c *cursor) trimLocked() {
	for len(c.window) > 0 && c.window[0].done {
		if e := &c.window[0]; e.retained != nil {
			e.sub.retained--
			c.foreign--
		} else if e.group != nil {
			c.foreign--
		}
		c.window[0] = entry{}
		c.window = c.window[1:]
	}
	if len(c.window) == 0 {
		c.window = nil
	}
}

// positionLocked returns the last sequence up to which this consumer has acknowledged everything.
func (c *cursor) positionLocked() uint64 {
	for i := range c.window {
		if e := &c.window[i]; e.retained == nil && e.group == nil {
			return e.seq - 1
		}
	}
	if c.is(modeLive) {
		return max(c.next-1, c.bus.completed.Load())
	}
	return c.next - 1
}

// unreportedGapLocked counts lost events before the position whose report the consumer has not
// acknowledged. Later losses are counted again when the cursor restarts from the position.
func (c *cursor) unreportedGapLocked() (n uint64) {
	for i := range c.window {
		switch e := &c.window[i]; {
		case e.group != nil:
		case e.retained == nil:
			return n + e.gap
		case !e.done:
			n += e.gap
		}
	}
	return n + c.gap
}
