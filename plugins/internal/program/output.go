// This file is the reading end of a child's output. It ends even when another process still holds
// the writing end.

package program

import (
	"errors"
	"os"
	"sync/atomic"
	"time"
)

// drain bounds the bytes that are read once the deadline after the group's end has passed: the
// capacity of a pipe. More can only come from a process that left the group.
const drain = 1 << 20

type output struct {
	f     *os.File
	ended atomic.Bool
	left  int
}

// end says that the writers have ended. Their output is still in the pipe, and after it the pipe
// should be at its end.
func (o *output) end() {
	o.ended.Store(true)
	_ = o.f.SetReadDeadline(time.Now().Add(straggle))
}

// Read waits at most straggle once the writers have ended. If the reader was busy, the deadline may
// have passed long ago, which says nothing about the pipe: so each read gets a new one.
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
