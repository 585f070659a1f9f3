// This file finds positions inside a value, for errors that a parser of that value found (of an
// expression or a template).

package yamlnode

import (
	"fmt"
	"strings"
	"unicode/utf8"

	yaml "go.yaml.in/yaml/v3"
)

// FailWithin records an error about the byte at offset of a text value. If the text in the file
// differs from the value (folded over lines), the position is that of the value.
func (n Node) FailWithin(offset int, hint, format string, args ...any) {
	reason := fmt.Sprintf(format, args...)
	if _, overlay := n.doc.origins[n.y]; overlay || n.y == nil || n.y.Kind != yaml.ScalarNode {
		n.fail(n.at(), hint, reason)
		return
	}
	line, col := n.doc.within(n.y, offset)
	n.doc.add(line, col, n.path, reason, hint)
}

// within is the line and column of the byte at offset of a scalar's value.
func (d *Doc) within(y *yaml.Node, offset int) (line, col int) {
	offset = min(max(offset, 0), len(y.Value))
	line, col = y.Line, y.Column
	if line < 1 || line > len(d.lines) {
		return line, col
	}
	if y.Style&yaml.LiteralStyle != 0 {
		before := y.Value[:offset]
		down := strings.Count(before, "\n")
		text, _, _ := strings.Cut(y.Value[strings.LastIndexByte(before, '\n')+1:], "\n")
		at := line + 1 + down // the first line contains the |
		if at > len(d.lines) {
			return line, col
		}
		indent := strings.Index(d.lines[at-1], text)
		if indent < 0 {
			return line, col
		}
		return at, utf8.RuneCountInString(d.lines[at-1][:indent]) + utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:]) + 1
	}
	tail := []rune(d.lines[line-1])
	if col-1 > len(tail) {
		return line, col
	}
	tail = tail[col-1:]
	read := plainRune
	switch {
	case y.Style&yaml.DoubleQuotedStyle != 0:
		tail, read, col = tail[min(1, len(tail)):], doubleQuoted, col+1
	case y.Style&yaml.SingleQuotedStyle != 0:
		tail, read, col = tail[min(1, len(tail)):], singleQuoted, col+1
	case y.Style&yaml.FoldedStyle != 0:
		return line, col
	}
	start := col
	for value := y.Value[:offset]; value != ""; {
		r, size := utf8.DecodeRuneInString(value)
		got, width := read(tail)
		if width == 0 || got != r && got >= 0 {
			return line, start // folded, or an escape for another character
		}
		value, tail, col = value[size:], tail[width:], col+width
	}
	return line, col
}

// Each of the following functions reads one character of a scalar as written in the file, and
// returns the number of characters that it took. A negative character is an escape whose value does
// not matter here.

func plainRune(text []rune) (rune, int) {
	if len(text) == 0 {
		return 0, 0
	}
	return text[0], 1
}

func singleQuoted(text []rune) (rune, int) {
	if len(text) > 1 && text[0] == '\'' && text[1] == '\'' {
		return '\'', 2
	}
	return plainRune(text)
}

func doubleQuoted(text []rune) (rune, int) {
	if len(text) < 2 || text[0] != '\\' {
		return plainRune(text)
	}
	switch text[1] {
	case '"', '\\', '/':
		return text[1], 2
	case 'x':
		return -1, min(4, len(text))
	case 'u':
		return -1, min(6, len(text))
	case 'U':
		return -1, min(10, len(text))
	}
	return -1, 2
}
