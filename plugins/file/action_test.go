package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/kind/kindtest"
)

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	return string(data)
}

// writer makes an action that writes below a new folder.
func writer(t *testing.T, change func(*ActionOptions)) (a *Action, dir string) {
	t.Helper()
	o := actionDefaults()
	o.Folder = t.TempDir()
	if change != nil {
		change(&o)
	}
	return NewAction(o, kindtest.NewBusWithFolder(t)), o.Folder
}

// files returns the content of a folder: "name: content", sorted, with / for a folder in it.
func files(t *testing.T, dir string) string {
	t.Helper()
	var all []string
	must(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, p)
			all = append(all, filepath.ToSlash(rel)+": "+strings.ReplaceAll(read(t, p), "\n", "|"))
		}
		return err
	}))
	return strings.Join(all, "\n")
}

func expectFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	if got := files(t, dir); got != strings.Join(want, "\n") {
		t.Errorf("got:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
	}
}

func TestAppend(t *testing.T) {
	for _, sync := range []bool{false, true} {
		a, dir := writer(t, func(o *ActionOptions) { o.Sync = sync })
		for _, text := range []string{"one", "two\n", ""} {
			must(t, a.Do(t.Context(), Args{Path: "a", Text: text}))
		}
		must(t, os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "a.1")))
		must(t, a.Do(t.Context(), Args{Path: "a", Text: "after the rotation"}))
		must(t, a.Do(t.Context(), Args{Path: "home/hall/x.jsonl", JSON: map[string]any{"b": "<ü>", "a": int64(1)}}))
		must(t, os.Remove(filepath.Join(dir, "a")))
		must(t, a.Do(t.Context(), Args{Path: "a", Text: "after it was deleted"}))
		must(t, a.Do(t.Context(), Args{Path: "empty"}))
		must(t, os.RemoveAll(filepath.Join(dir, "home")))
		must(t, a.Do(t.Context(), Args{Path: "home/hall/x.jsonl", JSON: false}))
		expectFiles(t, dir, "a: after it was deleted|", "a.1: one|two||", "empty: |", "home/hall/x.jsonl: false|")
	}
}

func TestLastLineOfAnotherProgram(t *testing.T) {
	a, dir := writer(t, nil)
	p := filepath.Join(dir, "a")
	must(t, a.Do(t.Context(), Args{Path: "a", Text: "one"}))
	put(t, p, read(t, p)+"by hand")
	must(t, a.Do(t.Context(), Args{Path: "a", Text: "two"}))
	expectFiles(t, dir, "a: one|by hand|two|")
	put(t, p, "three")
	must(t, a.Do(t.Context(), Args{Path: "a", Text: "four"})) // a smaller file, which may be cut off
	expectFiles(t, dir, "a: four|", "a~cut: three|")
}

func csvWriter(columns ...string) func(*ActionOptions) {
	return func(o *ActionOptions) { o.Columns = columns }
}

func TestCSV(t *testing.T) {
	a, dir := writer(t, csvWriter("time", "room name", "x"))
	row := func(path string, values map[string]string) {
		t.Helper()
		must(t, a.Do(t.Context(), Args{Path: path, Columns: values}))
	}
	row("a.csv", map[string]string{"time": "1", "room name": `the "hall", below`, "x": "two\nlines"})
	row("a.csv", map[string]string{"x": "3"})
	put(t, filepath.Join(dir, "saved.csv"), "\ufeff\"time\",\"room name\",x\r\n")
	row("saved.csv", map[string]string{"time": "2"})
	put(t, filepath.Join(dir, "other.csv"), "time,x\n1,2\n")
	row("other.csv", map[string]string{"time": "3"})
	put(t, filepath.Join(dir, "other.csv"), "none\n")
	row("other.csv", map[string]string{"time": "4"})
	put(t, filepath.Join(dir, "empty.csv"), "")
	row("empty.csv", map[string]string{"time": "5"})
	expectFiles(t, dir,
		`a.csv: time,room name,x|1,"the ""hall"", below","two|lines"|,,3|`,
		"empty.csv: time,room name,x|5,,|",
		"other.csv: time,room name,x|4,,|",
		"other~1.csv: none|",
		"other~2.csv: time,x|1,2|",
		"saved.csv: \ufeff\"time\",\"room name\",x\r|2,,|")

	one, dir := writer(t, csvWriter("x"))
	must(t, one.Do(t.Context(), Args{Path: "a.csv"}))
	expectFiles(t, dir, `a.csv: x|""|`)
}

