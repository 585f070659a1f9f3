// This file detects terminals: only they get colours, unless NO_COLOR is set.

package main

import (
	"fmt"
	"os"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

const (
	red  = "31"
	cyan = "36"
)

// isTerminal reports whether v is a terminal's file.
func isTerminal(v any) bool {
	f, ok := v.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// paint colours s if w is a terminal that shows colours.
func (m *Main) paint(w any, colour, s string) string {
	if m.getenv("NO_COLOR") != "" || m.getenv("TERM") == "dumb" || !isTerminal(w) {
		return s
	}
	return "\x1b[" + colour + "m" + s + "\x1b[0m"
}

// printable replaces what a terminal would obey instead of show: control characters but new lines
// and tabs, and bytes that are no UTF-8, as \x1b. Text of others could rename the window, hide lines
// or type for the user.
func printable(b []byte) []byte {
	var out []byte
	from := 0
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if bad := r == utf8.RuneError && n == 1 || unicode.IsControl(r) && r != '\n' && r != '\t'; bad {
			out = append(out, b[from:i]...)
			for _, c := range b[i : i+n] {
				out = fmt.Appendf(out, "\\x%02x", c)
			}
			from = i + n
		}
		i += n
	}
	if from == 0 {
		return b
	}
	return append(out, b[from:]...)
}
