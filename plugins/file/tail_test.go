package file

// This file tests that appended and rotated files become the expected lines.

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind/kindtest"
)

func TestTail(t *testing.T) {
	p := filepath.Join(t.TempDir(), "a")
	put(t, p, "old\nolder, not ended")
	b, _ := start(t, p, nil)
	add(t, p, " now\nnew\r\n{\"x\":1}\nhalf")
	expect(t, b, "a new")
	e := b.Next(t)
	if e["n"] != int64(2) || e["path"] != p || e["json"].(map[string]any)["x"] != int64(1) {
		t.Errorf("%v", e)
	}
	add(t, p, " and half\nbad \xff\n")
	expect(t, b, "a half and half", "a bad \uFFFD")
	if len(b.Conditions) > 0 {
		t.Errorf("degraded: %q", b.Conditions)
	}
}

func TestTailFromTheStart(t *testing.T) {
	p := filepath.Join(t.TempDir(), "a")
	put(t, p, strings.Repeat("x\n", 2000)+"end\n")
	b, _ := start(t, p, func(o *Options) { o.From = "start" })
	for range 2000 {
		expect(t, b, "a x")
	}
	expect(t, b, "a end")
}

// TestTailOfWindows checks that a byte order mark is not text, and that UTF-16 is cut at its
// characters' boundaries, however it arrives.
func TestTailOfWindows(t *testing.T) {
	wide := func(text string) string { // little-endian
		var b []byte
		for _, c := range text {
			b = append(b, byte(c), byte(c>>8))
		}
		return string(b)
	}
	for name, c := range map[string]struct {
		parts []string
		want  []string
	}{
		"UTF-8":                     {[]string{"\xef\xbb\xbf{\"a\": 1}\r\n{\"a\": 2}\n"}, []string{`a {"a": 1}`, `a {"a": 2}`}},
		"UTF-16":                    {[]string{"\xff\xfe" + wide("wörld\r\nsecond\n\u0a61\u0100\n")}, []string{"a wörld", "a second", "a \u0a61\u0100"}},
		"UTF-16, byte by byte":      {strings.Split("\xff\xfe"+wide("wörld\r\nnext\n"), ""), []string{"a wörld", "a next"}},
		"UTF-16, high byte first":   {[]string{"\xfe\xff\x00h\x00i\x00\r\x00\n", "\x00j\x00\n"}, []string{"a hi", "a j"}},
		"a mark is in the way only": {[]string{"\xff", "x\n"}, []string{"a \ufffdx"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := filepath.Join(t.TempDir(), "a")
			b, _ := start(t, p, func(o *Options) { o.From = "start" })
			for _, part := range c.parts {
				add(t, p, part)
			}
			expect(t, b, c.want...)
		})
	}
	t.Run("from the end", func(t *testing.T) {
		p := filepath.Join(t.TempDir(), "a")
		put(t, p, "\xff\xfe"+wide("old\nnot ended"))
		b, _ := start(t, p, nil)
		add(t, p, wide(" now\nnew\n"))
		expect(t, b, "a new")
	})
}

func TestTailLongLines(t *testing.T) {
	p := filepath.Join(t.TempDir(), "a")
	b, _ := start(t, p, func(o *Options) { o.MaxLine = 8 })
	add(t, p, "12345678\n12345678\r\n123456789\n1234567890\n"+strings.Repeat("x", 100000)+"\nok\n")
	expect(t, b, "a 12345678", "a 12345678", "a 12345678", "a 12345678", "a xxxxxxxx", "a ok")
	if n := b.Losses["a line was longer than max_line and was cut"]; n != 3 {
		t.Errorf("lost: %v", b.Losses)
	}
}

func TestTailWaitsForTheFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x", "y")
	p := filepath.Join(dir, "a")
	b, _ := start(t, p, nil)
	b.Eventually(t, "says so", func() bool { return len(b.Conditions) == 1 && b.Conditions[0] == p+" does not exist (yet)" })
	must(t, os.MkdirAll(dir, 0o755))
	add(t, p, "first\n")
	expect(t, b, "a first")
	b.Eventually(t, "is well again", func() bool { return len(b.Conditions) > 1 && b.Conditions[len(b.Conditions)-1] == "<nil>" })
}

