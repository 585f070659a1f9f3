package journal_test

// This file is what happens to files while the journal has them open.

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/bus/bustest"
	"github.com/postbus/postbus/bus/journal"
)

func retainAll(l *journal.Log) { l.Retain(1<<60, 0, 0, time.Now()) }

func copyFiles(t *testing.T, from, to string, except ...string) {
	t.Helper()
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if slices.Contains(except, e.Name()) {
			continue
		}
		b, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, e.Name()), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func openFilesCanGo(t *testing.T) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("Windows keeps files and folders in their places while they are open")
	}
}

// tryPut appends one record and returns its fate.
func tryPut(l *journal.Log) error {
	c, err := l.Append(event(1))
	if err != nil {
		return err
	}
	<-c.Done()
	return c.Err()
}

// until waits for what the journal does within a second or two.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

// TestNothingIsAcknowledgedThatIsNotInItsPlace removes, moves and replaces what is below the data directory.
// The first publish after that is refused; when all is back, the journal continues.
func TestNothingIsAcknowledgedThatIsNotInItsPlace(t *testing.T) {
	openFilesCanGo(t)
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, dir string)
		mend   func(t *testing.T, dir string) // nil: it needs a restart
	}{
		{"the data directory is removed", func(t *testing.T, dir string) { must(t, os.RemoveAll(dir)) }, nil},
		{"the data directory is removed and made again", func(t *testing.T, dir string) {
			must(t, os.RemoveAll(dir))
			must(t, os.MkdirAll(filepath.Join(dir, "journal"), 0o700))
		}, nil},
		{"the data directory is moved away and back", func(t *testing.T, dir string) { must(t, os.Rename(dir, dir+"2")) },
			func(t *testing.T, dir string) { must(t, os.Rename(dir+"2", dir)) }},
		{"an empty folder hides the journal", func(t *testing.T, dir string) {
			must(t, os.Rename(filepath.Join(dir, "journal"), filepath.Join(dir, "journal2")))
			must(t, os.Mkdir(filepath.Join(dir, "journal"), 0o700))
		}, func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, "journal"))) // nothing was written into it
			must(t, os.Rename(filepath.Join(dir, "journal2"), filepath.Join(dir, "journal")))
		}},
		{"the active segment is removed", func(t *testing.T, dir string) { must(t, os.Remove(newest(t, dir))) }, func(*testing.T, string) {}},
		{"the active segment is replaced", func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, "other"), []byte("something else"), 0o600))
			must(t, os.Rename(filepath.Join(dir, "other"), newest(t, dir)))
		}, func(*testing.T, string) {}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			fs, err := journal.DirFS(dir)
			must(t, err)
			l := open(t, fs, journal.Options{SegmentSize: 1 << 10})
			defer func() { l.Close() }()
			for i := range 10 {
				put(t, l, i*10, i*10+10)
			}
			c.damage(t, dir)
			err = tryPut(l)
			var u *journal.Unavailable
			if !errors.As(err, &u) || !errors.Is(err, journal.ErrMisplaced) || !strings.Contains(err.Error(), dir) {
				t.Fatalf("a publish is answered with %v", err)
			}
			if c.mend == nil {
				for range 3 { // it looks again, and still refuses
					time.Sleep(500 * time.Millisecond)
					if err := tryPut(l); !errors.Is(err, journal.ErrMisplaced) || !strings.Contains(err.Error(), "restart") {
						t.Fatalf("a publish is answered with %v", err)
					}
				}
				if _, _, err := l.WriteSnapshot(5, func(func(*journal.Record) (int64, error)) error { return nil }); !errors.Is(err, journal.ErrMisplaced) {
					t.Errorf("a snapshot is written: %v", err)
				}
				l.Close()
				if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 1 {
					t.Errorf("written into the foreign directory: %q", left)
				}
				if left, _ := filepath.Glob(filepath.Join(dir, "journal", "*")); len(left) > 0 {
					t.Errorf("written into the foreign directory: %q", left)
				}
				return
			}
			c.mend(t, dir)
			until(t, "it accepts events again", func() bool { return l.Err() == nil })
			put(t, l, 1000, 1010)
			if got := payloads(t, l, 1); len(got) != 110 {
				t.Errorf("%d records are left", len(got))
			}
			must(t, l.Close())
			l = open(t, fs, journal.Options{})
			if got := payloads(t, l, 1); len(got) < 110 || len(l.Holes()) > 0 { // the one that was refused may be there
				t.Errorf("after a restart %d records are left, holes %v", len(got), l.Holes())
			}
		})
	}
}

// newest is the path of the active segment.
func newest(t *testing.T, dir string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "journal", "*.seg"))
	if err != nil || len(names) == 0 {
		t.Fatalf("%q, %v", names, err)
	}
	return names[len(names)-1]
}

