//go:build !linux

// This file opens a port where it isn't Linux: the library does all, and deadlines are put on top of it.

package serial

import (
	"context"
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
	path   string
	opened time.Time
	drops  drops

	mu     sync.Mutex
	until  time.Time // of a read; zero: never
	limit  time.Time // of a write
	closed bool
}

func openLine(path string, s setting) (*line, error) {
	p, err := serial.Open(path, s.mode())
	if err != nil {
		return nil, refused(path, err)
	}
	return &line{p: p, path: path, opened: time.Now()}, nil
}

// SetReadDeadline ends a Read, within a tick when it is under way.
func (l *line) SetReadDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = t
	return nil
}

// SetWriteDeadline ends the next Write.
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
	return bounded(limit, func() (int, error) {
		for at := 0; at < len(b); {
			n, err := l.p.Write(b[at:])
			if at += n; err != nil {
				return at, err
			}
		}
		return len(b), nil
	})
}

// bounded does something that can't be interrupted, and doesn't wait for it for longer than until a time.
func bounded(until time.Time, do func() (int, error)) (int, error) {
	type result struct {
		n   int
		err error
	}
	done := make(chan result, 1)
	go func() {
		n, err := do()
		done <- result{n, err}
	}()
	if until.IsZero() {
		r := <-done
		return r.n, r.err
	}
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	select {
	case r := <-done:
		return r.n, r.err
	case <-t.C:
		return 0, os.ErrDeadlineExceeded
	}
}

func (l *line) drain(_ context.Context, until time.Time) error {
	_, err := bounded(until, func() (int, error) { return 0, l.p.Drain() })
	return err
}

func (l *line) discard() { _ = l.p.ResetOutputBuffer() }

// Close ends reads and writes.
func (l *line) Close() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	return l.p.Close()
}

func away(err error) bool {
	var e *serial.PortError
	return errors.As(err, &e) && e.Code() == serial.PortClosed || errors.Is(err, os.ErrClosed)
}

// drops would be the kernel's counts.
type drops struct{}

func (drops) look(*line, func(int, string)) {}

// refused says why a port can't be had.
func refused(path string, err error) error {
	var e *serial.PortError
	if errors.As(err, &e) {
		switch e.Code() {
		case serial.PortBusy:
			return fmt.Errorf("%s is busy: another program has it: %w", path, err)
		case serial.PortNotFound:
			return absent{fmt.Errorf("there is no %s; there are %s", path, present())}
		case serial.PermissionDenied:
			return fmt.Errorf("no permission for %s, or another program has it: %w", path, err)
		}
	}
	if errors.Is(err, os.ErrNotExist) {
		return absent{fmt.Errorf("there is no %s; there are %s", path, present())}
	}
	return fmt.Errorf("opening %s: %w", path, err)
}

// find is the path of a port; only a path names one here.
func find(p Port, _ roots) (string, error) {
	if _, ok := p.usb(); ok {
		return "", errors.New("ports are named by their USB ids on Linux only: write the path")
	}
	return string(p), nil
}

func present() string { return names(List()) }

// List is the ports that there are.
func List() []Device {
	paths, _ := serial.GetPortsList()
	var out []Device
	for _, p := range paths {
		out = append(out, Device{Path: p})
	}
	return out
}

// watch would be news of ports.
func watch(Port, roots) (news <-chan struct{}, closeIt func()) { return nil, func() {} }

func others(*line) []string { return nil }
