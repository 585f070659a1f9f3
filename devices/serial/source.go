// This file is the source: it opens its port whenever that exists, and makes events of its input.

package serial

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/postbus/postbus/devices/internal/tty"
	"github.com/postbus/postbus/plugins/kind"
)

const (
	retry       = 5 * time.Second        // to retry a port that is busy or not permitted, since no notification says when it is free
	poll        = time.Second            // to look for an absent port without notifications
	settle      = 100 * time.Millisecond // after a notification, for udev to set names and permissions
	maxAttempts = 15                     // how many times it is looked for after a notification, each after settle
)

// Source is one port. An instance runs once: New, Open, Stream, Close.
type Source struct {
	o              Options
	env            kind.Env
	port           *shared
	added          bool
	release        func()
	format         format
	searchInterval time.Duration // how often to look for an absent port, in addition to the kernel's notifications
}

// New makes a source of checked options.
func New(o Options, env kind.Env) *Source {
	return &Source{o: o, env: env, format: format{name: o.Format, decode: o.Decode, lines: o.Framing == "lines", needSum: o.Checksum != "if-there", lost: env.Lost}, searchInterval: 30 * time.Second}
}

// Open opens the port, or takes it over from this plugin's previous source. An absent port is not
// an error: Stream waits for it. A port that is busy or not permitted, or a file that is no port,
// is an error.
func (s *Source) Open(context.Context) (err error) {
	if s.port, s.release, err = sharedPort(s.env, s.o.Port); err != nil {
		return err
	}
	if err := s.port.addSource(s.o.setting()); err != nil {
		return err
	}
	s.added = true
	var a tty.Absent
	if _, err = s.port.get(s.o.Port, s.o.setting()); errors.As(err, &a) {
		return nil
	}
	return err
}

// Close releases the port, unless the next source or an action uses it.
func (s *Source) Close() error {
	if s.added {
		s.port.removeSource()
		s.added = false
	}
	if s.release != nil {
		s.release()
		s.release = nil
	}
	return nil
}

// Stream posts frames until ctx ends. It doesn't end when the port is unplugged.
func (s *Source) Stream(ctx context.Context, p kind.Post) error {
	for {
		l, err := s.await(ctx)
		if err != nil {
			return nil // ctx ended
		}
		s.env.Degraded(nil)
		s.warn(l)
		if err := s.read(ctx, l, p); err == nil || ctx.Err() != nil {
			return nil
		} else {
			s.port.drop(l)
			s.env.Degraded(fmt.Errorf("%s is gone: %w; waiting for it", s.o.Port, cause(err)))
		}
		if time.Since(l.Opened) < poll { // it can be opened but not read
			if kind.Sleep(ctx, poll) != nil {
				return nil
			}
		}
	}
}

// cause returns an error without operation and path, which the message has already in the user's
// words.
func cause(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// await opens the port as soon as that is possible. An error is ctx's.
func (s *Source) await(ctx context.Context) (*line, error) {
	l, err := s.port.get(s.o.Port, s.o.setting())
	if err == nil {
		return l, nil
	}
	changes, closeWatch := tty.Watch(s.o.Port)
	defer closeWatch()
	soon := 0
	for ctx.Err() == nil {
		if l, err = s.port.get(s.o.Port, s.o.setting()); err == nil { // notifications began only after the first attempt
			return l, nil
		}
		s.env.Degraded(fmt.Errorf("%w; waiting for it", err))
		wait := retry
		var a tty.Absent
		switch {
		case soon > 0:
			soon--
			wait = settle
		case !errors.As(err, &a):
		case changes == nil:
			wait = poll
		default:
			wait = s.searchInterval
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-changes:
			soon = maxAttempts
			_ = kind.Sleep(ctx, settle) // its error is ctx's, which ends the loop
		case <-ctx.Done():
		}
		t.Stop()
	}
	return nil, ctx.Err()
}

// warn warns when another program has the port open as well, because each of them receives some of
// the bytes.
func (s *Source) warn(l *line) {
	if others := l.Others(); len(others) > 0 {
		s.env.Log().Warn("the port is open in another program as well, which receives some of the bytes", "port", l.Path, "program", strings.Join(others, ", "))
	}
}

// read posts frames until ctx ends, which is no error, or the port is unplugged.
func (s *Source) read(ctx context.Context, l *line, p kind.Post) error {
	f := s.port.takeFramer(l)
	if f != nil && f.kind != s.o.Framing {
		f.lost = s.env.Lost
		f.end()
		f = nil
	}
	if f == nil {
		f = newFramer(s.o.framing(), s.env.Lost)
	} else {
		skip := f.skipFirst
		f.framing, f.lost = s.o.framing(), s.env.Lost
		f.skipFirst, f.scanned, f.used, f.cut = skip, 0, 0, false
	}
	defer kind.InterruptReads(ctx, l)() // then the next source may set another deadline
	chunk := make([]byte, 4096)
	silent := false
	for {
		for {
			frame, cut, ok := f.next(silent)
			if !ok {
				break
			}
			if m := s.format.fields(frame, cut, l.Path); m != nil {
				if err := p(ctx, time.Now(), m, nil); err != nil {
					s.port.keepFramer(l, f) // the frame is left to the next source
					return nil
				}
			}
			f.consume()
		}
		until := time.Time{}
		if d := f.pause(); d > 0 {
			until = time.Now().Add(d)
		}
		if err := kind.ReadUntil(ctx, l, until); ctx.Err() != nil {
			s.port.keepFramer(l, f)
			return nil
		} else if err != nil {
			f.end()
			return err
		}
		n, err := l.Read(chunk)
		f.feed(chunk[:n])
		silent = n == 0 && errors.Is(err, os.ErrDeadlineExceeded)
		l.drops.look(l.Port, s.env.Lost)
		switch {
		case ctx.Err() != nil:
			s.port.keepFramer(l, f)
			return nil
		case err != nil && !silent:
			for frame, cut, ok := f.next(false); ok; frame, cut, ok = f.next(false) {
				if m := s.format.fields(frame, cut, l.Path); m != nil && p(ctx, time.Now(), m, nil) != nil {
					return nil
				}
				f.consume()
			}
			f.end()
			return err
		}
	}
}
