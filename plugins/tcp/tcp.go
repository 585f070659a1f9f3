// Package tcp receives lines from TCP clients as events and sends events as lines to a TCP server.
//
// What it promises:
//
//   - One event per line. A longer line than max_line is cut and counted; a line that its client did not finish
//     (reset, idle, reload) is dropped and counted; at an orderly end the last line needs no line end.
//   - Clients are read at the pace of the bus: TCP slows down one that is faster. One that floods, or says
//     nothing, costs the others nothing but one of max_clients places, until idle is over.
//   - The port stays open over a reload, so that a client that connects meanwhile just waits. Connections end
//     at a reload of the source: clients must connect again.
//
// It does not say who a client is: there is no TLS and no password here. Nothing is sent to clients.
package tcp

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/postbus/postbus/plugins/lines"

	"github.com/postbus/postbus/plugins/option"
)

// Sample is a complete plugin file with this source.
//
//go:embed sample.yaml
var Sample string

// About is the source's description, in Markdown.
const About = "Listens on a TCP port and makes an event of each line that a client sends. Clients are read at the pace of " +
	"the bus; longer lines than `max_line` are cut and counted. There is no TLS and no password: listen on a loopback or trusted network. " +
	"The port stays open over a reload, but clients are disconnected then. It runs on every platform."

// Options of the source.
type Options struct {
	Listen     string        `key:"listen" doc:"address to listen on, as 127.0.0.1:9000; :9000 is all interfaces" need:"yes"`
	MaxLine    int64         `key:"max_line" doc:"longest line; what is longer is cut" unit:"size" min:"1B" max:"1MiB"`
	MaxClients int           `key:"max_clients" doc:"most clients at one time; more are disconnected at once" min:"1" max:"4096"`
	Idle       time.Duration `key:"idle" doc:"a client that finishes no line for this time is disconnected; 0s: never" min:"0s" max:"8760h"`
}

// Defaults of the options.
func Defaults() Options {
	return Options{MaxLine: lines.MaxLine, MaxClients: 64, Idle: time.Hour}
}

// Check finds what is wrong across the keys.
func (o Options) Check() []error { return option.CheckAddress("listen", o.Listen, true) }

// Claims is what can be held once: the port.
func (o Options) Claims() []string { return []string{"tcp:" + o.Listen} }

// Access is what the source touches.
func (o Options) Access() []string { return []string{"listen:" + o.Listen} }

// Event documents the fields of an event.
type Event struct {
	Text  string `key:"text" doc:"the line without its line end; bytes that are not UTF-8 are replaced"`
	JSON  any    `key:"json" doc:"the value, when text is JSON"`
	Bytes any    `key:"bytes" doc:"the line as it came, when it is not UTF-8"`
	From  string `key:"from" doc:"client's address, as 192.168.1.7:50000"`
}

// Env is what the source needs of the bus.
type Env interface {
	Degraded(err error)
	Lost(n int, reason string)
	Hold(key string, open func() (io.Closer, error)) (held io.Closer, release func(), err error)
}

// Source is one TCP port and its clients. It is used once: New, Open, Stream, Close.
type Source struct {
	o       Options
	env     Env
	l       *net.TCPListener
	release func()

	posting sync.Mutex // post is called by one client at a time
	mu      sync.Mutex // over what follows
	clients map[net.Conn]struct{}
	full    bool
}

// New makes a source; the options were checked.
func New(o Options, env Env) *Source {
	return &Source{o: o, env: env, clients: map[net.Conn]struct{}{}}
}

// Open binds the port, or takes it over from this plugin's previous source.
func (s *Source) Open(ctx context.Context) error {
	held, release, err := s.env.Hold("tcp:"+s.o.Listen, func() (io.Closer, error) {
		var l net.ListenConfig
		return l.Listen(ctx, "tcp", s.o.Listen)
	})
	if err != nil {
		return fmt.Errorf("listening on %s: %w", s.o.Listen, err)
	}
	s.release = release
	var ok bool
	if s.l, ok = held.(*net.TCPListener); !ok {
		return fmt.Errorf("listening on %s: the port is held by something else", s.o.Listen)
	}
	return s.l.SetDeadline(time.Time{})
}

// Close lets go of the port.
func (s *Source) Close() error {
	if s.release != nil {
		s.release()
		s.release = nil
	}
	return nil
}

type post = func(ctx context.Context, at time.Time, fields map[string]any, done func(error)) error

// Stream accepts clients and posts their lines until ctx ends. All connections are closed when it returns.
func (s *Source) Stream(ctx context.Context, post post) error {
	ctx, cancel := context.WithCancel(ctx)
	var reading sync.WaitGroup
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		_ = s.l.SetDeadline(time.Unix(1, 0)) // fails only when closed
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.clients {
			c.Close()
		}
	})
	defer func() {
		cancel()
		if !stop() {
			<-woken // the next source sets another deadline
		}
		reading.Wait()
	}()
	broken := false
	for {
		c, err := s.l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				c.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("listening on %s: %w", s.o.Listen, err)
		case err != nil: // such as too many open files: those that are connected go on
			broken = true
			s.env.Degraded(fmt.Errorf("accepting clients on %s: %w", s.o.Listen, err))
			select {
			case <-time.After(time.Second):
			case <-ctx.Done():
			}
			continue
		}
		if broken {
			broken = false
			s.env.Degraded(nil)
		}
		if !s.enter(ctx, c) {
			c.Close()
			continue
		}
		reading.Go(func() {
			defer s.leave(c)
			s.read(ctx, c, post)
		})
	}
}

// enter counts a client in, unless there are too many or the source ends.
func (s *Source) enter(ctx context.Context, c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ctx.Err() != nil {
		return false
	}
	if len(s.clients) >= s.o.MaxClients {
		if !s.full {
			s.full = true
			s.env.Degraded(fmt.Errorf("%d clients are connected to %s; more are refused (max_clients)", len(s.clients), s.o.Listen))
		}
		return false
	}
	s.clients[c] = struct{}{}
	return true
}

func (s *Source) leave(c net.Conn) {
	c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, c)
	if s.full {
		s.full = false
		s.env.Degraded(nil)
	}
}

// read posts a client's lines until its connection or ctx ends.
func (s *Source) read(ctx context.Context, c net.Conn, post post) {
	from := c.RemoteAddr().String()
	end := &ending{r: c}
	r := lines.NewReader(end, int(s.o.MaxLine))
	for {
		if s.o.Idle > 0 && c.SetReadDeadline(time.Now().Add(s.o.Idle)) != nil {
			return
		}
		line, err := r.Next()
		if err != nil {
			return
		}
		if end.err != nil && end.err != io.EOF {
			s.env.Lost(1, "the connection ended within a line")
			return
		}
		if n := r.Cut(); n > 0 {
			s.env.Lost(n, "a line was longer than max_line and was cut")
		}
		f := map[string]any{"text": lines.Text(line), "json": lines.JSON(line), "bytes": nil, "from": from}
		if !utf8.Valid(line) {
			f["bytes"] = append([]byte(nil), line...)
		}
		s.posting.Lock()
		err = post(ctx, time.Now(), f, nil)
		s.posting.Unlock()
		if err != nil {
			c.Close()
			n := 1
			for _, err = r.Next(); err == nil; _, err = r.Next() {
				n++ // what was read already
			}
			s.env.Lost(n, "received while stopping")
			return
		}
	}
}

// ending keeps the error that ended a connection: a line before one that is not io.EOF is not whole.
type ending struct {
	r   io.Reader
	err error
}

func (e *ending) Read(p []byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	n, err := e.r.Read(p)
	e.err = err
	return n, err
}
