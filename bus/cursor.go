package bus

// This file is the one delivery path: a cursor in the journal with filters, a window of deliveries
// in flight, and a sink. MQTT sessions, shared groups and Go subscriptions are all cursors.
//
// A cursor with a consumer is either live or behind. Live: dispatch offers it each event that
// matches. When the window or the sink is full it stops being live and remembers the first event
// that it did not send; its pump reads the journal from there as room comes, and makes it live
// again when it has seen everything that dispatch has. Never both: mu and next decide who sends an
// event.

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/postbus/postbus/bus/internal/sched"
	"github.com/postbus/postbus/bus/journal"
)

// Delivery is one event on its way to a consumer. Event is a view, valid during Sink.Deliver.
type Delivery struct {
	Event   *journal.Record
	ID      uint16 // packet identifier; 0 at QoS 0
	QoS     byte   // of this delivery
	Dup     bool   // it may have been sent before
	Retain  bool   // the RETAIN flag as the subscriber is to see it
	SubIDs  []uint32
	Meta    bool   // the subscriber asked for seq, time and source
	Gap     uint64 // events lost before this one
	Stored  bool   // a retained message for a new subscription
	Initial bool   // sent because of a new subscription: a retained message, or an event of history
}

// Verdict is a sink's answer.
type Verdict int

// The verdicts. After Full the sink has queued nothing, and is offered the event again after
// Session.Kick; after TooLarge and Forbidden the event counts as lost for this consumer.
const (
	Sent Verdict = iota
	Full
	TooLarge
	Forbidden
	sentUnacked // a shared group's member took it at QoS 0
	refused     // the online members of a shared group refused it, and one that is offline may take it
)

// Sink is where a cursor's deliveries go. Its methods are called from any goroutine, at QoS 1 and 2
// with the session locked: they must not block and not call the session.
type Sink interface {
	Deliver(d *Delivery) Verdict
	// Release asks for a PUBREL, the second half of QoS 2; false when there is no room.
	Release(id uint16) bool
}

// liveSink is a sink whose live is called when its cursor becomes live, with the cursor locked.
type liveSink interface{ live() }

// subscription is one filter of a cursor, from the sequence at which it was made until the one at
// which it was removed. It is kept until the cursor has passed that sequence, because events that
// were accepted before are still to be delivered.
type subscription struct {
	Filter
	pattern  pattern
	cursor   *cursor // to which the index offers events: the session's, or its group's
	session  *Session
	from     uint64
	until    atomic.Uint64 // 0: it is active
	retained int           // retained messages still to send or to be acknowledged; 0: done
}

func (s *subscription) covers(seq uint64) bool {
	until := s.until.Load()
	return seq > s.from && (until == 0 || seq < until)
}

// cursor is a consumer's position in the journal.
type cursor struct {
	bus     *Bus
	name    string
	durable bool // its position is stored
	shared  bool // it belongs to a group, whose sink requires mu to be held

	mode         atomic.Uint32        // a cursorMode; changed with mu held, dispatch reads it without
	sink         atomic.Pointer[Sink] // nil while the consumer is offline
	mu           sched.Mutex
	subs         []*subscription
	many         *index           // of subs, if there are many; nil: must be built
	prefix       []journal.Prefix // of subs, see prefixes
	known        bool             // prefix is up to date with subs
	found        []*subscription  // scratch
	next         uint64           // first sequence that was not considered yet
	offlineUntil uint64           // events up to here arrived while the consumer was offline: it gets none of QoS 0
	maybeSent    uint64           // events up to here may have been sent before the bus crashed
	detachedAt   uint64           // events up to here were considered when the consumer left
	unrecorded   bool             // the disk refused the record that the consumer connected
	window       []entry
	out          int // entries that count against the limit: sent in this attachment and not acknowledged
	limit        int
	pumps        uint64 // number of pumps started: a pump ends when a later one exists
	work         []retainedWork
	reader       *journal.Reader
	membership   uint64            // of a group: changes with its online members; from 1
	foreign      int               // entries of the window that are retained messages or lent by a group
	gap          uint64            // lost events that no delivery has reported yet
	lost         map[string]uint64 // by reason, since the session began
	stored       storedCursor      // as last written
	backlog      backlog

	single atomic.Bool // it has one filter
	stamp  uint64      // dispatch's: the last event that it was matched for
	merged match       // dispatch's: that match
}

