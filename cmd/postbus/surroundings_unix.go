//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// outlive turns signals that would end the program into errors of a write, which the bus survives:
// the log's reader closes the pipe, as `postbus run | head` and a restarting log service do
// (SIGPIPE), or a file reaches the largest allowed size (SIGXFSZ). The signals are caught and not
// ignored, since programs of plugins would inherit ignoring them. stop undoes that.
func outlive() (stop func()) {
	c := make(chan os.Signal, 1) // it is never read
	signal.Notify(c, syscall.SIGPIPE, syscall.SIGXFSZ)
	return func() { signal.Stop(c) }
}
