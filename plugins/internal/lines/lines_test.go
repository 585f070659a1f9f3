package lines

import (
	"bytes"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

func read(t *testing.T, r io.Reader, max int) (got []string, cut int) {
	t.Helper()
	l := NewReader(r, max)
	for {
		line, err := l.Next()
		if err == io.EOF {
			return got, l.Cut()
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(line))
	}
}

func TestLines(t *testing.T) {
	long := strings.Repeat("x", 9000)
	for _, c := range []struct {
		name, text string
		want       []string
		cut        int
	}{
		{"nothing", "", nil, 0},
		{"one", "a\n", []string{"a"}, 0},
		{"no newline at the end", "a\nb", []string{"a", "b"}, 0},
		{"Windows", "a\r\nb\r\n", []string{"a", "b"}, 0},
		{"empty lines", "\n\na\n", []string{"", "", "a"}, 0},
		{"as long as may be", "12345678\n1\n", []string{"12345678", "1"}, 0},
		{"as long as may be, Windows", "12345678\r\n1\r\n", []string{"12345678", "1"}, 0},
		{"one too long", "123456789\n1\n", []string{"12345678", "1"}, 1},
		{"two too long", "1234567890\n1\n", []string{"12345678", "1"}, 1},
		{"UTF-16", "\xff\xfea\x00\r\x00\n\x00\xfc\x00\n\x00", []string{"a", "ü"}, 0},
		{"UTF-16, no newline at the end", "\xff\xfea\x00\n\x00b\x00", []string{"a", "b"}, 0},
		{"UTF-16, the high byte first", "\xfe\xff\x00a\x00\n\x20\xac\x00\r\x00\n", []string{"a", "€"}, 0},
		{"UTF-16, bytes of a newline that are none", "\xff\xfe\x0a\x0a\x00\x0a\n\x00x\x00\n\x00", []string{"\u0a0a\u0a00", "x"}, 0},
		{"UTF-16, the same the other way", "\xfe\xff\x0a\x0a\x0a\x00\x00\n\x00x\x00\n", []string{"\u0a0a\u0a00", "x"}, 0},
		{"UTF-16, too long", "\xff\xfe" + strings.Repeat("y\x00", 9000) + "\n\x00b\x00\n\x00", []string{"yyyyyyyy", "b"}, 1},
		{"UTF-16, cut within a character", "\xff\xfea\x00\n\x00b", []string{"a", "\ufffd"}, 0},
		{"UTF-16, empty lines", "\xff\xfe\n\x00\r\x00\n\x00", []string{"", ""}, 0},
		{"a mark and nothing", "\xff\xfe", []string{""}, 0},
		{"far too long", long + "\nb\n" + long, []string{long[:8], "b", long[:8]}, 2},
	} {
		for _, slow := range []bool{false, true} {
			var r io.Reader = strings.NewReader(c.text)
			if slow {
				r = iotest.OneByteReader(r)
			}
			if got, cut := read(t, r, 8); !reflect.DeepEqual(got, c.want) || cut != c.cut {
				t.Errorf("%s: got %q, %d cut", c.name, got, cut)
			}
		}
	}
}

// shy returns a few bytes at a time, and between them its deadline is exceeded.
type shy struct {
	data  []byte
	sizes []byte
	due   bool
}

func (s *shy) Read(p []byte) (int, error) {
	if s.due = !s.due; s.due && len(s.sizes) > 0 {
		return 0, os.ErrDeadlineExceeded
	}
	if len(s.data) == 0 {
		return 0, io.EOF
	}
	n := len(s.data)
	if len(s.sizes) > 0 {
		n, s.sizes = min(n, int(s.sizes[0])+1), s.sizes[1:]
	}
	n = copy(p, s.data[:n])
	s.data = s.data[n:]
	return n, nil
}

// patient reads all lines, each twice when again is set.
func patient(t *testing.T, r io.Reader, max int, again bool) (got []string, cut int) {
	t.Helper()
	l := NewReader(r, max)
	for {
		line, err := l.Next()
		switch {
		case err == os.ErrDeadlineExceeded:
			if l.Unfinished() != (l.Waiting() == 1) {
				t.Fatalf("unfinished: %v, waiting: %d", l.Unfinished(), l.Waiting())
			}
			continue
		case err == io.EOF:
			return got, cut
		case err != nil:
			t.Fatal(err)
		}
		first, n := string(line), l.Cut()
		if again {
			l.Again()
			before := l.Waiting()
			line, err := l.Next()
			if err != nil || string(line) != first || l.Cut() != n || l.Waiting() != before-1 {
				t.Fatalf("once more %q is %q, %v", first, line, err)
			}
		}
		got, cut = append(got, first), cut+n
	}
}

func TestAReadThatWasInterruptedLosesNothing(t *testing.T) {
	const text = "one\r\ntwo three\n0123456789\nfour"
	want := []string{"one", "two thre", "01234567", "four"}
	for size := range 12 {
		got, cut := patient(t, &shy{data: []byte(text), sizes: bytes.Repeat([]byte{byte(size)}, len(text))}, 8, size%2 == 0)
		if !reflect.DeepEqual(got, want) || cut != 2 {
			t.Errorf("%d bytes at a time: %q, %d cut", size+1, got, cut)
		}
	}
}

func FuzzInterruptions(f *testing.F) {
	f.Add([]byte("a\r\nbb\n\nccc"), []byte{0, 1, 2}, 2, true)
	f.Add([]byte("\xff\xfea\x00\n\x00\x00\nb\x00\r\x00\n\x00"), []byte{0, 1, 2}, 2, true)
	f.Add([]byte("\xfe\xff\x00a\x00\n\n\x00\x00b\x00\r\x00\n"), []byte{1, 0, 3}, 2, false)
	f.Fuzz(func(t *testing.T, data, sizes []byte, max int, again bool) {
		if max < 1 || max > 1000 {
			return
		}
		want, wantCut := patient(t, bytes.NewReader(data), max, false)
		if got, cut := patient(t, &shy{data: data, sizes: sizes}, max, again); !reflect.DeepEqual(got, want) || cut != wantCut {
			t.Fatalf("%q, %d cut; without interruptions %q, %d", got, cut, want, wantCut)
		}
	})
}

func TestText(t *testing.T) {
	if Text([]byte("a\xffb")) != "a\uFFFDb" {
		t.Error("bad UTF-8 stays")
	}
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("a\r\nbb\n"), 3)
	f.Add([]byte("\xff\xfe000"), 158)
	f.Fuzz(func(t *testing.T, data []byte, max int) {
		if max < 1 || max > 1000 {
			return
		}
		got, _ := read(t, bytes.NewReader(data), max)
		n := 0
		for _, l := range got {
			if len(l) > max {
				t.Fatalf("a line of %d bytes, at most %d", len(l), max)
			}
			n += len(l)
		}
		most := len(data)
		if bytes.HasPrefix(data, []byte("\xff\xfe")) || bytes.HasPrefix(data, []byte("\xfe\xff")) {
			most = 3 * (len(data) + 1) / 2 // two bytes of UTF-16, or a half at the end, are up to three of UTF-8
		}
		if n > most {
			t.Fatalf("%d bytes came out of %d", n, len(data))
		}
	})
}