// TestCutOffLine leaves each possible beginning of a line in a file, as a kill does. The events
// that are written again then begin with an earlier one.
func TestCutOffLine(t *testing.T) {
	csv := csvWriter("a", "b")
	for name, c := range map[string]struct {
		change        func(*ActionOptions)
		before, event Args
		cuts          int // how many beginnings are recognised; 0 is all
	}{
		"text": {nil, Args{Path: "f.x", Text: "ababab"}, Args{Path: "f.x", Text: "abababab"}, 0},
		"JSON": {nil, Args{Path: "f.x", JSON: "a"}, Args{Path: "f.x", JSON: map[string]any{"a": "\n"}}, 0},
		"CSV":  {csv, Args{Path: "f.x", Columns: map[string]string{"a": "1", "b": "2"}}, Args{Path: "f.x", Columns: map[string]string{"a": "1", "b": "22"}}, 0},
		"lines in CSV": {csv, Args{Path: "f.x", Columns: map[string]string{"a": "x\n1,\"\ny", "b": "\n"}},
			Args{Path: "f.x", Columns: map[string]string{"a": "1,\"\ny", "b": "a\nb\n"}}, 0},
		"long":                  {nil, Args{Path: "f.x", Text: strings.Repeat("a", 200_000)}, Args{Path: "f.x", Text: "b"}, 0},
		"text of several lines": {nil, Args{Path: "f.x", Text: "a"}, Args{Path: "f.x", Text: "xy\nb"}, len("xy")},
	} {
		a, dir := writer(t, c.change)
		p, cut := filepath.Join(dir, "f.x"), filepath.Join(dir, "f~cut.x")
		must(t, a.Do(t.Context(), c.before))
		before := read(t, p)
		must(t, a.Do(t.Context(), c.event))
		after := read(t, p)
		try := func(content, rest string, event Args, want string) {
			t.Helper()
			put(t, p, content+rest)
			_ = os.Remove(cut)
			must(t, NewAction(a.o, a.env).Do(t.Context(), event))
			if got := read(t, p); got != want {
				t.Errorf("%s: after %.50q: got %q, want %q", name, content+rest, got, want)
			}
			if rest != "" && read(t, cut) != rest+"\n" {
				t.Errorf("%s: moved %q, want %q", name, read(t, cut), rest)
			}
		}
		line := after[len(before):]
		for n := range line {
			if c.cuts == 0 || n <= c.cuts {
				try(before, line[:n], c.event, after)
				try(before, line[:n], c.before, before+before[len(a.head):])
			}
		}
		for n := len(a.head); n > 0; n-- { // the names of the columns
			if n < len(a.head) {
				try("", before[:n], c.before, before)
			} else {
				try(before[:n], "", c.before, before)
			}
		}
		try(after, "", c.event, after+line) // written, but not acknowledged
	}
}

func TestCutOffLinesAreBounded(t *testing.T) {
	a, dir := writer(t, nil)
	for range 4 {
		put(t, filepath.Join(dir, "f"), strings.Repeat("x", 600_000))
		must(t, NewAction(a.o, a.env).Do(t.Context(), Args{Path: "f", Text: "y"}))
	}
	if info, err := os.Stat(filepath.Join(dir, "f~cut")); err != nil || info.Size() != 1_200_002 && info.Size() != 600_001*2 {
		t.Errorf("%v, %v", info.Size(), err)
	}
	put(t, filepath.Join(dir, "f"), "x")
	must(t, NewAction(a.o, a.env).Do(t.Context(), Args{Path: "f", Text: "y"}))
	expectFiles(t, dir, "f: y|", "f~cut: x|")
}

