// This file notices that the config file was saved. It watches the folder, because most editors
// write a new file and rename it over the old one, and because the file may not be there yet.

package main

import (
	"crypto/sha256"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// quiet is how long nothing must have happened before the file counts as saved.
const quiet = 250 * time.Millisecond

type watcher struct {
	fs     *fsnotify.Watcher // nil: nothing to watch
	file   string
	saved  func(why string)
	digest [sha256.Size]byte
	there  bool
	tasks  sync.WaitGroup
}

// watch calls saved whenever the content of file changes. Without a folder to watch there is still
// SIGHUP: that is logged, and no error.
func watch(file string, saved func(why string), log *slog.Logger) *watcher {
	w := &watcher{file: file, saved: saved}
	if file == "" {
		return w
	}
	w.changed()
	dir := filepath.Dir(file)
	if _, err := os.Stat(dir); os.IsNotExist(err) {
		log.Debug("config folder is not there: only SIGHUP reloads", "folder", dir)
		return w
	}
	n, err := fsnotify.NewWatcher()
	if err == nil {
		if err = n.Add(dir); err != nil {
			n.Close()
		}
	}
	if err != nil {
		log.Warn("config folder cannot be watched: only SIGHUP reloads", "folder", dir, "err", err)
		return w
	}
	w.fs = n
	w.tasks.Add(1)
	go w.run(log)
	return w
}

func (w *watcher) run(log *slog.Logger) {
	defer w.tasks.Done()
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	for {
		select {
		case e, ok := <-w.fs.Events:
			if !ok {
				return
			}
			// Names that begin with ".." are how Kubernetes swaps a mounted config.
			if base := filepath.Base(e.Name); base == filepath.Base(w.file) || strings.HasPrefix(base, "..") {
				timer.Reset(quiet)
			}
		case err, ok := <-w.fs.Errors:
			if !ok {
				return
			}
			log.Warn("config folder: events were missed", "err", err)
			timer.Reset(quiet)
		case <-timer.C:
			if w.changed() {
				w.saved("the file was saved")
			}
		}
	}
}

// changed reports whether the content is another one than last time. A file that is gone is not a
// change: the config that runs stays, and an editor may be between two steps.
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
	if w.fs != nil {
		w.fs.Close()
		w.tasks.Wait()
	}
}
