// Package uds receives lines over a unix socket as events, and sends events as lines to an app's
// unix socket. With it any script publishes without an MQTT library.
//
// What it promises:
//
//   - One event per line. With answer each line is answered, in order: "ok" once its event is
//     durable (or no rule wanted it), otherwise "error: " and the reason. A line that was not
//     answered may or may not be kept.
//   - A line longer than max_line, or with format json a line that is not JSON, makes no event and
//     counts as lost. So does a line that its client did not finish; at an orderly end the last
//     line needs no line end.
//   - Clients are read at the pace of the bus. A client that floods, or is silent, costs the others
//     nothing but one of max_clients connections, until idle has passed.
//   - The sender of a line is identified by the kernel's credentials of the connection, where the
//     kernel has them (Linux).
//   - The socket exists with its group and mode from its first moment. A dead process's socket at
//     its path is replaced. A socket in use, or a file that is no socket, is not. The socket is
//     removed at the end.
//   - The socket and its connections stay open over a reload, however slow the disk is. The rest of
//     a half-sent line is still read, and a line whose event is not durable yet is answered when it
//     is. A socket whose file was removed from the folder is created again then.
//   - When the socket closes for good, because its file, its path or the program ends, each line that
//     a client has sent and that makes no event counts as lost.
package uds

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
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
const about = "Listens on a unix socket. Each line that a program on this machine sends makes an event: " +
	"`echo 'front door open' | nc -NU /run/postbus/door.sock`. With `answer` each line is answered, in order: `ok` once its event is durable, otherwise `error: …`, " +
	"also when a rule of the plugin failed and the event had no outcome. " +
	"The socket's `mode` and `group` decide who may send. On Linux an event has the sender's process and user. The socket and its connections stay open over a " +
	"reload. Linux, macOS and other Unix systems; abstract sockets, whose names begin with `@` and which have neither folder nor mode nor group, exist on Linux only."

// Mode is the permissions of a socket.
type Mode uint32

// UnmarshalText reads three octal digits, also after 0 or 0o.
func (m *Mode) UnmarshalText(text []byte) error {
	n, err := strconv.ParseUint(strings.TrimPrefix(string(text), "0o"), 8, 32)
	if err != nil || n > 0o777 {
		return kind.Wrong("", fmt.Sprintf("%q is not a file mode", text), `write three octal digits in quotes, as "0660"`)
	}
	*m = Mode(n)
	return nil
}

// MarshalText writes the digits that UnmarshalText reads.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

