package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func entries(t *testing.T, folder string) (list []map[string]any) {
	t.Helper()
	for n := Files - 1; n >= 0; n-- {
		data, err := os.ReadFile((&file{folder: folder}).path(n))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		for line := range bytes.Lines(data) {
			var e map[string]any
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			list = append(list, e)
		}
	}
	return list
}

func TestEntries(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		l := Open(dir, slog.New(slog.DiscardHandler))
		for range 200 {
			l.Login("pump", "user", "pi")
			l.Refused("192.0.2.1", "login refused", "user", "eve\n\x1b[2J")
		}
		l.Login("lamp")
		l.Done("client kicked", "client", "pump", "by", "admin")
		time.Sleep(time.Minute)
		l.Login("pump", "user", "pi")
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		l.Done("too late")
		var none *Log
		none.Login("x")
		none.Refused("x", "y")
		none.Done("z")
		if err := none.Close(); err != nil {
			t.Error(err)
		}
	})
	var got []string
	for _, e := range entries(t, dir) {
		got = append(got, fmt.Sprint(e["msg"], " ", e["client"], " ", e["user"], " ", e["not_logged"]))
	}
	want := "login pump pi <nil>|login refused <nil> eve\n\x1b[2J <nil>|login lamp <nil> <nil>|client kicked pump <nil> <nil>|login pump pi 199"
	if strings.Join(got, "|") != want {
		t.Errorf("got  %q\nwant %q", strings.Join(got, "|"), want)
	}
	st, err := os.Stat(filepath.Join(dir, Name))
	if err != nil || runtime.GOOS != "windows" && st.Mode().Perm() != 0o600 {
		t.Error(st.Mode(), err)
	}
}

// The newest entries are there, in order, in at most Files files of Size bytes, also when several
// goroutines write and after the log was opened again.
func TestRotation(t *testing.T) {
	dir := t.TempDir()
	const writers, each = 4, 9000
	wide := strings.Repeat("x", 1000)
	for range 2 {
		l := Open(dir, slog.New(slog.DiscardHandler))
		var all sync.WaitGroup
		for w := range writers {
			all.Go(func() {
				for i := range each {
					l.Done("x", "w", w, "i", i, "wide", wide)
				}
			})
		}
		all.Wait()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != Files {
		t.Fatalf("%d files, want %d (%v)", len(files), Files, err)
	}
	for _, f := range files {
		if st, err := f.Info(); err != nil || st.Size() > Size {
			t.Errorf("%s: %d bytes, %v", f.Name(), st.Size(), err)
		}
	}
	last := map[float64]float64{}
	for _, e := range entries(t, dir) {
		w, i := e["w"].(float64), e["i"].(float64)
		if before, ok := last[w]; ok && i != before+1 && i != 0 {
			t.Fatalf("writer %v: %v follows %v", w, i, before)
		}
		last[w] = i
	}
	for w, i := range last {
		if i != each-1 {
			t.Errorf("writer %v: the last entry is %v", w, i)
		}
	}
}

// A folder that can't be written stops nothing, is reported once a minute, and used once it is back.
func TestTrouble(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := Open(dir, slog.New(slog.NewTextHandler(&out, nil)))
		for range 100 {
			l.Done("x")
		}
		time.Sleep(time.Minute)
		l.Done("x")
		if got := out.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "lost=100") {
			t.Errorf("%s", got)
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		l.Done("y")
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	if got := entries(t, dir); len(got) != 1 || got[0]["msg"] != "y" {
		t.Errorf("%v", got)
	}
}
