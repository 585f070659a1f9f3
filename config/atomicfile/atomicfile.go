// Package atomicfile replaces files.
//
// It promises that no reader ever sees half of a file, not even after a power cut, that the new file is
// on disk when a function returns, where the file system allows that, and that it has the owner and the
// group of the old one, where the system allows that.
package atomicfile

import (
	"os"
	"path/filepath"
)

// Write replaces a file as a whole, or makes it. It needs the right to write to the folder.
func Write(file string, data []byte, mode os.FileMode) error {
	return WriteIf(file, data, mode, func() error { return nil })
}

// WriteIf works as Write, and calls check when nothing but the last step is left to do: an error of it
// leaves the old file.
func WriteIf(file string, data []byte, mode os.FileMode, check func() error) error {
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	keepOwner(f, file)
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode) // after the change of the owner, which may clear bits of it
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = check()
	}
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err == nil {
		syncFolder(filepath.Dir(file)) // or a power cut may bring back the old file
	}
	return err
}
