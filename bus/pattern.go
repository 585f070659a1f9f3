package bus

// This file is a compiled filter, for matching topics and for skipping parts of the journal that
// hold other topics only.

import (
	"github.com/postbus/postbus/bus/journal"
	"github.com/postbus/postbus/bus/topic"
)

type pattern struct {
	topic.Pattern
	all    bool             // matches every topic, also those that begin with $
	prefix []journal.Prefix // one: of the levels before the first wildcard; nil when there are none
}

func compile(filter string) pattern {
	p := pattern{Pattern: topic.Compile(filter)}
	if literal, ok := p.Literal(); ok {
		p.prefix = []journal.Prefix{journal.PrefixOf(literal)}
	}
	return p
}

func (p *pattern) match(name []byte) bool { return p.all || p.Match(name) }
