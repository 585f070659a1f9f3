package hour

// This file is the ledger: which events were published and acknowledged, and what each session got.

import (
	"fmt"
	"math"
	"sort"
	"strings"
	"sync"
)

const (
	zones      = 10 // ev/0/PUBLISHER to ev/9/PUBLISHER
	copiedZone = 0  // the plugin copies it to copy/PUBLISHER
	hiddenZone = 3  // the rules hide it now and then
	shortZone  = 9  // its events expire
	workZone   = 10 // work/PUBLISHER, for groups
)

// state is what a publisher knows of its event.
type state uint8

const (
	sent    state = iota // it may have arrived
	acked                // the bus has promised to deliver it
	refused              // the bus has promised not to
)

// record is one event.
type record struct {
	zone   uint8
	state  state
	gone   bool // it was in a damaged segment
	lost   bool // its copy was
	uncopy bool // the plugin may have been absent
	seq    uint64
}

// account is what a session, or a shared group, wants and got.
type account struct {
	name    string // of the session, as the API has it
	wants   func(zone uint8) bool
	copies  bool // of copies, not of the events themselves
	group   bool // its events go to one of several clients
	gaps    bool // its client understands gap; otherwise the API tells
	got     [][]uint32
	last    []int             // the greatest serial that arrived, by publisher
	checked []int             // serials before it are done
	repeats []int             // serials before it don't come again: checked, at the balance before
	gap     map[uint64]uint64 // by the sequence of the event that carried it
	missing uint64            // acknowledged and never delivered
	told    uint64            // by the counters of the bus, which speak for those that don't get gaps
	hidden  []int             // events of hiddenZone with lower serials may be hidden
	hiding  bool              // the rules hide the zone now
	floor   uint64            // no event up to here is delivered again
	mark    int               // the last mark that arrived
	events  uint64
	again   uint64
}

// span is a stretch of sequences that were damaged.
type span struct{ from, to uint64 }

// ledger is the judge.
type ledger struct {
	mu       sync.Mutex
	pubs     [][]record
	accounts []*account
	spans    []span
	run      uint32   // of the bus, from 1
	marks    []uint64 // from 1: the greatest sequence of each
	wrong    []string
	acked    uint64
	refused  uint64
}

func newLedger(publishers int) *ledger {
	return &ledger{pubs: make([][]record, publishers), run: 1, marks: make([]uint64, 1)}
}

func (l *ledger) open(a *account) *account {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.pubs)
	a.got, a.gap = make([][]uint32, n), map[uint64]uint64{}
	a.last, a.checked, a.repeats, a.hidden = make([]int, n), make([]int, n), make([]int, n), make([]int, n)
	for i := range a.last {
		a.last[i] = -1
	}
	l.accounts = append(l.accounts, a)
	return a
}

// violated notes a broken promise. The caller holds mu.
func (l *ledger) violated(format string, args ...any) {
	if len(l.wrong) < 50 {
		l.wrong = append(l.wrong, fmt.Sprintf(format, args...))
	}
}

func (l *ledger) broken() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%d broken promises:\n%s", len(l.wrong), strings.Join(l.wrong, "\n"))
}

// begin notes an event before it is sent.
func (l *ledger) begin(pub int, zone uint8) (serial int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pubs[pub] = append(l.pubs[pub], record{zone: zone})
	return len(l.pubs[pub]) - 1
}

func (l *ledger) settle(pub, serial int, s state) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch l.pubs[pub][serial].state = s; s {
	case acked:
		l.acked++
	case refused:
		l.refused++
	}
}

func payload(pub, serial int) []byte { return fmt.Appendf(nil, "hour %d %d", pub, serial) }

// parsed reads a payload, and what kind of topic it came on.
func parsed(topic string, payload []byte) (kind string, pub, serial int, ok bool) {
	kind, _, _ = strings.Cut(topic, "/")
	n, err := fmt.Sscanf(string(payload), "hour %d %d", &pub, &serial)
	return kind, pub, serial, n == 2 && err == nil && pub >= 0 && serial >= 0
}

