package admission

// This file is the listener that charges connections from the moment they are accepted.

import (
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"time"

	"github.com/postbus/postbus/bus/internal/fair"
)

const (
	costTLS  = 40 << 10 // more for TLS, from the first byte of a handshake on
	costRead = 3        // for each byte of a handshake that is read: TLS keeps it up to three times

	handshakeTimeout = 10 * time.Second
	fullPause        = time.Millisecond
)

// Options of a listener. The zero value charges plain connections.
type Options struct {
	TLS *tls.Config  // nil: none
	Log *slog.Logger // nil: none
}

// Listen makes a listener that charges each connection of l to the budget. With TLS it makes the
// handshakes, many at a time, and Accept returns the connections whose handshakes are complete, as
// *tls.Conn. A handshake ends after ten seconds, however it is slowed down.
func Listen(l net.Listener, b *Budget, o Options) net.Listener {
	if o.TLS == nil {
		return &plain{l, b}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &secure{Listener: l, budget: b, o: o, gate: fair.New(runtime.GOMAXPROCS(0) / 2), accepted: make(chan accepted), closed: make(chan struct{}), shaking: map[*conn]struct{}{}}
}

// conn is an accepted connection, below TLS if there is TLS.
type conn struct {
	net.Conn
	place *Place
	gate  fair.Turns // of its handshake; nil: that is complete, or there is none
	read  int        // bytes of the handshake
}

// newConn charges an accepted connection. If others had to go for it, it waits a moment: a flood then
// waits in the kernel's queue, and leaves the processors to the clients that have logged in.
func newConn(c net.Conn, b *Budget) *conn {
	from := ""
	if a := c.RemoteAddr(); a != nil {
		from = a.String()
	}
	n := &conn{Conn: c, place: b.Add(from, func() { c.Close() })}
	if b.full.Swap(false) {
		time.Sleep(fullPause)
	}
	return n
}

// Read implements net.Conn. What a handshake reads is charged. While it waits for the client it gives its
// turn to others.
func (c *conn) Read(p []byte) (int, error) {
	if c.gate == nil {
		return c.Conn.Read(p)
	}
	c.gate.End()
	n, err := c.Conn.Read(p)
	c.gate.Take()
	if n == 0 {
		return n, err
	}
	cost := n * costRead
	if c.read == 0 {
		cost += costTLS
	}
	c.read += n
	if err := c.place.Charge(cost); err != nil {
		return 0, err
	}
	return n, err
}

// Write implements net.Conn, and waits like Read.
func (c *conn) Write(p []byte) (int, error) {
	if c.gate == nil {
		return c.Conn.Write(p)
	}
	c.gate.End()
	defer c.gate.Take()
	return c.Conn.Write(p)
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.place.Release()
	return c.Conn.Close()
}

// Of returns the place of a connection that a Listener accepted, also below TLS or a WebSocket; nil:
// there is none.
func Of(c net.Conn) *Place {
	for {
		switch wrapped := c.(type) {
		case *conn:
			return wrapped.place
		case interface{ NetConn() net.Conn }:
			c = wrapped.NetConn()
		default:
			return nil
		}
	}
}

type plain struct {
	net.Listener
	budget *Budget
}

// Accept implements net.Listener.
func (l *plain) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newConn(c, l.budget), nil
}

// secure is a listener with TLS. Its goroutines begin with the first Accept and end with Close.
type secure struct {
	net.Listener
	budget   *Budget
	o        Options
	gate     fair.Turns // handshakes that compute: each takes a fraction of a millisecond, and thousands may wait
	accepted chan accepted
	closed   chan struct{}
	begin    sync.Once

	mu      sync.Mutex
	ended   bool
	shaking map[*conn]struct{} // handshakes
	tasks   sync.WaitGroup
}

// accepted is what Accept returns.
type accepted struct {
	net.Conn
	error
}

// Accept implements net.Listener.
func (l *secure) Accept() (net.Conn, error) {
	l.begin.Do(func() { l.spawn(l.accept) })
	select {
	case a := <-l.accepted:
		return a.Conn, a.error
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// spawn runs f on a goroutine that Close waits for. It reports whether the listener is open.
func (l *secure) spawn(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.tasks.Go(f)
	}
	return !l.ended
}

func (l *secure) accept() {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			// The caller of Accept decides whether to continue, and when: it calls Accept again.
			if !l.hand(nil, err) || errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		c := newConn(raw, l.budget)
		if !l.spawn(func() { l.handshake(c) }) {
			c.Close()
			return
		}
	}
}

// hand gives a connection or an error to Accept. It reports whether the listener is open.
func (l *secure) hand(c net.Conn, err error) bool {
	select {
	case l.accepted <- accepted{c, err}:
		return true
	case <-l.closed:
		return false
	}
}

// handshake makes one handshake, and hands the connection to Accept.
func (l *secure) handshake(c *conn) {
	if !l.track(c) {
		c.Close()
		return
	}
	_ = c.SetDeadline(time.Now().Add(handshakeTimeout))
	c.gate = l.gate
	c.gate.Take()
	s := tls.Server(c, l.o.TLS)
	err := s.Handshake()
	c.gate.End()
	c.gate = nil
	l.forget(c)
	if err != nil {
		l.o.Log.Debug("TLS handshake failed", "listener", l.Addr(), "remote", c.RemoteAddr(), "err", err)
		answerPlain(err)
		c.Close()
		return
	}
	_ = c.place.Charge(-c.read * costRead) // it is closed already if it has to go
	_ = c.SetDeadline(time.Time{})
	if !l.hand(s, nil) {
		c.Close()
	}
}

// answerPlain tells an HTTP client without TLS what is wrong, as net/http does.
func answerPlain(err error) {
	var header tls.RecordHeaderError
	if !errors.As(err, &header) || header.Conn == nil {
		return
	}
	switch string(header.RecordHeader[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "DELET":
		_, _ = io.WriteString(header.Conn, "HTTP/1.0 400 Bad Request\r\nConnection: close\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
	}
}

// track remembers a connection for Close, and reports false when the listener is closed.
func (l *secure) track(c *conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return false
	}
	l.shaking[c] = struct{}{}
	return true
}

func (l *secure) forget(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.shaking, c)
}

// Close implements net.Listener. It ends the handshakes.
func (l *secure) Close() error {
	l.mu.Lock()
	if l.ended {
		l.mu.Unlock()
		return net.ErrClosed
	}
	l.ended = true
	for c := range l.shaking {
		c.Conn.Close()
	}
	l.mu.Unlock()
	close(l.closed)
	err := l.Listener.Close()
	l.tasks.Wait()
	return err
}
