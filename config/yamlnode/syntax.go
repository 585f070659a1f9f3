// This file parses text into nodes. The YAML parser's own messages are vague about the position
// (their text names the line where a block began, or the one before the mistake), so the position
// is taken from the parser's marks.

package yamlnode

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	yaml "go.yaml.in/yaml/v3"
)

// load parses the text into the top node of its only document; nil for an empty file.
func (d *Doc) load(text string) (*yaml.Node, bool) {
	dec := yaml.NewDecoder(strings.NewReader(text))
	first, err := decode(dec)
	if errors.Is(err, io.EOF) {
		return nil, true
	}
	if err != nil {
		d.syntax(dec, err)
		return nil, false
	}
	second, err := decode(dec)
	switch {
	case errors.Is(err, io.EOF):
	case err != nil:
		d.syntax(dec, err)
		return nil, false
	default:
		d.add(max(second.Line, 1), max(second.Column, 1), "", `a second document begins here; a file holds one`,
			`remove the "---" line, or move what follows into a file of its own`)
		return nil, false
	}
	if len(first.Content) == 0 {
		return nil, true
	}
	return first.Content[0], true
}

// decode reads one document. The YAML package panics on some hostile input; decode returns that as
// an error.
func decode(dec *yaml.Decoder) (n *yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("yaml: the parser gave up: %v", r)
		}
	}()
	n = new(yaml.Node)
	err = dec.Decode(n)
	return n, err
}

// mark is a position as the YAML parser counts: from 0.
type mark struct{ line, col int }

// marks reads the positions of a failure from the decoder: where the failed construct began
// (context), where it failed (problem), and where the last event began. The package exports none of
// them. Reading its fields by reflection is safe: if a later version renames them, ok is false and
// only the line in its message is used. TestSyntaxPlaces would detect that.
func marks(dec *yaml.Decoder) (context, problem, event mark, where string, ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	p := reflect.ValueOf(dec).Elem().FieldByName("parser").Elem()
	at := func(v reflect.Value) mark {
		return mark{int(v.FieldByName("line").Int()), int(v.FieldByName("column").Int())}
	}
	inner := p.FieldByName("parser")
	return at(inner.FieldByName("context_mark")), at(inner.FieldByName("problem_mark")),
		at(p.FieldByName("event").FieldByName("start_mark")), inner.FieldByName("context").String(), true
}

var yamlLine = regexp.MustCompile(`^line (\d+): `)

// complaints translates the parser's messages that users meet; all others are shown unchanged.
var complaints = map[string]struct{ reason, hint string }{
	"mapping values are not allowed in this context": {
		`a ":" is not allowed here`, `quote the text if it holds ": "; else check the indentation of this line and the one above`},
	"could not find expected ':'": {
		`want "key: value", but there is no ":" after this`, `write a ": " after the key; quote text that runs over several lines`},
	"did not find expected key": {
		"want a key in the same column as the others of its block, or the end of the block", "check the indentation, and the quotes on this line and the one above"},
	"did not find expected '-' indicator": {
		`want a "- " in the same column as the other items of its list, or the end of the list`, "check the indentation"},
	"block sequence entries are not allowed in this context": {
		`a "- " item is not allowed here`, "start the list on a line of its own, below its key"},
	"found unknown escape character": {
		`unknown escape after "\" in double quotes`, `use single quotes, as in 'C:\data'`},
	"found unexpected end of stream": {
		"the quote that opens here is never closed", "close it"},
	"found unexpected document indicator": {
		"the quote that opens here is never closed", "close it"},
	"did not find expected alphabetic or numeric character": {
		`text that begins with "*" or "&" must be quoted`, `put it in quotes`},
	"did not find expected ',' or ']'": {
		`want "," or "]"`, "close the list that begins with [, and put a comma between its items"},
	"did not find expected ',' or '}'": {
		`want "," or "}"`, "close the mapping that begins with {, and put a comma between its entries"},
	"did not find expected node content": {
		"want a value here", "remove the stray comma or bracket, or quote the text"},
	"found a tab character that violates indentation": {
		"this line is indented with a tab; YAML requires spaces", "replace the tab with spaces"},
	"found character that cannot start any token": {
		"this character can't begin a value", "put the value in quotes"},
}

// after is the part of a line from a column on.
func after(line []rune, col int) []rune { return line[min(col, len(line)):] }

// syntax records the parser's error at its true position.
func (d *Doc) syntax(dec *yaml.Decoder, err error) {
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	pos := mark{}
	if m := yamlLine.FindStringSubmatch(msg); m != nil {
		n, _ := strconv.Atoi(m[1])
		pos.line = n - 1
		msg = msg[len(m[0]):]
	}
	reason, hint := msg, ""
	if c, ok := complaints[msg]; ok {
		reason, hint = c.reason, c.hint
	}
	context, problem, event, where, ok := marks(dec)
	if ok {
		pos = problem
		noticed := fmt.Sprintf("; detected on line %d", problem.line+1)
		switch {
		case strings.HasPrefix(msg, "unknown anchor"):
			pos = event
			reason, hint = "aliases are not supported", "quote the text if it begins with *"
		case where == "while scanning a simple key",
			strings.HasPrefix(msg, "found unexpected") && strings.Contains(where, "quoted scalar"):
			pos = context
		case strings.HasPrefix(where, "while parsing a flow") && context.line < problem.line:
			// The mistake is the bracket that is never closed. The position where the parser failed
			// is only the first token that did not fit.
			pos = context
			hint += noticed
		}
	}
	if msg == "did not find expected node content" && pos.line >= len(d.lines)-1 && d.lines[len(d.lines)-1] == "" {
		reason, hint = "the file ends, but a [ or { is still open", "close it"
	}
	pos.line = min(max(pos.line, 0), len(d.lines)-1)
	line := d.lines[pos.line]
	if at := max(pos.col, 1) - 1; strings.HasPrefix(where, "while parsing a flow") && strings.HasPrefix(string(after([]rune(line), at)), "${") {
		reason, hint = "within { } and [ ] an expression has to be quoted", `write "${…}", with what is before and after it within the quotes`
	}
	if i := strings.IndexByte(line, '\t'); i >= 0 && strings.TrimLeft(line[:i], " ") == "" {
		pos.col = i
		c := complaints["found a tab character that violates indentation"]
		reason, hint = c.reason, c.hint
	} else if bareHash.MatchString(line) {
		hint = `a "#" outside quotes begins a comment: write "#" in quotes`
	}
	d.add(pos.line+1, pos.col+1, "", reason, hint)
}

// bareHash matches a common mistake with topic filters in flow lists: [#] or [a, #].
var bareHash = regexp.MustCompile(`[\[,][ \t]*#`)
