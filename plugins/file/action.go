package file

// This file is the action, which writes an event to a file below a folder.

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

// actionSample is a complete plugin file with this action.
//
//go:embed action.yaml
var actionSample string

// actionAbout is the action's description, in Markdown.
const actionAbout = "Writes each event to a file below `folder`: as a line at its end (`mode: append`), or as its new content (`mode: replace`), which " +
	"replaces the old one atomically. The line is `text`, one value as `json`, or CSV with `columns`, whose names are the first line of each file. " +
	"`path` may contain `${…}`, for a file for each day or topic; folders in it are created, and a path that leaves `folder` becomes a dead letter, also through a symbolic link. " +
	"`folder` itself must exist, so that nothing is written beside a disk that is not mounted.\n\n" +
	"Each event is written at least once: after a kill of the bus, those of about the last second are written again. A line that a kill cut off is moved from `readings.csv` to `readings~cut.csv`, " +
	"and its event is written again (of a `text` of several lines, the complete ones stay). A full disk, missing rights or a missing folder delay the events and lose none: they do not expire and are retried until they are written, unless " +
	"`expires` and `retry` say otherwise. With `sync` an event counts as done only when it is on disk. No file stays open between two events, so that other programs can rename or remove it. " +
	"A file with other columns than `columns` is renamed as rotation does, but none is deleted for that. Devices and pipes are refused. " +
	"A line has at most 1 MiB. A CSV file is read once after each start, to find the end of its last row. The number of files is that of the paths: use only parts of an event that have few values. It runs on every platform."

// ActionOptions are the options of the action, fixed when the file is loaded.
type ActionOptions struct {
	Folder  string    `key:"folder" doc:"the folder of the files; it must exist" need:"yes" path:"apart"`
	Mode    string    `key:"mode" doc:"append: each event is a line at the end; replace: each event is the whole content" oneof:"append|replace"`
	Columns kind.Keys `key:"columns" doc:"the names of the columns"`
	Rotate  *Rotate   `key:"rotate" doc:"append only: when a file is renamed, so that a new one begins: readings.csv becomes readings~1.csv, that one readings~2.csv, and so on"`
	Sync    bool      `key:"sync" doc:"whether each event is synced to disk (fsync) before it counts as done"`
}

// Rotate says when a file is full.
type Rotate struct {
	Size int64         `key:"size" doc:"the maximum size of a file, unless one line is larger" unit:"size" min:"1KiB" max:"1TiB"`
	Age  time.Duration `key:"age" doc:"a file has only lines of one period of this length; periods begin at midnight, local time" min:"1m" max:"3650d"`
	Keep int64         `key:"keep" doc:"how many renamed files of each path are kept; older ones are deleted; default 10" min:"1" max:"1000"`
}

// defaultKeep is keep of a file that does not set it.
const defaultKeep = 10

// actionDefaults returns the options of a file that sets none.
func actionDefaults() ActionOptions { return ActionOptions{Mode: "append"} }

// Access is the folder that the action writes in.
func (o ActionOptions) Access() []string { return []string{"path:" + o.Folder} }

// Check checks the options against each other.
func (o ActionOptions) Check() []error {
	var errs []error
	if o.Rotate != nil {
		if o.Mode == "replace" {
			errs = append(errs, kind.Wrong("rotate", "a file that is replaced does not grow", "leave out rotate, or write mode: append"))
		}
		if o.Rotate.Size == 0 && o.Rotate.Age == 0 {
			errs = append(errs, kind.Wrong("rotate", "rotate has no size and no age", "write it as {size: 10MiB, keep: 5} or {age: 7d}"))
		}
	}
	if slices.Contains(o.Columns, "") {
		errs = append(errs, kind.Wrong("columns", "a column has no name", ""))
	}
	return errs
}

// Args are the arguments for one event.
type Args struct {
	Path    string            `key:"path" doc:"the file, below folder, with / between folders" need:"yes"`
	Text    string            `key:"text" doc:"the line as text; append adds a line end if it has none"`
	JSON    any               `key:"json" doc:"the line as a JSON value"`
	Columns map[string]string `key:"columns" doc:"the line as CSV (RFC 4180, with \\n as line end): a value for each column, in this order; a missing value is an empty field"`
}

// CheckGiven checks the arguments that an entry sets.
func (a Args) CheckGiven(given []string) []error {
	var errs []error
	var contents []string
	for _, key := range given {
		if key != "path" {
			contents = append(contents, key)
		}
	}
	switch {
	case len(contents) == 0:
		errs = append(errs, kind.Wrong("", "the line is missing", "write one of text, json and columns"))
	case len(contents) > 1:
		errs = append(errs, kind.Wrong(contents[1], strings.Join(contents, " and ")+" exclude each other", "write one of text, json and columns"))
	}
	if a.Path != "" {
		if err := checkPath(a.Path); err != nil {
			errs = append(errs, kind.Wrong("path", err.Error(), "write a path below folder, as ${now.Format(\"2006-01-02\")}.csv"))
		}
	}
	return errs
}

// Action writes files. It keeps nothing open between two events, so that log rotation needs no
// signal and a folder may be mounted and unmounted.
type Action struct {
	o    ActionOptions
	env  kind.Env
	now  func() time.Time
	head []byte // the first line of a CSV file

	mu   sync.Mutex // one event at a time
	left map[string]left
}

// NewAction makes an action of checked options.
func NewAction(o ActionOptions, env kind.Env) *Action {
	a := &Action{o: o, env: env, now: time.Now, left: map[string]left{}}
	if len(o.Columns) > 0 {
		a.head = csvLine(o.Columns)
	}
	return a
}

// Do writes one event.
func (a *Action) Do(ctx context.Context, args Args) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := checkPath(args.Path); err != nil {
		return kind.Permanent(err)
	}
	line, err := a.line(args)
	if err != nil {
		return kind.Permanent(err)
	}
	root, err := os.OpenRoot(a.o.Folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the folder %s does not exist; create it", a.o.Folder)
	case err != nil:
		return err
	}
	defer root.Close()
	if err := a.notBesidePlugins(root, path.Dir(args.Path)); err != nil {
		return err
	}
	if a.o.Mode == "replace" {
		return classify(args.Path, a.replace(root, args.Path, line))
	}
	return classify(args.Path, a.append(ctx, root, args.Path, line))
}

// notBesidePlugins returns an error if dir is the plugins folder: an event must not make a plugin.
func (a *Action) notBesidePlugins(root *os.Root, dir string) error {
	plugins, err := os.Stat(a.env.Dir())
	if err != nil {
		return nil // there is none
	}
	if d, err := root.Stat(filepath.FromSlash(dir)); err == nil && os.SameFile(d, plugins) {
		return kind.Permanent(fmt.Errorf("%s is the plugins folder: a file there would be a plugin", filepath.Join(a.o.Folder, dir)))
	}
	return nil
}

// notAFile returns the error for a path that is not a regular file.
func notAFile(name string, mode fs.FileMode) error {
	return kind.Permanent(fmt.Errorf("%s is not a regular file (%v)", name, mode.Type()))
}
