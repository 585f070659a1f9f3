package lines

// This file serves the clients of a stream socket: each line that a client sends is an event.
//
//	Port (held over a reload)              Server (one source)
//	  listener ──────────────── accept ──▶ one goroutine for each client: read, post
//	  clients, with the bytes      ◀─────  when the source ends they stay connected,
//	  not consumed yet                      and the next source continues reading

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

// Listener is a TCP or unix listener.
type Listener interface {
	net.Listener
	SetDeadline(t time.Time) error
}

// Port is a listener and its connected clients. It serves one Server at a time.
type Port struct {
	l       Listener
	mu      sync.Mutex // protects the fields below
	clients map[*Client]struct{}
	lost    func(n int, reason string) // of the last Server
}

// NewPort makes a port of a listener. Closing the port closes the listener.
func NewPort(l Listener) *Port { return &Port{l: l, clients: map[*Client]struct{}{}} }

// Addr is the listener's address.
func (p *Port) Addr() net.Addr { return p.l.Addr() }

// Renew replaces a listener that clients cannot reach any more; the clients stay connected. No
// Server may be running.
func (p *Port) Renew(l Listener) {
	_ = p.l.Close()
	p.l = l
}

// Close closes the listener and all clients. Lines that were read and not posted count as lost. No
// Server may be running.
func (p *Port) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for c := range p.clients {
		c.conn.Close()
		c.answers.close()
		n += c.r.Waiting()
	}
	p.clients = map[*Client]struct{}{}
	if n > 0 && p.lost != nil {
		p.lost(n, "received while stopping")
	}
	return p.l.Close()
}

// Client is a connected client.
type Client struct {
	Who any // the result of Server.Greet

	conn    net.Conn
	end     *ending
	r       *Reader
	answers *answers // nil until a source answers lines
	over    bool     // it sends nothing more; its answers may still be pending
}

// Server is how a source serves a port. An instance runs once.
type Server struct {
	Name       string        // of the port, for errors
	MaxLine    int           // bytes
	MaxClients int           // more are disconnected at once
	Idle       time.Duration // a client that finishes no line for this time is disconnected; 0: never
	Answer     bool          // each line is answered, in order, when its event is stored or refused
	Env        kind.Env

	// Greet identifies a client. It is called once for each.
	Greet func(net.Conn) any
	// Fields returns the fields of a line's event; cut says that the line exceeded MaxLine. An
	// error refuses the line: it makes no event, counts as lost, and is answered. Fields may be
	// called twice for a line, and must not retain it.
	Fields func(c *Client, line []byte, cut bool) (map[string]any, error)

	port    *Port
	posting sync.Mutex // serialises calls of post by the clients
	full    bool       // protected by port.mu
}

