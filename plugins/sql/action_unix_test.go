//go:build unix

package sql

// This file tests the life of the program, with shell scripts in its place. The tests of postbus-sql
// run the real one.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/kind/kindtest"
)

// newAction is an action whose program is this shell script; "" is none.
func newAction(t *testing.T, script string) *Action {
	t.Helper()
	bin := t.TempDir()
	if script != "" {
		if err := os.WriteFile(filepath.Join(bin, programName), []byte("#!/bin/sh\nPATH=/usr/bin:/bin\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin)
	env := kindtest.NewBusWithFolder(t)
	env.DataFolder = t.TempDir()
	o := defaults()
	o.URL, o.Table, o.Columns = "sqlite:a.db", "readings", kind.Keys{"n", "v"}
	a := New(o, env)
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

func jobs(n int) (list []kind.Job[Args]) {
	for i := range n {
		list = append(list, kind.Job[Args]{ID: fmt.Sprint("id", i), Args: Args{Columns: map[string]any{"v": "<ü>", "n": int64(i)}}})
	}
	return list
}

func TestTheProgramIsMissing(t *testing.T) {
	a := newAction(t, "")
	done, err := a.DoAll(t.Context(), jobs(1))
	if done != 0 || err == nil || kind.IsPermanent(err) || !strings.Contains(err.Error(), "the action sql needs the program postbus-sql, in the folder of postbus or in PATH") {
		t.Errorf("%d, %v", done, err)
	}
}

// TestWhatTheProgramGets is the protocol, and that its answers are passed on.
func TestWhatTheProgramGets(t *testing.T) {
	seen := filepath.Join(t.TempDir(), "seen")
	a := newAction(t, `
read -r open; echo "$open" >> `+seen+`; echo '{"done":0}'
read -r rows; echo "$rows" >> `+seen+`; echo '{"done":2}'
read -r rows; echo '{"done":1,"error":"refused","permanent":true}'
read -r rows; echo '{"done":0,"error":"away"}'
cat
`)
	for i, want := range []struct {
		done      int
		err       string
		permanent bool
	}{{2, "<nil>", false}, {1, "refused", true}, {0, "away", false}} {
		if done, err := a.DoAll(t.Context(), jobs(2)); done != want.done || fmt.Sprint(err) != want.err || kind.IsPermanent(err) != want.permanent {
			t.Errorf("%d: %d, %v, want %v", i, done, err, want)
		}
	}
	got, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	folder := a.env.Data()
	want := `{"open":{"version":1,"file":"` + folder + `/a.db","folder":"` + folder + `","table":"readings","columns":[{"name":"n"},{"name":"v"}],"timeout":30000}}
{"rows":[{"id":"id0","values":[0,"<ü>"]},{"id":"id1","values":[1,"<ü>"]}]}
`
	if string(got) != want {
		t.Errorf("%s\nwant:\n%s", got, want)
	}
}

// TestTheProgramEnds in the middle of a batch: it is started again, and what it did is not known.
func TestTheProgramEnds(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "mark")
	a := newAction(t, `
read -r open; echo '{"done":0}'
read -r rows
[ -e `+mark+` ] || { touch `+mark+`; echo "no more memory" >&2; exit 3; }
echo '{"done":2}'
cat >/dev/null
`)
	done, err := a.DoAll(t.Context(), jobs(2))
	if done != 0 || err == nil || kind.IsPermanent(err) || !strings.Contains(err.Error(), "postbus-sql ended (exit code 3): no more memory") {
		t.Errorf("%d, %v", done, err)
	}
	if done, err := a.DoAll(t.Context(), jobs(2)); done != 2 || err != nil {
		t.Errorf("%d, %v", done, err)
	}
}

// TestAnotherVersion: a program that refuses to open is not asked for more.
func TestAnotherVersion(t *testing.T) {
	a := newAction(t, `read -r open; echo '{"error":"another version"}'; read -r rows; echo '{"done":2}'; cat >/dev/null`)
	for range 2 {
		if done, err := a.DoAll(t.Context(), jobs(2)); done != 0 || err == nil || err.Error() != "another version" {
			t.Errorf("%d, %v", done, err)
		}
	}
}

// TestTheProgramHangs: DoAll returns soon when it is told to, and the next batch gets no answer that
// was meant for the one before.
func TestTheProgramHangs(t *testing.T) {
	a := newAction(t, `read -r open; echo '{"done":0}'; read -r rows; echo asked >&2; exec sleep 1000`)
	ctx, cancel := context.WithCancel(t.Context())
	env := a.env.(*kindtest.Bus)
	go func() {
		defer cancel()
		for end := time.Now().Add(kindtest.Patience); time.Now().Before(end) && !strings.Contains(env.Logged(), "asked"); time.Sleep(time.Millisecond) {
		}
	}()
	if done, err := a.DoAll(ctx, jobs(2)); done != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d, %v", done, err)
	}
	if a.child != nil {
		t.Error("the program still runs")
	}
}

// TestNoDataFolder: a bus that keeps no data needs a whole path.
func TestNoDataFolder(t *testing.T) {
	a := newAction(t, "cat")
	a.env.(*kindtest.Bus).DataFolder = ""
	if _, err := a.DoAll(t.Context(), jobs(1)); err == nil || !strings.Contains(err.Error(), "has no data folder") {
		t.Error(err)
	}
}
