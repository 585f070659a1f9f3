package file

// This file follows files: which are open, how far each was read, and when following ends.

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/postbus/postbus/plugins/internal/lines"
	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/payload"
)

const (
	// maxTails bounds the files that are followed at a time.
	maxTails = 256
	// grace is how long a file is still read after it has lost its path, by a rename or removal.
	grace = 5 * time.Second
	// turn bounds the bytes read of one file before the next file is read.
	turn = 1 << 20
	// markSize is how many bytes are compared to detect a file that was truncated and has grown
	// again.
	markSize = 64
)

// tail is one followed file, whatever its current path.
type tail struct {
	path   string
	f      *os.File
	info   os.FileInfo // its identity
	offset int64
	mark   []byte    // the last bytes before offset: different bytes there mean that the file was rewritten
	seen   time.Time // its modification time when mark was last compared
	units  payload.Units
	line   []byte // the beginning of an unfinished line
	over   bool   // the line exceeds the bound: the remainder is skipped
	skip   bool   // reading began within a line, which makes no event
	n      int64
	until  time.Time // when it is closed; zero while it has a path
}

// tails are all followed files of a source, the oldest first.
type tails struct {
	o   Options
	env kind.Env
	all []*tail
	buf []byte
}

// scan reads new lines in all files. A time other than 0 says when to scan again.
func (t *tails) scan(ctx context.Context, post kind.Post) (time.Duration, error) {
	trouble := t.find(time.Now(), false)
	var next time.Duration
	kept := t.all[:0]
	for i, one := range t.all {
		more, err := t.read(ctx, one, post)
		if _, stopped := err.(*postError); stopped {
			t.all = append(kept, t.all[i:]...)
			return 0, err
		}
		if err == nil && !more && !one.until.IsZero() && time.Now().After(one.until) {
			if len(one.line) > 0 && !one.skip { // the last line of a file that is not written any more
				err = t.post(ctx, one, post)
				if err != nil {
					t.all = append(kept, t.all[i:]...)
					return 0, err
				}
			}
			one.f.Close()
			continue
		}
		if err != nil {
			if trouble == nil {
				trouble = err
			}
			if !one.reopen() { // found again if it exists
				continue
			}
		}
		kept = append(kept, one)
		if more {
			next = time.Nanosecond
		}
	}
	clear(t.all[len(kept):])
	t.all = kept
	return next, trouble
}

// find opens new files and sets the closing time of those without a path. At the start, files are
// read from where the options say; later ones from their beginning.
func (t *tails) find(now time.Time, start bool) error {
	found, sorted, trouble := matches(t.o.Path, false, maxTails)
	if found == nil && trouble != nil {
		return trouble // such as an unreachable share: a file that can't be seen isn't removed
	}
	seen := map[*tail]bool{}
	for _, path := range sorted {
		if one := t.same(found[path]); one != nil {
			if !seen[one] {
				seen[one] = true
				one.path, one.until = path, time.Time{}
			}
			continue
		}
		one, err := t.open(path, start && t.o.From == "end")
		if err != nil {
			if !os.IsNotExist(err) && trouble == nil {
				trouble = err
			}
			continue
		}
		seen[one] = true
		t.all = append(t.all, one)
	}
	for _, one := range t.all {
		if !seen[one] && one.until.IsZero() {
			one.until = now.Add(grace)
		}
	}
	if trouble == nil && len(sorted) == 0 && !isPattern(t.o.Path) {
		trouble = fmt.Errorf("%s does not exist (yet)", t.o.Path)
		if info, err := os.Stat(t.o.Path); err == nil {
			trouble = fmt.Errorf("%s is not a regular file (%v)", t.o.Path, info.Mode().Type())
		}
	}
	return trouble
}

func (t *tails) same(info os.FileInfo) *tail {
	for _, one := range t.all {
		if os.SameFile(one.info, info) {
			return one
		}
	}
	return nil
}

// open begins to follow a file.
func (t *tails) open(path string, end bool) (*tail, error) {
	f, info, err := open(path)
	if err != nil {
		return nil, err
	}
	one := &tail{path: path, f: f, info: info}
	if end && info.Size() > 0 {
		one.encoding()
		newline := one.units.Unit('\n')
		one.offset = info.Size() / int64(len(newline)) * int64(len(newline))
		mark := make([]byte, min(markSize, one.offset))
		if _, err := f.ReadAt(mark, one.offset-int64(len(mark))); err == nil {
			one.mark = mark
			one.skip = !bytes.HasSuffix(mark, newline)
		}
	}
	return one, nil
}

