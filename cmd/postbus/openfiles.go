// This file keeps back the open files that the bus needs itself. Each connection is one; when clients had them all, the
// journal could not begin a new segment and those who are behind could not be read for. The kernel gives a connection the
// lowest number that is free, so that its number says how many are in use, whatever for.

package main

import (
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// refusedPause is between two connections that are refused: a crowd must not keep a processor busy.
	refusedPause = 100 * time.Millisecond
	// refusedSaid is between two lines of the log about it.
	refusedSaid = time.Minute
)

// openFiles is the bound that all listeners share.
type openFiles struct {
	log   *slog.Logger
	limit uint64         // of the process; 0: there is none
	max   atomic.Uintptr // numbers from here on are kept back
	pause time.Duration

	mu      sync.Mutex
	refused int // since it was said
	said    time.Time
}

func newOpenFiles(limit uint64, log *slog.Logger) *openFiles {
	o := &openFiles{log: log, limit: limit, pause: refusedPause}
	o.max.Store(uintptr(limit - keptBack(limit)))
	return o
}

// keptBack is how many of the files are not for clients: for the next segment and those of who is behind, for plugins
// that start programs and open devices, for a config that is read again.
func keptBack(limit uint64) uint64 {
	return min(max(limit/8, 16), limit/2, 1024)
}

// guard makes l refuse connections while there are too few files left. A client is told by the end of its connection, and
// tries again.
func (o *openFiles) guard(l net.Listener) net.Listener {
	if o.limit == 0 {
		return l
	}
	return &guardedListener{Listener: l, files: o, closed: make(chan struct{})}
}

type guardedListener struct {
	net.Listener
	files  *openFiles
	once   sync.Once
	closed chan struct{}
}

// Accept implements net.Listener.
func (g *guardedListener) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil || descriptor(c) < g.files.max.Load() {
			return c, err
		}
		c.Close()
		g.files.refuse(g.Addr())
		select {
		case <-time.After(g.files.pause):
		case <-g.closed:
			return nil, net.ErrClosed
		}
	}
}

// Close implements net.Listener.
func (g *guardedListener) Close() error {
	g.once.Do(func() { close(g.closed) })
	return g.Listener.Close()
}

func (o *openFiles) refuse(at net.Addr) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.refused++
	if time.Since(o.said) < refusedSaid {
		return
	}
	o.log.Warn("connections are refused: too many open files", "listener", at, "refused", o.refused, "limit", o.limit, "kept_back", o.limit-uint64(o.max.Load()),
		"hint", "raise the limit: LimitNOFILE= of the service, or ulimit -n")
	o.said, o.refused = time.Now(), 0
}

// descriptor is the connection's number; 0 when it has none.
func descriptor(c net.Conn) (fd uintptr) {
	s, ok := c.(syscall.Conn)
	if !ok {
		return 0
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(n uintptr) { fd = n })
	return fd
}
