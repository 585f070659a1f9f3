package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a")
	read := func() string {
		t.Helper()
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if err := Write(file, []byte("1"), 0o640); err != nil || read() != "1" {
		t.Fatal(err, read())
	}
	if st, err := os.Stat(file); err != nil || runtime.GOOS != "windows" && st.Mode().Perm() != 0o640 {
		t.Error(st.Mode(), err)
	}
	no := errors.New("no")
	if err := WriteIf(file, []byte("2"), 0o640, func() error { return no }); err != no || read() != "1" {
		t.Error(err, read())
	}
	if err := Write(filepath.Join(dir, "missing", "a"), nil, 0o600); err == nil {
		t.Error("a file was written into a folder that does not exist")
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) != 1 {
		t.Errorf("%v stay, %v", list, err)
	}
}
