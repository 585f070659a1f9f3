// Package file follows text files line by line or watches files for change, and writes files as an
// action.
//
// What mode tail promises: each line that is appended is an event once its line end is written. It
// follows files that are rotated (renamed and created again, truncated in place, or a symbolic link
// that is retargeted), files that are removed and created again, and files that do not exist yet. A
// renamed file is read for five seconds more. A file that is truncated and grows past the old
// offset between two looks is detected by different bytes before that offset. Offsets are not
// stored: when the source starts it begins at the end (or with from: start at the beginning) of
// existing files.
//
// What mode watch promises: one event for a file that was created, changed or removed, once it was
// quiet for settle. Several changes in that time are one event, which describes the result. Files
// that exist when the source starts make no event. It is not recursive.
//
// Both modes use notifications of the operating system and also poll: once a second where that is
// cheap.
package file

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/postbus/postbus/plugins/internal/lines"
	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/payload/decode"
)

// sample is a complete plugin file with this source.
//
//go:embed sample.yaml
var sample string

// about is the source's description, in Markdown.
const about = "Follows text files line by line (`mode: tail`, through rotation and removal) or emits an event when files are created, changed or " +
	"removed (`mode: watch`). The path may be a pattern with `*`, `?` and `[…]`. With watch it may be a folder, whose files are watched, but not those of folders " +
	"in it. Positions are not kept over a restart. Other programs can rename or remove a file that is followed. It runs on every platform."

// Options of the source.
type Options struct {
	Path    string        `key:"path" doc:"the file, or a pattern with * ? and […]; with watch also a folder" need:"yes" path:"yes"`
	Mode    string        `key:"mode" doc:"tail: an event for each line that is appended; watch: an event for each file that changed" oneof:"tail|watch"`
	From    string        `key:"from" doc:"tail only: where to start reading files that exist when the source starts; later ones are read from their beginning" oneof:"end|start"`
	MaxLine int64         `key:"max_line" doc:"tail only: the maximum length of a line; a longer one is cut" unit:"size" min:"1B" max:"1MiB"`
	Settle  time.Duration `key:"settle" doc:"watch only: how long a file must stay unchanged before its event" min:"0s" max:"1h"`
	Read    int64         `key:"read" doc:"watch only: the content of files up to this size is in event.text; 0B: of none" unit:"size" min:"0B" max:"16MiB"`

	Decode decode.Encoding `key:"decode" doc:"the encoding of the line or content, whose value is in event.json; csv: a list of records, each a list of texts; none: it is not decoded; of a line, csv is one record" oneof:"json|cbor|msgpack|csv|none"`
}

// defaults returns the options of a file that sets none.
func defaults() Options {
	return Options{Mode: "tail", From: "end", MaxLine: lines.MaxLine, Settle: 250 * time.Millisecond, Decode: decode.JSON}
}

// event documents the fields of an event.
type event struct {
	Path        string `key:"path" doc:"the file's path"`
	Name        string `key:"name" doc:"the file's name without its folder"`
	Text        string `key:"text" doc:"tail: the line without its line end; watch: the content, if read allows it; bytes that are not UTF-8 are replaced"`
	JSON        any    `key:"json" doc:"the decoded line or content, see decode; nil if it cannot be decoded"`
	DecodeError string `key:"decode_error" doc:"why the line or content is not CBOR, MessagePack or CSV, if decode says that it is; otherwise nil"`
	N           int64  `key:"n" doc:"tail: the number of the line, counted from 1 since the source follows this file"`
	Op          string `key:"op" doc:"watch: created, changed or removed"`
	Size        int64  `key:"size" doc:"watch: the size in bytes; of a removed file the last known one"`
	Modified    string `key:"modified" doc:"watch: the time of the last change, RFC 3339; of a removed file the last known one"`
}

// Check checks the options against each other.
func (o Options) Check() []error {
	var errs []error
	if _, err := filepath.Match(o.Path, ""); err != nil {
		errs = append(errs, kind.Wrong("path", fmt.Sprintf("the pattern %q is incomplete", o.Path), `write \[ for a literal [`))
	}
	if o.Mode == "tail" && o.Read > 0 {
		errs = append(errs, kind.Wrong("read", "read applies to mode: watch only", "remove it; tail has each line in event.text"))
	}
	if o.Mode == "tail" && o.Decode.Binary() {
		errs = append(errs, kind.Wrong("decode", fmt.Sprintf("a line cannot hold %s, which may contain line ends", o.Decode), "mode: watch decodes whole files"))
	}
	return errs
}

