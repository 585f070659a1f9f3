// Package webhook is the source that makes an event of each HTTP request to a path.
//
// What it promises:
//
//   - The request is answered with success only after its event is durable (or filtered by the
//     mapping). When that takes longer than 10 s, or the plugin is being stopped, the answer is 503
//     with Retry-After. A sender that retries delivers at least once, and the event may be
//     delivered twice.
//   - With hmac_sha256 or token, a request that lacks the right one is answered 401 and makes no
//     event. Both are compared in constant time, and neither appears in an event.
//   - Memory is bounded: max_body bounds each body, and the number of concurrent requests is
//     limited so that their bodies stay below 64 MiB (but at least four may run).
//
// It listens on the bus's HTTP listener, or with listen on its own, without TLS.
package webhook

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

// sample is a complete plugin file of this kind.
//
//go:embed sample.yaml
var sample string

// about is the kind's description, in Markdown.
const about = "Makes an event of each HTTP request to a path under `/hooks/` on the bus's HTTP address, or on an address of its own " +
	"with `listen`. The sender gets its response when the event is durable. If that fails the response is 503, and the sender should retry, " +
	"so that an event may arrive twice. It is 422 when a rule of the plugin failed and the event had no outcome. `hmac_sha256` (GitHub and many others) or `token` authenticate the sender; with neither, the bus's own login is " +
	"required, and on an address of its own **anyone** may send. It runs on every platform."

// patience is how long a request waits for its event to be durable.
const patience = 10 * time.Second

// Source serves one path. An instance runs once: New, Open, Stream, Close.
type Source struct {
	o        Options
	env      kind.Env
	patience time.Duration
	slots    chan struct{} // semaphore of concurrent requests
	posting  chan struct{} // lets one request at a time call post
	release  func()
	own      *net.TCPListener // nil on the bus's listener

	started chan struct{} // closed when Stream begins: ctx and post are set
	closed  chan struct{}
	ctx     context.Context
	post    kind.Post
	posts   gate // requests that are in post or wait until their event is durable
	served  gate // requests on the source's own listener
}

// New makes a source of checked options.
func New(o Options, env kind.Env) *Source {
	return &Source{
		o:        o,
		env:      env,
		patience: patience,
		slots:    make(chan struct{}, max(4, min(64, 64<<20/max(o.MaxBody, 1)))),
		posting:  make(chan struct{}, 1),
		started:  make(chan struct{}),
		closed:   make(chan struct{}),
	}
}

// Open mounts the path on the bus's listener, or binds its own.
func (s *Source) Open(ctx context.Context) error {
	if h := s.o.HMAC; h != nil && h.Key == "" {
		return errors.New("the key of hmac_sha256 is empty")
	}
	if t := s.o.Token; t != nil && t.Value == "" {
		return errors.New("the value of token is empty")
	}
	if s.o.Listen == "" {
		remove, err := s.env.Handle(s.o.Path, s.o.HMAC != nil || s.o.Token != nil, s)
		if err != nil {
			return fmt.Errorf("mounting %s on the bus's HTTP address: %w; set listen to give the web hook an address of its own", s.o.Path, err)
		}
		s.release = remove
		return nil
	}
	held, release, err := s.env.Hold("tcp:"+s.o.Listen, func() (io.Closer, error) {
		var l net.ListenConfig
		return l.Listen(ctx, "tcp", s.o.Listen)
	})
	if err != nil {
		return fmt.Errorf("listening on %s: %w", s.o.Listen, err)
	}
	s.release = release
	var ok bool
	if s.own, ok = held.(*net.TCPListener); !ok {
		return fmt.Errorf("listening on %s: the port is still held by the previous source of this plugin", s.o.Listen)
	}
	return s.own.SetDeadline(time.Time{})
}

// Stream serves until ctx ends.
func (s *Source) Stream(ctx context.Context, post kind.Post) error {
	s.ctx, s.post = ctx, post
	close(s.started)
	defer s.posts.shut()
	if s.own == nil {
		<-ctx.Done()
		return nil
	}
	return s.serve(ctx)
}

// serve runs an HTTP server on its own listener, which stays open after the server stops.
func (s *Source) serve(ctx context.Context) error {
	server := &http.Server{
		Handler:           http.HandlerFunc(s.serveOwn),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		WriteTimeout:      time.Minute + 2*s.patience,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.env.Log().Handler(), slog.LevelDebug),
	}
	ended := make(chan error, 1)
	go func() {
		ended <- server.Serve(&limited{TCPListener: s.own, slots: make(chan struct{}, 256), quit: make(chan struct{})})
	}()
	var err error
	select {
	case <-ctx.Done():
		// Requests that wait for the bus end with ctx. Those with a slow body get half a second.
		short, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		defer cancel()
		if server.Shutdown(short) != nil {
			server.Close()
		}
		<-ended
	case err = <-ended:
		err = fmt.Errorf("serving on %s: %w", s.o.Listen, err)
		server.Close()
	}
	s.served.shut()
	return err
}

func (s *Source) serveOwn(w http.ResponseWriter, r *http.Request) {
	if !s.served.enter() {
		refuse(w, http.StatusServiceUnavailable, "stopping")
		return
	}
	defer s.served.leave()
	if r.URL.Path != s.o.Path {
		refuse(w, http.StatusNotFound, "not found")
		return
	}
	s.ServeHTTP(w, r)
}

// Close unmounts the path or releases the port.
func (s *Source) Close() error {
	if s.release != nil {
		close(s.closed)
		s.release()
		s.release = nil
	}
	s.posts.shut()
	return nil
}

// deliver posts an event and waits until it is durable.
func (s *Source) deliver(r *http.Request, fields map[string]any) error {
	ctx, cancel := context.WithTimeout(r.Context(), s.patience)
	defer cancel()
	select {
	case <-s.started:
	case <-s.closed:
		return errors.New("stopped")
	case <-ctx.Done():
		return ctx.Err()
	}
	if !s.posts.enter() {
		return errors.New("stopped")
	}
	defer s.posts.leave()
	stop := context.AfterFunc(s.ctx, cancel)
	defer stop()
	select {
	case s.posting <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	done := make(chan error, 1)
	err := s.post(ctx, time.Now(), fields, func(err error) { done <- err })
	<-s.posting
	if err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// gate admits callers until it is shut. shut waits for those inside.
type gate struct {
	mu     sync.Mutex
	closed bool
	within sync.WaitGroup
}

func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.within.Add(1)
	}
	return !g.closed
}

func (g *gate) leave() { g.within.Done() }

func (g *gate) shut() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.within.Wait()
}

// limited is the source's own listener as http.Server sees it. It bounds the number of connections,
// and its Close only stops Accept, since the next source may take the listener over.
type limited struct {
	*net.TCPListener
	slots chan struct{}
	quit  chan struct{}
	once  sync.Once
}

func (l *limited) Close() error {
	l.once.Do(func() { close(l.quit) })
	return l.SetDeadline(time.Unix(1, 0))
}

func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.quit:
		return nil, net.ErrClosed
	}
	c, err := l.TCPListener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &counted{Conn: c, leave: sync.OnceFunc(func() { <-l.slots })}, nil
}

type counted struct {
	net.Conn
	leave func()
}

func (c *counted) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