func TestTailRotation(t *testing.T) {
	for _, c := range []struct {
		name   string
		rotate func(t *testing.T, p string)
		want   []string
	}{
		{"renamed and created", func(t *testing.T, p string) {
			must(t, os.Rename(p, p+".1"))
			put(t, p, "new\n")
		}, []string{"a new"}},
		{"renamed, and written to meanwhile", func(t *testing.T, p string) {
			must(t, os.Rename(p, p+".1"))
			add(t, p+".1", "late\n")
			put(t, p, "new\n")
		}, []string{"a late", "a new"}},
		{"truncated in place", func(t *testing.T, p string) { put(t, p, "new\n") }, []string{"a new"}},
		{"truncated in place, and longer than before", func(t *testing.T, p string) { put(t, p, "1\n"+strings.Repeat("x", 50)+"\n") },
			[]string{"a 1", "a " + strings.Repeat("x", 50)}},
		{"removed and created", func(t *testing.T, p string) {
			must(t, os.Remove(p))
			put(t, p, "new\n")
		}, []string{"a new"}},
		{"replaced by a rename", func(t *testing.T, p string) {
			put(t, p+".tmp", "new\n")
			must(t, os.Rename(p+".tmp", p))
		}, []string{"a new"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := filepath.Join(t.TempDir(), "a")
			put(t, p, "before the start\n")
			b, _ := start(t, p, nil)
			add(t, p, "one\n")
			expect(t, b, "a one")
			for range 2 {
				c.rotate(t, p)
				expect(t, b, c.want...)
				add(t, p, "two\n")
				expect(t, b, "a two")
			}
		})
	}
}

// A program still writes to the file that it has open until it is told of the rotation.
func TestTailReadsARenamedFileForAWhile(t *testing.T) {
	p := filepath.Join(t.TempDir(), "a")
	b, _ := start(t, p, nil)
	add(t, p, "one\n")
	expect(t, b, "a one")
	must(t, os.Rename(p, p+".1"))
	put(t, p, "new\n")
	expect(t, b, "a new")
	add(t, p, "newer\n")
	expect(t, b, "a newer")
	add(t, p+".1", "late\n")
	expect(t, b, "a late")
}

func TestTailTruncatedWithinALine(t *testing.T) {
	p := filepath.Join(t.TempDir(), "a")
	b, _ := start(t, p, nil)
	add(t, p, "one\nhal")
	expect(t, b, "a one")
	must(t, os.Truncate(p, 0))
	b.Eventually(t, "it is counted", func() bool { return b.Losses["the file was truncated within a line"] == 1 })
	add(t, p, "two\n")
	expect(t, b, "a two")
}

func TestTailSymbolicLink(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Log("needs rights there")
		return
	}
	dir := t.TempDir()
	p, link := filepath.Join(dir, "a"), filepath.Join(dir, "tmp")
	put(t, filepath.Join(dir, "one"), "")
	put(t, filepath.Join(dir, "two"), "2\n")
	must(t, os.Symlink("one", p))
	b, _ := start(t, p, nil)
	add(t, filepath.Join(dir, "one"), "1\n")
	expect(t, b, "a 1")
	must(t, os.Symlink("two", link))
	must(t, os.Rename(link, p))
	expect(t, b, "a 2")
	add(t, filepath.Join(dir, "two"), "3\n")
	expect(t, b, "a 3")
}

func TestTailPattern(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "a.log"), "old\n")
	b, _ := start(t, filepath.Join(dir, "*.log*"), nil)
	add(t, filepath.Join(dir, "a.log"), "1\n")
	expect(t, b, "a.log 1")
	add(t, filepath.Join(dir, "b.log"), "2\n")
	expect(t, b, "b.log 2")
	must(t, os.Rename(filepath.Join(dir, "a.log"), filepath.Join(dir, "a.log.1"))) // matches too: not read again
	add(t, filepath.Join(dir, "a.log"), "3\n")
	expect(t, b, "a.log 3")
	add(t, filepath.Join(dir, "a.log.1"), "4\n")
	expect(t, b, "a.log.1 4")
	if len(b.Conditions) > 0 {
		t.Errorf("degraded: %q", b.Conditions)
	}
}

