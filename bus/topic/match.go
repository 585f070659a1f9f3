package topic

// This file is matching: one filter against one name, and a filter compiled for many names.

import (
	"bytes"
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

// Pattern is a compiled filter. It takes no memory beyond the filter's. The zero Pattern is not a
// filter.
type Pattern struct {
	filter string
	stem   string // the levels without a final #, joined
	levels int    // of stem: 0 only for "#"
	open   bool   // ends in #
	plain  bool   // no wildcard
}

// Compile compiles a valid filter.
func Compile(filter string) Pattern {
	p := Pattern{filter: filter, stem: filter, levels: Levels(filter)}
	if filter == "#" {
		p.stem, p.levels, p.open = "", 0, true
	} else if stem, open := strings.CutSuffix(filter, "/#"); open {
		p.stem, p.levels, p.open = stem, p.levels-1, true
	}
	p.plain = !p.open && strings.IndexByte(filter, '+') < 0
	return p
}

// Stem returns the filter without a final #, and how many levels that is: 0 only for "#".
func (p *Pattern) Stem() (stem string, levels int) { return p.stem, p.levels }

// Open reports whether the filter ends in #.
func (p *Pattern) Open() bool { return p.open }

// Plain returns the only name that the filter matches; ok is false when it has a wildcard.
func (p *Pattern) Plain() (name string, ok bool) { return p.filter, p.plain }

// Literal returns the levels before the first wildcard, joined, with which every matching name
// begins. ok is false when there are none.
func (p *Pattern) Literal() (literal string, ok bool) {
	if p.levels == 0 {
		return "", false
	}
	i := strings.IndexByte(p.stem, '+')
	switch {
	case i < 0:
		return p.stem, true
	case i == 0:
		return "", false
	}
	return p.stem[:i-1], true
}

// Match reports whether the filter matches the name.
func (p *Pattern) Match(name []byte) bool {
	if p.plain {
		return string(name) == p.filter
	}
	if len(name) > 0 && name[0] == '$' && wildFirst(p.filter) {
		return false
	}
	if p.levels == 0 {
		return true
	}
	for stem, more := p.stem, true; ; {
		var level string
		level, stem, more = strings.Cut(stem, "/")
		end := bytes.IndexByte(name, '/')
		part := name
		if end >= 0 {
			part = name[:end]
		}
		switch {
		case level != "+" && level != string(part):
			return false
		case end < 0:
			return !more // a/# matches a too
		case !more:
			return p.open
		}
		name = name[end+1:]
	}
}
