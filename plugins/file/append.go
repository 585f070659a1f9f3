package file

// This file appends a line. It begins CSV files with the names of their columns, and starts a new
// file when one is full.

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"
)

// maxLeft is of how many files an action remembers what it left; it checks others like new ones.
const maxLeft = 1024

// left is a file after a write.
type left struct {
	info fs.FileInfo
	size int64
}

// append writes a line at the end of a file. After an error the file ends as before, or with a part
// of the line that the next call removes.
func (a *Action) append(ctx context.Context, root *os.Root, p string, line []byte) error {
	name := filepath.FromSlash(p)
	f, info, err := openToAppend(root, name)
	if err != nil {
		return err
	}
	defer func() { f.Close() }() // closes again after an error
	size := info.Size()
	move, limit := false, 0
	var before []byte // what is written before the line
	switch known, ok := a.left[p]; {
	case size == 0 || ok && os.SameFile(known.info, info) && size == known.size:
	case ok && os.SameFile(known.info, info) && size > known.size: // another program wrote
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, size-1); err != nil {
			return err
		}
		if last[0] != '\n' {
			before = []byte{'\n'}
		}
	default:
		if size, err = a.removeCutOff(ctx, root, name, f, size); err != nil {
			return err
		}
		if size > 0 && len(a.head) > 0 {
			same, err := a.sameColumns(f)
			if err != nil {
				return err
			}
			move = !same
		}
	}
	if size > 0 && !move {
		move, limit = a.full(info.ModTime(), size+int64(len(line)))
	}
	if move {
		f.Close() // Windows renames no open file
		if err := rotate(root, name, limit); err != nil {
			return err
		}
		if f, info, err = openToAppend(root, name); err != nil {
			return err
		}
		if size = info.Size(); size > 0 {
			return fmt.Errorf("%s was created by another program at this moment", name)
		}
	}
	if size == 0 {
		before = a.head
	}
	line = slices.Concat(before, line)
	delete(a.left, p)
	if err := write(f, size, line); err != nil {
		return err
	}
	if a.o.Sync {
		if err := f.Sync(); err != nil {
			return err
		}
		if size == 0 {
			syncFolders(root, path.Dir(p))
		}
	}
	if len(a.left) >= maxLeft {
		clear(a.left)
	}
	a.left[p] = left{info, size + int64(len(line))}
	return f.Close()
}

// openToAppend opens a file for appending, and creates it and its folders if they are missing.
func openToAppend(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	// It is checked before it is opened, because opening a device may have effects.
	info, err := root.Stat(name)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return nil, nil, notAFile(name, info.Mode())
	case errors.Is(err, fs.ErrNotExist):
		if dir := filepath.Dir(name); dir != "." {
			if err := root.MkdirAll(dir, 0o755); err != nil {
				return nil, nil, err
			}
		}
	case err != nil:
		return nil, nil, err
	}
	f, err := root.OpenFile(name, os.O_RDWR|os.O_APPEND|os.O_CREATE|nonblock, 0o644)
	if err != nil {
		return nil, nil, err
	}
	if info, err = f.Stat(); err == nil && !info.Mode().IsRegular() {
		err = notAFile(name, info.Mode())
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// write appends b to a file of that size. After an error the file is truncated to that size,
// because a part of a line would become the beginning of the next one, unless another process wrote
// too.
func write(f *os.File, size int64, b []byte) error {
	n, err := f.Write(b)
	if err == nil {
		return nil
	}
	if now, e := f.Stat(); n > 0 && e == nil && now.Size() == size+int64(n) {
		_ = f.Truncate(size)
	}
	return err
}

// full reports whether a file has to be renamed before it grows to a size, and how many renamed ones
// are kept then. last is the time of its last write.
func (a *Action) full(last time.Time, size int64) (move bool, limit int) {
	r := a.o.Rotate
	if r == nil {
		return false, 0
	}
	move = r.Size > 0 && size > r.Size || r.Age > 0 && period(a.now(), r.Age) > period(last, r.Age)
	if r.Keep == 0 {
		return move, defaultKeep
	}
	return move, int(r.Keep)
}

// period numbers the periods of a length. A file's last write is in the period of all its lines, so
// that the time of its first line need not be known after a restart.
func period(t time.Time, length time.Duration) int64 {
	t = t.Local()
	_, offset := t.Zone()
	return (t.Unix() + int64(offset)) / int64(length/time.Second)
}

// syncFolders forces new names to disk where the platform can. Some can't; the data itself is on
// disk already.
func syncFolders(root *os.Root, dir string) {
	for {
		if d, err := root.Open(filepath.FromSlash(dir)); err == nil {
			_ = d.Sync()
			d.Close()
		}
		if dir == "." {
			return
		}
		dir = path.Dir(dir)
	}
}
