// This file is a port that the source and the action of one plugin share, and that a reload hands
// over.

package serial

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/postbus/postbus/devices/internal/tty"
	"github.com/postbus/postbus/plugins/kind"
)

// line is the open port and its driver's counts.
type line struct {
	*tty.Port
	drops drops
}

// shared is the port. The bus keeps it (Env.Hold) as long as a source or an action of the plugin
// uses it. The first use opens it.
type shared struct {
	mu      sync.Mutex
	l       *line // nil: it is closed
	set     tty.Setting
	source  *tty.Setting // the source's settings; nil while there is no source
	framer  *framer      // left by an earlier source: the beginning of a frame
	writing sync.Mutex
}

var (
	errNotShared = errors.New("the port is held by another part of this plugin")
	errTwo       = errors.New("another source of this plugin already reads the port: use one source")
)

// sharedPort finds or makes the shared port of a plugin.
func sharedPort(env kind.Env, n tty.Name) (*shared, func(), error) {
	held, release, err := env.Hold(n.Claim(), func() (io.Closer, error) { return &shared{}, nil })
	if err != nil {
		return nil, nil, err
	}
	s, ok := held.(*shared)
	if !ok {
		release()
		return nil, nil, errNotShared
	}
	return s, release, nil
}

// addSource registers the caller as the only source.
func (s *shared) addSource(set tty.Setting) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.source != nil {
		return errTwo
	}
	s.source = &set
	return nil
}

func (s *shared) removeSource() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.source = nil
}

// get returns the open port. The source's settings have priority; the action's apply only without a
// source.
func (s *shared) get(n tty.Name, set tty.Setting) (*line, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.source != nil {
		set = *s.source
	}
	if s.l != nil && s.set == set {
		return s.l, nil
	}
	s.closeLocked()
	p, err := tty.Open(n, set)
	if err != nil {
		return nil, err
	}
	s.l, s.set = &line{Port: p}, set
	s.l.drops.begin(p)
	return s.l, nil
}

// closeLocked closes the port if it is open. The caller holds mu.
func (s *shared) closeLocked() {
	if s.l != nil {
		s.l.Close()
		s.l, s.framer = nil, nil
	}
}

// drop closes a port that failed, unless it was closed already.
func (s *shared) drop(l *line) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.l == l {
		s.closeLocked()
	}
}

// keepFramer keeps the beginning of a frame for the next source, as long as the port stays open.
func (s *shared) keepFramer(l *line, f *framer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.l == l {
		s.framer = f
	}
}

func (s *shared) takeFramer(l *line) *framer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.l != l {
		return nil
	}
	f := s.framer
	s.framer = nil
	return f
}

// Close closes the port.
func (s *shared) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeLocked()
	return nil
}

// write writes all bytes in a time. After that it discards the bytes in the buffer. Writes are
// serialised.
func (s *shared) write(ctx context.Context, l *line, data []byte, timeout time.Duration, drain bool) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	until := time.Now().Add(timeout)
	if err := l.SetWriteDeadline(until); err != nil {
		return err
	}
	stop := kind.InterruptWrites(ctx, l)
	_, err := l.Write(data)
	stop()
	if err == nil && drain {
		err = l.Drain(ctx, until)
	}
	if ctx.Err() != nil && err != nil {
		err = ctx.Err()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() != nil && err != nil {
		l.Discard()
	}
	return err
}
