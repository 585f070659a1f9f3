package file

import (
	"os"

	"golang.org/x/sys/windows"
)

const nonblock = 0 // files cannot be pipes

// openToRead opens a file that other processes still write, rename and remove. After os.Open they
// could only write, so a program whose log is followed could not rotate it.
func openToRead(path string) (*os.File, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	h, err := windows.CreateFile(name, windows.GENERIC_READ, windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE, nil,
		windows.OPEN_EXISTING, windows.FILE_FLAG_BACKUP_SEMANTICS, 0) // needed to open a folder, which is recognised afterwards
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(h), path), nil
}
