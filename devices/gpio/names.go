// This file parses the words of a plugin file: lines, chips and levels.

package gpio

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/postbus/postbus/plugins/kind"
)

// Line is a line's name, or its number on the chip.
type Line string

// UnmarshalText reads a name of at most 31 bytes, or a number.
func (l *Line) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	switch {
	case s == "":
		return kind.Wrong("", "the line has no name", "write a name as GPIO17, or a number")
	case len(s) > 31:
		return kind.Wrong("", fmt.Sprintf("%q is longer than the 31 bytes of a line's name", s), "`postbus devices` lists the lines")
	}
	*l = Line(s)
	return nil
}

// number returns the line's number on the chip, when it is a number.
func (l Line) number() (int, bool) {
	n, err := strconv.ParseUint(string(l), 10, 16)
	return int(n), err == nil
}

// Chip is a chip's label, or gpiochipN.
type Chip string

// UnmarshalText reads a label, gpiochip0, /dev/gpiochip0 or 0.
func (c *Chip) UnmarshalText(text []byte) error {
	s := strings.TrimPrefix(strings.TrimSpace(string(text)), "/dev/")
	if _, err := strconv.ParseUint(s, 10, 16); err == nil {
		s = "gpiochip" + s
	}
	if s == "" || len(s) > 31 {
		return kind.Wrong("", fmt.Sprintf("%q is not a chip", text), "write its label, or gpiochip0; `postbus devices` lists them")
	}
	*c = Chip(s)
	return nil
}

// Level is on, off, or keep: unchanged.
type Level string

// The levels. On is the logical value 1: a low voltage with active_low.
const (
	On   Level = "on"
	Off  Level = "off"
	Keep Level = "keep"
)

// UnmarshalText reads on, off, 1, 0, true, false or keep.
func (l *Level) UnmarshalText(text []byte) error {
	if string(text) == string(Keep) {
		*l = Keep
		return nil
	}
	v, err := level(string(text))
	if err != nil {
		return kind.Wrong("", err.Error(), "write on, off or keep")
	}
	*l = Off
	if v == 1 {
		*l = On
	}
	return nil
}

// level converts a bool, a number or a word to 0 or 1.
func level(x any) (int, error) {
	switch v := x.(type) {
	case bool:
		if v {
			return 1, nil
		}
		return 0, nil
	case int:
		return level(strconv.Itoa(v))
	case int64:
		return level(strconv.FormatInt(v, 10))
	case float64:
		return level(strconv.FormatFloat(v, 'g', -1, 64))
	case string:
		switch strings.ToLower(strings.TrimSpace(v)) {
		case "1", "on", "true":
			return 1, nil
		case "0", "off", "false":
			return 0, nil
		}
	}
	return 0, fmt.Errorf("%s is not a level: on, off, 1, 0, true or false", short(x))
}

// short formats a value for an error, which must stay readable.
func short(x any) string {
	s := fmt.Sprintf("%v", x)
	if t, ok := x.(string); ok {
		s = strconv.Quote(t)
	}
	if len(s) > 60 {
		s = strings.ToValidUTF8(s[:60], "") + "…"
	}
	return s
}
