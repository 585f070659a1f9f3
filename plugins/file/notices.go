package file

// When to look at the files again: the operating system tells of changes in their folders.

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// maxFolders bounds the folders that are watched; files in others are seen by looking.
	maxFolders = 128
	// gap is the least time between two looks at the files, however many notices come.
	gap = 20 * time.Millisecond
	// renew is how often all folders are watched anew: one that was renamed takes its watch along.
	renew = 30 * time.Second
)

// notices tells that something may have happened. Without it (no more watches, a network file system) only the
// clock does.
type notices struct {
	pattern string
	w       *fsnotify.Watcher
	renewed time.Time
}

func newNotices(pattern string) *notices {
	n := &notices{pattern: pattern}
	n.w, _ = fsnotify.NewWatcher() // without: looking must do
	n.update()
	return n
}

// update watches the folders in which something may happen now. It reports whether there are more than before:
// what happened in those until now was not noticed.
func (n *notices) update() (more bool) {
	if n.w == nil {
		return false
	}
	if time.Since(n.renewed) > renew {
		for _, dir := range n.w.WatchList() {
			_ = n.w.Remove(dir)
		}
		n.renewed = time.Now()
	}
	want := map[string]bool{}
	add := func(dir string) {
		if info, err := os.Stat(dir); err == nil && info.IsDir() && len(want) < maxFolders {
			want[dir] = true
		}
	}
	add(n.pattern) // when it is a folder itself
	add(base(n.pattern))
	if dir := filepath.Dir(n.pattern); isPattern(dir) {
		dirs, _ := filepath.Glob(dir)
		for _, d := range dirs {
			add(d)
		}
	}
	for _, dir := range n.w.WatchList() {
		if !want[dir] {
			_ = n.w.Remove(dir)
		}
		delete(want, dir)
	}
	for dir := range want {
		more = n.w.Add(dir) == nil || more // out of watches: looking must do
	}
	return more
}

// base is the deepest folder that exists above a pattern's first part that is one.
func base(pattern string) string {
	dir := filepath.Dir(pattern)
	for {
		info, err := os.Stat(dir)
		up := filepath.Dir(dir)
		if err == nil && info.IsDir() || up == dir {
			return dir
		}
		dir = up
	}
}

// wait returns when something may have happened, after a time (when that is not 0), at a tick, or when ctx ends.
func (n *notices) wait(ctx context.Context, after time.Duration, tick <-chan time.Time) {
	more := n.update()
	var events <-chan fsnotify.Event
	var errs <-chan error
	if n.w != nil {
		events, errs = n.w.Events, n.w.Errors
	}
	var due <-chan time.Time
	if more {
		after = min(max(after, time.Nanosecond), gap)
	}
	if after > 0 {
		t := time.NewTimer(after)
		defer t.Stop()
		due = t.C
	}
	select {
	case <-ctx.Done():
		return
	case <-tick:
		return
	case <-due:
		return
	case <-events:
	case <-errs: // the queue was full: looking finds what it had
	}
	// More come with it: one look is for all.
	t := time.NewTimer(gap)
	defer t.Stop()
	for {
		select {
		case <-events:
		case <-errs:
		case <-t.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (n *notices) close() {
	if n.w != nil {
		_ = n.w.Close()
	}
}
