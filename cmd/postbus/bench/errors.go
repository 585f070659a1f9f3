package bench

// This file is the errors, each one line with a hint: the command line prints "error:" and "hint:".

import (
	"errors"
	"fmt"
)

// ErrLost is wrapped by every error that says that the broker broke MQTT's promise: it lost,
// disordered or forgot something that it had acknowledged. The figures are valid and were returned
// with it.
var ErrLost = errors.New("the broker lost or disordered acknowledged events")

// errRefused is wrapped when the broker refuses a CONNECT or SUBSCRIBE: a retry is useless.
var errRefused = errors.New("refused")

// errNotHere is returned where the operating system lacks a source for a figure.
var errNotHere = errors.New("not available on this platform")

// hinted is an error with a hint.
type hinted struct {
	err  error
	hint string
}

func (e *hinted) Error() string { return e.err.Error() }
func (e *hinted) Unwrap() error { return e.err }

// Hint says what to do; cmd/postbus prints it after the error.
func (e *hinted) Hint() string { return e.hint }

func withHint(err error, hint string) error { return &hinted{err, hint} }

// ErrUsage is wrapped by every error in the options: exit code 2.
var ErrUsage = errors.New("mistake in the options")

// usageError is such an error; errors.Is(err, ErrUsage) holds.
type usageError struct{ text string }

func (e *usageError) Error() string        { return e.text }
func (e *usageError) Is(target error) bool { return target == ErrUsage }
func (e *usageError) Hint() string         { return "postbus bench --help lists the scenarios and their flags" }

func usage(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// lostError says how many events a scenario lost; errors.Is(err, ErrLost) holds.
type lostError struct{ text string }

func (e *lostError) Error() string        { return e.text }
func (e *lostError) Is(target error) bool { return target == ErrLost }
func (e *lostError) Hint() string {
	return "look in the broker's log and settings for a queue limit (mosquitto: max_queued_messages 0)"
}

// lost returns nil when c shows no broken promise.
func lost(scenario, target string, c Counts, sessionsLost int) error {
	if !c.broken() && sessionsLost == 0 {
		return nil
	}
	text := fmt.Sprintf("bench %s: %s: %d acknowledged events never arrived, %d out of order",
		scenario, target, c.Missed, c.Disordered)
	if c.Wrong > 0 {
		text += fmt.Sprintf(", %d repeated against the rules", c.Wrong)
	}
	if c.Gaps > 0 {
		text += fmt.Sprintf(", %d gaps reported", c.Gaps)
	}
	if sessionsLost > 0 {
		text += fmt.Sprintf(", %d sessions lost", sessionsLost)
	}
	return &lostError{text}
}

// firstError returns the first error that is not nil, or nil.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
