package kind

import (
	"errors"
	"time"
)

// permanent marks an error.
type permanent struct{ error }

func (permanent) Permanent() bool { return true }
func (p permanent) Unwrap() error { return p.error }

// Permanent marks an action's error that a retry cannot fix, such as an argument that the device
// refuses. The text and the chain of err stay. Nil stays nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return permanent{err}
}

// maxAfter bounds After: a peer cannot hold up a queue for longer.
const maxAfter = time.Hour

// after marks an error with a time.
type after struct {
	error
	wait time.Duration
}

func (a after) Unwrap() error { return a.error }

// After marks an action's error after which the device or service wants no further attempt for a time, as
// HTTP's Retry-After says. It is at most an hour; without a time err is returned as it is.
func After(err error, wait time.Duration) error {
	if err == nil || wait <= 0 {
		return err
	}
	return after{err, min(wait, maxAfter)}
}

// WaitOf returns the time of After from an error in err's chain, or 0.
func WaitOf(err error) time.Duration {
	var a after
	if errors.As(err, &a) {
		return a.wait
	}
	return 0
}

// IsPermanent reports whether an error in err's chain is marked by Permanent, or has a method
// Permanent that returns true.
func IsPermanent(err error) bool {
	var p interface{ Permanent() bool }
	return errors.As(err, &p) && p.Permanent()
}
