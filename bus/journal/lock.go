package journal

// This file is the lock of a directory, which also knows whether the directory is still the one that was
// locked: it may be removed, moved, or hidden by a mount while the bus runs.

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// dirLock is the lock file, with the identity of the directories as they were when it was taken.
type dirLock struct {
	dir     dirFS
	mu      sync.Mutex // guards f
	f       *os.File
	folders []os.FileInfo // of the paths that folders lists
}

func (d dirFS) folders() []string { return []string{string(d), filepath.Join(string(d), folder)} }

// Lock holds the file lock until it is closed; the process's id is in it for the error of the next.
func (d dirFS) Lock() (Lock, error) {
	l := &dirLock{dir: d}
	for _, path := range d.folders() {
		info, err := os.Stat(path)
		if err != nil {
			return nil, err
		}
		os.SameFile(info, info) // Windows finds out the identity when it is first asked for
		l.folders = append(l.folders, info)
	}
	if err := l.take(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *dirLock) take() error {
	f, err := os.OpenFile(l.dir.path("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		// A child that was forked a moment ago holds our old lock until it has become its own program, and a
		// bus that is being restarted until it has ended.
		if err = lockFile(f); err == nil || time.Since(start) > time.Second {
			break
		}
	}
	if err != nil {
		pid := make([]byte, 32)
		n, _ := f.ReadAt(pid, 0)
		f.Close()
		if n > 0 {
			return fmt.Errorf("%s: %w by process %s", string(l.dir), ErrLocked, pid[:n])
		}
		return fmt.Errorf("%s: %w (%v)", string(l.dir), ErrLocked, err)
	}
	if err = f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(fmt.Sprint(os.Getpid())), 0)
	}
	if err != nil {
		f.Close()
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f != nil {
		l.f.Close()
	}
	l.f = f
	return nil
}

func (l *dirLock) Renew() error { return l.take() }

func (l *dirLock) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.f.Close()
}

// InPlace compares the directories, then the lock file.
func (l *dirLock) InPlace() error {
	for i, path := range l.dir.folders() {
		if err := samePath(path, l.folders[i]); err != nil {
			return err
		}
	}
	l.mu.Lock()
	info, err := l.f.Stat()
	l.mu.Unlock()
	if err != nil {
		return err
	}
	if err := samePath(l.dir.path("lock"), info); err != nil {
		return fmt.Errorf("%w: %w", errLockGone, err)
	}
	return nil
}

// InPlace implements File.
func (f osFile) InPlace() error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return samePath(f.Name(), info)
}

// samePath returns nil when the path leads to what info is of.
func samePath(path string, info os.FileInfo) error {
	now, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s is not there: %w", path, ErrMisplaced)
	case err != nil:
		return err
	case !os.SameFile(now, info):
		return fmt.Errorf("%s is another one now: %w", path, ErrMisplaced)
	}
	return nil
}
