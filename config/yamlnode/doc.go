// Package yamlnode reads strict YAML files and reports every error of a file at once, each with its
// exact position.
//
// It promises:
//
//   - Parse never panics and takes time proportional to the file, for any bytes.
//   - One file is one document of at most MaxSize bytes of UTF-8. Anchors, aliases, merge keys,
//     explicit tags, duplicate keys and nesting past MaxDepth are refused: the program gets what a
//     reader sees.
//   - Errors carry file, line and column (both counted from 1; a column is a character, as in an
//     editor), the dotted key, the reason, the source line and where possible a hint that suggests
//     a correction. Values of keys that look like secrets are masked.
//   - Typed getters report nothing about a node that was already refused: one mistake yields one
//     error.
//
// It knows no key of any file: package config and the plugin files define their own.
package yamlnode

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"

	yaml "go.yaml.in/yaml/v3"
)

const (
	// MaxSize is the largest file that Parse reads, in bytes.
	MaxSize = 1 << 20
	// MaxDepth is the deepest nesting of mappings and lists that Parse accepts.
	MaxDepth = 64
	// maxErrors bounds the report. Users do not read more, and a hostile file could make a report
	// larger than itself.
	maxErrors = 100
)

// Doc is one parsed document and the errors found in it so far. It is not safe for concurrent use.
type Doc struct {
	file    string
	lines   []string
	root    *yaml.Node
	bad     map[*yaml.Node]bool   // already refused: getters report nothing about them
	origins map[*yaml.Node]Origin // overlay only: the setting that a node came from
	overlay bool
	paths   []string
	errs    Errors
	more    int // errors past maxErrors

	cursor    cursor
	lastLine  int // see shown
	lastShown []rune
}

// Parse reads one document; name is the file's name in errors. The error, if any, is an Errors: the
// text could not be parsed, so there is no document. Refused nodes (duplicate keys, aliases ...)
// are not such errors: the Doc keeps them until Errors is called, so that the caller can add its
// own. An empty file is a document whose root is null.
func Parse(name string, data []byte) (*Doc, error) {
	d := &Doc{file: name, bad: map[*yaml.Node]bool{}}
	if len(data) > MaxSize {
		return nil, Errors{{File: name, Reason: fmt.Sprintf("the file has %d bytes, more than the maximum of %d (1MiB)",
			len(data), MaxSize)}}
	}
	text := strings.TrimPrefix(string(data), "\ufeff")
	d.lines = splitLines(text)
	if !d.checkText(text) {
		return nil, d.Errors()
	}
	root, ok := d.load(text)
	if !ok {
		return nil, d.Errors()
	}
	d.root = root
	d.refuse(root, nil)
	return d, nil
}

// KnownPaths sets every dotted key that the document may contain ("listen.http"), so that the error
// for a misplaced key can name the correct parent.
func (d *Doc) KnownPaths(paths []string) { d.paths = paths }

// Root is the document's top node; its path is empty.
func (d *Doc) Root() Node { return Node{doc: d, y: d.root} }

// Errors returns all errors so far, in the order of the file, or nil.
func (d *Doc) Errors() Errors {
	if len(d.errs) == 0 {
		return nil
	}
	es := append(Errors(nil), d.errs...)
	sort.SliceStable(es, func(i, j int) bool {
		a, b := es[i], es[j]
		if a.Line != b.Line {
			return a.Line < b.Line
		}
		return a.Col < b.Col
	})
	if d.more > 0 {
		es = append(es, &Error{File: d.file, Reason: fmt.Sprintf("%d more errors are not shown", d.more)})
	}
	return es
}

// add records an error at a position of the text.
func (d *Doc) add(line, col int, key, reason, hint string) {
	if len(d.errs) >= maxErrors {
		d.more++
		return
	}
	d.errs = append(d.errs, d.newError(line, col, key, reason, hint))
}

func (d *Doc) newError(line, col int, key, reason, hint string) *Error {
	e := &Error{File: d.file, Line: line, Col: col, Key: key, Reason: reason, Hint: hint}
	if line >= 1 && line <= len(d.lines) {
		e.Source, e.caret = window(d.shown(line), col)
	}
	return e
}

// shown is a line prepared for display. The last one is cached: a hundred errors may be on one line
// of a megabyte.
func (d *Doc) shown(line int) []rune {
	if d.lastLine != line {
		d.lastLine, d.lastShown = line, printable(mask(d.lines[line-1]))
	}
	return d.lastShown
}

