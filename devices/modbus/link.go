// This file is a connection to a device, a gateway or a line. It is made when needed, kept open,
// made again with a growing backoff, and used by one request at a time.

package modbus

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

// conn carries the bytes: a TCP connection or a port.
type conn interface {
	io.ReadWriteCloser
	SetReadDeadline(time.Time) error
	SetWriteDeadline(time.Time) error
}

const (
	backoffMin  = time.Second
	backoffMax  = 30 * time.Second
	backoffPort = 5 * time.Second // looking for a port is cheap
)

// link is the connection. The bus keeps it (Env.Hold) as long as a source or an action of the
// plugin uses it.
type link struct {
	turn chan struct{} // a semaphore of one: its holder uses the connection

	mu      sync.Mutex
	sources map[setting]int // the present sources; the action's settings apply only when there is none
	c       conn            // nil while disconnected
	closed  bool

	// The holder of turn owns the fields below.
	set       setting // of c
	number    uint16  // of the last request over TCP
	buf       []byte  // received bytes that are not an answer yet
	quiet     time.Time
	late      time.Time // bytes received before this time may be a late answer on a serial line
	missed    int       // consecutive requests without a byte of an answer
	fails     int       // consecutive failed attempts to connect
	retryAt   time.Time
	lastError error // the error of the last attempt
}

func newLink() *link {
	return &link{turn: make(chan struct{}, 1), sources: map[setting]int{}}
}

var (
	errNotLink = errors.New("the line is held by another part of this plugin")
	errClosed  = errors.New("the connection is closed")
)

// sharedLink finds or makes the link of a plugin.
func sharedLink(env kind.Env, set setting) (*link, func(), error) {
	held, release, err := env.Hold(set.key(), func() (io.Closer, error) { return newLink(), nil })
	if err != nil {
		return nil, nil, err
	}
	l, ok := held.(*link)
	if !ok {
		release()
		return nil, nil, errNotLink
	}
	return l, release, nil
}

// addSource registers the caller as a source, whose settings apply.
func (l *link) addSource(set setting) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for other := range l.sources {
		if other != set {
			return fmt.Errorf("two sources of this plugin set %s differently", set)
		}
	}
	l.sources[set]++
	return nil
}

func (l *link) removeSource(set setting) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sources[set]--; l.sources[set] <= 0 {
		delete(l.sources, set)
	}
}

// Close closes the connection.
func (l *link) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.c != nil {
		l.c.Close()
		l.c = nil
	}
	return nil
}

// disconnect closes the connection. The caller holds turn.
func (l *link) disconnect() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.c != nil {
		l.c.Close()
		l.c = nil
	}
	l.buf, l.missed, l.late = nil, 0, time.Time{}
}

// askOptions is the settings with which requests are made.
type askOptions struct {
	set     setting
	timeout time.Duration
	retries int
	pause   time.Duration
}

// unreachable is the error of a missing connection, whatever the request.
type unreachable struct{ error }

func (u unreachable) Unwrap() error { return u.error }

// ask sends a request in its turn, and retries it until there is a good answer.
func (l *link) ask(ctx context.Context, q request, h askOptions) ([]byte, error) {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-l.turn }()
	for attempt := 0; ; attempt++ {
		kept, err := l.connect(ctx, h)
		if err != nil {
			return nil, err
		}
		data, err := l.once(ctx, q, h)
		l.quiet = later(l.quiet, time.Now().Add(h.pause))
		var e exception
		var t noAnswer
		switch {
		case err == nil:
			return data, nil
		case ctx.Err() != nil:
			if l.set.tcp != "" {
				l.disconnect() // half a request may have been sent
			} else {
				l.late = time.Now().Add(h.timeout) // the answer may still arrive, and the line stays open
			}
			return nil, ctx.Err()
		case errors.As(err, &e) && !e.busy():
			return nil, err
		case !errors.As(err, &e) && !errors.As(err, &t):
			l.disconnect()
			err = fmt.Errorf("%s: %w", h.set, cause(err))
			if kept { // it was closed while idle
				attempt--
				continue
			}
		}
		if attempt >= h.retries {
			return nil, err
		}
		if e.busy() && kind.Sleep(ctx, turnaround) != nil {
			return nil, ctx.Err()
		}
	}
}

// cause returns an error without operation and addresses, which are not the user's words.
func cause(err error) error {
	var p *os.PathError
	var o *net.OpError
	switch {
	case errors.As(err, &p):
		return p.Err
	case errors.As(err, &o):
		return o.Err
	case errors.Is(err, io.EOF):
		return errors.New("the connection was closed")
	}
	return err
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// connect makes a connection unless one is open; kept reports that it was open before.
func (l *link) connect(ctx context.Context, h askOptions) (kept bool, err error) {
	l.mu.Lock()
	set, c, closed := h.set, l.c, l.closed
	for s := range l.sources {
		set = s
	}
	l.mu.Unlock()
	switch {
	case closed:
		return false, errClosed
	case c != nil && l.set == set:
		return true, nil
	case c != nil:
		l.disconnect()
	case l.set != set:
		l.fails, l.retryAt = 0, time.Time{}
	}
	l.set = set
	if wait := time.Until(l.retryAt); wait > 0 {
		return false, unreachable{l.lastError}
	}
	dctx, cancel := context.WithTimeout(ctx, max(h.timeout, 100*time.Millisecond))
	defer cancel()
	if set.port != "" {
		c, err = dialPort(set)
	} else {
		var d net.Dialer
		if c, err = d.DialContext(dctx, "tcp", string(set.tcp+set.rtu)); err != nil {
			c, err = nil, fmt.Errorf("connecting to %s: %w", set, dialCause(err))
		}
	}
	if ctx.Err() != nil {
		if err == nil {
			c.Close()
		}
		return false, ctx.Err()
	}
	if err != nil {
		maxBackoff := backoffMax
		if set.port != "" {
			maxBackoff = backoffPort
		}
		l.retryAt = time.Now().Add(min(backoffMin<<min(l.fails, 10), maxBackoff))
		l.fails++
		l.lastError = err
		return false, unreachable{err}
	}
	l.fails, l.retryAt, l.buf, l.missed, l.late = 0, time.Time{}, nil, 0, time.Time{}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		c.Close()
		return false, errClosed
	}
	l.c = c
	return false, nil
}

// dialCause says why a connection can't be made. It leaves out the address, which the message
// already contains.
func dialCause(err error) error {
	var o *net.OpError
	if errors.As(err, &o) {
		err = o.Err
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("it does not answer in time")
	}
	return err
}