// TestAnIdleJournalNoticesToo: once a second, without a publish.
func TestAnIdleJournalNoticesToo(t *testing.T) {
	openFilesCanGo(t)
	dir := filepath.Join(t.TempDir(), "data")
	fs, err := journal.DirFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	l := open(t, fs, journal.Options{})
	defer l.Close()
	if err := os.Rename(dir, dir+"2"); err != nil {
		t.Fatal(err)
	}
	until(t, "it is not ready", func() bool { return errors.Is(l.Err(), journal.ErrMisplaced) })
	if err := os.Rename(dir+"2", dir); err != nil {
		t.Fatal(err)
	}
	until(t, "it is ready", func() bool { return l.Err() == nil })
}

// TestALockThatVanished is taken again, unless another process was faster.
func TestALockThatVanished(t *testing.T) {
	openFilesCanGo(t)
	dir := t.TempDir()
	fs, err := journal.DirFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	l := open(t, fs, journal.Options{})
	defer l.Close()
	lock := filepath.Join(dir, "lock")
	if err := os.Remove(lock); err != nil {
		t.Fatal(err)
	}
	until(t, "the lock is taken, which the process's id shows", func() bool { pid, _ := os.ReadFile(lock); return len(pid) > 0 })
	if _, err := fs.Lock(); !errors.Is(err, journal.ErrLocked) {
		t.Fatalf("the lock is free: %v", err)
	}
	if err := tryPut(l); err != nil {
		t.Fatal(err)
	}
	var other journal.Lock
	until(t, "another is faster", func() bool {
		if err := os.Remove(lock); err != nil {
			return false
		}
		other, err = fs.Lock()
		return err == nil
	})
	until(t, "it gives up", func() bool { return l.Err() != nil })
	if err := l.Err(); !strings.Contains(err.Error(), "another process used the data directory") {
		t.Errorf("error %v", err)
	}
	other.Close()
	for range 3 {
		time.Sleep(500 * time.Millisecond)
		if tryPut(l) == nil {
			t.Fatal("it continues after another process had the directory")
		}
	}
}

// TestAnEmptyActiveSegmentThatVanishes is made again once: a second one of the same name would be deleted
// as an old one, and the file with it.
func TestAnEmptyActiveSegmentThatVanishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := bustest.NewDisk(1)
		l := open(t, d, journal.Options{SegmentSize: 300, CacheSize: 1})
		d.Lose("00000000000000000001.seg")
		time.Sleep(3 * time.Second)
		for i := range 6 {
			putGroup(t, l, i*10)
		}
		if n := l.Stats().Segments; n != 6 {
			t.Errorf("%d segments", n)
		}
		l.Retain(1, 0, 0, time.Now())
		if got, lost := read(t, l, nil); !slices.Equal(got, without(99, 99)) || len(lost) > 0 {
			t.Errorf("read %v, lost %v", got, lost)
		}
		l.Close()
	})
}

// TestASealedSegmentThatVanishes becomes a hole at once, whoever notices first.
func TestASealedSegmentThatVanishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, wait := range []time.Duration{0, 3 * time.Second} {
			d := bustest.NewDisk(1)
			l := open(t, d, journal.Options{SegmentSize: 300, CacheSize: 1})
			for i := range 6 {
				putGroup(t, l, i*10)
			}
			d.Lose("00000000000000000021.seg")
			time.Sleep(wait)
			if wait > 0 && len(l.Holes()) != 1 {
				t.Errorf("not noticed: %v", l.Holes())
			}
			got, lost := read(t, l, nil)
			if want := (journal.Hole{From: 21, To: 30}); !slices.Equal(got, without(21, 30)) || !slices.Equal(lost, []journal.Hole{want}) {
				t.Errorf("read %v, lost %v", got, lost)
			}
			if st := l.Stats(); st.Missing != 10 {
				t.Errorf("%d are counted as missing", st.Missing)
			}
			put(t, l, 60, 70)
			l.Close()
		}
	})
}

// TestAnActiveSegmentThatVanishes on the simulated disk: what was acknowledged is there after a power cut.
func TestAnActiveSegmentThatVanishes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := bustest.NewDisk(1)
		l := open(t, d, journal.Options{})
		put(t, l, 0, 10)
		d.Lose("00000000000000000001.seg")
		if err := tryPut(l); !errors.Is(err, journal.ErrMisplaced) {
			t.Fatalf("a publish is answered with %v", err)
		}
		time.Sleep(3 * time.Second)
		if n := l.Restored(); n != 1 {
			t.Errorf("restored %d times", n)
		}
		put(t, l, 10, 20)
		d = d.PowerCut()
		l.Close()
		l = open(t, d, journal.Options{})
		defer l.Close()
		if got := payloads(t, l, 1); len(got) != 20 || len(l.Holes()) > 0 {
			t.Errorf("%d records, holes %v", len(got), l.Holes())
		}
	})
}
