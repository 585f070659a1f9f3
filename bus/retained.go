package bus

// This file is the retained messages: the last value of each topic that has one [MQTT-3.3.1-5].
// Values are on disk, in the journal or in the newest snapshot; in memory is an index of their
// topics, about 50 bytes and the topic for each.
//
// The index is a list of blocks in the order of topics. A block is a few flat slices, so that a
// million topics are some ten thousand objects to the garbage collector.

import (
	"bytes"
	"cmp"
	"slices"
	"sort"
	"sync/atomic"

	"github.com/postbus/postbus/bus/internal/sched"
	"github.com/postbus/postbus/bus/journal"
)

// How the sources of events that come from no MQTT client begin. No client identifier begins so.
const (
	PluginSource = "plugin:"
	HTTPSource   = "http:"
)

// retainedBlock is the maximum number of topics in a block.
const retainedBlock = 128

// inJournal as an offset means that the value is in the journal and not in a snapshot.
const inJournal = -1

// retainedSet is the index, and in memory the values that the bus announces about itself.
type retainedSet struct {
	mu        sched.RWMutex
	blocks    []*topicBlock
	clients   retainedCount // what limits bound
	own       retainedCount // what the bus reports about itself
	plugins   retainedCount // what is below KeptPrefix
	snapshot  *journal.Snapshot
	stamped   atomic.Bool // some value has a stamp, or had one: see stamps.go
	tombs     tombstones
	was       map[string]stamp // during a replay: see replaced
	window    uint64           // values up to here that are replaced are noted in gone; 0: none
	gone      []replaced
	announced map[string]*journal.Record
}

// retainedCount is how many topics have a value, and their size.
type retainedCount struct {
	count  int
	bytes  int   // of payloads
	topics int64 // bytes of topics
}

// add counts a value of a topic; n is -1 to take it away.
func (c *retainedCount) add(topic []byte, size uint32, n int) {
	c.count += n
	c.bytes += n * int(size)
	c.topics += int64(n * len(topic))
}

// size is the bytes of all topics and payloads.
func (c *retainedCount) size() int64 { return c.topics + int64(c.bytes) }

// countOf is the count that a value belongs to.
func (t *retainedSet) countOf(topic []byte, v *retainedValue) *retainedCount {
	switch {
	case isKept(topic):
		return &t.plugins
	case v.own:
		return &t.own
	}
	return &t.clients
}

// topicBlock is up to retainedBlock topics in their order. Entry i ends at ends[i] of topics.
type topicBlock struct {
	topics []byte
	ends   []uint32
	values []retainedValue
	stamps []stamp // of the values; nil when none has one
}

// retainedValue is the location of a value.
type retainedValue struct {
	seq    uint64
	off    int64 // in the snapshot, or inJournal
	size   uint32
	plugin bool // its source is a plugin
	own    bool // its source is the bus itself
	kept   bool // it is the kept value of its record
}

// retainedEntry is one topic and where its value is.
type retainedEntry struct {
	topic string
	retainedValue
	stamp stamp
}

func (b *topicBlock) topic(i int) []byte {
	from := uint32(0)
	if i > 0 {
		from = b.ends[i-1]
	}
	return b.topics[from:b.ends[i]]
}

// find returns the first entry at or behind topic, and whether it is that topic.
func (b *topicBlock) find(topic []byte) (int, bool) {
	return sort.Find(len(b.ends), func(i int) int { return bytes.Compare(topic, b.topic(i)) })
}

func (b *topicBlock) insert(i int, topic []byte, v retainedValue) {
	from := uint32(0)
	if i > 0 {
		from = b.ends[i-1]
	}
	b.topics = slices.Insert(b.topics, int(from), topic...)
	b.ends = slices.Insert(b.ends, i, from)
	for j := i; j < len(b.ends); j++ {
		b.ends[j] += uint32(len(topic))
	}
	b.values = slices.Insert(b.values, i, v)
	if b.stamps != nil {
		b.stamps = slices.Insert(b.stamps, i, stamp{})
	}
}

func (b *topicBlock) remove(i int) {
	n := uint32(len(b.topic(i)))
	b.topics = slices.Delete(b.topics, int(b.ends[i]-n), int(b.ends[i]))
	b.ends = slices.Delete(b.ends, i, i+1)
	for j := i; j < len(b.ends); j++ {
		b.ends[j] -= n
	}
	b.values = slices.Delete(b.values, i, i+1)
	if b.stamps != nil {
		b.stamps = slices.Delete(b.stamps, i, i+1)
	}
}

