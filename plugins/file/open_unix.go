//go:build unix

package file

import (
	"os"
	"syscall"
)

// nonblock prevents that opening a pipe waits for its other end.
const nonblock = syscall.O_NONBLOCK

// openToRead opens a file that other processes still write, rename and remove.
func openToRead(path string) (*os.File, error) { return os.OpenFile(path, os.O_RDONLY|nonblock, 0) }
