// Package dirwatch reports when the files of a folder may have changed.
//
// It promises: after a change of a relevant name it calls back as soon as no other change followed
// for Quiet, and at most MaxWait after the first change. The system notifies of changes in the
// folder and its parent, so that the package sees every way of saving there: writing in place,
// writing and renaming, a symbolic link that is swapped (as Kubernetes does with ..data), a folder
// that is replaced, removed or created. Once a second, and every few seconds in folders of
// thousands of files, it looks at the files' size, times and identity, to find changes without a
// notification: behind a symbolic link, by another hard link, behind a parent folder that is swapped
// or mounted over, on a network share. It also calls back every Rescan, more rarely where that takes
// long, and when the system lost notifications; the caller compares contents.
package dirwatch

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// The defaults.
const (
	Quiet   = 250 * time.Millisecond
	MaxWait = 2 * time.Second
	Rescan  = 30 * time.Second
	Look    = time.Second
)

const (
	share   = 200             // a look may take this fraction of the time until the next one
	calm    = 1000            // a call without a sign of a change may take this fraction of the time until the next one
	settled = 2 * time.Second // a file changed less long ago may change unseen
)

// Options of a watch. The zero value works.
type Options struct {
	Logger   *slog.Logger
	Quiet    time.Duration
	Rescan   time.Duration          // negative: never call back without a sign of a change
	Look     time.Duration          // between two looks at the files
	Relevant func(name string) bool // selects names; nil: all. Those that begin with ".." always are
	File     string                 // instead of Relevant: only the file of this name
	Silent   bool                   // use no notifications of the system: looks are enough
}

// Watch calls changed until ctx ends: once at the start, and whenever files may have changed. Only
// Watch's goroutine calls changed.
func Watch(ctx context.Context, dir string, o Options, changed func(why string)) {
	w := &watch{dir: filepath.Clean(dir), o: o}
	if w.o.Logger == nil {
		w.o.Logger = slog.New(slog.DiscardHandler)
	}
	if w.o.Quiet <= 0 {
		w.o.Quiet = Quiet
	}
	if w.o.Rescan == 0 {
		w.o.Rescan = Rescan
	}
	if w.o.Look <= 0 {
		w.o.Look = Look
	}
	if w.o.File != "" {
		w.o.Relevant = func(name string) bool { return name == w.o.File }
	}
	w.run(ctx, changed)
}

type watch struct {
	dir    string
	o      Options
	fs     *fsnotify.Watcher // nil: the system does not notify
	inside os.FileInfo       // the folder that is watched; nil: it does not exist
	seen   state
}

func (w *watch) run(ctx context.Context, changed func(why string)) {
	var events chan fsnotify.Event
	var errs chan error
	if fs, err := w.notifier(); err != nil {
		w.o.Logger.Warn("file change notifications are not available, the folder is polled",
			"err", err, "every", w.o.Look)
	} else if fs != nil {
		w.fs = fs
		defer fs.Close()
		events, errs = fs.Events, fs.Errors
		if err := fs.Add(filepath.Dir(w.dir)); err != nil {
			w.o.Logger.Debug("watching the parent folder failed", "err", err)
		}
	}
	w.follow()
	w.seen = w.state()
	took := func(why string) time.Duration {
		began := time.Now()
		changed(why)
		return time.Since(began)
	}
	again := time.NewTimer(w.every(took("start")))
	defer again.Stop()
	look := time.NewTimer(w.o.Look)
	defer look.Stop()
	settle := time.NewTimer(time.Hour)
	settle.Stop()
	defer settle.Stop()
	var first time.Time // time of the first change that was not reported yet
	soon := func() {
		now := time.Now()
		if first.IsZero() {
			first = now
		}
		settle.Reset(max(min(w.o.Quiet, first.Add(MaxWait).Sub(now)), 0))
	}
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-events:
			if !ok {
				return
			}
			if !w.concerns(e) {
				continue
			}
			soon()
		case err, ok := <-errs:
			if !ok {
				return
			}
			w.o.Logger.Warn("file change notifications were lost, the whole folder is read",
				"folder", w.dir, "err", err)
			settle.Reset(w.o.Quiet)
		case <-look.C:
			began := time.Now()
			if now := w.state(); !now.same(w.seen) {
				w.seen = now
				soon()
			}
			look.Reset(max(w.o.Look, share*time.Since(began)))
		case <-settle.C:
			first = time.Time{}
			w.follow()
			again.Reset(w.every(took("files changed")))
		case <-again.C:
			w.follow()
			again.Reset(w.every(took("regular look")))
		}
	}
}

// notifier returns nil without an error if the options ask for no notifications.
func (w *watch) notifier() (*fsnotify.Watcher, error) {
	if w.o.Silent {
		return nil, nil
	}
	return fsnotify.NewWatcher()
}

// every is the time until a call without a sign of a change, after a call that took that long.
func (w *watch) every(took time.Duration) time.Duration {
	if w.o.Rescan < 0 {
		return 1 << 62
	}
	return max(w.o.Rescan, calm*took)
}

// follow watches the folder that exists now: it may have been replaced.
func (w *watch) follow() {
	if w.fs == nil {
		return
	}
	st, err := os.Stat(w.dir)
	if err != nil {
		w.inside = nil
		return
	}
	if w.inside != nil && os.SameFile(w.inside, st) {
		return
	}
	_ = w.fs.Remove(w.dir) // the watch of the previous folder, if the system kept it
	if err := w.fs.Add(w.dir); err != nil {
		w.o.Logger.Warn("watching the folder failed", "folder", w.dir, "err", err)
		return
	}
	w.inside = st
}

func (w *watch) concerns(e fsnotify.Event) bool {
	if e.Op == fsnotify.Chmod && w.o.Relevant != nil && !w.o.Relevant(filepath.Base(e.Name)) {
		return false
	}
	name := filepath.Clean(e.Name)
	if name == w.dir {
		if e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename) || e.Has(fsnotify.Create) {
			w.inside = nil
		}
		return true
	}
	if filepath.Dir(name) != w.dir {
		return false
	}
	base := filepath.Base(name)
	return w.o.Relevant == nil || strings.HasPrefix(base, "..") || w.o.Relevant(base)
}