// received notes a delivery. at is the sequence of the account's delivery before it on this connection, 0 for
// the first.
func (l *ledger) received(a *account, d *delivery, at uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d.gap > 0 {
		l.gapLocked(a, d, at)
	}
	if d.seq > 0 && d.seq <= at && !a.group {
		l.violated("%s: the sequence %d follows %d on one connection", a.name, d.seq, at)
	}
	if n := 0; strings.HasPrefix(string(d.payload), "mark ") {
		last := !strings.HasPrefix(d.topic, "ev/") && (a.group || !strings.HasPrefix(d.topic, "work/")) // nothing follows for the account
		if _, err := fmt.Sscanf(string(d.payload), "mark %d", &n); err == nil && n < len(l.marks) && last {
			a.mark = max(a.mark, n)
			l.marks[n] = max(l.marks[n], d.seq)
		}
		return
	}
	kind, pub, serial, ok := parsed(d.topic, d.payload)
	if !ok || pub >= len(l.pubs) || serial >= len(l.pubs[pub]) {
		l.violated("%s: nobody published %s %q", a.name, d.topic, d.payload)
		return
	}
	r := &l.pubs[pub][serial]
	if r.state == refused || !a.wants(r.zone) || a.copies != (kind == "copy") {
		l.violated("%s: %s %q is delivered: acknowledgement %d, zone %d", a.name, d.topic, d.payload, r.state, r.zone)
		return
	}
	if d.seq > 0 && kind != "copy" {
		if r.seq != 0 && r.seq != d.seq {
			l.violated("%s: %s %q has the sequences %d and %d", a.name, d.topic, d.payload, r.seq, d.seq)
		}
		r.seq = d.seq
	}
	l.countLocked(a, d, pub, serial)
}

// countLocked counts a delivery. A copy may be a new one each time: the plugin copies at least once.
func (l *ledger) countLocked(a *account, d *delivery, pub, serial int) {
	for len(a.got[pub]) <= serial {
		a.got[pub] = append(a.got[pub], 0)
	}
	a.events++
	run := a.got[pub][serial]
	switch {
	case run == 0:
		// What was hidden before a kill may be repeated in sight.
		shown := d.dup && l.pubs[pub][serial].zone == hiddenZone && serial < a.hidden[pub]
		if serial < a.last[pub] && !a.group && !shown {
			l.violated("%s: event %d of publisher %d comes after %d", a.name, serial, pub, a.last[pub])
		}
		a.last[pub] = max(a.last[pub], serial)
		a.got[pub][serial] = l.run
	default:
		a.again++
		if !d.dup && !a.group && !a.copies {
			l.violated("%s: event %d of publisher %d comes again without DUP", a.name, serial, pub)
		}
		if d.qos == 2 && run == l.run && !a.copies {
			l.violated("%s: event %d of publisher %d comes twice at QoS 2", a.name, serial, pub)
		}
	}
}

// gapLocked judges a gap, and remembers it with its event: a redelivery repeats it.
func (l *ledger) gapLocked(a *account, d *delivery, at uint64) {
	key := d.seq
	from := max(at, a.floor)
	if bound := l.damagedLocked(from, key) + l.mayHideLocked(a, from, key); d.gap > bound {
		l.violated("%s: a gap of %d before the sequence %d, but after %d only %d were damaged, hidden or expired", a.name, d.gap, d.seq, from, bound)
	}
	a.gap[key] = max(a.gap[key], d.gap)
}

// damagedLocked counts the damaged sequences within (from, to).
func (l *ledger) damagedLocked(from, to uint64) (n uint64) {
	for _, s := range l.spans {
		if lo, hi := max(s.from, from+1), min(s.to, to-1); lo <= hi {
			n += hi - lo + 1
		}
	}
	return n
}

// damagedIn reports whether anything from one sequence to before another was damaged.
func (l *ledger) damagedIn(from, next uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.damagedLocked(from-1, next) > 0
}

// mayHideLocked counts the events between two sequences that a session may not get though they were not damaged,
// also those that it has got: a kill repeats deliveries, and what is repeated may have expired meanwhile.
func (l *ledger) mayHideLocked(a *account, from, to uint64) (n uint64) {
	for p, records := range l.pubs {
		for i := a.repeats[p]; i < len(records); i++ {
			r := &records[i]
			hides := r.zone == shortZone || r.zone == hiddenZone && (a.hiding || i < a.hidden[p])
			if hides && a.wants(r.zone) && (r.seq == 0 || from < r.seq && r.seq < to) {
				n++
			}
		}
	}
	return n
}

