package journal

// This file is the file system interface of the journal, and its implementation for the operating
// system. Tests use a simulated disk instead, which loses, tears and refuses writes.

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

// FS is a directory of files. Names are plain file names; where a file is kept below the directory
// is up to the file system.
type FS interface {
	Open(name string, create bool) (File, error)
	List() ([]string, error) // those whose names begin with a sequence, sorted
	Rename(from, to string) error
	Remove(name string) error
	SyncDir() error       // makes creations, renames and removals durable
	Free() (int64, error) // bytes that an unprivileged writer may still use
	Lock() (Lock, error)
}

// Lock keeps other processes out of the directory until it is closed.
type Lock interface {
	io.Closer
	// InPlace returns nil while the directory is the one that was locked; otherwise an error that
	// wraps ErrMisplaced, and errLockGone when only the lock is missing.
	InPlace() error
	// Renew takes a lock that is missing again. The error wraps ErrLocked when another process was
	// faster.
	Renew() error
}

// File is one open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Sync() error // data and size, as fdatasync
	Truncate(size int64) error
	Preallocate(size int64) error
	Size() (int64, error)
	// InPlace returns nil while the name under which the file was opened leads to it; otherwise an error
	// that wraps ErrMisplaced.
	InPlace() error
}

// ErrMisplaced is wrapped by the error of a file or directory that was removed, moved or replaced while
// the journal had it open.
var ErrMisplaced = errors.New("removed, moved or replaced while the bus ran")

// errLockGone is wrapped by the error of a directory whose lock file is missing.
var errLockGone = errors.New("the lock file is gone")

// ErrLocked is wrapped by Open's error when another process uses the directory.
var ErrLocked = errors.New("the data directory is in use")

// DirFS is the file system of the machine below dir, which is created with mode 0700 when it is
// missing.
func DirFS(dir string) (FS, error) {
	if err := os.MkdirAll(filepath.Join(dir, folder), 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	return dirFS(dir), nil
}

type dirFS string

// folder is where segments, their indexes and snapshots are; meta.json and the lock are beside it.
const folder = "journal"

func (d dirFS) path(name string) string {
	if numbered(name) {
		return filepath.Join(string(d), folder, name)
	}
	return filepath.Join(string(d), name)
}

// numbered reports whether a file belongs into the folder: its name begins with a sequence.
func numbered(name string) bool {
	digits, ext, _ := strings.Cut(name, ".")
	_, err := strconv.ParseUint(digits, 10, 64)
	return len(digits) == 20 && err == nil && ext != ""
}

// upgrader is a file system whose files of format 1 were kept elsewhere. Upgrade is called under
// the lock and may be interrupted by a crash at any step: the next start calls it again.
type upgrader interface{ upgrade() error }

// upgrade moves what format 1 kept beside meta.json into the folder.
func (d dirFS) upgrade() error {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return err
	}
	moved := false
	for _, e := range entries {
		if !e.Type().IsRegular() || !numbered(e.Name()) {
			continue
		}
		if err := os.Rename(filepath.Join(string(d), e.Name()), d.path(e.Name())); err != nil {
			return err
		}
		moved = true
	}
	if !moved {
		return nil
	}
	return d.SyncDir()
}

func (d dirFS) Open(name string, create bool) (File, error) {
	f, err := openFile(d.path(name), create)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (d dirFS) List() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(string(d), folder))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	sort.Strings(names)
	return names, nil
}

func (d dirFS) Rename(from, to string) error { return os.Rename(d.path(from), d.path(to)) }
func (d dirFS) Remove(name string) error     { return os.Remove(d.path(name)) }

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}
