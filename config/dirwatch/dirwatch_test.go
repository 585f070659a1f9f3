package dirwatch

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// watched is a watch in a test.
type watched struct {
	t   *testing.T
	why chan string
}

func start(t *testing.T, dir string, o Options) *watched {
	t.Helper()
	w := &watched{t, make(chan string, 1000)}
	o.Quiet, o.Rescan, o.Look = time.Millisecond, -1, 2*time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		Watch(ctx, dir, o, func(why string) { w.why <- why })
	}()
	t.Cleanup(func() { cancel(); <-ended })
	w.notified("the start")
	return w
}

func (w *watched) notified(what string) {
	w.t.Helper()
	select {
	case <-w.why:
	case <-time.After(10 * time.Second):
		w.t.Fatalf("%s is not seen", what)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var long = time.Now().Add(-time.Hour)

// put writes a file with an old modification time.
func put(t *testing.T, name, text string) {
	t.Helper()
	must(t, os.WriteFile(name, []byte(text), 0o600))
	must(t, os.Chtimes(name, long, long))
}

// TestWithoutNotifications: changes outside the folder are reported, and without notifications also
// all others.
func TestWithoutNotifications(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("symbolic links need a privilege on Windows")
	}
	for name, change := range map[string]struct {
		silent bool // the change is in the folder, where the system would notify
		prepare,
		do func(t *testing.T, dir, elsewhere string)
	}{
		"a symbolic link's file is written": {
			prepare: func(t *testing.T, dir, elsewhere string) {
				put(t, elsewhere+"/a", "1")
				must(t, os.Symlink(elsewhere+"/a", dir+"/a.yaml"))
			},
			do: func(t *testing.T, _, elsewhere string) { must(t, os.WriteFile(elsewhere+"/a", []byte("22"), 0o600)) },
		},
		"a symbolic link's file is replaced by one like it": {
			prepare: func(t *testing.T, dir, elsewhere string) {
				put(t, elsewhere+"/a", "1")
				put(t, elsewhere+"/b", "2")
				must(t, os.Symlink(elsewhere+"/a", dir+"/a.yaml"))
			},
			do: func(t *testing.T, _, elsewhere string) { must(t, os.Rename(elsewhere+"/b", elsewhere+"/a")) },
		},
		"a link in a chain is swapped": {
			prepare: func(t *testing.T, dir, elsewhere string) {
				put(t, elsewhere+"/a", "1")
				put(t, elsewhere+"/b", "2")
				must(t, os.Symlink("a", elsewhere+"/current"))
				must(t, os.Symlink("b", elsewhere+"/next"))
				must(t, os.Symlink(elsewhere+"/current", dir+"/a.yaml"))
			},
			do: func(t *testing.T, _, elsewhere string) { must(t, os.Rename(elsewhere+"/next", elsewhere+"/current")) },
		},
		"a symbolic link leads somewhere at last": {
			prepare: func(t *testing.T, dir, elsewhere string) { must(t, os.Symlink(elsewhere+"/a", dir+"/a.yaml")) },
			do:      func(t *testing.T, _, elsewhere string) { put(t, elsewhere+"/a", "1") },
		},
		"a hard link is written": {
			prepare: func(t *testing.T, dir, elsewhere string) {
				put(t, elsewhere+"/a", "1")
				must(t, os.Link(elsewhere+"/a", dir+"/a.yaml"))
			},
			do: func(t *testing.T, _, elsewhere string) { must(t, os.WriteFile(elsewhere+"/a", []byte("2"), 0o600)) },
		},
		"written without a notification": {
			silent:  true,
			prepare: func(t *testing.T, dir, _ string) { put(t, dir+"/a.yaml", "1") },
			do:      func(t *testing.T, dir, _ string) { must(t, os.WriteFile(dir+"/a.yaml", []byte("2"), 0o600)) },
		},
		"a new file without a notification": {
			silent: true,
			do:     func(t *testing.T, dir, _ string) { put(t, dir+"/a.yaml", "1") },
		},
		"removed without a notification": {
			silent:  true,
			prepare: func(t *testing.T, dir, _ string) { put(t, dir+"/a.yaml", "1") },
			do:      func(t *testing.T, dir, _ string) { must(t, os.Remove(dir+"/a.yaml")) },
		},
		"the folder comes without a notification": {
			silent:  true,
			prepare: func(t *testing.T, dir, _ string) { must(t, os.Remove(dir)) },
			do:      func(t *testing.T, dir, _ string) { must(t, os.Mkdir(dir, 0o700)) },
		},
		"it may be read from now on": {
			silent: true,
			prepare: func(t *testing.T, dir, _ string) {
				put(t, dir+"/a.yaml", "1")
				must(t, os.Chmod(dir+"/a.yaml", 0))
			},
			do: func(t *testing.T, dir, _ string) { must(t, os.Chmod(dir+"/a.yaml", 0o600)) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, elsewhere := filepath.Join(t.TempDir(), "plugins.d"), t.TempDir()
			must(t, os.Mkdir(dir, 0o700))
			if change.prepare != nil {
				change.prepare(t, dir, elsewhere)
			}
			w := start(t, dir, Options{Silent: change.silent, Relevant: func(name string) bool { return filepath.Ext(name) == ".yaml" }})
			change.do(t, dir, elsewhere)
			w.notified(name)
		})
		t.Run(name+", one file", func(t *testing.T) {
			dir, elsewhere := filepath.Join(t.TempDir(), "plugins.d"), t.TempDir()
			must(t, os.Mkdir(dir, 0o700))
			if change.prepare != nil {
				change.prepare(t, dir, elsewhere)
			}
			w := start(t, dir, Options{Silent: change.silent, File: "a.yaml"})
			change.do(t, dir, elsewhere)
			w.notified(name)
		})
	}
}

// TestAParentThatIsSwapped: current -> r1 becomes current -> r2, as in deployments, and later saves
// in r2 are reported.
func TestAParentThatIsSwapped(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("symbolic links need a privilege on Windows")
	}
	base := t.TempDir()
	for _, r := range []string{"r1", "r2"} {
		must(t, os.MkdirAll(base+"/"+r+"/plugins.d", 0o700))
		put(t, base+"/"+r+"/plugins.d/a.yaml", "x")
	}
	must(t, os.Symlink("r1", base+"/current"))
	must(t, os.Symlink("r2", base+"/next"))
	w := start(t, base+"/current/plugins.d", Options{})
	must(t, os.Rename(base+"/next", base+"/current"))
	w.notified("the swap")
	put(t, base+"/r2/plugins.d/b.yaml", "y")
	w.notified("a save in the new folder")
}

