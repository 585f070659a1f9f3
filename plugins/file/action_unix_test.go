//go:build unix

package file

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/kind/kindtest"
)

func makePipe(t *testing.T, path string) {
	t.Helper()
	must(t, syscall.Mkfifo(path, 0o600))
}

// limitFiles sets the maximum size of the files that this process writes; a write past it is cut
// off there, as on a full disk.
func limitFiles(t *testing.T, size uint64) (restore func()) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	var old unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_FSIZE, &old))
	limit := old
	limit.Cur = size
	must(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &limit))
	return func() { must(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &old)) }
}

// TestAFullDiskCutsNoLine writes to a disk that has room for a part of the line only.
func TestAFullDiskCutsNoLine(t *testing.T) {
	a, dir := writer(t, csvWriter("x"))
	first, second := Args{Path: "a.csv", Columns: map[string]string{"x": "first"}}, Args{Path: "a.csv", Columns: map[string]string{"x": strings.Repeat("second", 100)}}
	must(t, a.Do(t.Context(), first))
	before := files(t, dir)
	restore := limitFiles(t, uint64(len(before))+50)
	err := a.Do(t.Context(), second)
	restore()
	if !errors.Is(err, syscall.EFBIG) || kind.IsPermanent(err) {
		t.Errorf("%v", err)
	}
	expectFiles(t, dir, before)
	// Another file has no room for the names of its columns; then there is room.
	restore = limitFiles(t, 1)
	second.Path = "b.csv"
	err = a.Do(t.Context(), second)
	restore()
	if !errors.Is(err, syscall.EFBIG) {
		t.Errorf("%v", err)
	}
	second.Columns["x"] = "second"
	must(t, a.Do(t.Context(), second))
	expectFiles(t, dir, before, "b.csv: x|second|")
}

// longLine is a line whose write takes long enough to be killed in its middle.
func longLine(n int) Args {
	return Args{Path: "a.csv", Columns: map[string]string{"n": strconv.Itoa(n), "x": strings.Repeat("1,\"\n", 100_000)}}
}

// TestMain runs the tests, or is the process that TestKilled kills.
func TestMain(m *testing.M) {
	dir := os.Getenv("POSTBUS_TEST_WRITE")
	if dir == "" {
		os.Exit(m.Run())
	}
	o := actionDefaults()
	o.Folder, o.Columns = dir, kind.Keys{"n", "x"}
	a := NewAction(o, kindtest.NewBus())
	for n := 0; ; n++ {
		if err := a.Do(context.Background(), longLine(n)); err != nil {
			panic(err)
		}
		if n%10 == 9 {
			_ = os.Truncate(filepath.Join(dir, "a.csv"), 0)
		}
	}
}

// TestKilled kills a process that writes long lines, in the middle of most of them.
func TestKilled(t *testing.T) {
	a, dir := writer(t, csvWriter("n", "x"))
	p := filepath.Join(dir, "a.csv")
	cut := 0
	for range 30 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "POSTBUS_TEST_WRITE="+dir)
		must(t, cmd.Start())
		before := int64(0)
		if info, err := os.Stat(p); err == nil {
			before = info.Size()
		}
		for {
			if info, err := os.Stat(p); err == nil && info.Size() != before {
				break
			}
		}
		must(t, cmd.Process.Kill())
		_ = cmd.Wait()
		must(t, NewAction(a.o, a.env).Do(t.Context(), longLine(1)))
		r := csv.NewReader(strings.NewReader(read(t, p)))
		records, err := r.ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(records[0]) != "[n x]" {
			t.Fatalf("%.100v", records[0])
		}
		for _, record := range records[1:] {
			if record[1] != longLine(1).Columns["x"] {
				t.Fatalf("%.100q of %d bytes", record, len(record[1]))
			}
		}
		if os.Remove(filepath.Join(dir, "a~cut.csv")) == nil {
			cut++
		}
	}
	t.Logf("%d of 30 kills cut a line off", cut)
}
