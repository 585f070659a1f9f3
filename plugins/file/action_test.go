package file

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/postbus/postbus/plugins/kind"
)

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	return string(data)
}

func TestAppend(t *testing.T) {
	for _, sync := range []bool{false, true} {
		p := filepath.Join(t.TempDir(), "a")
		a := NewAction(ActionOptions{Path: p, Mode: "append", Sync: sync}, nil)
		for _, text := range []string{"one", "two\n", ""} {
			must(t, a.Do(t.Context(), Args{Text: text}))
		}
		must(t, os.Rename(p, p+".1"))
		must(t, a.Do(t.Context(), Args{Text: "after the rotation"}))
		if got := read(t, p+".1") + "|" + read(t, p); got != "one\ntwo\n\n|after the rotation\n" {
			t.Errorf("%q", got)
		}
	}
}

func TestReplace(t *testing.T) {
	for _, sync := range []bool{false, true} {
		dir := t.TempDir()
		p := filepath.Join(dir, "a")
		a := NewAction(ActionOptions{Path: p, Mode: "replace", Sync: sync}, nil)
		must(t, a.Do(t.Context(), Args{Text: "one\n\n"}))
		info, err := os.Stat(p)
		must(t, err)
		if runtime.GOOS != "windows" && info.Mode() != 0o644 {
			t.Errorf("created with %v", info.Mode())
		}
		must(t, os.Chmod(p, 0o600))
		reader, err := os.Open(p)
		must(t, err)
		must(t, a.Do(t.Context(), Args{Text: "two"}))
		old := make([]byte, 100)
		n, _ := reader.Read(old)
		reader.Close()
		if got := string(old[:n]) + "|" + read(t, p); got != "one\n\n|two" {
			t.Errorf("%q", got)
		}
		if info, err = os.Stat(p); err != nil || runtime.GOOS != "windows" && info.Mode() != 0o600 {
			t.Errorf("the mode became %v", info.Mode())
		}
		entries, err := os.ReadDir(dir)
		must(t, err)
		if len(entries) != 1 {
			t.Errorf("left over: %v", entries)
		}
	}
}

func TestReplaceKeepsASymbolicLink(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Log("needs rights there")
		return
	}
	dir := t.TempDir()
	p, to := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	put(t, to, "old")
	must(t, os.Symlink("b", p))
	must(t, NewAction(ActionOptions{Path: p, Mode: "replace"}, nil).Do(t.Context(), Args{Text: "new"}))
	if _, err := os.Readlink(p); err != nil || read(t, to) != "new" {
		t.Errorf("%v, %q", err, read(t, to))
	}
}

func TestWriteFails(t *testing.T) {
	dir := t.TempDir()
	for _, mode := range []string{"append", "replace"} {
		missing := filepath.Join(dir, "no", "a")
		err := NewAction(ActionOptions{Path: missing, Mode: mode}, nil).Do(t.Context(), Args{})
		if err == nil || err.Error() != "the folder "+filepath.Dir(missing)+" does not exist; create it" {
			t.Errorf("%s: %v", mode, err)
		}
		if _, err := os.Stat(filepath.Dir(missing)); err == nil {
			t.Errorf("%s: the folder was created", mode)
		}
		paths := []string{dir}
		if runtime.GOOS != "windows" {
			paths = append(paths, "/dev/null")
		}
		for _, path := range paths {
			err := NewAction(ActionOptions{Path: path, Mode: mode}, nil).Do(t.Context(), Args{})
			if !kind.IsPermanent(err) || !strings.Contains(err.Error(), "is not a regular file") {
				t.Errorf("%s %s: %v", mode, path, err)
			}
		}
	}
}
