// Package tcp receives lines from TCP clients as events and sends events as lines to a TCP server.
//
// What it promises:
//
//   - One event per line. A line longer than max_line is cut and counted. A line that its client
//     did not finish (reset, idle) is dropped and counted; at an orderly end the last line needs no
//     line end.
//   - Clients are read at the pace of the bus: TCP slows down a faster one. A client that floods,
//     or is silent, costs the others nothing but one of max_clients connections, until idle has
//     passed.
//   - The port stays open over a reload, and so do its connections: the rest of a half-sent line is
//     still read.
//
// It does not authenticate clients: there is no TLS and no password here. Nothing is sent to
// clients.
package tcp

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"net"
	"time"
	"unicode/utf8"

	"github.com/postbus/postbus/plugins/internal/lines"
	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/payload/decode"
)

// sample is a complete plugin file with this source.
//
//go:embed sample.yaml
var sample string

// about is the source's description, in Markdown.
const about = "Listens on a TCP port. Each line that a client sends makes an event. Clients are read at the pace of " +
	"the bus; lines longer than `max_line` are cut and counted. There is no TLS and no password: listen on a loopback or trusted network. " +
	"The port and its connections stay open over a reload. It runs on every platform."

// Options of the source.
type Options struct {
	Listen     string        `key:"listen" doc:"address to listen on, as 127.0.0.1:9000; :9000 is all interfaces" need:"yes"`
	MaxLine    int64         `key:"max_line" doc:"the maximum length of a line; a longer one is cut" unit:"size" min:"1B" max:"1MiB"`
	MaxClients int           `key:"max_clients" doc:"the maximum number of connected clients; further ones are disconnected at once" min:"1" max:"4096"`
	Idle       time.Duration `key:"idle" doc:"a client that completes no line for this long is disconnected; 0s: never" min:"0s" max:"8760h"`

	Decode decode.Encoding `key:"decode" doc:"the encoding of a line, whose value is in event.json; csv: a list of texts; none: it is not decoded" oneof:"json|csv|none"`
}

// defaults returns the options of a file that sets none.
func defaults() Options {
	return Options{MaxLine: lines.MaxLine, MaxClients: 64, Idle: time.Hour, Decode: decode.JSON}
}

// Check checks the options against each other.
func (o Options) Check() []error { return kind.CheckAddress("listen", o.Listen, true) }

// Claims is what only one plugin can hold: the port.
func (o Options) Claims() []string { return []string{"tcp:" + o.Listen} }

// Access is the address that the source listens on.
func (o Options) Access() []string { return []string{"listen:" + o.Listen} }

// event documents the fields of an event.
type event struct {
	Text        string `key:"text" doc:"the line without its line end; bytes that are not UTF-8 are replaced"`
	JSON        any    `key:"json" doc:"the decoded line, see decode; nil if it cannot be decoded"`
	DecodeError string `key:"decode_error" doc:"why the line is not CSV, if decode says that it is; otherwise nil"`
	Bytes       any    `key:"bytes" doc:"the unchanged line, if it is not UTF-8"`
	From        string `key:"from" doc:"the client's address, as 192.168.1.7:50000"`
}

// Source is one TCP port and its clients. An instance runs once: New, Open, Stream, Close.
type Source struct {
	o       Options
	env     kind.Env
	port    *lines.Port
	release func()
}

// New makes a source of checked options.
func New(o Options, env kind.Env) *Source { return &Source{o: o, env: env} }

// Open binds the port, or takes it over from this plugin's previous source.
func (s *Source) Open(ctx context.Context) error {
	held, release, err := s.env.Hold("tcp:"+s.o.Listen, func() (io.Closer, error) {
		var c net.ListenConfig
		l, err := c.Listen(ctx, "tcp", s.o.Listen)
		if err != nil {
			return nil, err
		}
		return lines.NewPort(l.(*net.TCPListener)), nil
	})
	if err != nil {
		return fmt.Errorf("listening on %s: %w", s.o.Listen, err)
	}
	s.release = release
	var ok bool
	if s.port, ok = held.(*lines.Port); !ok {
		return fmt.Errorf("listening on %s: the port is still held by the previous source of this plugin", s.o.Listen)
	}
	return nil
}

// Close releases the port.
func (s *Source) Close() error {
	if s.release != nil {
		s.release()
		s.release = nil
	}
	return nil
}

// Stream accepts clients and posts their lines until ctx ends.
func (s *Source) Stream(ctx context.Context, post kind.Post) error {
	serve := lines.Server{
		Name: s.o.Listen, MaxLine: int(s.o.MaxLine), MaxClients: s.o.MaxClients, Idle: s.o.Idle, Env: s.env,
		Greet: func(c net.Conn) any { return c.RemoteAddr().String() },
		Fields: func(c *lines.Client, line []byte, _ bool) (map[string]any, error) {
			f := map[string]any{"text": lines.Text(line), "bytes": nil, "from": c.Who}
			if !utf8.Valid(line) {
				f["bytes"] = append([]byte(nil), line...)
			}
			s.o.Decode.Line(line, f)
			return f, nil
		},
	}
	return serve.Serve(ctx, s.port, post)
}
