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
	"time"
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
	Lock() (io.Closer, error)
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
}

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

// Lock holds the file lock until it is closed; the process's id is in it for the error of the next.
func (d dirFS) Lock() (io.Closer, error) {
	f, err := os.OpenFile(d.path("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		// A child that was forked a moment ago holds our old lock until it has become its own
		// program, and a bus that is being restarted until it has ended.
		if err = lockFile(f); err == nil || time.Since(start) > time.Second {
			break
		}
	}
	if err != nil {
		pid := make([]byte, 32)
		n, _ := f.ReadAt(pid, 0)
		f.Close()
		if n > 0 {
			return nil, fmt.Errorf("%s: %w by process %s", string(d), ErrLocked, pid[:n])
		}
		return nil, fmt.Errorf("%s: %w (%v)", string(d), ErrLocked, err)
	}
	if err = f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(fmt.Sprint(os.Getpid())), 0)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}
