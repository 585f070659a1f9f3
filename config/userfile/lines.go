package userfile

// This file edits the text of a YAML mapping, so that comments and the style of everything else stay.
// An edit that does not support the text's form returns nil. It may be wrong for texts that it does
// not understand: File.change parses the result and compares.

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// lines is a text's lines, without line ends.
type lines []string

// dash returns the index of the line with the dash of the list item whose content begins at line
// (from 1).
func (ls lines) dash(line, column int) int {
	for i := min(line, len(ls)) - 1; i >= 0; i-- {
		if trimmed := strings.TrimLeft(ls[i], " "); strings.HasPrefix(trimmed, "-") && len(ls[i])-len(trimmed) == column-1 {
			return i
		}
	}
	return -1
}

// end returns the index of the line after a list item that begins at line (from 1) and whose dash
// is in column: every line that is indented further belongs to it.
func (ls lines) end(line, column int) int {
	end := line
	for i := line; i < len(ls); i++ {
		trimmed := strings.TrimLeft(ls[i], " \t")
		if trimmed == "" || strings.HasPrefix(trimmed, "#") {
			continue
		}
		if len(ls[i])-len(trimmed) < column {
			break
		}
		end = i + 1
	}
	return end
}

// put gives a key of a mapping, written in that form, a value in flow style; "" removes the key.
func (ls lines) put(m *yaml.Node, key, written, value string) lines {
	if m.Line < 1 || m.Line > len(ls) {
		return nil
	}
	if m.Style&yaml.FlowStyle != 0 {
		return ls.putFlow(m, key, written, value)
	}
	return ls.putBlock(m, key, written, value)
}

// putFlow edits {a: 1, b: 2} within one line.
func (ls lines) putFlow(m *yaml.Node, key, written, value string) lines {
	row := []rune(ls[m.Line-1])
	if m.Column > len(row) || row[m.Column-1] != '{' {
		return nil
	}
	before, text := string(row[:m.Column-1]), string(row[m.Column-1:])
	n := flowEnd(text)
	if n < 0 {
		return nil
	}
	inner, after := text[1:n-1], text[n:]
	var entries []string
	for inner != "" {
		i := flowComma(inner)
		entries = append(entries, inner[:i])
		inner = strings.TrimPrefix(inner[i:], ",")
	}
	if len(entries) > 0 && strings.TrimSpace(entries[len(entries)-1]) == "" {
		entries = entries[:len(entries)-1] // a comma at the end
	}
	if len(entries) != len(m.Content)/2 {
		return nil
	}
	at := -1
	for i := range entries {
		if m.Content[2*i].Value == key {
			at = i
		}
	}
	entry := " " + written + ": " + value
	switch {
	case value == "" && at < 0:
		return ls
	case value == "":
		entries = slices.Delete(entries, at, at+1)
	case at < 0:
		if len(entries) > 0 {
			entries[len(entries)-1] = strings.TrimRight(entries[len(entries)-1], " ")
		}
		entries = append(entries, entry)
	default:
		entries[at] = entry
	}
	if len(entries) > 0 {
		entries[0] = strings.TrimLeft(entries[0], " ")
	}
	ls[m.Line-1] = before + "{" + strings.Join(entries, ",") + "}" + after
	return ls
}

// putBlock edits a mapping of lines.
func (ls lines) putBlock(m *yaml.Node, key, written, value string) lines {
	if len(m.Content) == 0 {
		return nil
	}
	// last is the index of the line after the value of the key whose index in Content is i.
	last := func(i int) int {
		end := m.Content[i].Line
		for ; end < len(ls); end++ {
			trimmed := strings.TrimLeft(ls[end], " \t")
			indent := len(ls[end]) - len(trimmed)
			if trimmed == "" || strings.HasPrefix(trimmed, "#") {
				continue
			}
			if indent < m.Column-1 || indent == m.Column-1 && !strings.HasPrefix(trimmed, "- ") {
				break
			}
		}
		for end > m.Content[i].Line { // comments behind it belong to what follows
			if trimmed := strings.TrimSpace(ls[end-1]); trimmed != "" && !strings.HasPrefix(trimmed, "#") {
				break
			}
			end--
		}
		return end
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		k := m.Content[i]
		if k.Value != key || k.Line < 1 || k.Line > len(ls) {
			continue
		}
		row := []rune(ls[k.Line-1])
		before := string(row[:min(k.Column-1, len(row))])
		end := last(i)
		switch {
		case value == "" && strings.TrimSpace(before) != "":
			return nil // it is in the line of the dash
		case value == "":
			return slices.Delete(ls, k.Line-1, end)
		}
		ls[k.Line-1] = before + written + ": " + value + comment(string(row[len([]rune(before)):]), m.Content[i+1], end == k.Line)
		return slices.Delete(ls, k.Line, end)
	}
	if value == "" {
		return ls
	}
	at := last(len(m.Content) - 2)
	return slices.Insert(ls, at, strings.Repeat(" ", m.Column-1)+written+": "+value)
}

// comment returns the comment in the line of a key, with the spaces before it. whole means that the
// value ends in that line.
func comment(entry string, v *yaml.Node, whole bool) string {
	text := v.LineComment
	if text == "" && !whole {
		i := strings.Index(entry, " #")
		if i < 0 {
			return ""
		}
		text = entry[i+1:]
	}
	i := strings.LastIndex(entry, text)
	if text == "" || i < 0 || !strings.HasSuffix(entry, text) {
		return ""
	}
	return entry[len(strings.TrimRight(entry[:i], " \t")):]
}

// flowEnd returns the length of the mapping or list at the begin of a text; -1: it does not end.
func flowEnd(text string) int {
	i := flowIndex(text, func(c byte, depth int) bool { return (c == '}' || c == ']') && depth == 0 })
	if i < 0 {
		return -1
	}
	return i + 1
}

// flowComma returns the index of the comma that ends the first entry; without one the length.
func flowComma(text string) int {
	if i := flowIndex(text, func(c byte, depth int) bool { return c == ',' && depth == 0 }); i >= 0 {
		return i
	}
	return len(text)
}

// flowIndex returns the index of the first character outside of quotes that is wanted; -1: there is none.
// depth is how many mappings and lists are open behind it.
func flowIndex(text string, wanted func(c byte, depth int) bool) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"', '\'':
			i = skipQuoted(text, i)
			continue
		}
		if wanted(text[i], depth) {
			return i
		}
	}
	return -1
}

// skipQuoted returns the index of the closing quote of a quoted text that begins at i; otherwise i.
// A quote within plain text begins nothing.
func skipQuoted(text string, i int) int {
	q := text[i]
	if q != '"' && q != '\'' || i > 0 && !strings.ContainsRune(" ,:[{", rune(text[i-1])) {
		return i
	}
	for j := i + 1; j < len(text); j++ {
		switch {
		case q == '"' && text[j] == '\\':
			j++
		case text[j] == q:
			return j
		}
	}
	return len(text)
}
