package plugins

// This file is "uses": the latest values of other topics, which expressions can read. They are heard with the
// events of the source mqtt, in one order, and kept as the rest of the plugin's state is.

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/topic"
	"github.com/postbus/postbus/config/yamlnode"
	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/payload"
)

const (
	maxUses  = 100      // names of "uses"
	maxHeard = 10_000   // topics of a plugin whose latest values are kept; the one without a value for longest goes first
	maxValue = 64 << 10 // bytes of such a value
)

// useSpec is one name of "uses".
type useSpec struct{ name, filter string }

// useNames are the names below uses.NAME.
var useNames = []string{"json", "text", "topic", "at", "age", "topics"}

// uses reads {NAME: FILTER}, after the sources.
func (f *fileReader) uses(n yamlnode.Node) {
	m, ok := n.Map()
	if !ok {
		return
	}
	var names []string
	for i := range min(m.Len(), maxUses) {
		name, v := m.Entry(i)
		filter, ok := v.Text()
		switch {
		case !ok:
			continue
		case !nameForm.MatchString(name):
			v.FailKey("letters, digits and _", "%q cannot be a name", name)
			continue
		case topic.Shared(filter):
			v.Fail("leave out $share and the group", "%q: a plugin gets all events and shares none", filter)
			continue
		case strings.HasPrefix(filter, topic.ReplayPrefix):
			v.Fail("leave out $replay and the age", "%q: only the latest value of a topic counts", filter)
			continue
		case filter == "$plugin" || strings.HasPrefix(filter, "$plugin/"): // the values themselves are stored there: an endless loop
			v.Fail("", "%q: what is stored below $plugin cannot be used", filter)
			continue
		}
		if err := topic.CheckSubscription(filter); err != nil {
			v.Fail("", "%v", topic.Reason(err))
			continue
		}
		f.spec.uses = append(f.spec.uses, useSpec{name, filter})
		names = append(names, name)
		f.member("uses."+name, useNames)
	}
	if m.Len() > maxUses {
		n.FailKey("use one filter with + for several topics", "there are %d names, at most %d are allowed", m.Len(), maxUses)
	}
	if len(names) == 0 {
		return
	}
	f.named("uses", names)
	var heard bool
	for _, s := range f.spec.sources {
		if _, reads := s.options.(kind.Reader); reads {
			f.hear(s)
			heard = true
		}
	}
	if !heard {
		s := &sourceSpec{kind: usesKind, options: usesOptions{}}
		f.spec.sources = append(f.spec.sources, s)
		f.hear(s)
	}
}

// hear lets a source hear the topics of "uses" beside its own.
func (f *fileReader) hear(s *sourceSpec) {
	for _, u := range f.spec.uses {
		s.uses = append(s.uses, u.filter)
	}
	s.hash = Hash(fmt.Appendf(nil, "%s %q", s.hash, s.uses))
}

// member says which names there are below a variable.
func (f *fileReader) member(path string, names []string) {
	if f.scope.Members == nil {
		f.scope.Members = map[string][]string{}
	}
	f.scope.Members[path] = names
}

// usesKind is the source that hears the topics of "uses" in a file without a source that reads the bus.
var usesKind = kind.StreamOf("uses", "", "", usesOptions{}, nil, func(o usesOptions, env kind.Env) journalSource {
	return journalSource{env, usesCursor, o}
})

// usesOptions are of a source that emits nothing: what it subscribes to is heard before that.
type usesOptions struct{}

// Filters returns none: see sourceSpec.uses.
func (usesOptions) Filters() []string { return nil }

// Read emits nothing.
func (usesOptions) Read(map[string]any, string) (at time.Time, fields map[string]any, ok bool) {
	return at, nil, false
}

// journalSource is a source of a file's own making that reads the bus.
type journalSource struct {
	env    kind.Env
	cursor string
	o      interface {
		kind.Filterer
		kind.Reader
	}
}

// Consumes marks it as running once it has subscribed.
func (journalSource) Consumes() {}

func (s journalSource) Stream(ctx context.Context, post kind.Post) error {
	return kind.ReadBus(ctx, s.env, s.cursor, s.o.Filters(), s.o, post)
}

// usesCursor names its cursor: no action can have that name.
const usesCursor = "source/uses"

// heard is the latest value of a topic.
type heard struct {
	topic string
	body  []byte
	text  string
	json  any
	at    time.Time
	seq   uint64 // of the topic's last event in the journal; 0: there was none
	place *list.Element
}