// encoding reads the byte order mark at the file's beginning. It returns false while only half of a
// mark is written.
func (one *tail) encoding() bool {
	var head [2]byte
	n, _ := one.f.ReadAt(head[:], 0)
	one.units = payload.UnitsOf(head[:n])
	return n != 1 || head[0] < 0xfe
}

// reopen opens a file again that could not be read, and continues at the same offset. It fails when
// another file has replaced it.
func (one *tail) reopen() bool {
	one.f.Close()
	f, info, err := open(one.path)
	if err != nil {
		return false
	}
	if !os.SameFile(info, one.info) {
		f.Close()
		return false
	}
	one.f = f
	return true
}

// read posts the new lines of a file. more reports that there may be more.
func (t *tails) read(ctx context.Context, one *tail, post kind.Post) (more bool, err error) {
	info, err := one.f.Stat()
	if err != nil {
		return false, err
	}
	if one.truncated(info) { // truncated in place
		if len(one.line) > 0 || one.over {
			t.env.Lost(1, "the file was truncated within a line")
		}
		one.offset, one.mark, one.line, one.over, one.skip = 0, nil, nil, false, false
	}
	if t.buf == nil {
		t.buf = make([]byte, 32<<10)
	}
	if one.offset == 0 && !one.encoding() {
		return false, nil
	}
	newline := one.units.Unit('\n')
	for done := 0; done < turn; {
		n, err := one.f.ReadAt(t.buf, one.offset)
		n -= n % len(newline) // half a character is read when its other half is written
		rest := t.buf[:n]
		for len(rest) > 0 {
			part, after, ended := cutLine(rest, newline)
			t.take(one, part)
			if ended {
				if err := t.post(ctx, one, post); err != nil {
					return false, err
				}
				one.offset += int64(len(newline))
			}
			one.offset += int64(len(part))
			rest = after
		}
		one.mark = append(one.mark, t.buf[max(0, n-markSize):n]...)
		one.mark = append(one.mark[:0], one.mark[max(0, len(one.mark)-markSize):]...)
		done += n
		switch {
		case err == io.EOF:
			return false, nil
		case err != nil:
			return false, err
		}
	}
	return true, nil
}

// cutLine is bytes.Cut at a newline that begins at a character's boundary.
func cutLine(b, newline []byte) (line, after []byte, found bool) {
	for at := 0; ; at++ {
		i := bytes.Index(b[at:], newline)
		if i < 0 {
			return b, nil, false
		}
		if at += i; at%len(newline) == 0 {
			return b[:at], b[at+len(newline):], true
		}
	}
}

// truncated reports whether a file no longer contains what was read up to offset.
func (one *tail) truncated(info os.FileInfo) bool {
	if info.Size() < one.offset {
		return true
	}
	if info.Size() == one.offset && info.ModTime().Equal(one.seen) {
		return false
	}
	one.seen = info.ModTime()
	now := make([]byte, len(one.mark))
	_, err := one.f.ReadAt(now, one.offset-int64(len(now)))
	return err == nil && !bytes.Equal(now, one.mark)
}

// take appends a part to the current line.
func (t *tails) take(one *tail, part []byte) {
	bound := int(t.o.MaxLine) + 1 // room for a \r at the end
	if one.units != payload.Bytes {
		bound = 2 * (bound + 1) // room for the mark
	}
	if room := bound - len(one.line); len(part) > room {
		part, one.over = part[:max(room, 0)], true
	}
	if !one.skip {
		one.line = append(one.line, part...)
	}
}

// post makes an event of the complete line.
func (t *tails) post(ctx context.Context, one *tail, post kind.Post) error {
	line, over := one.line, one.over
	skip := one.skip
	one.line, one.over, one.skip = one.line[:0], false, false
	if skip {
		return nil
	}
	line = one.units.Decode(line)
	if !over {
		line = bytes.TrimSuffix(line, []byte("\r"))
	}
	if over || len(line) > int(t.o.MaxLine) {
		t.env.Lost(1, "a line was longer than max_line and was cut")
		line = line[:t.o.MaxLine]
	}
	one.n++
	fields := map[string]any{"text": lines.Text(line), "path": one.path, "name": filepath.Base(one.path), "n": one.n}
	t.o.Decode.Line(line, fields)
	if err := post(ctx, time.Now(), fields, nil); err != nil {
		return &postError{err}
	}
	return nil
}

func (t *tails) close() {
	for _, one := range t.all {
		one.f.Close()
	}
	t.all = nil
}
