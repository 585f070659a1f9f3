package file

// The action: an event into a file.

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
)

// ActionSample is a complete plugin file with this action.
//
//go:embed action.yaml
var ActionSample string

// ActionAbout is the action's description, in Markdown.
const ActionAbout = "Writes `text` to a file: as a line at its end (`mode: append`), or as its whole new content (`mode: replace`), which " +
	"readers see at once and never in part. The file is made with mode 0644 when it is not there; its folder must be there. With `sync` an event is " +
	"done only when it is on disk. An event may be written twice when the bus is killed in that moment. Devices and pipes are refused. It runs on every platform."

// ActionOptions are fixed when the file is loaded.
type ActionOptions struct {
	Path string `key:"path" doc:"file to write" need:"yes" path:"yes"`
	Mode string `key:"mode" doc:"append: text is a line at the end; replace: text is the whole file" oneof:"append|replace"`
	Sync bool   `key:"sync" doc:"whether each event is forced to disk (fsync) before it is done"`
}

// ActionDefaults of the options.
func ActionDefaults() ActionOptions { return ActionOptions{Mode: "append"} }

// Access is what the action touches.
func (o ActionOptions) Access() []string { return []string{"path:" + o.Path} }

// Args are of each event.
type Args struct {
	Text string `key:"text" doc:"what to write; append adds the line end when it has none" need:"yes"`
}

// ActionEnv is what the action needs of the bus: nothing.
type ActionEnv interface{}

// Action writes one file. It keeps nothing open between two events, so that rotation needs no signal.
type Action struct {
	o  ActionOptions
	mu sync.Mutex // one event at a time
}

// NewAction makes an action; the options were checked.
func NewAction(o ActionOptions, _ ActionEnv) *Action { return &Action{o: o} }

// notAFile is an error that no second attempt repairs.
type notAFile struct {
	path string
	mode fs.FileMode
}

func (e *notAFile) Error() string {
	return fmt.Sprintf("%s is not a regular file (%v)", e.path, e.mode.Type())
}
func (*notAFile) Permanent() bool { return true }

// Do writes one event.
func (a *Action) Do(_ context.Context, args Args) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	info, err := os.Stat(a.o.Path) // before it is opened: opening a device may do something
	if err == nil && !info.Mode().IsRegular() {
		return &notAFile{a.o.Path, info.Mode()}
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
	defer f.Close() // again, after an error
	before, err := f.Stat()
	if err != nil {
		return err
	}
	if !before.Mode().IsRegular() {
		return &notAFile{a.o.Path, before.Mode()}
	}
	if n, err := f.WriteString(text); err != nil {
		// Half a line would begin the next one; taken back unless somebody else wrote too.
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

// replace writes a new file beside the old one and renames it; info is the old one's, if there is one.
func (a *Action) replace(text string, info os.FileInfo) (err error) {
	path := a.o.Path
	if to, err := filepath.EvalSymlinks(path); err == nil {
		path = to // a symbolic link stays one
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

// syncFolder forces a new name to disk where the platform can; not all can, and the data is there already.
func syncFolder(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		d.Close()
	}
}
