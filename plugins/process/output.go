// This file: the reading end of a child's output, which ends even when somebody else holds the writing end.

package process

import (
	"errors"
	"os"
	"sync/atomic"
	"time"
)

// drain is what is read at most once the deadline after the group's end has passed: what a pipe can hold. More comes from somebody
// who left the group.
const drain = 1 << 20

type output struct {
	f     *os.File
	ended atomic.Bool
	left  int
}

// end says that the writers are gone: what they wrote is still there, and then the pipe should be at its end.
func (o *output) end() {
	o.ended.Store(true)
	_ = o.f.SetReadDeadline(time.Now().Add(straggle))
}

// Read waits at most straggle once the writers are gone. The deadline may have passed long ago, when the reader was busy, and
// then says nothing about the pipe: so a read gets a new one.
func (o *output) Read(b []byte) (int, error) {
	n, err := o.f.Read(b)
	if errors.Is(err, os.ErrDeadlineExceeded) && o.left > 0 {
		_ = o.f.SetReadDeadline(time.Now().Add(straggle))
		n, err = o.f.Read(b)
	}
	if o.ended.Load() {
		o.left -= n
	}
	return n, err
}
