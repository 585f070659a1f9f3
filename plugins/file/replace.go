package file

// This file replaces the content of a file.

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
)

// maxLinks is how many symbolic links in a row are followed.
const maxLinks = 16

// replace writes a new file beside the old one and renames it.
func (a *Action) replace(root *os.Root, p string, content []byte) (err error) {
	name := filepath.FromSlash(p)
	for range maxLinks { // a symbolic link is kept
		to, err := root.Readlink(name)
		if err != nil {
			break
		}
		if filepath.IsAbs(to) {
			return fmt.Errorf("%s: path escapes from parent", name)
		}
		name = filepath.Join(filepath.Dir(name), to)
	}
	mode := fs.FileMode(0o644)
	info, err := root.Stat(name)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return notAFile(name, info.Mode())
	case err == nil:
		mode = info.Mode().Perm()
	case !errors.Is(err, fs.ErrNotExist):
		return err
	default:
		if dir := filepath.Dir(name); dir != "." {
			if err := root.MkdirAll(dir, 0o755); err != nil {
				return err
			}
		}
	}
	temporary := filepath.Join(filepath.Dir(name), fmt.Sprintf(".%s.%x.tmp", filepath.Base(name), rand.Uint64()))
	f, err := root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			_ = root.Remove(temporary)
		}
	}()
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		return err
	}
	if a.o.Sync {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := root.Rename(temporary, name); err != nil {
		return err
	}
	if a.o.Sync {
		syncFolders(root, path.Dir(filepath.ToSlash(name)))
	}
	return nil
}