// Lines are the same in whatever pieces they are appended.
func FuzzTail(f *testing.F) {
	f.Add([]byte("a\r\nbb\n\n123456789\nend"), 3)
	f.Fuzz(func(t *testing.T, data []byte, part int) {
		if part < 1 || len(data)/part > 100 {
			return
		}
		p := filepath.Join(t.TempDir(), "a")
		put(t, p, "")
		ts := &tails{o: Options{Path: p, MaxLine: 8}, env: kindtest.NewBus()}
		must(t, ts.find(time.Now(), true))
		defer ts.close()
		var got []string
		collect := func(ctx context.Context, at time.Time, fields map[string]any, done func(error)) error {
			got = append(got, fields["text"].(string))
			return nil
		}
		for rest := data; len(rest) > 0; {
			n := min(part, len(rest))
			add(t, p, string(rest[:n]))
			rest = rest[n:]
			if _, err := ts.scan(t.Context(), collect); err != nil {
				t.Fatal(err)
			}
		}
		want := strings.Split(string(data), "\n")
		want = want[:len(want)-1]
		if len(got) != len(want) {
			t.Fatalf("%d lines, want %d", len(got), len(want))
		}
		for i, w := range want {
			if w = strings.TrimSuffix(w, "\r"); len(w) > 8 {
				w = w[:8]
			}
			if w = strings.ToValidUTF8(w, "\uFFFD"); got[i] != w {
				t.Fatalf("line %d is %q, want %q", i, got[i], w)
			}
		}
	})
}

// A share that is unreachable for a while does not count as a file that was removed and created
// again: its lines are not read twice.
func TestFilesThatCannotBeSeenAreNotRemoved(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("needs symbolic links")
	}
	dir := filepath.Join(t.TempDir(), "share")
	p := filepath.Join(dir, "a.log")
	must(t, os.Mkdir(dir, 0o755))
	put(t, p, "one\n")
	for _, path := range []string{p, filepath.Join(dir, "*.log")} {
		s := New(Options{Path: path, From: "start", MaxLine: 100}, kindtest.NewBus())
		must(t, s.Open(t.Context()))
		watching := changes{}
		must(t, watching.start(Options{Path: path, Mode: "watch"}))
		must(t, os.Rename(dir, dir+".away"))
		must(t, os.Symlink(dir, dir)) // a loop: the files are as unreadable as without permission
		nothing := func(_ context.Context, _ time.Time, e map[string]any, _ func(error)) error { return nil }
		if _, err := s.tails.scan(t.Context(), nothing); err == nil || len(s.tails.all) != 1 || !s.tails.all[0].until.IsZero() {
			t.Errorf("%s: %v, the file is given up", path, err)
		}
		if _, err := watching.scan(t.Context(), func(_ context.Context, _ time.Time, e map[string]any, _ func(error)) error {
			t.Errorf("%s: %v", path, e)
			return nil
		}); err == nil {
			t.Errorf("%s: no trouble", path)
		}
		must(t, os.Remove(dir))
		must(t, os.Rename(dir+".away", dir))
		must(t, s.Close())
	}
}

// A disk or share that fails once loses no line and repeats none.
func TestFileThatCannotBeReadOnce(t *testing.T) {
	p := filepath.Join(t.TempDir(), "a")
	put(t, p, "one\ntw")
	s := New(Options{Path: p, From: "start", MaxLine: 100}, kindtest.NewBus())
	must(t, s.Open(t.Context()))
	defer s.Close()
	var got []string
	scan := func() error {
		_, err := s.tails.scan(t.Context(), func(_ context.Context, _ time.Time, e map[string]any, _ func(error)) error {
			got = append(got, e["text"].(string))
			return nil
		})
		return err
	}
	must(t, scan())
	s.tails.all[0].f.Close() // every read fails
	if scan() == nil {
		t.Error("no trouble")
	}
	add(t, p, "o\n")
	must(t, scan())
	if text := strings.Join(got, " "); text != "one two" {
		t.Errorf("got %q", text)
	}
}
