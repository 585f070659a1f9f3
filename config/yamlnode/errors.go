// This file: the one error type of config and plugin files, and how it is shown.

package yamlnode

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Error is one mistake in a file, or in a setting that overrides it.
type Error struct {
	File   string // as the user named it; "environment" or "command line" for an override
	Line   int    // from 1; 0: no place in a text
	Col    int    // from 1, in characters
	Key    string // dotted path such as "listen.mqtt[0]", or an override's name; may be empty
	Reason string // what is wrong
	Hint   string // what to do; may be empty
	Source string // the line, secrets masked, cut around the column if it is long; may be empty

	caret int // column of the place in Source, from 1; 0: Col
}

// Error is the first line of Render: "file:line:col: key: reason".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", e.Line, e.Col)
	}
	if e.Key != "" {
		b.WriteString(": " + e.Key)
	}
	b.WriteString(": " + e.Reason)
	return strings.TrimPrefix(b.String(), ": ")
}

// Render is the error for people: its line, the source line, a caret line and a hint
// line, the last three only where there is something to show. It ends without a newline.
func (e *Error) Render() string {
	s := e.Error()
	if e.Source != "" && e.Line > 0 {
		at := e.caret
		if at == 0 {
			at = e.Col
		}
		s += "\n    " + e.Source + "\n    " + pad(e.Source, at-1) + "^"
	}
	if e.Hint != "" {
		s += "\n    hint: " + e.Hint
	}
	return s
}

// pad is n characters of white space that stand exactly under the text, tabs kept.
func pad(text string, n int) string {
	var b strings.Builder
	for _, r := range text {
		if n <= 0 {
			break
		}
		if r != '\t' {
			r = ' '
		}
		b.WriteRune(r)
		n--
	}
	for ; n > 0; n-- {
		b.WriteByte(' ')
	}
	return b.String()
}

// Errors is every mistake of a file, in the order of the file. As an error it is never empty.
type Errors []*Error

// Error is the first mistake and how many follow, on one line.
func (es Errors) Error() string {
	switch len(es) {
	case 0:
		return "no errors"
	case 1:
		return es[0].Error()
	}
	return fmt.Sprintf("%s (and %d more)", es[0].Error(), len(es)-1)
}

// Render shows all mistakes as Error.Render does, a blank line between two.
func (es Errors) Render() string {
	parts := make([]string, len(es))
	for i, e := range es {
		parts[i] = e.Render()
	}
	return strings.Join(parts, "\n\n")
}

// Unwrap gives errors.As and errors.Is every mistake.
func (es Errors) Unwrap() []error {
	errs := make([]error, len(es))
	for i, e := range es {
		errs[i] = e
	}
	return errs
}

// secretKey finds keys whose values must not reach a terminal or a log.
var secretKey = regexp.MustCompile(`(?i)(password|passwd|secret|token|api_?key)["']?[ \t]*[:=][ \t]*`)

// mask replaces what a secret-looking key holds with stars, one for one, so that
// columns stay right. It works on the text, because the line may not even parse.
func mask(line string) string {
	for from := 0; ; {
		loc := secretKey.FindStringIndex(line[from:])
		if loc == nil {
			return line
		}
		start := from + loc[1]
		end := secretEnd(line, start)
		stars := strings.Repeat("*", utf8.RuneCountInString(line[start:end]))
		line = line[:start] + stars + line[end:]
		from = start + len(stars)
	}
}

// secretEnd is where the value that begins at start ends: at its closing quote, else at
// the end of the flow entry, else with the line.
func secretEnd(line string, start int) int {
	rest := line[start:]
	if rest == "" {
		return start
	}
	if q := rest[0]; q == '"' || q == '\'' {
		for i := 1; i < len(rest); i++ {
			switch {
			case rest[i] == '\\' && q == '"':
				i++
			case rest[i] == q:
				return start + i + 1
			}
		}
		return len(line)
	}
	// In flow style a plain value ends at ", " or "}"; a block value runs to the end, and
	// may hold both. Whether this is flow style can't be told from one line, but a "{" before
	// the key is a good sign. Else rather too many stars.
	if strings.Contains(line[:start], "{") {
		for _, stop := range []string{", ", "}"} {
			if i := strings.Index(rest, stop); i >= 0 {
				rest = rest[:i]
			}
		}
	}
	return start + len(rest)
}

// windowWidth is how many characters of a long source line an error shows.
const windowWidth = 100

// printable drops trailing space, and replaces what could move a terminal's cursor.
func printable(line string) []rune {
	rs := []rune(strings.TrimRight(line, " \t"))
	for i, r := range rs {
		if r != '\t' && !unicode.IsPrint(r) {
			rs[i] = utf8.RuneError
		}
	}
	return rs
}

// window cuts a long line around the column; it returns the column's place in what is left.
func window(rs []rune, col int) (string, int) {
	if len(rs) <= windowWidth {
		return string(rs), col
	}
	start := max(0, min(col-1-windowWidth/2, len(rs)-windowWidth))
	end := min(len(rs), start+windowWidth)
	s := string(rs[start:end])
	col -= start
	if start > 0 {
		s = "…" + s
		col++
	}
	if end < len(rs) {
		s += "…"
	}
	return s, col
}

// clip shortens text of the user's for a message.
func clip(s string) string {
	const most = 60
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most]) + "…"
}

// quote is clip in double quotes, control characters escaped.
func quote(s string) string { return strconv.Quote(clip(s)) }
