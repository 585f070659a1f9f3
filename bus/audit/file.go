package audit

// This file is the rotated file.

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

type file struct {
	folder  string
	trouble *slog.Logger

	mu     sync.Mutex
	f      *os.File // nil: not open
	size   int64
	closed bool
	lost   uint64    // entries since the last line in the program's log
	told   time.Time // when that was
}

func (f *file) path(n int) string {
	if n == 0 {
		return filepath.Join(f.folder, Name)
	}
	return filepath.Join(f.folder, fmt.Sprintf("audit.%d.log", n))
}

func (f *file) openLocked() error {
	o, err := os.OpenFile(f.path(0), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	st, err := o.Stat()
	if err != nil {
		return errors.Join(err, o.Close())
	}
	f.f, f.size = o, st.Size()
	return nil
}

// Write writes one entry. It returns no error, because nobody can do anything about it where an entry
// is written.
func (f *file) Write(line []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return len(line), nil
	}
	if err := f.writeLocked(line); err != nil {
		f.lost++
		if now := time.Now(); now.Sub(f.told) >= time.Minute {
			f.trouble.Error("audit log not written", "file", f.path(0), "lost", f.lost, "err", err)
			f.told, f.lost = now, 0
		}
	}
	return len(line), nil
}

func (f *file) writeLocked(line []byte) error {
	if f.f != nil && f.size > 0 && f.size+int64(len(line)) > Size {
		err := f.f.Close()
		f.f = nil
		if err := errors.Join(err, f.rotate()); err != nil {
			return err
		}
	}
	if f.f == nil {
		if err := f.openLocked(); err != nil {
			return err
		}
	}
	n, err := f.f.Write(line)
	f.size += int64(n)
	if err != nil && n > 0 { // half a line would spoil the next one
		f.size -= int64(n)
		err = errors.Join(err, f.f.Truncate(f.size))
	}
	return err
}

func (f *file) rotate() error {
	for n := Files - 2; n >= 0; n-- {
		if err := os.Rename(f.path(n), f.path(n+1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (f *file) close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	if f.f == nil {
		return nil
	}
	err := f.f.Close()
	f.f = nil
	return err
}
