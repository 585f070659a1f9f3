// This file notices that the config file was saved, in any editor's way.

package main

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/postbus/postbus/config/dirwatch"
)

type watcher struct {
	file   string
	saved  func(why string)
	digest [sha256.Size]byte
	there  bool
	cancel context.CancelFunc
	tasks  sync.WaitGroup
}

// newWatcher notes the content of file. It is made before the file is loaded, so that what is saved while
// the bus starts is seen.
func newWatcher(file string) *watcher {
	w := &watcher{file: file, cancel: func() {}}
	w.changed()
	return w
}

// start calls saved whenever the content of the file changes, first for a change since newWatcher. file is
// its name, which may be a link. Where folders cannot be watched it logs that and returns no error, because
// SIGHUP still works.
func (w *watcher) start(file string, saved func(why string), log *slog.Logger) {
	if file == "" {
		return
	}
	w.file, w.saved = file, saved
	var ctx context.Context
	ctx, w.cancel = context.WithCancel(context.Background())
	o := dirwatch.Options{Logger: log, Rescan: -1, File: filepath.Base(file)}
	w.tasks.Go(func() {
		dirwatch.Watch(ctx, filepath.Dir(file), o, func(string) {
			if w.changed() {
				w.saved("the file was saved")
			}
		})
	})
}

// changed reports whether the content differs from the last one. A missing file is not a change:
// the running config stays, and an editor may be between two steps.
func (w *watcher) changed() bool {
	data, err := os.ReadFile(w.file)
	if err != nil {
		return false
	}
	d := sha256.Sum256(data)
	if w.there && d == w.digest {
		return false
	}
	w.there, w.digest = true, d
	return true
}

func (w *watcher) close() {
	w.cancel()
	w.tasks.Wait()
}
