package file

// This file decides when to look at the files again: the operating system notifies about changes in
// their folders.

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// maxFolders bounds the watched folders. Changes in further folders are found by polling.
	maxFolders = 128
	// gap is the minimum time between two looks at the files, however many notifications arrive.
	gap = 20 * time.Millisecond
	// renew is how often all folders are watched again, because a renamed folder takes its watch
	// along.
	renew = 30 * time.Second
)

// notices waits for a possible change. Without notifications (too many watches, a network file
// system) only the clock wakes it.
type notices struct {
	pattern string
	w       *fsnotify.Watcher
	renewed time.Time
}

func newNotices(pattern string) *notices {
	n := &notices{pattern: pattern}
	n.w, _ = fsnotify.NewWatcher() // on failure polling must do
	n.update()
	return n
}

// update watches the folders in which a relevant change may happen now. more reports whether there
// are more of them than before, because changes in those were not notified until now.
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
	add(n.pattern) // in case it is a folder itself
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
		more = n.w.Add(dir) == nil || more // without more watches polling must do
	}
	return more
}

// base returns the deepest existing folder above the first part of a path that is a pattern.
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

// wait returns when there may be a change, after a time (unless that is 0), at a tick, or when ctx
// ends.
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
	case <-errs: // the queue overflowed: the next look finds the changes that were dropped
	}
	// More notifications follow; one look serves them all.
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
