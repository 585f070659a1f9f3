package topic

// This file is matching: one filter against one name, and a filter compiled for many names.

import (
	"bytes"
	"slices"
	"strings"
)

// Match reports whether the filter matches the name.
func Match(filter, name string) bool {
	if name == "" || name[0] == '$' && wildFirst(filter) {
		return false
	}
	for {
		if filter == "#" {
			return true
		}
		f, frest, fmore := strings.Cut(filter, "/")
		n, nrest, nmore := strings.Cut(name, "/")
		if f != "+" && f != n {
			return false
		}
		switch {
		case !nmore:
			return !fmore || frest == "#"
		case !fmore:
			return false
		}
		filter, name = frest, nrest
	}
}

// wildFirst reports whether the first level is a wildcard.
func wildFirst(filter string) bool {
	return filter != "" && (filter[0] == '+' || filter[0] == '#')
}

// Pattern is a compiled filter. The zero Pattern is not a filter.
type Pattern struct {
	filter string
	levels []string
	open   bool // ends in #
	plain  bool // no wildcard
}

// Compile compiles a valid filter.
func Compile(filter string) Pattern {
	p := Pattern{levels: strings.Split(filter, "/"), filter: filter}
	if p.levels[len(p.levels)-1] == "#" {
		p.levels, p.open = p.levels[:len(p.levels)-1], true
	}
	p.plain = !p.open && strings.IndexByte(filter, '+') < 0
	return p
}

// Levels returns the filter's levels without a final #. The caller must not change them.
func (p *Pattern) Levels() []string { return p.levels }

// Open reports whether the filter ends in #.
func (p *Pattern) Open() bool { return p.open }

// Literal returns the levels before the first wildcard: every matching name begins with them.
func (p *Pattern) Literal() []string {
	if i := slices.Index(p.levels, "+"); i >= 0 {
		return p.levels[:i]
	}
	return p.levels
}

// Match reports whether the filter matches the name.
func (p *Pattern) Match(name []byte) bool {
	if p.plain {
		return string(name) == p.filter
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
