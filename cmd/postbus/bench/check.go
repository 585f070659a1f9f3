package bench

// The judge: which events came, which came again, which came out of order.

import "sync"

// Counts is what a receiver saw. A repetition is legal at QoS 1, a loss or a disorder never.
type Counts struct {
	Received     uint64 `json:"received"`      // deliveries, repetitions included
	Missed       uint64 `json:"missed"`        // acknowledged (QoS 0: sent) and never received
	Repeated     uint64 `json:"repeated"`      // received again
	LateRepeated uint64 `json:"late_repeated"` // of these, sent after a newer event on the same connection
	Disordered   uint64 `json:"disordered"`    // received for the first time after a newer one of the same publisher
	Foreign      uint64 `json:"foreign"`       // not of this run, or damaged
}

func (c *Counts) add(o Counts) {
	c.Received += o.Received
	c.Missed += o.Missed
	c.Repeated += o.Repeated
	c.LateRepeated += o.LateRepeated
	c.Disordered += o.Disordered
	c.Foreign += o.Foreign
}

// check judges one session, over all of its connections.
type check struct {
	run uint32
	// perLink judges order within each connection only: during a takeover two are read at once.
	perLink bool

	mu      sync.Mutex // held for a batch by readers, briefly by those who wait
	seen    []bitset   // by publisher
	highest []uint64   // by publisher: highest sequence + 1 seen for the first time
	counts  Counts
	newAt   int64 // clock of the latest first occurrence
}

// link is one connection's view of the order.
type link struct{ highest []uint64 } // by publisher: highest sequence + 1

func newCheck(run uint32, publishers int) *check {
	return &check{run: run, seen: make([]bitset, publishers), highest: make([]uint64, publishers)}
}

func (k *check) newLink() *link { return &link{make([]uint64, len(k.seen))} }

// see judges one delivery; the caller holds mu. ok is false when it isn't an event of this run.
func (k *check) see(l *link, payload []byte, now int64) (m mark, ok bool) {
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
	if !k.seen[m.publisher].add(m.seq) {
		k.counts.Repeated++
		if late {
			k.counts.LateRepeated++
		}
		return m, true
	}
	k.newAt = now
	if !k.perLink {
		late = m.seq < k.highest[m.publisher]
	}
	if late {
		k.counts.Disordered++
	}
	if m.seq >= k.highest[m.publisher] {
		k.highest[m.publisher] = m.seq + 1
	}
	return m, true
}

// missing counts what the publishers hold to be delivered and this session has not seen.
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

// verdict is the counts with Missed filled in.
func (k *check) verdict(publishers []*publisher) Counts {
	missed := k.missing(publishers)
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.counts
	c.Missed = missed
	return c
}

// lastNew is the clock of the latest event seen for the first time.
func (k *check) lastNew() int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.newAt
}
