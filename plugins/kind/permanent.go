package kind

import "errors"

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

// IsPermanent reports whether an error in err's chain is marked by Permanent, or has a method
// Permanent that returns true.
func IsPermanent(err error) bool {
	var p interface{ Permanent() bool }
	return errors.As(err, &p) && p.Permanent()
}