// TestStopWhileAFileIsRead stops the action while it looks for the end of the last row.
func TestStopWhileAFileIsRead(t *testing.T) {
	a, dir := writer(t, csvWriter("x"))
	put(t, filepath.Join(dir, "a.csv"), "x\n1\n")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Do(ctx, Args{Path: "a.csv"}); err != context.Canceled || kind.IsPermanent(err) {
		t.Error(err)
	}
	expectFiles(t, dir, "a.csv: x|1|")
}

// TestManyFiles writes more files than the action remembers.
func TestManyFiles(t *testing.T) {
	a, dir := writer(t, csvWriter("x"))
	for range 2 {
		for n := range maxLeft + 100 {
			must(t, a.Do(t.Context(), Args{Path: fmt.Sprint(n%10, "/", n), Columns: map[string]string{"x": "1"}}))
		}
	}
	if len(a.left) > maxLeft {
		t.Errorf("%d files are remembered", len(a.left))
	}
	must(t, filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && read(t, p) != "x\n1\n1\n" {
			t.Errorf("%s: %q", p, read(t, p))
		}
		return err
	}))
}

func TestRotateBySize(t *testing.T) {
	line := strings.Repeat("x", 599)
	a, dir := writer(t, func(o *ActionOptions) { o.Rotate = &Rotate{Size: 1200, Keep: 2} })
	for n := range 9 {
		must(t, a.Do(t.Context(), Args{Path: "d/a.txt", Text: fmt.Sprint(n) + line[1:]}))
	}
	short := strings.ReplaceAll(files(t, dir), line[1:], "")
	if want := "d/a.txt: 8|\nd/a~1.txt: 6|7|\nd/a~2.txt: 4|5|"; short != want {
		t.Errorf("got %s, want %s", short, want)
	}
	must(t, os.Remove(filepath.Join(dir, "d/a~1.txt"))) // as a crash between two renames leaves it
	must(t, a.Do(t.Context(), Args{Path: "d/a.txt", Text: strings.Repeat("y", 5000)}))
	must(t, a.Do(t.Context(), Args{Path: "d/a.txt", Text: "z"}))
	short = strings.NewReplacer(line[1:], "", strings.Repeat("y", 5000), "y").Replace(files(t, dir))
	if want := "d/a.txt: z|\nd/a~1.txt: y|\nd/a~2.txt: 8|"; short != want {
		t.Errorf("got %s, want %s", short, want)
	}
}

func TestRotateByAge(t *testing.T) {
	a, dir := writer(t, func(o *ActionOptions) { o.Rotate = &Rotate{Age: 24 * time.Hour}; o.Columns = kind.Keys{"x"} })
	row := func(at time.Time, x string) {
		t.Helper()
		a.now = func() time.Time { return at }
		must(t, a.Do(t.Context(), Args{Path: "a.csv", Columns: map[string]string{"x": x}}))
		must(t, os.Chtimes(filepath.Join(dir, "a.csv"), at, at)) // as if it had been written then
	}
	day := func(d, h, m int) time.Time { return time.Date(2026, 3, d, h, m, 0, 0, time.Local) }
	row(day(1, 12, 0), "a")
	row(day(1, 23, 59), "b")
	a = NewAction(a.o, a.env) // after a restart
	row(day(2, 0, 0), "c")
	row(day(1, 12, 0), "d") // a clock that goes back renames nothing
	row(day(2, 1, 0), "e")
	expectFiles(t, dir, "a.csv: x|e|", "a~1.csv: x|c|d|", "a~2.csv: x|a|b|")
}

func TestOtherColumnsDeleteNothing(t *testing.T) {
	a, dir := writer(t, func(o *ActionOptions) { o.Rotate = &Rotate{Size: 1 << 20, Keep: 1}; o.Columns = kind.Keys{"x"} })
	for _, columns := range []kind.Keys{{"y"}, {"z"}, {"x"}} {
		o := a.o
		o.Columns = columns
		must(t, NewAction(o, a.env).Do(t.Context(), Args{Path: "a.csv", Columns: map[string]string{columns[0]: "1"}}))
	}
	expectFiles(t, dir, "a.csv: x|1|", "a~1.csv: z|1|", "a~2.csv: y|1|")
	for n := 3; n <= maxRotated; n++ {
		put(t, filepath.Join(dir, fmt.Sprintf("a~%d.csv", n)), "")
	}
	o := a.o
	o.Columns = kind.Keys{"y"}
	err := NewAction(o, a.env).Do(t.Context(), Args{Path: "a.csv"})
	if err == nil || kind.IsPermanent(err) || !strings.Contains(err.Error(), "there are 1000 renamed files") {
		t.Error(err)
	}
}

