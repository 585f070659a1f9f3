//go:build unix

package file

import (
	"os"
	"syscall"
)

// nonblock keeps the opening of a pipe from waiting for its other end.
const nonblock = syscall.O_NONBLOCK

// openToRead opens a file that others go on to write, rename and remove.
func openToRead(path string) (*os.File, error) { return os.OpenFile(path, os.O_RDONLY|nonblock, 0) }