func (m Mode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

// Options of the source.
type Options struct {
	Path       string        `key:"path" doc:"the path of the socket, as /run/postbus/door.sock; its folder must exist; @name: an abstract socket" need:"yes"`
	Mode       Mode          `key:"mode" doc:"who may connect: octal, in quotes, as \"0660\""`
	Group      string        `key:"group" doc:"the socket's group; empty: the group of postbus"`
	Format     string        `key:"format" doc:"text: every line is an event; json: only lines that are JSON" oneof:"text|json"`
	Answer     bool          `key:"answer" doc:"whether each line is answered: ok once its event is durable, otherwise error: and the reason"`
	MaxLine    int64         `key:"max_line" doc:"the maximum length of a line; a longer one is not an event" unit:"size" min:"1B" max:"1MiB"`
	MaxClients int           `key:"max_clients" doc:"the maximum number of connected clients; further ones are disconnected at once" min:"1" max:"4096"`
	Idle       time.Duration `key:"idle" doc:"a client that completes no line for this long is disconnected; 0s: never" min:"0s" max:"8760h"`

	Decode decode.Encoding `key:"decode" doc:"the encoding of a line, whose value is in event.json; csv: a list of texts; none: it is not decoded" oneof:"json|csv|none"`
}

// defaults returns the options of a file that sets none.
func defaults() Options {
	return Options{Mode: 0o660, Format: "text", MaxLine: lines.MaxLine, MaxClients: 64, Idle: time.Hour, Decode: decode.JSON}
}

// Check checks the options against each other.
func (o Options) Check() []error {
	errs := checkPath("path", o.Path)
	if abstract(o.Path) && o.Group != "" {
		errs = append(errs, kind.Wrong("group", "an abstract socket has no group: every user of this machine may connect", "leave it out, or write a path"))
	}
	if o.Format == "json" && !o.Decode.IsJSON() {
		errs = append(errs, kind.Wrong("decode", "with format: json only JSON is an event", "leave out format, or decode"))
	}
	return errs
}

// maxPath is the longest path that a kernel accepts; macOS accepts a few bytes less.
const maxPath = 107

func checkPath(key, path string) []error {
	switch {
	case strings.ContainsRune(path, 0):
		return []error{kind.Wrong(key, "a path can't contain a NUL character", "")}
	case len(path) > maxPath:
		return []error{kind.Wrong(key, fmt.Sprintf("the path is %d bytes long", len(path)), fmt.Sprintf("a socket's path may have at most %d", maxPath))}
	case abstract(path):
		if path == "@" {
			return []error{kind.Wrong(key, "the abstract socket has no name", "write @name")}
		}
	case !filepath.IsAbs(path) && !strings.HasPrefix(path, "/"):
		return []error{kind.Wrong(key, fmt.Sprintf("%q is not an absolute path", path), "begin with /, as in /run/postbus/door.sock")}
	case strings.HasSuffix(path, "/"):
		return []error{kind.Wrong(key, fmt.Sprintf("%q is a folder", path), "append the socket's name")}
	}
	return nil
}

func abstract(path string) bool { return strings.HasPrefix(path, "@") }

// where returns the path in a canonical form.
func where(path string) string {
	if abstract(path) {
		return path
	}
	return filepath.Clean(path)
}

// Claims is what only one plugin can hold: the socket.
func (o Options) Claims() []string { return []string{"unix:" + where(o.Path)} }

// Access is the socket that the source listens on.
func (o Options) Access() []string { return []string{"listen:" + where(o.Path)} }

// event documents the fields of an event.
type event struct {
	Line        string `key:"line" doc:"the line without its line end; bytes that are not UTF-8 are replaced"`
	JSON        any    `key:"json" doc:"the decoded line, see decode; nil if it cannot be decoded"`
	DecodeError string `key:"decode_error" doc:"why the line is not CSV, if decode says that it is; otherwise nil"`
	PID         int64  `key:"pid" doc:"the ID of the process that connected, on Linux; otherwise nil"`
	UID         int64  `key:"uid" doc:"the ID of the user that the process ran as; nil where there is no pid"`
	User        string `key:"user" doc:"the user's name; nil if the ID has none"`
}

// Source is one socket and its clients. An instance runs once: New, Open, Stream, Close.
type Source struct {
	o       Options
	env     kind.Env
	port    *socket
	release func()
}

// socket is what is kept over a reload: the port, and its file in a folder.
type socket struct {
	*lines.Port
	path   string
	remove func() // deletes it from its folder
	made   fs.FileInfo
}

// there reports whether its file still exists. The folder may have been cleared, or another socket
// may have replaced it.
func (s *socket) there() bool {
	now, err := os.Lstat(s.path)
	return err == nil && s.made != nil && os.SameFile(s.made, now)
}

// Close removes the socket and disconnects its clients.
func (s *socket) Close() error {
	s.remove()
	return s.Port.Close()
}

// New makes a source of checked options.
func New(o Options, env kind.Env) *Source { return &Source{o: o, env: env} }

// Open makes the socket, or takes it over from this plugin's previous source.
func (s *Source) Open(context.Context) error {
	path := where(s.o.Path)
	fresh := false
	held, release, err := s.env.Hold("unix:"+path, func() (io.Closer, error) {
		fresh = true
		l, remove, err := bind(path, s.o.Mode, s.o.Group)
		if err != nil {
			return nil, err
		}
		made, _ := os.Lstat(path)
		return &socket{lines.NewPort(l), path, remove, made}, nil
	})
	if err != nil {
		return fmt.Errorf("listening on %s: %w", path, err)
	}
	s.release = release
	var ok bool
	if s.port, ok = held.(*socket); !ok {
		return fmt.Errorf("listening on %s: the socket is still held by the previous source of this plugin", path)
	}
	if fresh || abstract(path) {
		return nil
	}
	if !s.port.there() {
		l, remove, err := bind(path, s.o.Mode, s.o.Group)
		if err != nil {
			return fmt.Errorf("listening on %s: %w", path, err)
		}
		s.port.Renew(l)
		s.port.remove = remove
		s.port.made, _ = os.Lstat(path)
		return nil
	}
	if err := permit(path, s.o.Mode, s.o.Group); err != nil { // they may have changed
		return fmt.Errorf("listening on %s: %w", path, err)
	}
	return nil
}

// Close releases the socket.
func (s *Source) Close() error {
	if s.release != nil {
		s.release()
		s.release = nil
	}
	return nil
}

// peer identifies the process that connected.
type peer struct{ pid, uid, user any }

var errLong = errors.New("the line is longer than max_line")
var errJSON = errors.New("the line is not JSON")

// Stream accepts clients and posts their lines until ctx ends.
func (s *Source) Stream(ctx context.Context, post kind.Post) error {
	serve := lines.Server{
		Name: where(s.o.Path), MaxLine: int(s.o.MaxLine), MaxClients: s.o.MaxClients, Idle: s.o.Idle, Answer: s.o.Answer, Env: s.env,
		Greet: func(c net.Conn) any {
			var p peer
			if pid, uid, ok := credentials(c); ok {
				p.pid, p.uid = int64(pid), int64(uid)
				if u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10)); err == nil {
					p.user = u.Username
				}
			}
			return p
		},
		Fields: func(c *lines.Client, line []byte, cut bool) (map[string]any, error) {
			p := c.Who.(peer)
			f := map[string]any{"line": lines.Text(line), "pid": p.pid, "uid": p.uid, "user": p.user}
			s.o.Decode.Line(line, f)
			switch {
			case cut:
				return nil, errLong
			case s.o.Format == "json" && f["json"] == nil && strings.TrimSpace(string(line)) != "null":
				return nil, errJSON
			}
			return f, nil
		},
	}
	return serve.Serve(ctx, s.port.Port, post)
}