// values are the latest values of all topics that a plugin uses.
type values struct {
	uses   []useSpec
	topics map[string]*heard
	order  list.List // of *heard, the oldest value first
	bytes  int
	latest []*heard // by uses: the newest of its topics; nil: there is none
}

// storedHeard is a value as it is stored.
type storedHeard struct {
	Topic string `cbor:"1,keyasint"`
	Body  []byte `cbor:"2,keyasint,omitempty"`
	At    int64  `cbor:"3,keyasint"` // Unix nanoseconds
	Seq   uint64 `cbor:"4,keyasint,omitempty"`
}

// heardTopic is where the value of a topic is stored.
func heardTopic(id, name string) string { return hashed(usesTopic(id), name) }

// usesTopic is the prefix of the topics where the values are stored.
func usesTopic(id string) string { return "$plugin/" + id + "/uses/" }

// wanted reports whether a name of the file stands for a topic.
func (s *values) wanted(name string) bool {
	return slices.ContainsFunc(s.uses, func(u useSpec) bool { return topic.Match(u.filter, name) })
}

// set makes a value the latest of its topic. A retained one is not newer than what came after it.
func (s *values) set(h *heard, retained bool) {
	if old := s.topics[h.topic]; old != nil { // h replaces it in latest, too
		s.drop(old)
	}
	if s.topics == nil {
		s.topics = map[string]*heard{}
	}
	h.text = payload.Text(h.body)
	h.json, _ = payload.JSON(h.body)
	s.topics[h.topic] = h
	before := s.order.Back()
	for retained && before != nil && before.Value.(*heard).at.After(h.at) {
		before = before.Prev()
	}
	if before != nil {
		h.place = s.order.InsertAfter(h, before)
	} else {
		h.place = s.order.PushFront(h)
	}
	s.bytes += len(h.topic) + len(h.body)
	for i, u := range s.uses {
		if !topic.Match(u.filter, h.topic) {
			continue
		}
		if l := s.latest[i]; l == nil || l.topic == h.topic || !retained || !l.at.After(h.at) {
			s.latest[i] = h
		}
	}
}

func (s *values) drop(h *heard) {
	delete(s.topics, h.topic)
	s.order.Remove(h.place)
	s.bytes -= len(h.topic) + len(h.body)
}

func (s *values) remove(h *heard) {
	s.drop(h)
	for i, l := range s.latest {
		if l == h {
			s.latest[i] = s.newest(s.uses[i].filter)
		}
	}
}

// newest returns the newest value of the topics of a filter.
func (s *values) newest(filter string) *heard {
	for e := s.order.Back(); e != nil; e = e.Prev() {
		if h := e.Value.(*heard); topic.Match(filter, h.topic) {
			return h
		}
	}
	return nil
}

// use sets the names of the file. It returns the topics that no name stands for any more.
func (s *values) use(next []useSpec) (gone []string) {
	s.uses = next
	s.latest = make([]*heard, len(next))
	for e := s.order.Front(); e != nil; {
		h := e.Value.(*heard)
		e = e.Next()
		if !s.wanted(h.topic) {
			gone = append(gone, h.topic)
			s.remove(h)
		}
	}
	for i, u := range next {
		s.latest[i] = s.newest(u.filter)
	}
	return gone
}

// at returns the variable uses at a time.
func (s *values) at(now time.Time) map[string]any {
	out := make(map[string]any, len(s.uses))
	for i, u := range s.uses {
		m := map[string]any{"topics": topicValues{s, u.filter}}
		if h := s.latest[i]; h != nil {
			m["json"], m["text"], m["topic"], m["at"], m["age"] = h.json, h.text, h.topic, h.at, max(0, now.Sub(h.at))
		}
		out[u.name] = m
	}
	return out
}

// topicValues are the values of a name by topic.
type topicValues struct {
	of     *values
	filter string
}

// Lookup returns the value of a topic.
func (t topicValues) Lookup(name string) any {
	h := t.of.topics[name]
	if h == nil || !topic.Match(t.filter, name) {
		return nil
	}
	return map[string]any{"json": h.json, "text": h.text, "topic": h.topic, "at": h.at}
}