// Access is the path that the source reads.
func (o Options) Access() []string { return []string{"path:" + o.Path} }

// Source is one path or pattern. An instance runs once: New, Open, Stream, Close.
type Source struct {
	o        Options
	env      kind.Env
	notice   *notices
	tails    tails
	changes  changes
	reported string // the last error passed to Degraded
}

// New makes a source of checked options.
func New(o Options, env kind.Env) *Source { return &Source{o: o, env: env} }

// Open records the offsets or the state of the existing files. Later changes are events.
func (s *Source) Open(context.Context) error {
	s.notice = newNotices(s.o.Path)
	var err error
	if s.o.Mode == "watch" {
		err = s.changes.start(s.o)
	} else {
		s.tails.o, s.tails.env = s.o, s.env
		err = s.tails.find(time.Now(), true)
	}
	s.report(err)
	return nil
}

// share bounds the time that polling files may take: 1/share of it.
const share = 100

// Stream posts events until ctx ends.
func (s *Source) Stream(ctx context.Context, post kind.Post) error {
	// Changes behind a link, or on a network share, are detected only by polling.
	poll := time.NewTicker(time.Second)
	defer poll.Stop()
	for ctx.Err() == nil {
		var next time.Duration // until the next pending work
		var err error
		began := time.Now()
		if s.o.Mode == "watch" {
			next, err = s.changes.scan(ctx, post)
		} else {
			next, err = s.tails.scan(ctx, post)
		}
		if ctx.Err() != nil {
			return nil
		}
		var stopped *postError
		if errors.As(err, &stopped) {
			return stopped.error
		}
		s.report(err)
		poll.Reset(max(time.Second, min(share*time.Since(began), 30*time.Second)))
		s.notice.wait(ctx, next, poll.C)
	}
	return nil
}

// Close closes all files.
func (s *Source) Close() error {
	if s.notice != nil {
		s.notice.close()
	}
	s.tails.close()
	return nil
}

// report reports a fault when it begins, changes or ends.
func (s *Source) report(err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != s.reported {
		s.reported = text
		s.env.Degraded(err)
	}
}

// postError wraps an error of post. It ends the source; it is no fault of a file.
type postError struct{ error }

// isPattern reports whether a path is a pattern. A path that is the name of an existing file is
// not.
func isPattern(path string) bool {
	if !strings.ContainsAny(path, "*?[") {
		return false
	}
	_, err := os.Lstat(path)
	return err != nil
}

// readable reports why an existing folder can't be read, such as an unreachable share. Glob would
// find nothing in it, as if its files had been removed.
func readable(dir string) error {
	d, err := os.Open(dir)
	if err == nil {
		_, err = d.Readdirnames(1)
		d.Close()
	}
	if err == nil || err == io.EOF || os.IsNotExist(err) || isPattern(dir) {
		return nil
	}
	return err
}

// matches finds the regular files of a path or pattern, at most limit, and their faults. With an
// error and no map nothing is known about them.
func matches(path string, folder bool, limit int) (map[string]os.FileInfo, []string, error) {
	var names []string
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir() && folder:
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, nil, err
		}
		for _, e := range entries {
			names = append(names, filepath.Join(path, e.Name()))
		}
	case err == nil:
		names = []string{path}
	case isPattern(path):
		if err := readable(filepath.Dir(path)); err != nil {
			return nil, nil, err
		}
		if names, err = filepath.Glob(path); err != nil {
			return nil, nil, err
		}
	case !os.IsNotExist(err):
		return nil, nil, err
	}
	found := map[string]os.FileInfo{}
	sorted := names[:0]
	for _, name := range names {
		info, err := os.Stat(name) // follows symbolic links
		if err != nil || !info.Mode().IsRegular() {
			continue // removed meanwhile, or a folder, device or pipe
		}
		if len(found) == limit {
			return found, sorted, fmt.Errorf("%s: more than %d files; the others are ignored", path, limit)
		}
		found[name] = info
		sorted = append(sorted, name)
	}
	return found, sorted, nil
}

// open opens a regular file for reading. It never blocks.
func open(path string) (*os.File, os.FileInfo, error) {
	f, err := openToRead(path)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}
