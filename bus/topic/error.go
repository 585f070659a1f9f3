package topic

// This file lists the faults of a name or a filter, so that each caller can report them in the
// words of its own context: a config file, a plugin, an MQTT packet.

import (
	"errors"
	"fmt"
)

// Fault is a kind of error.
type Fault uint8

const (
	Empty    Fault = iota + 1
	TooLong        // more than MaxLen bytes
	NotText        // not UTF-8, or it contains U+0000
	Wildcard       // a name contains + or #

	HashNotLast // # is a level, but not the last one [MQTT-4.7.1-1]
	NotLevel    // + or # is only a part of a level [MQTT-4.7.1-1] [MQTT-4.7.1-2]

	NoGroup    // $share without a group, or the group contains a wildcard [MQTT-4.8.2-1] [MQTT-4.8.2-2]
	NoShared   // $share/GROUP without a filter
	BadAge     // $replay with an invalid age
	NoReplayed // $replay/AGE without a filter, or followed by a form such as $share
	SharedPast // $replay after $share/GROUP
)

// Error states why a name, a filter or a subscription is not valid.
type Error struct {
	Fault Fault
	Text  string // the name or the filter with the fault; for a subscription it may be the inner filter
	Name  bool   // Text is a name
	Level int    // for HashNotLast and NotLevel: the index of the level, from 0
	Age   string // for BadAge
}

func (e *Error) Error() string {
	what := "topic filter"
	if e.Name {
		what = "topic name"
	}
	switch e.Fault {
	case Empty:
		return what + " is empty"
	case TooLong:
		return fmt.Sprintf("%s of %d bytes: at most %d are allowed", what, len(e.Text), MaxLen)
	case NotText:
		return fmt.Sprintf("%s %q is not UTF-8 text without U+0000", what, e.Text)
	case Wildcard:
		return fmt.Sprintf("%s %q holds a wildcard; wildcards are for filters", what, e.Text)
	case HashNotLast:
		return fmt.Sprintf("%s %q: # must be its last level", what, e.Text)
	case NotLevel:
		return fmt.Sprintf("%s %q: + and # must be whole levels", what, e.Text)
	case NoGroup:
		if e.Text == "$share" {
			return fmt.Sprintf("shared filter %q names no group", e.Text)
		}
		return fmt.Sprintf("shared filter %q needs a group name without + and #", e.Text)
	case NoShared:
		return fmt.Sprintf("shared filter %q names no filter behind the group", e.Text)
	case BadAge:
		return fmt.Sprintf("filter %q: want $replay/AGE/FILTER with an age such as 10m, 24h or 7d, not %q",
			e.Text, e.Age)
	case NoReplayed:
		return fmt.Sprintf("filter %q names no filter behind the age", e.Text)
	case SharedPast:
		return fmt.Sprintf("shared filter %q: a shared subscription cannot replay history", e.Text)
	}
	return fmt.Sprintf("%s %q is not valid", what, e.Text)
}

// Reason is err in words for a message that has already named the key or the argument. It returns
// nil, and errors that are not an *Error, unchanged.
func Reason(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Fault {
	case Empty:
		return errors.New("it is empty")
	case TooLong:
		return fmt.Errorf("it has %d bytes, more than %d", len(e.Text), MaxLen)
	case NotText:
		return fmt.Errorf("%q holds a NUL character or is not UTF-8", e.Text)
	case Wildcard:
		return fmt.Errorf("%q holds a wildcard", e.Text)
	case HashNotLast:
		return fmt.Errorf("%q: # must be the last level", e.Text)
	case NotLevel:
		return fmt.Errorf("%q: + and # must be levels of their own", e.Text)
	}
	return e
}
