package bus

// This file is the tree of topic levels that finds the subscriptions of connected consumers for a
// topic.

import (
	"bytes"

	"github.com/postbus/postbus/bus/internal/sched"
	"github.com/postbus/postbus/bus/journal"
)

// index maps filters to subscriptions. Only cursors with a consumer are in it.
type index struct {
	mu   sched.RWMutex
	root indexNode
}

type indexNode struct {
	children map[string]*indexNode
	here     []*subscription // filters that end at this level
	open     []*subscription // filters that end in # below it
}

func (x *index) add(s *subscription) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n := &x.root
	for _, l := range s.pattern.Levels() {
		if n.children == nil {
			n.children = map[string]*indexNode{}
		}
		c := n.children[l]
		if c == nil {
			c = &indexNode{}
			n.children[l] = c
		}
		n = c
	}
	if s.pattern.Open() {
		n.open = append(n.open, s)
	} else {
		n.here = append(n.here, s)
	}
}

func (x *index) remove(s *subscription) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.root.remove(s, s.pattern.Levels())
}

// remove reports whether the node is empty afterwards.
func (n *indexNode) remove(s *subscription, levels []string) bool {
	if len(levels) > 0 {
		if c := n.children[levels[0]]; c != nil && c.remove(s, levels[1:]) {
			delete(n.children, levels[0])
		}
	} else if s.pattern.Open() {
		n.open = without(n.open, s)
	} else {
		n.here = without(n.here, s)
	}
	return len(n.children) == 0 && len(n.here) == 0 && len(n.open) == 0
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

func (n *indexNode) match(tail []byte, dollar bool, found []*subscription) []*subscription {
	if !dollar {
		found = append(found, n.open...)
	}
	level, more := tail, false
	if i := bytes.IndexByte(tail, '/'); i >= 0 {
		level, tail, more = tail[:i], tail[i+1:], true
	}
	if c := n.children[string(level)]; c != nil {
		found = c.descend(tail, more, found)
	}
	if !dollar {
		if c := n.children["+"]; c != nil {
			found = c.descend(tail, more, found)
		}
	}
	return found
}

func (n *indexNode) descend(tail []byte, more bool, found []*subscription) []*subscription {
	if more {
		return n.match(tail, false, found)
	}
	found = append(found, n.here...)
	return append(found, n.open...) // a/# matches a [MQTT-4.7.1-2]
}

func cloneRecord(r *journal.Record) *journal.Record {
	c := *r
	b := make([]byte, 0, len(r.Source)+len(r.Topic)+len(r.Props)+len(r.Payload))
	take := func(s []byte) []byte {
		at := len(b)
		b = append(b, s...)
		return b[at:len(b):len(b)]
	}
	c.Source, c.Topic, c.Props, c.Payload = take(r.Source), take(r.Topic), take(r.Props), take(r.Payload)
	return &c
}
