package file

// This file is the action, which writes an event to a file.

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/postbus/postbus/plugins/kind"
)

// actionSample is a complete plugin file with this action.
//
//go:embed action.yaml
var actionSample string

// actionAbout is the action's description, in Markdown.
const actionAbout = "Writes `text` to a file: as a line at its end (`mode: append`), or as its new content (`mode: replace`), which " +
	"replaces the old one atomically. A missing file is created with mode 0644; its folder must exist. With `sync` an event counts as " +
	"done only when it is on disk. An event may be written twice if the bus is killed at that moment. Devices and pipes are refused. It runs on every platform."

// ActionOptions are the options of the action, fixed when the file is loaded.
type ActionOptions struct {
	Path string `key:"path" doc:"the file to write" need:"yes" path:"yes"`
	Mode string `key:"mode" doc:"append: text becomes a line at the end; replace: text becomes the whole content" oneof:"append|replace"`
	Sync bool   `key:"sync" doc:"whether each event is synced to disk (fsync) before it counts as done"`
}

// actionDefaults returns the options of a file that sets none.
func actionDefaults() ActionOptions { return ActionOptions{Mode: "append"} }

// Access is the file that the action writes.
func (o ActionOptions) Access() []string { return []string{"path:" + o.Path} }

// Args are the arguments for one event.
type Args struct {
	Text string `key:"text" doc:"the text to write; append adds a line end if it has none" need:"yes"`
}

// Action writes one file. It keeps nothing open between two events, so that log rotation needs no
// signal.
type Action struct {
	o  ActionOptions
	mu sync.Mutex // one event at a time
}

// NewAction makes an action of checked options.
func NewAction(o ActionOptions, _ kind.Env) *Action { return &Action{o: o} }

// notAFile returns the error for a path that is not a regular file.
func notAFile(path string, mode fs.FileMode) error {
	return kind.Permanent(fmt.Errorf("%s is not a regular file (%v)", path, mode.Type()))
}

// Do writes one event.
func (a *Action) Do(_ context.Context, args Args) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	info, err := os.Stat(a.o.Path) // checked before the file is opened, because opening a device may have effects
	if err == nil && !info.Mode().IsRegular() {
		return notAFile(a.o.Path, info.Mode())
	}
	if a.o.Mode == "replace" {
		err = a.replace(args.Text, info)
	} else {
		err = a.append(args.Text)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the folder %s does not exist; create it", filepath.Dir(a.o.Path))
	}
	return err
}

func (a *Action) append(text string) error {
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	f, err := os.OpenFile(a.o.Path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|nonblock, 0o644)
	if err != nil {
		return err
	}
	defer f.Close() // closes again after an error
	before, err := f.Stat()
	if err != nil {
		return err
	}
	if !before.Mode().IsRegular() {
		return notAFile(a.o.Path, before.Mode())
	}
	if n, err := f.WriteString(text); err != nil {
		// Half a line would become the beginning of the next one. So it is truncated away, unless
		// another process wrote too.
		if now, e := f.Stat(); n > 0 && e == nil && now.Size() == before.Size()+int64(n) {
			_ = f.Truncate(before.Size())
		}
		return err
	}
	if a.o.Sync {
		if err := f.Sync(); err != nil {
			return err
		}
		if before.Size() == 0 {
			syncFolder(filepath.Dir(a.o.Path))
		}
	}
	return f.Close()
}

// replace writes a new file beside the old one and renames it. info is the old file's, nil if there
// is none.
func (a *Action) replace(text string, info os.FileInfo) (err error) {
	path := a.o.Path
	if to, err := filepath.EvalSymlinks(path); err == nil {
		path = to // a symbolic link is kept
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	mode := fs.FileMode(0o644)
	if info != nil {
		mode = info.Mode().Perm()
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	if a.o.Sync {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	if a.o.Sync {
		syncFolder(filepath.Dir(path))
	}
	return nil
}

// syncFolder forces a new name to disk where the platform can. Some can't; the data itself is on
// disk already.
func syncFolder(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		d.Close()
	}
}
