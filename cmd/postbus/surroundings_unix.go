//go:build unix

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// outlive makes what ends other programs an error of a write, which the bus goes on after: the reader of its log goes away,
// as `postbus run | head` and a log service that is restarted do (SIGPIPE), or a file reached the largest size that is
// allowed (SIGXFSZ). They are caught and not ignored, since programs of plugins would ignore them too. stop ends that.
func outlive() (stop func()) {
	c := make(chan os.Signal, 1) // nobody reads it
	signal.Notify(c, syscall.SIGPIPE, syscall.SIGXFSZ)
	return func() { signal.Stop(c) }
}