// Serve posts the lines of connected and newly connecting clients, until ctx ends; then it returns
// nil. The clients stay with the port. When it returns no goroutine of the source is left; the
// port's goroutines write the answers that are still pending.
func (s *Server) Serve(ctx context.Context, p *Port, post kind.Post) error {
	s.port = p
	if err := p.l.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("listening on %s: %w", s.Name, err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var reading sync.WaitGroup
	stop := kind.Interrupt(ctx, func() {
		_ = p.l.SetDeadline(time.Unix(1, 0)) // fails only when closed
		p.mu.Lock()
		defer p.mu.Unlock()
		for c := range p.clients {
			_ = c.conn.SetReadDeadline(time.Unix(1, 0))
		}
	})
	defer func() {
		cancel()
		stop() // the next Server sets another deadline
		reading.Wait()
	}()
	serve := func(c *Client) {
		reading.Go(func() {
			if !s.read(ctx, c, post) {
				s.unregister(c)
			}
		})
	}
	p.mu.Lock()
	p.lost = s.Env.Lost
	for c := range p.clients {
		serve(c)
	}
	p.mu.Unlock()
	broken := false
	for {
		conn, err := p.l.Accept()
		switch {
		case ctx.Err() != nil && err == nil: // just in time for the next Server
			s.register(context.WithoutCancel(ctx), conn)
			return nil
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("listening on %s: %w", s.Name, err)
		case err != nil: // such as too many open files: connected clients are still served
			broken = true
			s.Env.Degraded(fmt.Errorf("accepting clients on %s: %w", s.Name, err))
			_ = kind.Sleep(ctx, time.Second)
			continue
		}
		if broken {
			broken = false
			s.Env.Degraded(nil)
		}
		if c := s.register(ctx, conn); c != nil {
			serve(c)
		}
	}
}

// register registers a client, unless there are too many.
func (s *Server) register(ctx context.Context, conn net.Conn) *Client {
	end := &ending{r: conn}
	c := &Client{conn: conn, end: end, r: NewReader(end, s.MaxLine)}
	if s.Greet != nil {
		c.Who = s.Greet(conn)
	}
	s.port.mu.Lock()
	defer s.port.mu.Unlock()
	if len(s.port.clients) >= s.MaxClients {
		conn.Close()
		if !s.full {
			s.full = true
			s.Env.Degraded(fmt.Errorf("%d clients are connected to %s; more are refused (max_clients)", len(s.port.clients), s.Name))
		}
		return nil
	}
	s.port.clients[c] = struct{}{}
	return c
}

func (s *Server) unregister(c *Client) {
	c.conn.Close()
	c.answers.close()
	s.port.mu.Lock()
	defer s.port.mu.Unlock()
	delete(s.port.clients, c)
	if s.full {
		s.full = false
		s.Env.Degraded(nil)
	}
}

// setDeadline sets the deadline of a silent client, unless the source is ending: then no more may be read.
func (s *Server) setDeadline(ctx context.Context, c *Client) bool {
	s.port.mu.Lock()
	defer s.port.mu.Unlock()
	if ctx.Err() != nil {
		return false
	}
	var until time.Time
	if s.Idle > 0 {
		until = time.Now().Add(s.Idle)
	}
	return c.conn.SetReadDeadline(until) == nil
}

// read posts a client's lines until its connection or ctx ends; keep says that the client stays
// connected. A client with pending answers stays until they are written, also over a reload.
func (s *Server) read(ctx context.Context, c *Client, post kind.Post) (keep bool) {
	if s.Answer && c.answers == nil {
		c.answers = newAnswers(c)
	}
	c.over = c.over || !s.lines(ctx, c, post)
	return !c.answers.flush(ctx) || !c.over
}

// lines posts a client's lines until ctx ends, or until the client sends nothing more: then more is
// false.
func (s *Server) lines(ctx context.Context, c *Client, post kind.Post) (more bool) {
	c.r.Limit(s.MaxLine)
	for {
		if !s.setDeadline(ctx, c) {
			return ctx.Err() != nil
		}
		line, err := c.r.Next()
		if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil {
			return true
		}
		if err != nil || c.end.err != nil && c.end.err != io.EOF {
			if err == nil || c.r.Unfinished() {
				s.Env.Lost(1, "the connection ended within a line")
			}
			return false
		}
		cut := c.r.Cut() > 0
		fields, err := s.Fields(c, line, cut)
		var settle settle
		if s.Answer {
			var ok bool
			if settle, ok = c.answers.expect(ctx); !ok {
				c.r.Again() // the line and its answer are left to the next Server
				return true
			}
		}
		if err != nil {
			settle.with(err)
			s.Env.Lost(1, err.Error())
			continue
		}
		s.posting.Lock()
		err = post(ctx, time.Now(), fields, settle)
		s.posting.Unlock()
		if err != nil {
			settle.with(errNextSource)
			c.r.Again()
			return true
		}
		if cut {
			s.Env.Lost(1, "a line was longer than max_line and was cut")
		}
	}
}

// ending keeps the error that ended a connection, because a last line before an error other than
// io.EOF is incomplete.
type ending struct {
	r   io.Reader
	err error
}

func (e *ending) Read(p []byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	n, err := e.r.Read(p)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		e.err = err
	}
	return n, err
}
