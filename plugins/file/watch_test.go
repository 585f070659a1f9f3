package file

// This file tests the events of changed files.

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestWatch(t *testing.T) {
	for _, kind := range []string{"folder", "pattern"} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			a, c := filepath.Join(dir, "a"), filepath.Join(dir, "c")
			put(t, a, "1")
			path := dir
			if kind == "pattern" {
				path = filepath.Join(dir, "[a-c]")
			}
			b, _ := start(t, path, func(o *Options) { o.Mode, o.Read = "watch", 10 })
			put(t, a, "22")
			expect(t, b, "changed a 22")
			put(t, c, `{"x":1}`)
			e := b.Next(t)
			info, err := os.Stat(c)
			must(t, err)
			if e["op"] != "created" || e["path"] != c || e["size"] != int64(7) || e["json"].(map[string]any)["x"] != int64(1) ||
				e["modified"] != info.ModTime().Format(time.RFC3339Nano) {
				t.Errorf("%v", e)
			}
			put(t, a, "larger than may be read")
			expect(t, b, "changed a")
			must(t, os.Remove(a))
			expect(t, b, "removed a")
			put(t, c+".tmp", "new")
			must(t, os.Rename(c+".tmp", c)) // as sed -i and editors do; the temporary file was created and removed
			expect(t, b, "changed c new")
			must(t, os.Mkdir(filepath.Join(dir, "b"), 0o755)) // not a file
			put(t, a, "end")
			expect(t, b, "created a end")
		})
	}
}

// TestWatchBehindALink checks that a change behind a link, about which there is no notification, is
// found by polling within two seconds.
func TestWatchBehindALink(t *testing.T) {
	dir, elsewhere := t.TempDir(), filepath.Join(t.TempDir(), "x")
	put(t, elsewhere, "1")
	if err := os.Symlink(elsewhere, filepath.Join(dir, "a")); err != nil {
		t.Skip(err)
	}
	b, _ := start(t, dir, func(o *Options) { o.Mode, o.Read = "watch", 10 })
	put(t, elsewhere, "22")
	expect(t, b, "changed a 22")
}

func TestDecode(t *testing.T) {
	p := filepath.Join(t.TempDir(), "a")
	b, _ := start(t, p, func(o *Options) { o.Mode, o.Read, o.Decode = "watch", 1000, "cbor" })
	put(t, p, "\x82\x01\x0a")
	if e := b.Next(t); !reflect.DeepEqual(e["json"], []any{int64(1), int64(10)}) {
		t.Errorf("%v", e)
	}
	tail, _ := start(t, p, func(o *Options) { o.Decode = "csv" })
	add(t, p, "\na,1\n")
	tail.Next(t)
	if e := tail.Next(t); !reflect.DeepEqual(e["json"], []any{"a", "1"}) {
		t.Errorf("%v", e)
	}
	if errs := (Options{Mode: "tail", Decode: "cbor"}).Check(); len(errs) != 1 || !strings.Contains(errs[0].Error(), "a line cannot hold cbor") {
		t.Error(errs)
	}
}

func TestWatchSettles(t *testing.T) {
	p := filepath.Join(t.TempDir(), "a")
	b, _ := start(t, p, func(o *Options) { o.Mode, o.Read, o.Settle = "watch", 1000, time.Second })
	for i := range 50 { // for longer than settle, and never quiet for that long
		add(t, p, "x")
		if i%5 == 0 {
			must(t, os.Remove(p))
		}
		<-time.After(30 * time.Millisecond)
	}
	put(t, p, "end")
	expect(t, b, "created a end")
	must(t, os.Remove(p))
	put(t, p, "again")
	expect(t, b, "changed a again")
	if len(b.Events) > 0 {
		t.Errorf("more events: %v", b.Next(t))
	}
}

func TestWatchFolderThatComesLater(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x", "y")
	b, _ := start(t, filepath.Join(dir, "a"), func(o *Options) { o.Mode = "watch" })
	b.Eventually(t, "says so", func() bool { return len(b.Conditions) == 1 && strings.Contains(b.Conditions[0], dir+" does not exist") })
	must(t, os.MkdirAll(dir, 0o755))
	b.Eventually(t, "is well again", func() bool { return b.Conditions[len(b.Conditions)-1] == "<nil>" })
	put(t, filepath.Join(dir, "a"), "")
	expect(t, b, "created a")
}

// With more files than the limit, a new file pushes another one out of the list: that is not a
// removal.
func TestWatchTooManyFiles(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "b"), "")
	put(t, filepath.Join(dir, "c"), "")
	c := changes{limit: 2}
	must(t, c.start(Options{Path: dir, Mode: "watch"}))
	var got []string
	put(t, filepath.Join(dir, "a"), "")
	if _, err := c.scan(t.Context(), func(_ context.Context, _ time.Time, e map[string]any, _ func(error)) error {
		got = append(got, e["op"].(string)+" "+e["name"].(string))
		return nil
	}); err == nil || strings.Join(got, ", ") != "created a" {
		t.Errorf("got %q, %v", got, err)
	}
}