// TestACopyThatKeepsTheTime: size and modification time are the same as before, as with rsync -t or
// cp -p.
func TestACopyThatKeepsTheTime(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells when the attributes changed")
	}
	dir := t.TempDir()
	put(t, dir+"/a.yaml", "1")
	w := start(t, dir, Options{Silent: true})
	put(t, dir+"/a.yaml", "2")
	w.notified("the copy")
}

// TestQuietFolders: neither an unchanged folder nor a change that is not relevant is reported.
func TestQuietFolders(t *testing.T) {
	dir := t.TempDir()
	put(t, dir+"/a.yaml", "1")
	w := start(t, dir, Options{File: "a.yaml", Silent: true})
	before := (&watch{dir: dir, o: Options{File: "a.yaml"}}).state()
	must(t, os.WriteFile(dir+"/journal", []byte("much"), 0o600))
	if now := (&watch{dir: dir, o: Options{File: "a.yaml"}}).state(); !now.same(before) {
		t.Error("another file counts")
	}
	must(t, os.WriteFile(dir+"/a.yaml", []byte("2"), 0o600))
	w.notified("the file")
	now := (&watch{dir: dir, o: Options{File: "a.yaml"}}).state()
	if now.same(now) {
		t.Error("a file that was written just now may be written once more in the same tick")
	}
}
