// This file detects terminals: only they get colours, unless NO_COLOR is set.

package main

import (
	"os"

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