// retainedWork is the retained messages, or the history, that a new subscription has not sent yet.
type retainedWork struct {
	sub    *subscription
	msgs   []*journal.Record
	topics []string        // whose announced values are still to be sent
	reader *journal.Reader // of history, see history.go; nil: retained messages
	begun  bool            // the requested time was reached

	retained bool   // there may be further retained messages,
	after    string // of topics behind this one
}

// readsPast reports whether the next messages have to be read from the disk. The first retained ones do not
// count: a subscription with a few of them waits for nobody.
func (w *retainedWork) readsPast() bool {
	return w.reader != nil || w.retained && w.after != "" && len(w.msgs) == 0
}

func (w *retainedWork) release() {
	if w.reader != nil {
		w.reader.Release()
	}
}

// match combines all filters of a cursor that match an event.
type match struct {
	qos    byte
	asPub  bool
	meta   bool
	subIDs []uint32
	found  bool
}

func (m *match) add(s *subscription) {
	m.found = true
	m.qos = max(m.qos, s.QoS) // [MQTT-3.3.4-2]
	m.asPub = m.asPub || s.RetainAsPublished
	m.meta = m.meta || s.Meta
	if s.ID != 0 {
		m.subIDs = append(m.subIDs, s.ID) // [MQTT-3.3.4-3] [MQTT-3.3.4-4]
	}
}

// wants reports whether s gets the event, by its range and NoLocal [MQTT-3.8.3-3].
func (s *subscription) wants(r *journal.Record) bool {
	return s.covers(r.Seq) && !(s.NoLocal && string(r.Source) == s.session.name)
}

// step marks a point at which a simulation may stop the goroutine.
func (c *cursor) step(point string) {
	c.bus.stepOf(c.name, point)
}

// cursorMode is the way in which a cursor gets its events.
type cursorMode uint32

const (
	modeOffline cursorMode = iota // it has no consumer: the sink is nil
	modeStalled                   // behind, and waits until there is room, or kick starts the pump
	modePaused                    // behind, and waits a second: the journal could not be read
	modePumping                   // its pump reads the journal
	modeLive                      // dispatch offers it each event
)

func (c *cursor) is(m cursorMode) bool { return cursorMode(c.mode.Load()) == m }

// setLocked changes the mode.
func (c *cursor) setLocked(m cursorMode) { c.mode.Store(uint32(m)) }

// offer is called by dispatch for a matching event. It never blocks for long.
func (c *cursor) offer(r *journal.Record, m *match) {
	if !c.is(modeLive) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.is(modeLive) || r.Seq < c.next {
		return
	}
	if !c.sendLocked(r, m) {
		c.setLocked(modeStalled)
		c.next = r.Seq
		return
	}
	c.next = r.Seq + 1
}

// sendLocked offers one event to the sink; false means that there is no room now.
func (c *cursor) sendLocked(r *journal.Record, m *match) bool {
	qos := min(m.qos, r.Flags&flagQoS)
	if qos == 0 && r.Seq <= c.offlineUntil {
		return true
	}
	if r.Expired(time.Now()) { // [MQTT-3.3.2-5]
		c.loseLocked("expired", 1)
		return true
	}
	d := Delivery{Event: r, QoS: qos, Retain: m.asPub && r.Flags&flagRetain != 0, SubIDs: m.subIDs, Meta: m.meta}
	if qos == 0 {
		c.sendUnacked(&d)
		return true
	}
	e := entry{seq: r.Seq, id: packetID(r.Seq), dup: r.Seq <= c.maybeSent}
	return c.transmitLocked(&d, e)
}