// part copies the entries [from, to) of the block, with some room to grow.
func (b *topicBlock) part(from, to int) *topicBlock {
	first := uint32(0)
	if from > 0 {
		first = b.ends[from-1]
	}
	n := to - from
	topics := b.topics[first:b.ends[to-1]]
	p := &topicBlock{topics: make([]byte, 0, len(topics)+len(topics)/4), ends: make([]uint32, 0, n+n/4), values: make([]retainedValue, 0, n+n/4)}
	p.topics = append(p.topics, topics...)
	for _, end := range b.ends[from:to] {
		p.ends = append(p.ends, end-first)
	}
	p.values = append(p.values, b.values[from:to]...)
	if b.stamps != nil {
		p.stamps = append(make([]stamp, 0, n+n/4), b.stamps[from:to]...)
	}
	return p
}

// blockOf returns the block that holds topic, or would. The caller holds mu.
func (t *retainedSet) blockOf(topic []byte) int {
	i := sort.Search(len(t.blocks), func(i int) bool { return bytes.Compare(t.blocks[i].topic(0), topic) > 0 })
	return max(i-1, 0)
}

// set records the value of r's topic, or clears it if the payload is empty [MQTT-3.3.1-6]. off is
// its offset in the snapshot, or inJournal.
func (t *retainedSet) set(r *journal.Record, off int64, st stamp) {
	t.put(r.Topic, valueOf(r, len(r.Payload), off), st)
}

// setKept records the kept value of r, or clears it if it is empty.
func (t *retainedSet) setKept(r *journal.Record, off int64) {
	v := valueOf(r, len(r.Kept), off)
	v.kept = true
	t.put(r.KeptTopic, v, stamp{})
}

func valueOf(r *journal.Record, size int, off int64) retainedValue {
	return retainedValue{seq: r.Seq, off: off, size: uint32(size), plugin: bytes.HasPrefix(r.Source, []byte(PluginSource)), own: string(r.Source) == ownSource}
}

// put records where the value of a topic is; one without a size clears the topic.
func (t *retainedSet) put(topic []byte, v retainedValue, st stamp) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if st.at != 0 {
		t.stamped.Store(true)
	}
	if len(t.blocks) == 0 {
		if v.size == 0 {
			return
		}
		first := &topicBlock{}
		first.insert(0, topic, v)
		first.setStamp(0, st)
		t.blocks = []*topicBlock{first}
		t.countOf(topic, &v).add(topic, v.size, 1)
		return
	}
	at := t.blockOf(topic)
	b := t.blocks[at]
	i, found := b.find(topic)
	switch {
	case found && v.size == 0:
		t.countOf(topic, &b.values[i]).add(topic, b.values[i].size, -1)
		t.replaceLocked(b, i)
		b.remove(i)
		if len(b.ends) == 0 {
			t.blocks = slices.Delete(t.blocks, at, at+1)
		}
	case found:
		t.countOf(topic, &b.values[i]).add(topic, b.values[i].size, -1)
		t.countOf(topic, &v).add(topic, v.size, 1)
		t.replaceLocked(b, i)
		b.values[i] = v
		b.setStamp(i, st)
	case v.size > 0:
		t.countOf(topic, &v).add(topic, v.size, 1)
		b.insert(i, topic, v)
		b.setStamp(i, st)
		if n := len(b.ends); n > retainedBlock {
			half := n / 2
			if at == len(t.blocks)-1 && i == n-1 { // topics arrive in order: leave full blocks behind
				half = n - 1
			}
			t.blocks[at] = b.part(0, half)
			t.blocks = slices.Insert(t.blocks, at+1, b.part(half, n))
		}
	}
}

// announce sets a value in memory only.
func (t *retainedSet) announce(r *journal.Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(r.Payload) == 0 {
		delete(t.announced, string(r.Topic))
		return
	}
	if t.announced == nil {
		t.announced = map[string]*journal.Record{}
	}
	t.announced[string(r.Topic)] = cloneRecord(r)
}

// scanBatch is how many topics are scanned before others get the lock.
const scanBatch = 1024

// next lists up to n entries that match p, in the order of topics, behind the topic after; an empty
// after starts at the beginning. done: there are no more. A batch may be empty before that.
func (t *retainedSet) next(p *pattern, after string, n int) (found []retainedEntry, last string, done bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	literal := p.literal()
	from := max(after, literal)
	if len(t.blocks) == 0 {
		return nil, "", true
	}
	at := t.blockOf([]byte(from))
	i, _ := t.blocks[at].find([]byte(from))
	for looked := 0; ; i++ {
		for at < len(t.blocks) && i >= len(t.blocks[at].ends) {
			at, i = at+1, 0
		}
		if at == len(t.blocks) {
			return found, "", true
		}
		topic := t.blocks[at].topic(i)
		if after != "" && string(topic) == after {
			continue
		}
		if !bytes.HasPrefix(topic, []byte(literal)) {
			return found, "", true
		}
		if looked++; looked > scanBatch || len(found) == n {
			return found, last, false
		}
		last = string(topic)
		if p.match(topic) {
			found = append(found, retainedEntry{last, t.blocks[at].values[i], t.blocks[at].stampOf(i)})
		}
	}
}

