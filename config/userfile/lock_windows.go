package userfile

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/windows"
)

// openLock opens what lock locks: a file beside the config file, because a folder has no lock here.
// It stays, empty.
func openLock(file string) (*os.File, error) {
	return os.OpenFile(filepath.Join(filepath.Dir(file), "."+filepath.Base(file)+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
}

// tryLock reports whether it has the lock. File systems without locks are used without one.
func tryLock(f *os.File) bool {
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &windows.Overlapped{})
	return !errors.Is(err, windows.ERROR_LOCK_VIOLATION) && !errors.Is(err, windows.ERROR_IO_PENDING)
}