func (a *account) has(pub, serial int) bool {
	return serial < len(a.got[pub]) && a.got[pub][serial] != 0
}

func (a *account) toldOf() (n uint64) {
	if !a.gaps {
		return a.told
	}
	for _, g := range a.gap {
		n += g
	}
	return n
}

// hide notes that the rules may hide the zone from the account from now on, or may have until now.
func (l *ledger) hide(a *account, now bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a.hiding = now
	for p := range a.hidden {
		a.hidden[p] = len(l.pubs[p])
	}
}

// uncopied notes that the plugin may have missed the events that are in flight now.
func (l *ledger) uncopied(from []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p, records := range l.pubs {
		for i := from[p]; i < len(records); i++ {
			records[i].uncopy = true
		}
	}
}

// serials returns how many events each publisher has sent.
func (l *ledger) serials() (n []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, records := range l.pubs {
		n = append(n, len(records))
	}
	return n
}

// damage notes what is in no file any more.
func (l *ledger) damage(spans []span, events []stored) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spans = append(l.spans, spans...)
	sort.Slice(l.spans, func(i, j int) bool { return l.spans[i].from < l.spans[j].from })
	for _, e := range events {
		kind, pub, serial, ok := parsed(e.topic, []byte(e.payload))
		if !ok || pub >= len(l.pubs) || serial >= len(l.pubs[pub]) {
			continue // a mark
		}
		if r := &l.pubs[pub][serial]; kind == "copy" {
			r.lost = true
		} else {
			r.gone = true
		}
	}
}

// mark begins a mark: an event that every account gets after all before it.
func (l *ledger) newMark() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.marks = append(l.marks, 0)
	return len(l.marks) - 1
}

// behind lists the accounts that have not got a mark.
func (l *ledger) behind(mark int) (names []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.accounts {
		if a.mark < mark {
			names = append(names, a.name)
		}
	}
	return names
}

// settled says that the bus has stopped in order after everybody who has got the mark had acknowledged all: nothing up
// to there comes again.
func (l *ledger) settled(mark int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.accounts {
		if a.mark >= mark {
			a.floor = l.marks[mark]
		}
	}
}

func (l *ledger) restarted() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.run++
}

// balance judges every account when all events that anybody waits for have arrived. toldAPI is what the bus's counters
// say that the sessions lost by damage since the last balance.
func (l *ledger) balance(toldAPI map[string]uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.accounts {
		a.told += toldAPI[a.name]
		var missing, gone uint64
		for p, records := range l.pubs {
			for i := a.checked[p]; i < len(records); i++ {
				r := &records[i]
				if r.state != acked || !a.wants(r.zone) || a.has(p, i) || a.copies && r.uncopy {
					continue
				}
				switch {
				case a.copies && r.gone && !r.lost: // the plugin never had it, and was told
				case r.zone == shortZone || r.zone == hiddenZone && i < a.hidden[p]: // before it was damaged, perhaps
					missing++
				case a.copies && r.lost, !a.copies && r.gone:
					missing++
					gone++
				default:
					l.violated("%s: event %d of publisher %d (zone %d, sequence %d) was acknowledged and never arrives", a.name, i, p, r.zone, r.seq)
				}
			}
			a.repeats[p], a.checked[p] = a.checked[p], len(records)
		}
		if gone > toldAPI[a.name] {
			l.violated("%s: misses %d events by damage, and the bus counts %d", a.name, gone, toldAPI[a.name])
		}
		if !a.gaps {
			missing = gone
		}
		a.missing += missing
		if told := a.toldOf(); told < a.missing {
			l.violated("%s: misses %d acknowledged events, and is told of %d", a.name, a.missing, told)
		}
		if told, bound := toldAPI[a.name], l.damagedLocked(0, math.MaxUint64); told > bound {
			l.violated("%s: the bus counts %d events lost by damage; %d were damaged in all", a.name, told, bound)
		}
	}
}

// zoneSince reports whether an event of the hidden zone has arrived that was sent after these serials.
func (l *ledger) zoneSince(a *account, serials []int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p, records := range l.pubs {
		for i := serials[p]; i < len(records); i++ {
			if records[i].zone == hiddenZone && a.has(p, i) {
				return true
			}
		}
	}
	return false
}
