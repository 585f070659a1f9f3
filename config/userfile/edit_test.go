package userfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/config"
)

// TestEditsAtTheSameTime: no edit is lost, however many programs edit.
func TestEditsAtTheSameTime(t *testing.T) {
	const editors, rounds = 8, 15
	file := filepath.Join(t.TempDir(), "new", "c.yaml")
	var all sync.WaitGroup
	for e := range editors {
		all.Go(func() {
			for n := range rounds {
				if err := Edit(file, func(f *File) error {
					return f.Add(config.User{Name: fmt.Sprintf("u%d-%d", e, n), Password: hash("1")})
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	f, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	for e := range editors {
		for n := range rounds {
			if name := fmt.Sprintf("u%d-%d", e, n); !f.Has(name) {
				t.Errorf("%s is lost", name)
			}
		}
	}
	list, err := os.ReadDir(filepath.Dir(file))
	for _, entry := range list {
		if n := entry.Name(); n != "c.yaml" && !strings.HasSuffix(n, ".lock") {
			t.Errorf("%s stays", n)
		}
	}
	if err != nil {
		t.Error(err)
	}
}

// TestAnEditorSavesMeanwhile: an editor takes no lock.
func TestAnEditorSavesMeanwhile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	save := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	read := func() string {
		t.Helper()
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	save("profile: pi # one\n")
	times := 0
	err := Edit(file, func(f *File) error {
		if times++; times < 4 {
			save(fmt.Sprintf("profile: pi # the editor saved %d\n", times))
		}
		return f.SetGroup("g", &Group{Admin: true})
	})
	if got, want := read(), "profile: pi # the editor saved 3\n\ngroups:\n  g: {admin: true}\n"; err != nil || got != want {
		t.Errorf("%v, %d times, got\n%s", err, times, got)
	}
	err = Edit(file, func(f *File) error {
		times++
		save(fmt.Sprintf("# %d\n", times))
		return f.SetGroup("h", &Group{Admin: true})
	})
	if got := read(); !errors.Is(err, ErrChanged) || got != fmt.Sprintf("# %d\n", times) {
		t.Errorf("%v, got\n%s", err, got)
	}
	// The file vanishes, and one appears.
	times = 0
	err = Edit(file, func(f *File) error {
		if times++; times == 1 {
			if err := os.Remove(file); err != nil {
				t.Error(err)
			}
		}
		return f.SetGroup("g", &Group{Admin: true})
	})
	if got := read(); err != nil || got != "groups:\n  g: {admin: true}\n" {
		t.Errorf("%v, got\n%s", err, got)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	times = 0
	err = Edit(file, func(f *File) error {
		if times++; times == 1 {
			save("# mine\n")
		}
		return f.SetGroup("g", &Group{Admin: true})
	})
	if got := read(); err != nil || got != "# mine\n\ngroups:\n  g: {admin: true}\n" {
		t.Errorf("%v, got\n%s", err, got)
	}
	no := errors.New("no")
	if err := Edit(file, func(f *File) error { _ = f.SetGroup("h", nil); return no }); err != no || !strings.Contains(read(), "# mine") {
		t.Errorf("%v, got\n%s", err, read())
	}
}

// TestAProgramThatKeepsTheLock stops no other for long.
func TestAProgramThatKeepsTheLock(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	synctest.Test(t, func(t *testing.T) {
		unlock, err := lock(file)
		if err != nil {
			t.Fatal(err)
		}
		add := func(f *File) error { return f.Add(config.User{Name: "a", Password: hash("1")}) }
		if err := Edit(file, add); !errors.Is(err, ErrLocked) {
			t.Error(err)
		}
		if _, err := os.Stat(file); err == nil {
			t.Error("the file was written")
		}
		time.AfterFunc(time.Second, unlock)
		if err := Edit(file, add); err != nil {
			t.Error(err)
		}
	})
}
