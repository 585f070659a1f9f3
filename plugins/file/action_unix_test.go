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

// onFullDisk writes an event in a process whose files are limited to a size: a write past it is cut
// off there, as on a full disk. It returns what the process prints.
func onFullDisk(t *testing.T, dir string, size int, path, text string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "POSTBUS_TEST_WRITE="+dir, "POSTBUS_TEST_LIMIT="+strconv.Itoa(size), "POSTBUS_TEST_PATH="+path, "POSTBUS_TEST_TEXT="+text)
	out, err := cmd.CombinedOutput()
	must(t, err)
	return string(out)
}

// writeOnce is the process of onFullDisk.
func writeOnce(a *Action, limit string) {
	size, err := strconv.ParseUint(limit, 10, 64)
	if err != nil {
		panic(err)
	}
	signal.Ignore(syscall.SIGXFSZ)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: size, Max: size}); err != nil {
		panic(err)
	}
	err = a.Do(context.Background(), Args{Path: os.Getenv("POSTBUS_TEST_PATH"), Columns: map[string]string{"x": os.Getenv("POSTBUS_TEST_TEXT")}})
	fmt.Print(errors.Is(err, syscall.EFBIG), kind.IsPermanent(err))
}

// TestAFullDiskCutsNoLine writes to a disk that has room for a part of the line only.
func TestAFullDiskCutsNoLine(t *testing.T) {
	a, dir := writer(t, csvWriter("n", "x"))
	must(t, a.Do(t.Context(), Args{Path: "a.csv", Columns: map[string]string{"x": "first"}}))
	before := files(t, dir)
	size := len(read(t, filepath.Join(dir, "a.csv")))
	if got := onFullDisk(t, dir, size+50, "a.csv", strings.Repeat("second", 100)); got != "true false" {
		t.Error(got)
	}
	expectFiles(t, dir, before)
	// Another file has no room for the names of its columns; then there is room.
	if got := onFullDisk(t, dir, 1, "b.csv", "x"); got != "true false" {
		t.Error(got)
	}
	must(t, a.Do(t.Context(), Args{Path: "b.csv", Columns: map[string]string{"x": "second"}}))
	expectFiles(t, dir, before, "b.csv: n,x|,second|")
}

// longLine is a line whose write takes long enough to be killed in its middle.
func longLine(n int) Args {
	return Args{Path: "a.csv", Columns: map[string]string{"n": strconv.Itoa(n), "x": strings.Repeat("1,\"\n", 100_000)}}
}

// TestMain runs the tests, or is the process that TestKilled kills, or that of onFullDisk.
func TestMain(m *testing.M) {
	dir := os.Getenv("POSTBUS_TEST_WRITE")
	if dir == "" {
		os.Exit(m.Run())
	}
	o := actionDefaults()
	o.Folder, o.Columns = dir, kind.Keys{"n", "x"}
	a := NewAction(o, kindtest.NewBus())
	if limit := os.Getenv("POSTBUS_TEST_LIMIT"); limit != "" {
		writeOnce(a, limit)
		return
	}
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
