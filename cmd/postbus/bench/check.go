package bench

// This file judges deliveries: which events arrived, which repeatedly, and which out of order.

import "sync"

// Counts is what a receiver saw. A repetition is legal at QoS 1; a loss or a disorder never is.
type Counts struct {
	Received     uint64 `json:"received"`      // deliveries, repetitions included
	Missed       uint64 `json:"missed"`        // acknowledged (QoS 0: sent) and never received
	Repeated     uint64 `json:"repeated"`      // received again
	LateRepeated uint64 `json:"late_repeated"` // of these, sent after a newer event on the same connection
	Wrong        uint64 `json:"wrong"`         // of these, the ones that MQTT forbids; only Takeover judges it
	Disordered   uint64 `json:"disordered"`    // received for the first time after a newer one of the same publisher
	Gaps         uint64 `json:"gaps"`          // events with the user property gap, by which the broker reports a loss; MQTT 5
	Foreign      uint64 `json:"foreign"`       // not of this run, or damaged
}

func (c *Counts) add(o Counts) {
	c.Received += o.Received
	c.Missed += o.Missed
	c.Repeated += o.Repeated
	c.LateRepeated += o.LateRepeated
	c.Wrong += o.Wrong
	c.Disordered += o.Disordered
	c.Gaps += o.Gaps
	c.Foreign += o.Foreign
}

// broken reports whether the broker broke a promise.
func (c *Counts) broken() bool { return c.Missed+c.Disordered+c.Wrong+c.Gaps > 0 }

// check judges one session over all of its connections, or the members of a group together.
type check struct {
	run     uint32
	repeats repeatRule
	// unordered skips the check of the order, because events that a member of a group leaves are
	// delivered to another one later.
	unordered bool

	mu      sync.Mutex // held for a batch by readers, briefly by waiting goroutines
	seen    []bitset   // by publisher
	highest []uint64   // by publisher: highest sequence + 1 seen for the first time
	counts  Counts
	newAt   int64 // clock of the latest first occurrence
}

// repeatRule says which repetitions count as wrong.
type repeatRule uint8

const (
	anyRepeat   repeatRule = iota // none
	regroup                       // on the same connection: a different member may get what one had
	redelivered                   // on the same connection, after a newer event there, or without DUP [MQTT-3.3.1-1]
	noRepeat                      // all: QoS 2
)

// link is what one connection has received.
type link struct {
	highest []uint64 // by publisher: highest sequence + 1
	seen    []bitset // by publisher; nil where no rule needs it
}

func newCheck(run uint32, publishers int) *check {
	return &check{run: run, seen: make([]bitset, publishers), highest: make([]uint64, publishers)}
}

func (k *check) newLink() *link {
	l := &link{highest: make([]uint64, len(k.seen))}
	if k.repeats != anyRepeat {
		l.seen = make([]bitset, len(k.seen))
	}
	return l
}

// see judges one delivery; dup is its DUP flag. ok is false when the payload isn't an event of this
// run. The caller holds mu.
func (k *check) see(l *link, payload []byte, dup bool, now int64) (m mark, ok bool) {
	k.counts.Received++
	m, ok = parseMark(payload)
	if !ok || m.run != k.run || int(m.publisher) >= len(k.seen) || m.seq >= maxSeq {
		k.counts.Foreign++
		return m, false
	}
	late := m.seq+1 < l.highest[m.publisher]
	if m.seq >= l.highest[m.publisher] {
		l.highest[m.publisher] = m.seq + 1
	}
	again := l.seen != nil && !l.seen[m.publisher].add(m.seq)
	if !k.seen[m.publisher].add(m.seq) {
		k.counts.Repeated++
		if late {
			k.counts.LateRepeated++
		}
		if k.repeats.forbids(again, late, dup) {
			k.counts.Wrong++
		}
		return m, true
	}
	k.newAt = now
	if m.seq >= k.highest[m.publisher] {
		k.highest[m.publisher] = m.seq + 1
	} else if !k.unordered {
		k.counts.Disordered++
	}
	return m, true
}

// forbids judges a repetition: again means on the same connection, late means after a newer event
// there.
func (r repeatRule) forbids(again, late, dup bool) bool {
	switch r {
	case regroup:
		return again
	case redelivered:
		return again || late || !dup
	case noRepeat:
		return true
	}
	return false
}

// missing counts the events that count as delivered for the publishers and that this session has
// not seen.
func (k *check) missing(publishers []*publisher) (n uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, p := range publishers {
		p.mu.Lock()
		if p.qos == 0 {
			n += p.next - k.seen[i].count
		} else {
			n += p.acked.missingFrom(&k.seen[i])
		}
		p.mu.Unlock()
	}
	return n
}

// verdict returns the counts with Missed filled in.
func (k *check) verdict(publishers []*publisher) Counts {
	missed := k.missing(publishers)
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.counts
	c.Missed = missed
	return c
}

// lastNew returns the clock of the latest event seen for the first time.
func (k *check) lastNew() int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.newAt
}
