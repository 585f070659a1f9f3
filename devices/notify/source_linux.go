// This file is the source: it receives the signals of this process's actions.

package notify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/postbus/postbus/plugins/kind"
)

// Source reports buttons. An instance runs once: New, Run.
type Source struct {
	o   Options
	env kind.Env
}

// New makes a source of checked options.
func New(o Options, env kind.Env) *Source { return &Source{o: o, env: env} }

// Run emits presses and closed notifications until ctx ends.
func (s *Source) Run(ctx context.Context, emit kind.Emit) error {
	for pause := retryMin; ; pause = min(2*pause, retryMax) {
		began := time.Now()
		err := s.connection(ctx, emit)
		var refused stopped
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.As(err, &refused):
			return refused.error
		}
		s.env.Degraded(err)
		if time.Since(began) > retryMax {
			pause = retryMin
		}
		if kind.Sleep(ctx, pause) != nil {
			return nil
		}
	}
}

// stopped wraps an error of emit.
type stopped struct{ error }

// connection runs one connection. It returns why the connection ended.
func (s *Source) connection(ctx context.Context, emit kind.Emit) error {
	h := &signalHandler{signals: make(chan *dbus.Signal, 64), dropped: func() { s.env.Lost(1, "buttons were pressed faster than events were accepted") },
		wanted: func(sig *dbus.Signal) bool {
			return sig.Name == signalName && sig.Path == ourPath && len(sig.Body) == 4
		}}
	conn, err := dial(ctx, s.o.SessionBus, dbus.WithSignalHandler(h))
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := listen(ctx, conn, "interface='"+ourInterface+"',path='"+string(ourPath)+"'"); err != nil {
		return err
	}
	s.env.Degraded(nil)
	ours := map[string]bool{} // by the sender's unique name, which the bus never reuses
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-conn.Context().Done():
			return errors.New("the session bus is gone; waiting for it")
		case sig := <-h.signals:
			is, known := ours[sig.Sender]
			if !known {
				if is, err = own(ctx, conn, sig.Sender); err != nil {
					continue // it disconnected at once
				}
				if len(ours) > 1000 {
					clear(ours)
				}
				ours[sig.Sender] = is
			}
			fields := s.fields(sig)
			if !is || fields == nil {
				continue
			}
			if err := emit(ctx, time.Now(), fields); err != nil {
				return stopped{err}
			}
		}
	}
}

// own reports whether a connection is this process's.
func own(ctx context.Context, conn *dbus.Conn, name string) (bool, error) {
	var pid uint32
	if err := call(ctx, conn, daemon, daemonPath, daemon+".GetConnectionUnixProcessID", name).Store(&pid); err != nil {
		return false, fmt.Errorf("the process of %s is unknown: %w", name, err)
	}
	return int(pid) == os.Getpid(), nil
}

// fields returns an event's fields; nil when the event isn't wanted.
func (s *Source) fields(sig *dbus.Signal) map[string]any {
	var action, tag, button, reason string
	if dbus.Store(sig.Body, &action, &tag, &button, &reason) != nil || s.o.Tag != "" && s.o.Tag != tag {
		return nil
	}
	switch {
	case action == "pressed":
		return map[string]any{"action": action, "tag": tag, "button": button, "reason": nil}
	case action == "closed" && s.o.Closed:
		return map[string]any{"action": action, "tag": tag, "button": nil, "reason": reason}
	}
	return nil
}
