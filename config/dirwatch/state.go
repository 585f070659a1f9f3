package dirwatch

// This file describes a folder's files without reading them.

import (
	"os"
	"path/filepath"
	"strings"
	"time"
)

// state is the folder and its relevant files, with symbolic links resolved.
type state struct {
	folder os.FileInfo // nil: the folder does not exist
	files  map[string]os.FileInfo
	at     time.Time
}

func (w *watch) state() state {
	s := state{at: time.Now(), files: map[string]os.FileInfo{}}
	var err error
	if s.folder, err = os.Stat(w.dir); err != nil {
		s.folder = nil
		return s
	}
	if w.o.File != "" {
		s.add(w.dir, w.o.File)
		return s
	}
	d, err := os.Open(w.dir)
	if err != nil {
		return s
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1) // on an error: the names that could be read
	for _, name := range names {
		if w.o.Relevant == nil || strings.HasPrefix(name, "..") || w.o.Relevant(name) {
			s.add(w.dir, name)
		}
	}
	return s
}

func (s *state) add(dir, name string) {
	if info, err := os.Stat(filepath.Join(dir, name)); err == nil {
		s.files[name] = info
	}
}

// same reports whether nothing changed since before, and nothing can have changed unseen: a file
// that was written just before that look may have been written again in the same tick of its file
// system's clock.
func (s state) same(before state) bool {
	if !sameFile(s.folder, before.folder) || len(s.files) != len(before.files) {
		return false
	}
	for name, now := range s.files {
		then := before.files[name]
		if !sameFile(now, then) || now.Size() != then.Size() || !now.ModTime().Equal(then.ModTime()) || changeTime(now) != changeTime(then) || now.Mode() != then.Mode() {
			return false
		}
		if age := before.at.Sub(then.ModTime()); age >= 0 && age < settled {
			return false
		}
	}
	return true
}

func sameFile(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b)
}
