package bus

// This file is the pump of a cursor that is behind: it reads the journal from the cursor's offset as
// long as there is room, and makes the cursor live when it has caught up.

import (
	"time"

	"github.com/postbus/postbus/bus/journal"
)

// kick starts the pump when there is something to do and room to do it.
func (c *cursor) kick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kickLocked()
}

func (c *cursor) kickLocked() {
	if !c.is(modeStalled) && !c.is(modePaused) || c.bus.stopping() {
		return
	}
	c.setLocked(modePumping)
	c.pumps++
	pump := c.pumps
	c.bus.tasks.Go(func() { c.pump(pump) })
}

// pumpBatch is how many events the pump sends before it releases the lock once.
const pumpBatch = 64

// pump sends the events that the consumer has not got yet, until there is no room or no event. It
// reads the past in its turn only, see turns.go.
func (c *cursor) pump(n uint64) {
	c.step("pump")
	more, past := c.pumpSome(n, false)
	for more {
		if !past {
			more, past = c.pumpSome(n, false)
			continue
		}
		c.bus.turns.Take()
		c.step("has a turn")
		for i := 0; more && past && i < turnBatches; i++ {
			more, past = c.pumpSome(n, true)
		}
		c.bus.endTurn()
	}
}

// readsPastLocked reports whether the pump's next batch reads retained values, history or a long backlog.
func (c *cursor) readsPastLocked() bool {
	return len(c.work) > 0 && c.work[0].readsPast() || c.bus.visible.Load() > c.next+historyScan
}

// pumpSome sends one batch. past: the next one needs a turn, without which this one was not sent.
func (c *cursor) pumpSome(n uint64, turn bool) (more, past bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.is(modePumping) || c.pumps != n { // the consumer left, and may have returned
		return false, false
	}
	if c.bus.stopping() {
		return c.endPumpLocked(modeStalled), false
	}
	if !turn && c.readsPastLocked() {
		return true, true
	}
	more = c.pumpSomeLocked()
	return more, more && c.readsPastLocked()
}

func (c *cursor) pumpSomeLocked() (more bool) {
	room, err := c.resendLocked()
	if err != nil {
		return c.retryLocked(err)
	}
	if !room {
		return c.endPumpLocked(modeStalled)
	}
	switch room, done, err := c.sendQueuedLocked(); {
	case err != nil:
		return c.retryLocked(err)
	case !room:
		return c.endPumpLocked(modeStalled)
	case !done:
		return true
	}
	visible := c.bus.visible.Load()
	if c.reader == nil {
		c.reader = c.bus.journal.Reader(c.next)
		c.reader.Match, c.reader.Lost = c.matches, c.loseRangeLocked
	}
	c.reader.Prefixes = c.prefixes() // of the filters as they are now
	var r journal.Record
	for range pumpBatch {
		ok, err := c.reader.NextUntil(visible, &r)
		if err != nil {
			return c.retryLocked(err)
		}
		if !ok {
			return c.turnLiveLocked(visible)
		}
		if c.bus.counts(&r) {
			if m := c.match(&r); m.found && !c.sendLocked(&r, &m) {
				c.next = r.Seq
				c.reader.Release()
				c.reader = nil
				return c.endPumpLocked(modeStalled)
			}
		}
		c.next = r.Seq + 1
	}
	return true
}

// retryLocked pauses the pump for a second after a failure to read the journal.
func (c *cursor) retryLocked(err error) bool {
	c.bus.logger.Error("reading the journal failed, will retry", "session", c.name, "err", err)
	time.AfterFunc(time.Second, c.kick)
	return c.endPumpLocked(modePaused)
}

// endPumpLocked ends the pump.
func (c *cursor) endPumpLocked(m cursorMode) (more bool) {
	c.releaseReaderLocked()
	c.setLocked(m)
	return false
}

func (c *cursor) releaseReaderLocked() {
	if c.reader != nil {
		c.reader.Release()
		c.reader = nil
	}
	if len(c.work) > 0 {
		c.work[0].release()
	}
}

// turnLiveLocked makes the cursor live unless a new event has become visible. The order matters:
// dispatch makes an event visible before it checks which cursors are live.
func (c *cursor) turnLiveLocked(seen uint64) (more bool) {
	c.next = max(c.next, seen+1)
	c.setLocked(modeLive)
	c.step("turns live")
	if c.bus.visible.Load() != seen {
		c.setLocked(modePumping)
		return true
	}
	if s, ok := (*c.sink.Load()).(liveSink); ok {
		s.live()
	}
	return c.endPumpLocked(modeLive)
}

// sendQueuedLocked sends the retained messages [MQTT-3.3.1-6], or the history, for new
// subscriptions. It may return with room left and not done, so that others get the lock in between.
func (c *cursor) sendQueuedLocked() (room, done bool, err error) {
	for len(c.work) > 0 {
		w := &c.work[0]
		end := !w.retained // messages of a batch may be left for which there was no room
		for len(w.topics) > 0 {
			if !c.sendAnnouncedLocked(w.sub, w.topics[0]) {
				return false, false, nil
			}
			w.topics = w.topics[1:]
		}
		switch {
		case w.reader != nil:
			if end, err = w.refill(c); err != nil {
				return true, false, err
			}
		case w.retained && len(w.msgs) == 0:
			end = w.refillRetained(c)
		}
		for len(w.msgs) > 0 {
			if !c.sendStoredLocked(w.sub, w.msgs[0]) {
				return false, false, nil
			}
			w.msgs = w.msgs[1:]
		}
		if !end {
			return true, false, nil
		}
		w.release()
		w.sub.retained-- // the 1 that marked unfinished work
		c.work = c.work[1:]
	}
	return true, true, nil
}

// sendAnnouncedLocked sends the value that is announced now, if there is still one. Nobody can announce
// a newer value meanwhile: it would be delivered at once, and this one would follow it. It is false when
// there is no room.
func (c *cursor) sendAnnouncedLocked(sub *subscription, topic string) (sent bool) {
	t := &c.bus.retained
	t.mu.RLock()
	defer t.mu.RUnlock()
	r := t.announced[topic]
	if r == nil {
		return true
	}
	sub.retained++ // which sendStoredLocked takes back, because no announced value has a QoS
	if !c.sendStoredLocked(sub, r) {
		sub.retained--
		return false
	}
	return true
}

// sendStoredLocked is false when there is no room.
func (c *cursor) sendStoredLocked(sub *subscription, r *journal.Record) bool {
	d := sub.storedDelivery(r)
	switch {
	case r.Expired(time.Now()):
		sub.retained--
	case d.QoS == 0:
		if s := c.sink.Load(); (*s).Deliver(&d) == Full {
			return false
		}
		sub.retained--
	default:
		before := len(c.window)
		e := entry{seq: r.Seq, id: packetID(r.Seq), dup: sub.from <= c.maybeSent, retained: r, sub: sub}
		if !c.transmitLocked(&d, e) {
			return false
		}
		if len(c.window) > before {
			c.foreign++
		} else {
			sub.retained--
		}
	}
	return true
}
