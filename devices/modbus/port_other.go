//go:build !linux

// This file opens a port where it isn't Linux: the library does all, and deadlines are put on top of it.

package modbus

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"go.bug.st/serial"
)

// tick is how long a read waits in the library before it looks at its deadline again.
const tick = 800 * time.Millisecond

// line is an open port.
type line struct {
	p      serial.Port
	mu     sync.Mutex
	until  time.Time // of a read
	limit  time.Time // of a write
	closed bool
}

func dialPort(s setting, _ roots) (conn, error) {
	if _, ok := s.port.usb(); ok {
		return nil, errors.New("ports are named by their USB ids on Linux only: write the path")
	}
	p, err := serial.Open(string(s.port), s.mode())
	if err == nil {
		return &line{p: p}, nil
	}
	var e *serial.PortError
	if errors.As(err, &e) {
		switch e.Code() {
		case serial.PortBusy:
			return nil, fmt.Errorf("%s is busy: another program has it: %w", s.port, err)
		case serial.PermissionDenied:
			return nil, fmt.Errorf("no permission for %s, or another program has it: %w", s.port, err)
		}
	}
	list, _ := serial.GetPortsList()
	return nil, fmt.Errorf("opening %s: %w; there are %q", s.port, err, list)
}

func (l *line) SetReadDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = t
	return nil
}

func (l *line) SetWriteDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limit = t
	return nil
}

// Read waits for bytes.
func (l *line) Read(b []byte) (int, error) {
	for {
		l.mu.Lock()
		until, closed := l.until, l.closed
		l.mu.Unlock()
		wait := tick
		if closed {
			return 0, os.ErrClosed
		}
		if !until.IsZero() {
			if wait = min(wait, time.Until(until)); wait <= 0 {
				return 0, os.ErrDeadlineExceeded
			}
		}
		if err := l.p.SetReadTimeout(max(wait, time.Millisecond)); err != nil {
			return 0, err
		}
		if n, err := l.p.Read(b); n > 0 || err != nil {
			return n, err
		}
	}
}

// Write writes all or fails. One that the port doesn't take ends when the port is closed.
func (l *line) Write(b []byte) (int, error) {
	l.mu.Lock()
	limit := l.limit
	l.mu.Unlock()
	done := make(chan error, 1)
	go func() {
		for at := 0; at < len(b); {
			n, err := l.p.Write(b[at:])
			if at += n; err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	t := time.NewTimer(time.Until(limit))
	defer t.Stop()
	select {
	case err := <-done:
		return len(b), err
	case <-t.C:
		return 0, errors.New("the port took nothing in time") // and is closed for it
	}
}

// Close ends reads and writes.
func (l *line) Close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	return l.p.Close()
}
