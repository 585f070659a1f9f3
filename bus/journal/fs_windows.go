package journal

import (
	"os"

	"golang.org/x/sys/windows"
)

// Sync is FlushFileBuffers.
func (f osFile) Sync() error { return f.File.Sync() }

// Preallocate does nothing: the size is synced with the data.
func (f osFile) Preallocate(int64) error { return nil }

// SyncDir does nothing: NTFS journals its directory entries.
func (d dirFS) SyncDir() error { return nil }

func (d dirFS) Free() (int64, error) {
	p, err := windows.UTF16PtrFromString(string(d))
	if err != nil {
		return 0, err
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(p, &free, nil, nil); err != nil {
		return 0, err
	}
	return int64(free), nil
}

// lockFile locks a byte far behind the content, so that the process id stays readable.
func lockFile(f *os.File) error {
	return windows.LockFileEx(windows.Handle(f.Fd()),
		windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0,
		&windows.Overlapped{Offset: 1 << 30})
}
