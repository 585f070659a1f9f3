// This file is the one error type of config and plugin files, and its display.

package yamlnode

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Error is one error in a file, or in a setting that overrides it.
type Error struct {
	File   string // as named by the user; "environment" or "command line" for an override
	Line   int    // from 1; 0: no position in a text
	Col    int    // from 1, in characters
	Key    string // dotted path such as "listen.mqtt[0]", or an override's name; may be empty
	Reason string // what is wrong
	Hint   string // a suggested correction; may be empty
	Source string // the line, secrets masked, cut around the column if it is long; may be empty

	caret int // column of the position in Source, from 1; 0: Col
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

// Render is the error for people: its line, the source line, a caret line and a hint line. The last
// three are omitted if they would be empty. It ends without a newline.
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

// pad is n characters of white space, exactly as wide as the text, with its tabs.
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

// Errors is every error of a file, in the order of the file. As an error it is never empty.
type Errors []*Error

// Error is the first error and the number of further ones, on one line.
func (es Errors) Error() string {
	switch len(es) {
	case 0:
		return "no errors"
	case 1:
		return es[0].Error()
	}
	return fmt.Sprintf("%s (and %d more)", es[0].Error(), len(es)-1)
}

// Render formats all errors as Error.Render does, separated by a blank line.
func (es Errors) Render() string {
	parts := make([]string, len(es))
	for i, e := range es {
		parts[i] = e.Render()
	}
	return strings.Join(parts, "\n\n")
}

// Unwrap gives errors.As and errors.Is access to every error.
func (es Errors) Unwrap() []error {
	errs := make([]error, len(es))
	for i, e := range es {
		errs[i] = e
	}
	return errs
}

// secretKey finds keys whose values must not reach a terminal or a log.
var secretKey = regexp.MustCompile(`(?i)(passwords?|passwd|hash|secret|token|api_?key|\bnkey|\bcreds)["']?[ \t]*[:=][ \t]*`)

// urlUser finds the user and the password in a URL.
var urlUser = regexp.MustCompile(`://[^/@\s"']+@`)

// mask replaces the value of a secret-looking key, and the user in a URL, with stars, one for one, so
// that columns remain correct. It works on the text, because the line may not even parse.
func mask(line string) string {
	line = urlUser.ReplaceAllStringFunc(line, func(s string) string {
		return "://" + strings.Repeat("*", utf8.RuneCountInString(s)-len("://@")) + "@"
	})
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

// secretEnd is where the value that begins at start ends: at its closing quote, otherwise at the
// end of the flow entry, otherwise with the line.
func secretEnd(line string, start int) int {
	tail := line[start:]
	if tail == "" {
		return start
	}
	if q := tail[0]; q == '"' || q == '\'' {
		for i := 1; i < len(tail); i++ {
			switch {
			case tail[i] == '\\' && q == '"':
				i++
			case tail[i] == q:
				return start + i + 1
			}
		}
		return len(line)
	}
	// In flow style a plain value ends at ", " or "}"; a block value extends to the end of the
	// line, and may contain both. One line does not reveal its style, but a "{" before the key
	// suggests flow style. Otherwise too many stars are better than too few.
	if strings.Contains(line[:start], "{") {
		for _, stop := range []string{", ", "}"} {
			if i := strings.Index(tail, stop); i >= 0 {
				tail = tail[:i]
			}
		}
	}
	return start + len(tail)
}

// windowWidth is how many characters of a long source line an error shows.
const windowWidth = 100

// printable removes trailing space, and replaces characters that could move a terminal's cursor.
func printable(line string) []rune {
	rs := []rune(strings.TrimRight(line, " \t"))
	for i, r := range rs {
		if r != '\t' && !unicode.IsPrint(r) {
			rs[i] = utf8.RuneError
		}
	}
	return rs
}

// window cuts a long line around the column. It returns the column's position in the rest.
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

// clip shortens the user's text for a message.
func clip(s string) string {
	const limit = 60
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	return string([]rune(s)[:limit]) + "…"
}

// quote is clip in double quotes, control characters escaped.
func quote(s string) string { return strconv.Quote(clip(s)) }
