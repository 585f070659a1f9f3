package bus

// This file is the tree of topic levels that finds the subscriptions of connected consumers for a
// topic.

import (
	"bytes"
	"strings"
	"sync/atomic"

	"github.com/postbus/postbus/bus/internal/sched"
	"github.com/postbus/postbus/bus/journal"
)

// index maps filters to subscriptions. Only cursors with a consumer are in it. It is a tree of topic
// levels in which a chain of nodes without subscriptions is one node, so that its memory grows with
// the number and the bytes of the filters, and not with the number of their levels.
type index struct {
	changes atomic.Uint64

	mu   sched.RWMutex
	root indexNode
}

type indexNode struct {
	label    string                // the levels that lead here from the parent, joined
	children map[string]*indexNode // by the first level of their labels
	here     []*subscription       // filters that end at this level
	open     []*subscription       // filters that end in # below it
}

func (x *index) add(s *subscription) {
	defer x.changes.Add(1)
	x.mu.Lock()
	defer x.mu.Unlock()
	n := &x.root
	for rest, levels := s.pattern.Stem(); levels > 0; {
		first, _, _ := strings.Cut(rest, "/")
		c := n.children[first]
		if c == nil {
			c = &indexNode{label: rest}
			n.put(first, c)
		}
		common := commonLevels(c.label, rest)
		if len(common) < len(c.label) { // a node in between
			mid := &indexNode{label: common}
			c.label = c.label[len(common)+1:]
			next, _, _ := strings.Cut(c.label, "/")
			mid.put(next, c)
			n.put(first, mid)
			c = mid
		}
		n = c
		if len(common) == len(rest) {
			break
		}
		rest = rest[len(common)+1:]
	}
	if s.pattern.Open() {
		n.open = append(n.open, s)
	} else {
		n.here = append(n.here, s)
	}
}

func (n *indexNode) put(first string, c *indexNode) {
	if n.children == nil {
		n.children = make(map[string]*indexNode, 1)
	}
	n.children[first] = c
}

// commonLevels returns the leading levels that a and b share.
func commonLevels(a, b string) string {
	end := 0
	for i := 0; ; i++ {
		aEnds, bEnds := i == len(a) || a[i] == '/', i == len(b) || b[i] == '/'
		if aEnds && bEnds {
			end = i
		}
		if i == len(a) || i == len(b) || a[i] != b[i] {
			return a[:end]
		}
	}
}

func (x *index) remove(s *subscription) {
	defer x.changes.Add(1)
	x.mu.Lock()
	defer x.mu.Unlock()
	rest, levels := s.pattern.Stem()
	x.root.remove(s, rest, levels > 0)
}

// remove takes s from the node that is rest below n, or from n itself. It removes nodes that are no
// longer needed below n.
func (n *indexNode) remove(s *subscription, rest string, below bool) {
	if !below {
		if s.pattern.Open() {
			n.open = without(n.open, s)
		} else {
			n.here = without(n.here, s)
		}
		return
	}
	first, _, _ := strings.Cut(rest, "/")
	c := n.children[first]
	if c == nil || commonLevels(c.label, rest) != c.label {
		return
	}
	if len(rest) == len(c.label) {
		c.remove(s, "", false)
	} else {
		c.remove(s, rest[len(c.label)+1:], true)
	}
	if len(c.here) > 0 || len(c.open) > 0 || len(c.children) > 1 {
		return
	}
	for _, only := range c.children { // one node with the labels of both
		only.label = c.label + "/" + only.label
		n.children[first] = only
		return
	}
	delete(n.children, first)
}

// without returns a new slice, because readers may still use the old one.
func without(list []*subscription, s *subscription) []*subscription {
	var out []*subscription
	for _, o := range list {
		if o != s {
			out = append(out, o)
		}
	}
	return out
}

// match appends the subscriptions that match topic to found.
func (x *index) match(topic []byte, found []*subscription) []*subscription {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.root.match(topic, len(topic) > 0 && topic[0] == '$', found)
}

// match appends what matches rest, one or more levels, below n. dollar: wildcards do not match its
// first level.
func (n *indexNode) match(rest []byte, dollar bool, found []*subscription) []*subscription {
	if !dollar {
		found = append(found, n.open...)
	}
	level := rest
	if i := bytes.IndexByte(rest, '/'); i >= 0 {
		level = rest[:i]
	}
	if c := n.children[string(level)]; c != nil {
		found = c.descend(rest, found)
	}
	if !dollar {
		if c := n.children["+"]; c != nil {
			found = c.descend(rest, found)
		}
	}
	return found
}

// descend appends what matches rest at n and below. rest begins with the levels of n's label.
func (n *indexNode) descend(rest []byte, found []*subscription) []*subscription {
	for label := n.label; ; {
		want, longer := label, false
		if i := strings.IndexByte(label, '/'); i >= 0 {
			want, label, longer = label[:i], label[i+1:], true
		}
		level, more := rest, false
		if i := bytes.IndexByte(rest, '/'); i >= 0 {
			level, rest, more = rest[:i], rest[i+1:], true
		}
		switch {
		case want != "+" && want != string(level), longer && !more:
			return found
		case !longer && more:
			return n.match(rest, false, found)
		case !longer:
			found = append(found, n.here...)
			return append(found, n.open...) // a/# matches a [MQTT-4.7.1-2]
		}
	}
}

// cloneRecord copies a record, without its kept value.
func cloneRecord(r *journal.Record) *journal.Record {
	c := withoutKept(r)
	b := make([]byte, 0, len(r.Source)+len(r.Topic)+len(r.Props)+len(r.Payload)+len(r.Lane))
	take := func(s []byte) []byte {
		at := len(b)
		b = append(b, s...)
		return b[at:len(b):len(b)]
	}
	c.Source, c.Topic, c.Props, c.Payload = take(r.Source), take(r.Topic), take(r.Props), take(r.Payload)
	if len(r.Lane) > 0 {
		c.Lane = take(r.Lane)
	}
	return &c
}
