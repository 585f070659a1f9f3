//go:build unix

package userfile

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// openLock opens what lock locks: the folder itself. So no file is left behind, and who may not write
// there can lock, too.
func openLock(file string) (*os.File, error) { return os.Open(filepath.Dir(file)) }

// tryLock reports whether it has the lock. File systems that have no locks for folders, as some of
// networks, are used without one.
func tryLock(f *os.File) bool {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	return !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR)
}