func TestReplace(t *testing.T) {
	for _, sync := range []bool{false, true} {
		a, dir := writer(t, func(o *ActionOptions) { o.Mode, o.Sync = "replace", sync })
		p := filepath.Join(dir, "d", "a")
		must(t, a.Do(t.Context(), Args{Path: "d/a", Text: "one\n\n"}))
		info, err := os.Stat(p)
		must(t, err)
		if runtime.GOOS != "windows" && info.Mode() != 0o644 {
			t.Errorf("created with %v", info.Mode())
		}
		must(t, os.Chmod(p, 0o600))
		reader, err := os.Open(p)
		must(t, err)
		must(t, a.Do(t.Context(), Args{Path: "d/a", Text: "two"}))
		old := make([]byte, 100)
		n, _ := reader.Read(old)
		reader.Close()
		if got := string(old[:n]) + "|" + read(t, p); got != "one\n\n|two" {
			t.Errorf("%q", got)
		}
		if info, err = os.Stat(p); err != nil || runtime.GOOS != "windows" && info.Mode() != 0o600 {
			t.Errorf("the mode became %v", info.Mode())
		}
		must(t, a.Do(t.Context(), Args{Path: "j", JSON: int64(1)}))
		expectFiles(t, dir, "d/a: two", "j: 1|")
	}
	a, dir := writer(t, func(o *ActionOptions) { o.Mode = "replace"; o.Columns = kind.Keys{"b", "a"} })
	must(t, a.Do(t.Context(), Args{Path: "x.csv", Columns: map[string]string{"a": "1", "b": "2"}}))
	expectFiles(t, dir, "x.csv: b,a|2,1|")
}

func TestSymbolicLinks(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Log("needs rights there")
		return
	}
	outside := t.TempDir()
	put(t, filepath.Join(outside, "secret"), "old")
	for _, mode := range []string{"append", "replace"} {
		a, dir := writer(t, func(o *ActionOptions) { o.Mode = mode })
		put(t, filepath.Join(dir, "b"), "")
		must(t, os.Symlink("b", filepath.Join(dir, "a")))
		must(t, a.Do(t.Context(), Args{Path: "a", Text: "new"}))
		if _, err := os.Readlink(filepath.Join(dir, "a")); err != nil || strings.TrimSpace(read(t, filepath.Join(dir, "b"))) != "new" {
			t.Errorf("%s: %v, %q", mode, err, read(t, filepath.Join(dir, "b")))
		}
		up, err := filepath.Rel(dir, outside)
		must(t, err)
		for name, to := range map[string]string{"file": filepath.Join(outside, "secret"), "folder": outside, "up": up, "upfile": filepath.Join(up, "secret"), "new": filepath.Join(outside, "new")} {
			must(t, os.Symlink(to, filepath.Join(dir, name)))
			for _, path := range []string{name, name + "/secret", name + "/made", name + "/d/made"} {
				err := a.Do(t.Context(), Args{Path: path, Text: "attack"})
				if !kind.IsPermanent(err) {
					t.Errorf("%s %s: %v", mode, path, err)
				}
			}
		}
	}
	expectFiles(t, outside, "secret: old")
}