// deliverNow delivers a QoS 0 event, which is not in the journal.
func (c *cursor) deliverNow(d *Delivery) {
	if c.shared {
		c.mu.Lock()
		defer c.mu.Unlock()
	}
	c.sendUnacked(d)
}

func (c *cursor) sendUnacked(d *Delivery) {
	if s := c.sink.Load(); s != nil && (*s).Deliver(d) == Full {
		c.bus.dropped.Add(1)
	}
}

// transmitLocked passes a delivery of QoS 1 or 2 to the sink and adds it to the window.
func (c *cursor) transmitLocked(d *Delivery, e entry) bool {
	s := c.sink.Load()
	if s == nil || c.out >= c.limit || c.idInUseLocked(&e) {
		return false
	}
	d.ID, d.Dup, d.Gap = e.id, e.dup, c.gap
	switch (*s).Deliver(d) {
	case Full:
		return false
	case TooLarge:
		c.loseLocked("too large", 1)
		return true
	case Forbidden:
		c.loseLocked("forbidden", 1)
		return true
	case sentUnacked:
		return true
	case refused:
		if c.refusedLocked() >= maxRefused {
			return false
		}
		e.refusedBy = c.membership
		c.window = append(c.window, e)
		return true
	}
	e.sent, e.gap = true, d.Gap
	c.gap = 0
	c.out++
	c.window = append(c.window, e)
	return true
}

// loseLocked counts events that this consumer will not get.
func (c *cursor) loseLocked(reason string, n uint64) {
	c.gap += n
	c.countLost(reason, n)
}

// loseRangeLocked is called by the cursor's reader for sequences that are damaged or missing. Their
// content is not known, so all count that a filter covered.
func (c *cursor) loseRangeLocked(from, to uint64) {
	c.next = max(c.next, to+1)
	first, last := to, from // of those that a filter covers
	covered := false
	for _, s := range c.subs {
		if s.cursor != c {
			continue
		}
		lo, hi := max(from, s.from+1), to
		if s.QoS == 0 { // which is not kept for a consumer that is offline
			lo = max(lo, c.offlineUntil+1)
		}
		if until := s.until.Load(); until != 0 {
			hi = min(hi, until-1)
		}
		if lo <= hi {
			first, last, covered = min(first, lo), max(last, hi), true
		}
	}
	if covered {
		c.loseLocked("damaged", last-first+1)
	}
}

func (c *cursor) countLost(reason string, n uint64) {
	if c.lost == nil {
		c.lost = map[string]uint64{}
	}
	c.lost[reason] += n
	c.bus.ReportLoss(c.name, reason, n)
}

// fewFilters is the maximum number of filters that are tried one after the other.
const fewFilters = 16

// candidates lists the filters that match a topic, active or removed; shared ones belong to a
// group. With many filters there is an index of them, which is rebuilt after a change.
func (c *cursor) candidates(topic []byte) []*subscription {
	found := c.found[:0]
	if len(c.subs) > fewFilters {
		if c.many == nil {
			c.many = new(index)
			for _, s := range c.subs {
				c.many.add(s)
			}
		}
		found = c.many.match(topic, found)
	} else {
		for _, s := range c.subs {
			if s.pattern.match(topic) {
				found = append(found, s)
			}
		}
	}
	found = slices.DeleteFunc(found, func(s *subscription) bool { return s.cursor != c })
	c.found = found
	return found
}

// storedDelivery is the delivery of a retained message, or of an event of history.
func (s *subscription) storedDelivery(r *journal.Record) Delivery {
	d := Delivery{Event: r, QoS: min(s.QoS, r.Flags&flagQoS), Retain: true, Stored: true, Initial: true, Meta: s.Meta}
	if !s.Since.IsZero() {
		d.Stored = false
		d.Retain = s.RetainAsPublished && r.Flags&flagRetain != 0
		d.Meta = true
	}
	if s.ID != 0 {
		d.SubIDs = []uint32{s.ID}
	}
	return d
}