// hear folds an event of a topic that the file uses.
func (e *engine) hear(ev *bus.Event) error {
	old := e.values.topics[ev.Topic]
	cleared := ev.Retain && len(ev.Payload) == 0
	switch {
	case !e.values.wanted(ev.Topic): // of a subscription of the version before
		return nil
	case old != nil && ev.Seq != 0 && ev.Seq <= old.seq:
		return nil // delivered again
	case len(ev.Payload) > maxValue:
		return fmt.Errorf("uses: the payload of %s has %d bytes, at most %d are allowed", clip(ev.Topic, 80), len(ev.Payload), maxValue)
	case cleared && old == nil:
		return nil
	case cleared:
		e.values.remove(old)
		e.clears = append(e.clears, heardTopic(e.id, ev.Topic))
		return nil
	}
	h := &heard{topic: ev.Topic, body: slices.Clone(ev.Payload), at: ev.Time, seq: ev.Seq}
	if old != nil {
		h.seq = max(h.seq, old.seq) // an event of QoS 0 has none
	}
	e.values.set(h, ev.Stored)
	for len(e.values.topics) > 1 && (len(e.values.topics) > maxHeard || e.values.bytes > e.spec.stateLimit) {
		oldest := e.values.order.Front().Value.(*heard)
		e.values.remove(oldest)
		e.clears = append(e.clears, heardTopic(e.id, oldest.topic))
		e.keys.evicted++
	}
	if e.values.topics[h.topic] != h {
		return nil // a retained one that is older than all others
	}
	b, err := encodeCBOR.Marshal(storedHeard{h.topic, h.body, unixNano(h.at), h.seq})
	if err != nil {
		return fmt.Errorf("uses: %w", err)
	}
	e.writes = append(e.writes, storedValue{topic: heardTopic(e.id, h.topic), value: b})
	return nil
}

// recall takes over the stored values. It returns why the first one that is lost could not be read.
func (e *engine) recall(stored []storedValue) (unread error) {
	var all []*heard
	for _, v := range stored {
		var s storedHeard
		if err := decodeCBOR.Unmarshal(v.value, &s); err != nil || heardTopic(e.id, s.Topic) != v.topic {
			if unread == nil {
				unread = fmt.Errorf("a stored value of uses cannot be read: %w", errors.Join(err, errors.New(v.topic)))
			}
			e.clears = append(e.clears, v.topic)
			continue
		}
		all = append(all, &heard{topic: s.Topic, body: s.Body, at: fromUnixNano(s.At), seq: s.Seq})
	}
	slices.SortFunc(all, func(a, b *heard) int { return a.at.Compare(b.at) })
	for _, h := range all {
		e.values.set(h, false)
	}
	return unread
}

// useValues sets the names of the file.
func (e *engine) useValues(next *Spec) {
	for _, name := range e.values.use(next.uses) {
		e.clears = append(e.clears, heardTopic(e.id, name))
	}
}

// shared are the variables of all entries at a time: uses and tables.
func (e *engine) shared(now time.Time) map[string]any {
	s := e.spec
	if s == nil || len(s.uses) == 0 && len(s.tables) == 0 {
		return nil
	}
	m := map[string]any{"tables": s.tables}
	if len(s.uses) > 0 {
		m["uses"] = e.values.at(now)
	}
	return m
}

// hear is post for an event of a topic that the file uses.
func (m *mapper) hear(ctx context.Context, ev *bus.Event, done func(error)) error {
	size := len(ev.Topic) + len(ev.Payload) + firingSize
	if err := m.enter(ctx, nil, size); err != nil {
		return err
	}
	defer m.turn.Unlock()
	m.mu.Lock()
	err := m.engine.hear(ev)
	if err != nil {
		m.count.errors.Add(1)
		m.spoilLocked(err) // the value before it stays
	}
	m.mu.Unlock()
	m.flow.put(m.events(nil), outgoing{bytes: size, done: done})
	return nil
}

// dropUnread ends the cursors of sources that the file has no more.
func (p *plugin) dropUnread(next *Spec) {
	needed := map[string]bool{}
	for _, s := range next.sources {
		switch s.kind.Name {
		case "mqtt":
			needed["source"] = true
		case usesKind.Name:
			needed[usesCursor] = true
		case recordedKind.Name:
			needed[recordCursor] = true
		}
	}
	for _, key := range []string{"source", usesCursor, recordCursor} {
		name := cursorName(p.id, key)
		if needed[key] || !slices.Contains(p.s.bus.Names(name), name) {
			continue
		}
		if n, _ := p.s.bus.Backlog(name); n > 0 && key == recordCursor {
			p.mapper.lose(int(n), "recorded, and not mapped when record was removed from the file") //nolint:gosec // at most what the journal holds
		}
		p.dropQueue(key)
	}
}
