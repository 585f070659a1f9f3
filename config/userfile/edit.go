package userfile

// This file is how several programs edit one file: each edit applies to what the other left.

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/postbus/postbus/config/atomicfile"
)

// lockTimeout bounds the wait for another program's edit, which takes milliseconds. A bus that stops
// has five seconds, and may have to wait for this.
const lockTimeout = 4 * time.Second

// attempts bounds how often an edit is repeated because an editor, which takes no lock, saves.
const attempts = 10

// ErrChanged means that another program changed the file while it was edited. Nothing was written.
var ErrChanged error = &Error{errors.New("another program keeps changing the config file"), "nothing was changed: try again"}

// ErrLocked means that another program holds the lock of the file for longer than any edit takes.
var ErrLocked error = &Error{errors.New("another program is editing the config file"), "nothing was changed: try again"}

// Edit reads a file, lets edit change it, and replaces it. It makes a file that does not exist. If
// another program changed the file in the meantime, edit is called again, with the new content. An
// error of edit is returned, and nothing is written then.
func Edit(file string, edit func(*File) error) error {
	err := editOnce(file, edit) // without the lock: edit may ask a person for a password
	if !errors.Is(err, ErrChanged) {
		return err
	}
	unlock, err := lock(file)
	if err != nil {
		return err
	}
	defer unlock()
	for range attempts {
		var f *File
		if f, err = Open(file); err != nil {
			return err
		}
		if err = edit(f); err != nil {
			return err
		}
		if err = f.replace(); !errors.Is(err, ErrChanged) {
			return err
		}
	}
	return err
}

func editOnce(file string, edit func(*File) error) error {
	f, err := Open(file)
	if err != nil {
		return err
	}
	if err := edit(f); err != nil {
		return err
	}
	if bytes.Equal(f.text, f.read) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	unlock, err := lock(file)
	if err != nil {
		return err
	}
	defer unlock()
	return f.replace()
}

// replace writes the file in one step, if it still is as it was read. The caller holds the lock; an
// editor that takes none can save between the comparison and the rename that follows it.
func (f *File) replace() error {
	if bytes.Equal(f.text, f.read) {
		return nil
	}
	return atomicfile.WriteIf(f.file, f.text, f.mode, func() error {
		now, err := os.ReadFile(f.file)
		switch {
		case errors.Is(err, fs.ErrNotExist) && !f.exists:
			return nil
		case errors.Is(err, fs.ErrNotExist), err == nil && (!f.exists || !bytes.Equal(now, f.read)):
			return ErrChanged
		}
		return err
	})
}

// lock waits for the programs of postbus that write the file. unlock ends it, and so does the end of
// the process.
func lock(file string) (unlock func(), err error) {
	f, err := openLock(file)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(lockTimeout); !tryLock(f); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			f.Close()
			return nil, ErrLocked
		}
	}
	return func() { f.Close() }, nil
}