// literal returns the common prefix of matching topics: the levels before the first wildcard.
func (p *pattern) literal() string {
	literal, _ := p.Literal()
	return literal
}

// announcedThat lists the announced values that match, in the order of topics.
func (t *retainedSet) announcedThat(p *pattern) (found []*journal.Record) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if name, ok := p.Plain(); ok && !p.all { // there may be as many topics as plugins
		if r := t.announced[name]; r != nil {
			found = append(found, r)
		}
		return found
	}
	for topic, r := range t.announced {
		if p.match([]byte(topic)) {
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b *journal.Record) int { return bytes.Compare(a.Topic, b.Topic) })
	return found
}

// value returns where a topic's value is, and the snapshot to which an offset belongs, to be
// closed.
func (t *retainedSet) value(topic string) (v retainedValue, from *journal.Snapshot, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if len(t.blocks) == 0 {
		return v, nil, false
	}
	b := t.blocks[t.blockOf([]byte(topic))]
	i, ok := b.find([]byte(topic))
	if !ok {
		return v, nil, false
	}
	if v = b.values[i]; v.off != inJournal {
		from = t.snapshot.Share()
	}
	return v, from, true
}

// source identifies a value: the sequence of its record, which may also hold another value.
type source struct {
	seq  uint64
	kept bool // the kept value of the record
}

func (a source) compare(b source) int {
	if c := cmp.Compare(a.seq, b.seq); c != 0 || a.kept == b.kept {
		return c
	}
	if b.kept {
		return -1
	}
	return 1
}

// sources lists, in their order, the values up to at that are in the journal, and returns the
// snapshot that holds the others, to be closed; nil when there is none.
func (t *retainedSet) sources(at uint64) (list []source, s *journal.Snapshot) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, b := range t.blocks {
		for i := range b.values {
			if v := &b.values[i]; v.off == inJournal && v.seq <= at {
				list = append(list, source{v.seq, v.kept})
			}
		}
	}
	slices.SortFunc(list, source.compare)
	if t.snapshot != nil {
		s = t.snapshot.Share()
	}
	return list, s
}

// holds reports whether r, at an offset in the snapshot, is the current value of its topic.
func (t *retainedSet) holds(r *journal.Record, off int64) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if len(t.blocks) == 0 {
		return false
	}
	name := r.Topic
	if r.Kind == kindKept {
		name = r.KeptTopic
	}
	b := t.blocks[t.blockOf(name)]
	i, ok := b.find(name)
	return ok && b.values[i].off == off && b.values[i].seq == r.Seq
}

// moved is a value that a new snapshot holds.
type moved struct {
	source
	off int64
}

// moveTo switches to a new snapshot for reading values, and closes the previous one.
func (t *retainedSet) moveTo(s *journal.Snapshot, values []moved) {
	slices.SortFunc(values, func(a, b moved) int { return a.compare(b.source) })
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, b := range t.blocks {
		for i := range b.values {
			v := &b.values[i]
			if j, ok := slices.BinarySearchFunc(values, source{v.seq, v.kept}, func(m moved, s source) int { return m.compare(s) }); ok {
				v.off = values[j].off
			}
		}
	}
	if t.snapshot != nil {
		t.snapshot.Close()
	}
	t.snapshot = s
}

// close closes the snapshot.
func (t *retainedSet) close() {
	if t.snapshot != nil {
		t.snapshot.Close()
	}
}

// readRetained reads the current value of a topic into rec; false if it has none or the read fails.
func (b *Bus) readRetained(topic string, rec *journal.Record) bool {
	for range 3 { // a value may be replaced, and a journal's segment removed, between two steps
		v, snapshot, ok := b.retained.value(topic)
		if !ok {
			return false
		}
		var err error
		if snapshot != nil {
			err = snapshot.Read(v.off, rec)
			snapshot.Close()
			if v.kept {
				*rec = keptAsRetained(rec)
			}
			ok = err == nil && string(rec.Topic) == topic
		} else {
			r := b.journal.Reader(v.seq)
			ok, err = r.NextUntil(v.seq, rec)
			if ok = ok && rec.Seq == v.seq; ok {
				if v.kept {
					*rec = keptAsRetained(rec)
				}
				*rec = *cloneRecord(rec)
			}
			r.Release()
		}
		if ok {
			return true
		}
		if err != nil {
			b.logger.Error("reading a retained message failed", "topic", topic, "err", err)
		}
	}
	b.logger.Error("a retained message is lost: its record is damaged or missing", "topic", topic)
	return false
}