// checkText refuses bytes that no YAML file may contain, before the YAML parser sees them: the
// parser would report them without a line.
func (d *Doc) checkText(text string) bool {
	line, col := 1, 1
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			d.add(line, col, "", fmt.Sprintf("byte 0x%02x is not valid UTF-8", text[i]), "save the file as UTF-8")
			return false
		case r < 0x20 && r != '\t' && r != '\n' && r != '\r', r == 0x7f, r >= 0x80 && r < 0xa0 && r != 0x85,
			r == 0xfffe, r == 0xffff, r == 0xfeff:
			hint := "remove it, or write it as an escape in double quotes"
			if r == 0 {
				hint = "if this is text, save the file as UTF-8, not UTF-16"
			}
			d.add(line, col, "", fmt.Sprintf("the control character U+%04X is not allowed in YAML", r), hint)
			return false
		case r == '\r' && strings.HasPrefix(text[i+1:], "\n"):
			// The line ends at the \n.
		case isBreak(r):
			line, col = line+1, 0
		}
		col++
		i += n
	}
	return true
}

// isBreak reports whether the YAML parser counts a new line after r.
func isBreak(r rune) bool {
	return r == '\n' || r == '\r' || r == 0x85 || r == 0x2028 || r == 0x2029
}

// splitLines splits the text exactly where the YAML parser counts lines, so that both count alike,
// also for old Mac and Unicode line ends.
func splitLines(text string) []string {
	var lines []string
	start := 0
	for i, r := range text {
		if !isBreak(r) || r == '\r' && strings.HasPrefix(text[i+1:], "\n") {
			continue
		}
		lines = append(lines, strings.TrimSuffix(text[start:i], "\r"))
		start = i + utf8.RuneLen(r)
	}
	return append(lines, text[start:])
}

// cursor is a position in the lines, as column and as byte.
type cursor struct{ line, col, at int }

// startsWith reports whether the text has the character at the node's position. Nodes arrive in the
// order of the text, so that the cursor passes over each line once.
func (d *Doc) startsWith(n *yaml.Node, char byte) bool {
	c := &d.cursor
	if n.Line < 1 || n.Line > len(d.lines) {
		return false
	}
	if c.line != n.Line || c.col > n.Column {
		*c = cursor{line: n.Line, col: 1}
	}
	line := d.lines[n.Line-1]
	for c.col < n.Column && c.at < len(line) {
		_, size := utf8.DecodeRuneInString(line[c.at:])
		c.at += size
		c.col++
	}
	return c.at < len(line) && line[c.at] == char
}

// refuse walks the tree once and reports features that postbus's files must not use.
func (d *Doc) refuse(n *yaml.Node, path []string) {
	if n == nil {
		return
	}
	report := func(reason, hint string) {
		d.bad[n] = true
		d.add(n.Line, n.Column, join(path), reason, hint)
	}
	switch {
	case len(path) > MaxDepth:
		report(fmt.Sprintf("nested more than %d levels deep", MaxDepth), "")
		return
	case n.Kind == yaml.AliasNode:
		report(fmt.Sprintf("the alias *%s is not supported", clip(n.Value)),
			"write the value out; quote it if it is text that begins with *")
		return
	case n.Anchor != "":
		report(fmt.Sprintf("the anchor &%s is not supported", clip(n.Anchor)),
			"remove it; quote the value if it is text that begins with &")
		return
	case n.Value != "" && n.Style == 0 && d.startsWith(n, '!'):
		// The parser drops this tag without a trace in the node.
		report("the tag ! is refused: the key decides the type",
			"remove it; quote the value if it is text that begins with !")
		return
	case n.Style&yaml.TaggedStyle != 0:
		report(fmt.Sprintf("the tag %s is refused: the key decides the type", clip(n.Tag)),
			"remove it; quote the value if it is text that begins with !")
		return
	}
	switch n.Kind {
	case yaml.SequenceNode:
		for i, c := range n.Content {
			d.refuse(c, append(path, "["+strconv.Itoa(i)+"]"))
		}
	case yaml.MappingNode:
		d.refuseKeys(n, path)
	}
}

func (d *Doc) refuseKeys(n *yaml.Node, path []string) {
	first := make(map[string]int, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		refuse := func(reason, hint string) {
			d.bad[k] = true
			d.add(k.Line, k.Column, join(path), reason, hint)
		}
		switch {
		case k.Kind == yaml.AliasNode || k.Anchor != "" || k.Style&yaml.TaggedStyle != 0 ||
			k.Kind == yaml.ScalarNode && k.Style == 0 && d.startsWith(k, '!'):
			d.refuse(k, path)
			continue
		case k.Kind != yaml.ScalarNode:
			refuse("a key must be plain text", `quote it if it begins with [ or {`)
			continue
		case k.Tag == "!!merge":
			refuse(`the merge key "<<" is not supported`, "write the keys out")
			continue
		}
		if line, dup := first[k.Value]; dup {
			refuse(fmt.Sprintf("duplicate key %s", quote(k.Value)),
				fmt.Sprintf("it is also on line %d; keep one of the two", line))
			continue
		}
		first[k.Value] = k.Line
		d.refuse(v, append(path, k.Value))
	}
}

// join formats a path. It runs for errors only, so that other nodes do not pay for it.
func join(path []string) string {
	s := ""
	for _, p := range path {
		if strings.HasPrefix(p, "[") {
			s += p
		} else {
			s = Join(s, p)
		}
	}
	return s
}
