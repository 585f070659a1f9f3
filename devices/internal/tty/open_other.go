//go:build !linux

// This file opens a port on platforms other than Linux. The library does everything, and this file
// adds deadlines.

package tty

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"go.bug.st/serial"
)

// tick is how long a read blocks in the library before it checks its deadline again.
const tick = 800 * time.Millisecond

// Port is an open port.
type Port struct {
	Path   string // as COM3
	Opened time.Time
	port   serial.Port

	mu     sync.Mutex
	until  time.Time // of a read; zero: never
	limit  time.Time // of a write
	closed bool
}

// Open opens a port and excludes all other programs. Only a path names a port here.
func Open(n Name, s Setting) (*Port, error) {
	if _, ok := n.usb(); ok {
		return nil, errors.New("ports are named by their USB ids on Linux only: write the path")
	}
	if s.RS485 {
		return nil, errors.New("rs485 is on Linux only: leave it out, and use an adapter that switches by itself")
	}
	path := string(n)
	p, err := serial.Open(path, s.mode())
	if err != nil {
		return nil, refused(path, err)
	}
	return &Port{Path: path, Opened: time.Now(), port: p}, nil
}

// SetReadDeadline sets when Read ends. A running Read notices within a tick.
func (p *Port) SetReadDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.until = t
	return nil
}

// SetWriteDeadline sets when the next Write ends.
func (p *Port) SetWriteDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.limit = t
	return nil
}

// Read waits for bytes.
func (p *Port) Read(b []byte) (int, error) {
	for {
		p.mu.Lock()
		until, closed := p.until, p.closed
		p.mu.Unlock()
		wait := tick
		if closed {
			return 0, os.ErrClosed
		}
		if !until.IsZero() {
			if wait = min(wait, time.Until(until)); wait <= 0 {
				return 0, os.ErrDeadlineExceeded
			}
		}
		if err := p.port.SetReadTimeout(max(wait, time.Millisecond)); err != nil {
			return 0, err
		}
		if n, err := p.port.Read(b); n > 0 || err != nil {
			return n, err
		}
	}
}

// Write writes all bytes or fails. A write that the port doesn't accept ends when the port is
// closed.
func (p *Port) Write(b []byte) (int, error) {
	p.mu.Lock()
	limit := p.limit
	p.mu.Unlock()
	return bounded(limit, func() (int, error) {
		for at := 0; at < len(b); {
			n, err := p.port.Write(b[at:])
			if at += n; err != nil {
				return at, err
			}
		}
		return len(b), nil
	})
}

// bounded runs a call that can't be interrupted, and waits for it at most until a time.
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

// Drain waits until all written bytes have left the machine's buffer, or until the deadline.
func (p *Port) Drain(_ context.Context, until time.Time) error {
	_, err := bounded(until, func() (int, error) { return 0, p.port.Drain() })
	return err
}

// Discard discards written bytes that were not sent yet.
func (p *Port) Discard() { _ = p.port.ResetOutputBuffer() }

// Close ends reads and writes.
func (p *Port) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	return p.port.Close()
}

// Away reports whether an error of Write says that the port was unplugged, and nothing was written.
func Away(err error) bool {
	var e *serial.PortError
	return errors.As(err, &e) && e.Code() == serial.PortClosed || errors.Is(err, os.ErrClosed)
}

// refused says why a port can't be opened.
func refused(path string, err error) error {
	var e *serial.PortError
	if errors.As(err, &e) {
		switch e.Code() {
		case serial.PortBusy:
			return fmt.Errorf("%s is busy: another program has it: %w", path, err)
		case serial.PortNotFound:
			return Absent{fmt.Errorf("there is no %s; available: %s", path, names(List()))}
		case serial.PermissionDenied:
			return fmt.Errorf("no permission for %s, or another program has it: %w", path, err)
		}
	}
	if errors.Is(err, os.ErrNotExist) {
		return Absent{fmt.Errorf("there is no %s; available: %s", path, names(List()))}
	}
	return fmt.Errorf("opening %s: %w", path, err)
}

// List returns the existing ports.
func List() []Device {
	paths, _ := serial.GetPortsList()
	var out []Device
	for _, p := range paths {
		out = append(out, Device{Path: p})
	}
	return out
}

// Watch notifies nothing: it is supported on Linux only.
func Watch(Name) (changes <-chan struct{}, closeIt func()) { return nil, func() {} }

// Others returns nothing: it is supported on Linux only.
func (p *Port) Others() []string { return nil }
