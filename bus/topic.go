package bus

// This file is topic names and topic filters: what is valid, and what matches.

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/postbus/postbus/bus/journal"
)

const maxTopic = 65535

// CheckTopic reports why name cannot be published to [MQTT-4.7.3-1] [MQTT-3.3.2-2].
func CheckTopic(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("topic name is empty")
	case len(name) > maxTopic:
		return fmt.Errorf("topic name of %d bytes: at most %d are allowed", len(name), maxTopic)
	case strings.ContainsAny(name, "+#"):
		return fmt.Errorf("topic name %q holds a wildcard; wildcards are for filters", name)
	case !utf8.ValidString(name) || strings.IndexByte(name, 0) >= 0:
		return fmt.Errorf("topic name %q is not UTF-8 text without U+0000", name)
	}
	return nil
}

// CheckFilter reports why filter cannot be subscribed to [MQTT-4.7.1-1] [MQTT-4.7.1-2]. It takes the
// forms $share/group/filter [MQTT-4.8.2-1] [MQTT-4.8.2-2] and $replay/age/filter too.
func CheckFilter(filter string) error {
	if age, inner, ok := splitReplay(filter); ok {
		if _, err := parseAge(age); err != nil {
			return fmt.Errorf("filter %q: want $replay/AGE/FILTER with an age such as 10m, 24h or 7d, not %q", filter, age)
		}
		if inner == "" || strings.HasPrefix(inner, replayPrefix) || strings.HasPrefix(inner, "$share/") {
			return fmt.Errorf("filter %q names no filter behind the age", filter)
		}
		filter = inner
	}
	if rest, ok := strings.CutPrefix(filter, "$share/"); ok {
		group, inner, found := strings.Cut(rest, "/")
		switch {
		case group == "" || strings.ContainsAny(group, "+#"):
			return fmt.Errorf("shared filter %q needs a group name without + and #", filter)
		case !found || inner == "":
			return fmt.Errorf("shared filter %q names no filter behind the group", filter)
		}
		filter = inner
	} else if filter == "$share" {
		return fmt.Errorf("shared filter %q names no group", filter)
	}
	switch {
	case filter == "":
		return fmt.Errorf("topic filter is empty")
	case len(filter) > maxTopic:
		return fmt.Errorf("topic filter of %d bytes: at most %d are allowed", len(filter), maxTopic)
	case !utf8.ValidString(filter) || strings.IndexByte(filter, 0) >= 0:
		return fmt.Errorf("topic filter %q is not UTF-8 text without U+0000", filter)
	}
	for rest, more := filter, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		switch {
		case level == "#" && more:
			return fmt.Errorf("topic filter %q: # must be its last level", filter)
		case len(level) > 1 && strings.ContainsAny(level, "+#"):
			return fmt.Errorf("topic filter %q: + and # must be whole levels", filter)
		}
	}
	return nil
}

// Match reports whether a valid filter matches a topic name. Wildcards at the first level do not
// match names that begin with $ [MQTT-4.7.2-1].
func Match(filter, name string) bool {
	p := compile(filter)
	return p.match([]byte(name))
}

// pattern is a filter made ready for matching.
type pattern struct {
	levels []string
	open   bool // ends in #
	plain  bool // no wildcard
	all    bool // matches every topic, also those that begin with $
	filter string
	prefix []journal.Prefix // one: of the levels before the first wildcard; nil when there are none
}

func compile(filter string) pattern {
	p := pattern{levels: strings.Split(filter, "/"), filter: filter}
	if p.levels[len(p.levels)-1] == "#" {
		p.levels, p.open = p.levels[:len(p.levels)-1], true
	}
	p.plain = !p.open && strings.IndexByte(filter, '+') < 0
	literal := p.levels
	if i := slices.Index(literal, "+"); i >= 0 {
		literal = literal[:i]
	}
	if len(literal) > 0 {
		p.prefix = []journal.Prefix{journal.PrefixOf(literal)}
	}
	return p
}

func (p *pattern) match(name []byte) bool {
	if p.plain {
		return string(name) == p.filter
	}
	if p.all {
		return true
	}
	if len(name) > 0 && name[0] == '$' && (len(p.levels) == 0 || p.levels[0] == "+") {
		return false
	}
	for i, l := range p.levels {
		end := bytes.IndexByte(name, '/')
		level := name
		if end >= 0 {
			level = name[:end]
		}
		if l != "+" && l != string(level) {
			return false
		}
		if end < 0 {
			return i == len(p.levels)-1 // a/# matches a too
		}
		name = name[end+1:]
	}
	return p.open
}

// splitShare takes $share/group/filter apart; group is empty for other filters.
func splitShare(filter string) (group, inner string) {
	if rest, ok := strings.CutPrefix(filter, "$share/"); ok {
		group, inner, _ = strings.Cut(rest, "/")
		return group, inner
	}
	return "", filter
}