func TestPaths(t *testing.T) {
	a, dir := writer(t, nil)
	for path, want := range map[string]string{
		"": "is empty", "/etc/passwd": "is absolute", "..": "leaves its folder", "a/../../b": "leaves its folder", "../a": "leaves its folder",
		"a//b": "a part that is . or empty", "a/": "a part that is . or empty", "./a": "a part that is . or empty", "a\x00b": "control", "a\nb": "control", "a\xff": "control", `a\..\..\b`: "backslash",
		strings.Repeat("a", 201): "201 bytes", strings.Repeat("a/", 1000): "2000 bytes", strings.Repeat("a/", 16) + "a": "17 levels",
		"a~1.csv": "renamed file", "a~22": "renamed file", "a~cut.csv": "renamed file",
	} {
		if err := a.Do(t.Context(), Args{Path: path}); !kind.IsPermanent(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", path, err, want)
		}
	}
	if runtime.GOOS == "windows" {
		for _, path := range []string{"NUL", "com1.txt", "a:b", "c:"} {
			if err := a.Do(t.Context(), Args{Path: path}); !kind.IsPermanent(err) {
				t.Errorf("%q: %v", path, err)
			}
		}
	}
	expectFiles(t, dir)
	for _, path := range []string{"a", "~1a", "2026-01-01.csv", "192.168.1.20", "$SYS/x", "…", "~", "...", "a~1b.csv", strings.Repeat("ü", 100)} {
		if err := a.Do(t.Context(), Args{Path: path}); err != nil {
			t.Errorf("%q: %v", path, err)
		}
	}
}

func TestWriteFails(t *testing.T) {
	for _, mode := range []string{"append", "replace"} {
		a, dir := writer(t, func(o *ActionOptions) { o.Mode = mode })
		must(t, os.Remove(dir))
		err := a.Do(t.Context(), Args{Path: "a", Text: "x"})
		if err == nil || kind.IsPermanent(err) || err.Error() != "the folder "+dir+" does not exist; create it" {
			t.Errorf("%s: %v", mode, err)
		}
		must(t, os.Mkdir(dir, 0o755))
		must(t, a.Do(t.Context(), Args{Path: "a", Text: "x"}))
		must(t, os.Mkdir(filepath.Join(dir, "d"), 0o755))
		paths := []string{"d", "a/b", "a/b/c"} // a folder, and a file that should be one
		if runtime.GOOS != "windows" {
			makePipe(t, filepath.Join(dir, "pipe"))
			paths = append(paths, "pipe")
		}
		for _, path := range paths {
			if err := a.Do(t.Context(), Args{Path: path}); !kind.IsPermanent(err) {
				t.Errorf("%s %s: %v", mode, path, err)
			}
		}
		if err := a.Do(t.Context(), Args{Path: "a", JSON: func() {}}); !kind.IsPermanent(err) {
			t.Error(err)
		}
		if err := a.Do(t.Context(), Args{Path: "a", Text: strings.Repeat("x", maxLine)}); mode == "append" && (!kind.IsPermanent(err) || !strings.Contains(err.Error(), "more than the maximum")) {
			t.Error(err)
		}
	}
}

// TestNoPluginIsMade writes where a file would be a plugin.
func TestNoPluginIsMade(t *testing.T) {
	a, dir := writer(t, nil)
	plugins := filepath.Join(dir, "plugins.d")
	must(t, os.Mkdir(plugins, 0o755))
	a.env.(*kindtest.Bus).Folder = plugins
	if runtime.GOOS != "windows" {
		must(t, os.Symlink("plugins.d", filepath.Join(dir, "link")))
	}
	for _, path := range []string{"plugins.d/x.yaml", "link/x.yaml"} {
		if err := a.Do(t.Context(), Args{Path: path, Text: "x"}); runtime.GOOS != "windows" && !kind.IsPermanent(err) {
			t.Errorf("%s: %v", path, err)
		}
	}
	must(t, a.Do(t.Context(), Args{Path: "plugins.d/data/x", Text: "x"}))
	_ = os.Remove(filepath.Join(dir, "link")) // Windows has none
	expectFiles(t, dir, "plugins.d/data/x: x|")
}

func TestPermanentErrors(t *testing.T) {
	for err, permanent := range map[error]bool{
		syscall.ENOTDIR: true, syscall.ENAMETOOLONG: true, syscall.ENOSPC: false, fs.ErrPermission: false, errors.New("x"): false,
	} {
		if got := kind.IsPermanent(classify("a", &fs.PathError{Op: "open", Path: "a", Err: err})); got != permanent {
			t.Errorf("%v: %v", err, got)
		}
	}
}

// TestLinesDoNotExpire: a full disk may last longer than the time after which other actions skip an event.
func TestLinesDoNotExpire(t *testing.T) {
	for _, k := range Kinds() {
		if k.Action && !k.Persistent {
			t.Error("the events of the action expire, and its attempts end")
		}
	}
}
