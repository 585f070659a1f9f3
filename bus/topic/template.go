package topic

// This file is filters with variables, as rules have: home/${user}/#. A value comes from a client,
// so it stays within the levels that the template's author wrote.

import (
	"fmt"
	"strings"
)

// The variables of a template. A name that begins with VarClaims names a claim of a login.
const (
	VarUser   = "user"
	VarClient = "client"
	VarClaims = "claims."
)

// variables is the list for errors.
const variables = "${user}, ${client} and ${claims.NAME}"

// VariableError states why a variable in a template is not valid.
type VariableError struct {
	Offset int // of the variable, in bytes
	Reason string
	Hint   string
}

func (e *VariableError) Error() string { return e.Reason }

// Template is a topic filter with variables. A variable is a level or a part of one.
type Template struct {
	text   string
	levels [][]piece
	names  []string // of the variables
}

// piece is a part of a level: text, or a variable's name.
type piece struct {
	text     string
	variable bool
}

// ParseTemplate parses a filter that may have variables. The error is a *VariableError, or an *Error
// as from CheckFilter.
func ParseTemplate(s string) (Template, error) {
	t := Template{text: s}
	if !strings.Contains(s, "${") {
		return t, CheckFilter(s)
	}
	level := []piece{}
	sample := strings.Builder{}
	put := func(text string) {
		sample.WriteString(text)
		for i, part := range strings.Split(text, "/") {
			if i > 0 {
				t.levels, level = append(t.levels, level), nil
			}
			if part != "" {
				level = append(level, piece{text: part})
			}
		}
	}
	rest := s
	for {
		before, after, found := strings.Cut(rest, "${")
		put(before)
		if !found {
			break
		}
		offset := len(s) - len(after) - 2
		name, tail, closed := strings.Cut(after, "}")
		switch {
		case !closed:
			return Template{}, &VariableError{offset, `"${" begins a variable, and its "}" is missing`, "the variables are " + variables}
		case !knownVariable(name):
			return Template{}, &VariableError{offset, fmt.Sprintf("unknown variable %q", "${"+name+"}"), "the variables are " + variables}
		case len(t.levels) == 0 && (len(level) > 0 && strings.HasPrefix(level[0].text, "$") && !level[0].variable):
			return Template{}, &VariableError{offset, "a first level that begins with $ can't have a variable", "write the level out, as in $bus/clients/${client}"}
		}
		level = append(level, piece{name, true})
		t.names = append(t.names, name)
		sample.WriteByte('x')
		rest = tail
	}
	t.levels = append(t.levels, level)
	if err := CheckFilter(sample.String()); err != nil {
		if e, ok := err.(*Error); ok {
			e.Text = s
		}
		return Template{}, err
	}
	return t, nil
}

func knownVariable(name string) bool {
	claim, ok := strings.CutPrefix(name, VarClaims)
	if !ok {
		return name == VarUser || name == VarClient
	}
	return claim != "" && strings.Trim(claim, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.") == ""
}

// String returns the template as written.
func (t *Template) String() string { return t.text }

// Plain reports whether the template has no variable.
func (t *Template) Plain() bool { return len(t.names) == 0 }

// Uses reports whether the template has the variable.
func (t *Template) Uses(name string) bool {
	for _, n := range t.names {
		if n == name {
			return true
		}
	}
	return false
}

// Values returns a variable's value; "" if it has none.
type Values func(name string) string

// Expand returns the filter with the variables' values. If a value is missing, or is not a plain
// part of a level, there is none and bad is that variable: a value that is empty, that contains /,
// +, # or U+0000, or that begins with $ in the first level, would change the meaning of the filter.
func (t *Template) Expand(value Values) (filter, bad string) {
	if t.Plain() {
		return t.text, ""
	}
	filter = t.fill(func(name string, first bool) (string, bool) {
		v := value(name)
		if !inLevel(v, first) && bad == "" {
			bad = name
		}
		return v, true
	})
	if bad == "" && CheckFilter(filter) != nil { // too long, or not UTF-8
		bad = t.names[0]
	}
	if bad != "" {
		return "", bad
	}
	return filter, ""
}

// Widen returns filters that match at least every name that the template matches with the values,
// whatever they are. A level whose variable Expand refuses becomes +. The literal filter is there too,
// if it is one: the value may have more levels, or begin with $.
func (t *Template) Widen(value Values) []string {
	if filter, bad := t.Expand(value); bad == "" {
		return []string{filter}
	}
	filters := []string{t.fill(func(name string, first bool) (string, bool) {
		v := value(name)
		return v, inLevel(v, first) && isText(v)
	})}
	if len(filters[0]) > MaxLen { // values that are too long: nothing of them is used
		filters[0] = t.fill(func(string, bool) (string, bool) { return "", false })
	}
	literal := t.fill(func(name string, _ bool) (string, bool) { return value(name), true })
	if CheckFilter(literal) == nil && !Shared(literal) && !Covers(filters[0], literal) {
		filters = append(filters, literal)
	}
	return filters
}

// fill puts values in. A level for one of whose variables value returns false becomes +.
func (t *Template) fill(value func(name string, first bool) (string, bool)) string {
	var b strings.Builder
	for i, level := range t.levels {
		if i > 0 {
			b.WriteByte('/')
		}
		start := b.Len()
		for _, p := range level {
			text, ok := p.text, true
			if p.variable {
				text, ok = value(p.text, i == 0)
			}
			if !ok {
				s := b.String()[:start]
				b.Reset()
				b.WriteString(s)
				b.WriteByte('+')
				break
			}
			b.WriteString(text)
		}
	}
	return b.String()
}

func inLevel(value string, first bool) bool {
	return value != "" && !strings.ContainsAny(value, "/+#\x00") && !(first && value[0] == '$')
}
