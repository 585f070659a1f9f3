// This file is the typed getters. Each returns ok only if the value is valid. Otherwise the error
// is already in the document, and the caller continues.

package yamlnode

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"

	yaml "go.yaml.in/yaml/v3"

	"github.com/postbus/postbus/config/suggest"
)

// Node is one value of a document, with the key that leads to it.
type Node struct {
	doc  *Doc
	y    *yaml.Node
	key  *yaml.Node // nil for list items and the root
	path string
}

// Join appends a key to a dotted path. A key that is not a plain word is quoted.
func Join(path, key string) string {
	if !plainKey.MatchString(key) {
		key = quote(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Path is the dotted key, such as "users[0].name"; empty for the root.
func (n Node) Path() string { return n.path }

// Place is the line and the column of the value, from 1; 0, 0 in an overlay.
func (n Node) Place() (line, col int) {
	at := n.at()
	if at == nil {
		return 0, 0
	}
	return at.Line, at.Column
}

// at is the node whose position is reported for the value. An absent value has none, so its key's
// is used.
func (n Node) at() *yaml.Node {
	if n.key != nil && n.IsNull() && n.y != nil && n.y.Value == "" {
		return n.key
	}
	return n.y
}

// Fail records an error about this value. An empty hint is omitted.
func (n Node) Fail(hint, format string, args ...any) {
	n.fail(n.at(), hint, fmt.Sprintf(format, args...))
}

// FailKey records an error about the key rather than its value.
func (n Node) FailKey(hint, format string, args ...any) {
	at := n.key
	if at == nil {
		at = n.at()
	}
	n.fail(at, hint, fmt.Sprintf(format, args...))
}

// Error returns an error about the value, and does not record it: for what is found out when the
// document has been read. Its reason and hint are still empty.
func (n Node) Error() *Error {
	if o, ok := n.doc.origins[n.y]; ok {
		return &Error{File: o.File, Key: o.Name}
	}
	line, col := n.Place()
	return n.doc.newError(line, col, n.path, "", "")
}

func (n Node) fail(at *yaml.Node, hint, reason string) {
	if o, ok := n.doc.origins[n.y]; ok {
		n.doc.errs = append(n.doc.errs, &Error{File: o.File, Key: o.Name, Reason: reason, Hint: hint})
		return
	}
	line, col := 1, 1
	if at != nil {
		line, col = at.Line, at.Column
	}
	n.doc.add(line, col, n.path, reason, hint)
}

// ErrorCount is the number of errors in the document so far.
func (n Node) ErrorCount() int { return len(n.doc.errs) + n.doc.more }

// IsNull reports whether there is no value: "key:", "key: null" or "key: ~".
func (n Node) IsNull() bool {
	return n.y == nil || n.y.Kind == yaml.ScalarNode && n.y.Tag == "!!null" && !n.doc.overlay
}

// IsMap, IsList and IsScalar report the value's shape; IsScalar excludes null.
func (n Node) IsMap() bool    { return n.y != nil && n.y.Kind == yaml.MappingNode }
func (n Node) IsList() bool   { return n.y != nil && n.y.Kind == yaml.SequenceNode }
func (n Node) IsScalar() bool { return n.y != nil && n.y.Kind == yaml.ScalarNode && !n.IsNull() }

// Raw is the YAML node, nil for an empty document.
func (n Node) Raw() *yaml.Node { return n.y }

// Content identifies the value without its position, style and comments: equal texts are equal values.
func (n Node) Content() string {
	var b strings.Builder
	var write func(y *yaml.Node)
	write = func(y *yaml.Node) {
		fmt.Fprintf(&b, "(%d %s %q", y.Kind, y.Tag, y.Value)
		for _, c := range y.Content {
			write(c)
		}
		b.WriteByte(')')
	}
	if n.y != nil {
		write(n.y)
	}
	return b.String()
}

// Refused reports whether the value already has an error of its own (an alias, a tag ...).
func (n Node) Refused() bool { return n.y != nil && n.doc.bad[n.y] }

// kind names the type of the value without showing it: it may be a secret.
func (n Node) kind() string {
	switch {
	case n.IsNull():
		return "nothing"
	case n.IsMap():
		return "a mapping"
	case n.IsList():
		return "a list"
	}
	switch n.y.Tag {
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "a true/false value"
	case "!!timestamp":
		return "a date"
	}
	return "text"
}

// got shows the value if it is a scalar, otherwise its kind.
func (n Node) got() string {
	if n.IsScalar() {
		return quote(n.y.Value)
	}
	return n.kind()
}

// Map is a mapping: its entries in the order of the file.
type Map struct {
	node    Node
	entries []Node
	names   []string
}

// Map reads a mapping whose keys must be among known; every other key is an error with a
// suggestion. Without known every key is accepted. A null is an empty mapping, because it remains
// if the user comments out all entries.
func (n Node) Map(known ...string) (Map, bool) {
	m := Map{node: n}
	switch {
	case n.Refused():
		return m, false
	case n.IsNull():
		return m, true
	case !n.IsMap():
		n.Fail("", "want a mapping (key: value), got %s", n.kind())
		return m, false
	}
	for i := 0; i+1 < len(n.y.Content); i += 2 {
		k, v := n.y.Content[i], n.y.Content[i+1]
		if n.doc.bad[k] {
			continue
		}
		if len(known) > 0 && !contains(known, k.Value) {
			n.unknown(k, known)
			continue
		}
		m.names = append(m.names, k.Value)
		m.entries = append(m.entries, Node{doc: n.doc, y: v, key: k, path: Join(n.path, k.Value)})
	}
	return m, true
}

func (n Node) unknown(k *yaml.Node, known []string) {
	reason, hint := "unknown key "+quote(k.Value), ""
	if p := n.elsewhere(k.Value); p != "" {
		hint = fmt.Sprintf("%q belongs under %q", k.Value, p)
	} else if s := suggest.Nearest(k.Value, known); s != "" {
		reason += fmt.Sprintf("; did you mean %q?", s)
	} else {
		hint = "known keys here: " + strings.Join(known, ", ")
	}
	n.fail(k, hint, reason)
}

// elsewhere is the parent of the known path that ends in the key, if there is only one.
func (n Node) elsewhere(key string) string {
	found := ""
	for _, p := range n.doc.paths {
		parent, last, ok := cutLast(p)
		if !ok || last != key {
			continue
		}
		if found != "" && found != parent {
			return ""
		}
		found = parent
	}
	return found
}

func cutLast(path string) (parent, last string, ok bool) {
	i := strings.LastIndexByte(path, '.')
	if i < 0 {
		return "", path, false
	}
	return path[:i], path[i+1:], true
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// Get returns the value of a key; ok is false if the key is absent.
func (m Map) Get(key string) (Node, bool) {
	for i, name := range m.names {
		if name == key {
			return m.entries[i], true
		}
	}
	return Node{}, false
}

// Len is the number of accepted entries; Entry is the i-th key and value.
func (m Map) Len() int                   { return len(m.entries) }
func (m Map) Entry(i int) (string, Node) { return m.names[i], m.entries[i] }

// List returns the items of a list; a null is an empty one.
func (n Node) List() ([]Node, bool) {
	switch {
	case n.Refused():
		return nil, false
	case n.IsNull():
		return nil, true
	case !n.IsList():
		hint := ""
		if n.IsScalar() && (n.key == nil || !secretKey.MatchString(n.key.Value+":")) {
			hint = fmt.Sprintf("write [%s]", quote(n.y.Value))
		}
		n.Fail(hint, "want a list, got %s", n.kind())
		return nil, false
	}
	items := make([]Node, len(n.y.Content))
	for i, c := range n.y.Content {
		items[i] = Node{doc: n.doc, y: c, path: n.path + "[" + strconv.Itoa(i) + "]"}
	}
	return items, true
}

// Text returns a string. Numbers, dates and true/false must be quoted to be text, so that a value
// never changes on the way (007, 1e3, 2024-01-01).
func (n Node) Text() (string, bool) {
	if n.Refused() {
		return "", false
	}
	if n.y == nil || n.y.Kind != yaml.ScalarNode || !n.doc.overlay && n.y.Tag != "!!str" {
		hint := ""
		switch {
		case n.IsScalar():
			hint = "put it in quotes"
		case n.IsNull() && n.key == nil:
			hint = `remove the item; if it begins with "#", put it in quotes`
		case n.IsNull():
			hint = `write a value or remove the key; if the value begins with "#", put it in quotes`
		}
		n.Fail(hint, "want text, got %s", n.kind())
		return "", false
	}
	return n.y.Value, true
}

// word is a scalar for the getters below: any scalar except null, quoted or not.
func (n Node) word(want string) (string, bool) {
	if n.Refused() {
		return "", false
	}
	if !n.IsScalar() {
		n.Fail("", "want %s, got %s", want, n.kind())
		return "", false
	}
	return n.y.Value, true
}

// number is a scalar that is not quoted.
func (n Node) number(want string) (string, bool) {
	s, ok := n.word(want)
	if ok && !n.doc.overlay && n.y.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		n.Fail("remove the quotes", "want %s, got text", want)
		return "", false
	}
	return s, ok
}

var (
	decimal     = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)
	leadingZero = regexp.MustCompile(`^[-+]?0[0-9_]+$`)
)

// Int returns a decimal whole number from min to max. It refuses leading zeros (octal to some
// parsers, decimal to others), 0x, underscores and exponents.
func (n Node) Int(min, max int64) (int64, bool) {
	want := fmt.Sprintf("a whole number from %d to %d", min, max)
	s, ok := n.number(want)
	if !ok {
		return 0, false
	}
	if leadingZero.MatchString(s) {
		n.Fail("remove the leading zeros",
			"the number %s has a leading zero; some programs read that as octal", clip(s))
		return 0, false
	}
	i, err := strconv.ParseInt(s, 10, 64)
	if !decimal.MatchString(s) || err != nil || i < min || i > max {
		n.Fail("", "want %s, got %s", want, n.got())
		return 0, false
	}
	return i, true
}

// Float returns a number from min to max. It refuses infinities and NaN.
func (n Node) Float(min, max float64) (float64, bool) {
	want := fmt.Sprintf("a number from %v to %v", min, max)
	s, ok := n.number(want)
	if !ok {
		return 0, false
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || leadingZero.MatchString(s) || strings.ContainsAny(s, "xXpP_") || f < min || f > max {
		n.Fail("", "want %s, got %s", want, n.got())
		return 0, false
	}
	return f, true
}

// Bool returns true or false. It refuses yes, on and similar words, as YAML 1.2 does.
func (n Node) Bool() (bool, bool) {
	s, ok := n.number("true or false")
	if !ok {
		return false, false
	}
	if s != "true" && s != "false" {
		n.Fail("", "want true or false, got %s", n.got())
		return false, false
	}
	return s == "true", true
}

// OneOf returns one of the words. For a similar word the error suggests the correct one.
func (n Node) OneOf(words ...string) (string, bool) {
	want := strings.Join(words, " or ")
	s, ok := n.word(want)
	if !ok {
		return "", false
	}
	if contains(words, s) {
		return s, true
	}
	hint := ""
	if m := suggest.Nearest(s, words); m != "" {
		hint = fmt.Sprintf("did you mean %q?", m)
	}
	n.Fail(hint, "want %s, got %s", want, n.got())
	return "", false
}

// Duration returns a duration (see ParseDuration) from min to max.
func (n Node) Duration(min, max time.Duration) (time.Duration, bool) {
	s, ok := n.word("a duration such as 90s, 24h or 7d")
	if !ok {
		return 0, false
	}
	d, err := ParseDuration(s)
	if err != nil {
		hint := "write it as 500ms, 90s, 15m, 24h or 7d"
		if decimal.MatchString(s) {
			hint = fmt.Sprintf("%ss is seconds; other units are ms, m, h and d", clip(s))
		}
		n.Fail(hint, "%v", err)
		return 0, false
	}
	if d < min || d > max {
		n.Fail("", "want a duration from %s to %s, got %s", FormatDuration(min), FormatDuration(max), clip(s))
		return 0, false
	}
	return d, true
}

// Size returns a number of bytes (see ParseSize) from min to max.
func (n Node) Size(min, max int64) (int64, bool) {
	s, ok := n.word("a size such as 64MiB")
	if !ok {
		return 0, false
	}
	if leadingZero.MatchString(s) {
		n.Fail("remove the leading zeros",
			"the number %s has a leading zero; some programs read that as octal", clip(s))
		return 0, false
	}
	b, err := ParseSize(s)
	if err != nil {
		n.Fail("write it as 512KiB, 64MiB, 1GiB, 500MB or in bytes", "%v", err)
		return 0, false
	}
	if b < min || b > max {
		n.Fail("", "want a size from %s to %s, got %s", FormatSize(min), FormatSize(max), clip(s))
		return 0, false
	}
	return b, true
}
