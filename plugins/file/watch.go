package file

// This file watches files: the known state of each, and files that have differed from it for long
// enough.

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"time"

	"github.com/postbus/postbus/plugins/internal/lines"
	"github.com/postbus/postbus/plugins/kind"
)

// maxWatched bounds the known files.
const maxWatched = 10000

// changes compares the files with the state that events reported.
type changes struct {
	o       Options
	limit   int                    // of the known files; maxWatched when 0
	known   map[string]os.FileInfo // as events reported them
	pending map[string]pending
}

// pending is a file that differs from the known state. info is nil when the file does not exist.
type pending struct {
	info  os.FileInfo
	since time.Time
}

func (c *changes) start(o Options) error {
	c.o, c.pending = o, map[string]pending{}
	if c.limit == 0 {
		c.limit = maxWatched
	}
	found, _, err := matches(o.Path, true, c.limit)
	if found == nil {
		found = map[string]os.FileInfo{}
	}
	c.known = found
	if err == nil {
		err = c.folder()
	}
	return err
}

// folder returns the fault of the folder that contains the files.
func (c *changes) folder() error {
	dir := filepath.Dir(c.o.Path)
	if isPattern(dir) {
		return nil
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return fmt.Errorf("the folder %s does not exist (yet)", dir)
	}
	return nil
}

// same reports whether two states of a path are equal.
func same(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && os.SameFile(a, b)
}

// scan looks at all files and posts the events of those that are quiet. The time says when the next
// of them may be quiet; 0 when none is pending.
func (c *changes) scan(ctx context.Context, post kind.Post) (time.Duration, error) {
	found, _, trouble := matches(c.o.Path, true, c.limit)
	if found == nil && trouble != nil {
		return 0, trouble // such as an unreadable folder: nothing is known about its files
	}
	paths := make([]string, 0, len(found))
	for path := range found {
		paths = append(paths, path)
	}
	for path := range c.known {
		if _, ok := found[path]; ok {
			continue
		}
		if trouble != nil { // there are too many files, and others pushed this one out of the known ones
			if _, err := os.Stat(path); err == nil {
				delete(c.known, path)
				continue
			}
		}
		paths = append(paths, path)
	}
	for path := range c.pending {
		_, here := found[path]
		_, known := c.known[path]
		if !here && !known {
			delete(c.pending, path) // created and removed again
		}
	}
	sort.Strings(paths)
	now := time.Now()
	var next time.Duration
	for _, path := range paths {
		info, known := found[path], c.known[path]
		if same(info, known) {
			delete(c.pending, path)
			continue
		}
		p, ok := c.pending[path]
		if !ok || !same(p.info, info) {
			p = pending{info, now}
			c.pending[path] = p
		}
		if wait := c.o.Settle - now.Sub(p.since); wait > 0 {
			if next == 0 || wait < next {
				next = wait
			}
			continue
		}
		if err := post(ctx, time.Now(), c.fields(path, info, known), nil); err != nil {
			return 0, &postError{err}
		}
		delete(c.pending, path)
		if info == nil {
			delete(c.known, path)
		} else {
			c.known[path] = info
		}
	}
	if trouble == nil {
		trouble = c.folder()
	}
	return next, trouble
}

// fields returns the fields of a change's event.
func (c *changes) fields(path string, info, known os.FileInfo) map[string]any {
	op, seen := "changed", info
	switch {
	case info == nil:
		op, seen = "removed", known
	case known == nil:
		op = "created"
	}
	f := map[string]any{
		"path": path, "name": filepath.Base(path), "op": op, "size": seen.Size(),
		"modified": seen.ModTime().Format(time.RFC3339Nano), "text": "", "json": nil,
	}
	if info != nil && info.Size() <= c.o.Read {
		if data := content(path, c.o.Read); data != nil {
			f["text"] = lines.Text(data)
			c.o.Decode.Payload(data, f)
		}
	}
	return f
}

// content returns the content of a file of at most limit bytes. It is nil when the file was removed
// or has grown: another event reports that.
func content(path string, limit int64) []byte {
	f, _, err := open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil || int64(len(data)) > limit {
		return nil
	}
	return data
}
