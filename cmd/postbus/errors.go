// This file prints errors: one "error:" line that says what failed and where, then one "hint:" line
// when there is something to do. Errors in the config come first, each with its line.

package main

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/postbus/postbus/config/yamlnode"
)

// hinter is an error with a hint; package bench has its own.
type hinter interface{ Hint() string }

type hintError struct {
	err  error
	hint string
}

func (e *hintError) Error() string { return e.err.Error() }
func (e *hintError) Unwrap() error { return e.err }
func (e *hintError) Hint() string  { return e.hint }

func withHint(err error, format string, args ...any) error {
	return &hintError{err, fmt.Sprintf(format, args...)}
}

// usageError is an error in the command line: exit code 2.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// configError is the errors of a file, which are printed one by one.
type configError struct {
	where string
	list  yamlnode.Errors
	many  bool // where is several files
}

func (e *configError) Error() string {
	switch {
	case e.many:
		return fmt.Sprintf("%s have %d errors", e.where, len(e.list))
	case len(e.list) == 1:
		return e.where + " has an error"
	}
	return fmt.Sprintf("%s has %d errors", e.where, len(e.list))
}

func (m *Main) report(err error) {
	var c *configError
	if errors.As(err, &c) {
		fmt.Fprintf(m.Stderr, "%s\n\n", c.list.Render())
	}
	fmt.Fprintf(m.Stderr, "%s %s\n", m.paint(m.Stderr, red, "error:"), oneLine(err.Error()))
	var h hinter
	if errors.As(err, &h) && h.Hint() != "" {
		fmt.Fprintf(m.Stderr, "%s %s\n", m.paint(m.Stderr, cyan, "hint:"), oneLine(h.Hint()))
		return
	}
	var u *usageError
	if errors.As(err, &u) {
		fmt.Fprintf(m.Stderr,
			"%s postbus --help, or postbus COMMAND --help, shows the usage\n", m.paint(m.Stderr, cyan, "hint:"))
	}
}

// warn warns about what is allowed but not advisable.
func (m *Main) warn(text, hint string) {
	fmt.Fprintf(m.Stderr, "%s %s\n%s %s\n", m.paint(m.Stderr, red, "warning:"), text, m.paint(m.Stderr, cyan, "hint:"), hint)
}

// oneLine keeps joined errors, and file names with unusual characters, on one line.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ReplaceAll(strings.TrimSpace(s), "\n", "; "))
}
