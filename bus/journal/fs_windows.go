package journal

import (
	"os"

	"golang.org/x/sys/windows"
)

// openFile lets a segment be removed while it is read, as other systems do.
func openFile(path string, create bool) (*os.File, error) {
	how := uint32(windows.OPEN_EXISTING)
	if create {
		how = windows.CREATE_ALWAYS
	}
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	h, err := windows.CreateFile(name, windows.GENERIC_READ|windows.GENERIC_WRITE,
		windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE, nil, how, windows.FILE_ATTRIBUTE_NORMAL, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(h), path), nil
}

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
