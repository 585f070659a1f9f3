// This file reserves open files for the bus itself. Each connection is an open file. If clients
// used all of them, the journal could not begin a new segment, and clients that are behind could
// not be served from the journal. The kernel gives a connection the lowest free descriptor number,
// so that this number says how many files are in use, whatever for.

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
	// refusedPause is the pause between two refused connections, so that many clients can't keep a
	// processor busy.
	refusedPause = 100 * time.Millisecond
	// refusedLogEvery is the minimum time between two log lines about refused connections.
	refusedLogEvery = time.Minute
)

// openFiles is the bound that all listeners share.
type openFiles struct {
	log   *slog.Logger
	limit uint64         // of the process; 0: none
	max   atomic.Uintptr // descriptors from here on are reserved
	pause time.Duration

	mu      sync.Mutex
	refused int // since the last log line
	lastLog time.Time
}

func newOpenFiles(limit uint64, log *slog.Logger) *openFiles {
	o := &openFiles{log: log, limit: limit, pause: refusedPause}
	o.max.Store(uintptr(limit - keptBack(limit)))
	return o
}

// keptBack returns how many files are reserved: for the next segment and those that are read for
// clients that are behind, for plugins that start programs and open devices, for a config that is
// reloaded.
func keptBack(limit uint64) uint64 {
	return min(max(limit/8, 16), limit/2, 1024)
}

// guard makes l refuse connections while too few files are left. A refused client sees the
// connection end, and retries.
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
	if time.Since(o.lastLog) < refusedLogEvery {
		return
	}
	o.log.Warn("connections are refused: too many open files", "listener", at,
		"refused", o.refused, "limit", o.limit, "kept_back", o.limit-uint64(o.max.Load()),
		"hint", "raise the limit: LimitNOFILE= of the service, or ulimit -n")
	o.lastLog, o.refused = time.Now(), 0
}

// descriptor returns the connection's descriptor; 0 when it has none.
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