// matches reports whether any filter may want events of a topic.
func (c *cursor) matches(topic []byte) bool { return len(c.candidates(topic)) > 0 }

// prefixes lists the topic prefixes of all filters; nil if a filter may match any topic, or if
// there are many filters. The caller holds mu.
func (c *cursor) prefixes() []journal.Prefix {
	if c.known {
		return c.prefix
	}
	c.known, c.prefix = true, nil
	if len(c.subs) > fewFilters {
		return nil
	}
	all := make([]journal.Prefix, 0, len(c.subs))
	for _, s := range c.subs {
		if s.pattern.prefix == nil {
			return nil
		}
		all = append(all, s.pattern.prefix...)
	}
	c.prefix = all
	return all
}

// match combines the filters that match the event.
func (c *cursor) match(r *journal.Record) (m match) {
	for _, s := range c.candidates(r.Topic) {
		if s.wants(r) {
			m.add(s)
		}
	}
	return m
}

// sentLocked reports whether the consumer was sent everything up to a sequence that dispatch has
// completed, also what it gets again and what new subscriptions bring it.
func (c *cursor) sentLocked(seq uint64) bool {
	if c.is(modeLive) {
		return true
	}
	return !c.is(modeOffline) && c.next > seq && len(c.work) == 0 &&
		!slices.ContainsFunc(c.window, func(e entry) bool { return !e.sent && !e.done })
}

// stopLiveLocked makes a live cursor read from the journal, so that a change of its filters takes
// effect at the right position. The caller kicks it.
func (c *cursor) stopLiveLocked() {
	if c.is(modeLive) {
		c.next = max(c.next, c.bus.completed.Load()+1)
		c.step("stops being live")
		c.setLocked(modeStalled)
	}
}

// attachLocked gives the cursor a consumer. The caller kicks it.
func (c *cursor) attachLocked(sink Sink) {
	c.sink.Store(&sink)
	c.setLocked(modeStalled)
}

// removeSinkLocked removes the consumer. Call stopLiveLocked before the index forgets the cursor's
// filters: otherwise events that dispatch passes in between would be offered to nobody and skipped.
func (c *cursor) removeSinkLocked() {
	c.step("leaves")
	c.sink.Store(nil)
	c.step("has left")
	c.releaseReaderLocked()
	c.setLocked(modeOffline)
}

// detachLocked removes the sink. Deliveries in flight stay in the window, to be redelivered.
func (c *cursor) detachLocked() {
	c.stopLiveLocked()
	c.removeSinkLocked()
	c.out = 0
	c.unrecorded = false
	c.detachedAt = c.next - 1
	for i := range c.window {
		c.window[i].sent = false
		c.window[i].dup = true
	}
}

// pruneLocked drops filters that were removed before the cursor's position.
func (c *cursor) pruneLocked() {
	pos := c.positionLocked()
	c.keepSubsLocked(func(s *subscription) bool {
		until := s.until.Load()
		return until == 0 || until > pos
	})
	c.many, c.known = nil, false
}

// addSubLocked and keepSubsLocked are the two ways in which a cursor's subscriptions change; they
// count their memory. A group has one of its own, which counts with those of its members.
func (c *cursor) addSubLocked(s *subscription) {
	c.subs = append(c.subs, s)
	c.bus.subscriptionSize.Add(subscriptionCost(s.Filter.Filter))
}

func (c *cursor) keepSubsLocked(keep func(*subscription) bool) {
	var kept []*subscription
	for _, s := range c.subs {
		if keep(s) {
			kept = append(kept, s)
		} else {
			c.bus.subscriptionSize.Add(-subscriptionCost(s.Filter.Filter))
		}
	}
	c.subs = kept
}
