// This file is the source: unit states as systemd reports them.

package unit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/postbus/postbus/plugins/kind"
)

// Source watches units. An instance runs once: New, Open, Run, Close.
type Source struct {
	o      Options
	env    kind.Env
	conn   *session // set by Open
	reason error    // why Open did not connect

	last    map[string]state // by the units' names
	waitMin time.Duration    // the first pause before reconnecting to the bus
}

// state is a unit's state as last reported.
type state struct{ active, sub string }

// New makes a source of checked options.
func New(o Options, env kind.Env) *Source {
	return &Source{o: o, env: env, last: map[string]state{}, waitMin: time.Second}
}

// Open connects and finds the units. Only a unit that doesn't exist is an error: an absent bus is
// waited for.
func (s *Source) Open(ctx context.Context) error {
	s.conn, s.reason = s.connect(ctx)
	var unknown unknownUnit
	if errors.As(s.reason, &unknown) {
		return s.reason
	}
	return nil
}

// Close closes the connection.
func (s *Source) Close() error {
	if s.conn != nil {
		s.conn.close()
		s.conn = nil
	}
	return nil
}

// Run emits changes until ctx ends.
func (s *Source) Run(ctx context.Context, emit kind.Emit) error {
	for wait := s.waitMin; ; {
		if s.conn == nil && s.reason == nil {
			s.conn, s.reason = s.connect(ctx)
		}
		if ctx.Err() != nil {
			return nil
		}
		if s.conn != nil {
			wait = s.waitMin
			s.env.Degraded(nil)
			var stop error
			stop, s.reason = s.follow(ctx, emit)
			_ = s.Close()
			if ctx.Err() != nil {
				return nil
			}
			if stop != nil {
				return stop
			}
		}
		var unknown unknownUnit
		if errors.As(s.reason, &unknown) {
			return s.reason
		}
		s.env.Degraded(s.reason)
		s.reason = nil
		if kind.Sleep(ctx, wait) != nil {
			return nil
		}
		wait = min(2*wait, waitMax)
	}
}

var errGone = errors.New("systemd has left the bus")

// follow reports the units' states and then changes. stop is why the source must end, reason is why
// the session ended.
func (s *Source) follow(ctx context.Context, emit kind.Emit) (stop, reason error) {
	c := s.conn
	compare := func() (stop, reason error) { // reports changes that no signal reported
		for _, u := range s.o.Units {
			for path, names := range c.units {
				if !slices.Contains(names, full(u)) {
					continue
				}
				if stop, reason = s.query(ctx, path, full(u), emit); stop != nil || reason != nil {
					return stop, reason
				}
			}
		}
		return nil, nil
	}
	if stop, reason := compare(); stop != nil || reason != nil {
		return stop, reason
	}
	for missed := false; ; {
		if missed && len(c.signals) == 0 { // the queued signals are older than the dropped ones
			missed = false
			if stop, reason = compare(); stop != nil || reason != nil {
				return stop, reason
			}
		}
		var signal *dbus.Signal
		select {
		case <-ctx.Done():
			return nil, nil
		case <-c.conn.Context().Done():
			return nil, errors.New("the bus has ended the connection")
		case <-c.missed:
			missed = true
			continue
		case signal = <-c.signals:
		}
		switch {
		case signal.Name == "org.freedesktop.DBus.NameOwnerChanged":
			return nil, errGone
		case signal.Name == manager+".Reloading": // systemd has reloaded its files; units may have been added or removed
			if stop, reason = compare(); stop != nil || reason != nil {
				return stop, reason
			}
		case signal.Name == properties+".PropertiesChanged":
			for _, name := range c.units[signal.Path] {
				if stop, reason = s.changed(ctx, signal, name, emit); stop != nil || reason != nil {
					return stop, reason
				}
			}
		}
	}
}

// changed reads the state from a signal, because the state may have changed again by the time of a
// query.
func (s *Source) changed(ctx context.Context, signal *dbus.Signal, name string, emit kind.Emit) (stop, reason error) {
	var values map[string]dbus.Variant
	if len(signal.Body) > 1 {
		values, _ = signal.Body[1].(map[string]dbus.Variant)
	}
	if text(values, "ActiveState") == "" {
		if len(signal.Body) > 2 { // the signal only says that a property has changed
			if names, _ := signal.Body[2].([]string); slices.Contains(names, "ActiveState") || slices.Contains(names, "SubState") {
				return s.query(ctx, signal.Path, name, emit)
			}
		}
		return nil, nil
	}
	return s.report(ctx, signal.Path, name, values, emit)
}

func stateOf(values map[string]dbus.Variant) state {
	return state{text(values, "ActiveState"), text(values, "SubState")}
}

// query queries the state of a unit.
func (s *Source) query(ctx context.Context, path dbus.ObjectPath, name string, emit kind.Emit) (stop, reason error) {
	values, err := s.conn.all(ctx, path, unitKind)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s.report(ctx, path, name, values, emit)
}

// report emits a state when it differs from the last one.
func (s *Source) report(ctx context.Context, path dbus.ObjectPath, name string, values map[string]dbus.Variant, emit kind.Emit) (stop, reason error) {
	now := stateOf(values)
	before, known := s.last[name]
	if now == before {
		return nil, nil
	}
	s.last[name] = now
	f := map[string]any{"unit": name, "state": now.active, "sub": now.sub, "before": nil, "result": nil, "pid": nil, "exit": nil,
		"description": nil, "loaded": nil, "initial": !known}
	if known {
		f["before"] = before.active
	}
	if _, ok := values["Description"]; !ok { // a signal contains only changed properties
		if more, err := s.conn.all(ctx, path, unitKind); err == nil {
			values = more
		}
	}
	for key, property := range map[string]string{"description": "Description", "loaded": "LoadState"} {
		if v := text(values, property); v != "" {
			f[key] = v
		}
	}
	s.details(ctx, path, name, f)
	if err := emit(ctx, time.Now(), f); err != nil {
		return err, nil
	}
	return nil, nil
}

// details adds the properties that only some types of units have.
func (s *Source) details(ctx context.Context, path dbus.ObjectPath, name string, f map[string]any) {
	_, kind, _ := cutLast(name)
	values, err := s.conn.all(ctx, path, systemd+"."+strings.ToUpper(kind[:1])+kind[1:])
	if err != nil {
		return // it changed, even if it can't be read now
	}
	if r := text(values, "Result"); r != "" {
		f["result"] = r
	}
	if pid, ok := values["MainPID"].Value().(uint32); ok && pid != 0 {
		f["pid"] = int64(pid)
	}
	if code, ok := values["ExecMainCode"].Value().(int32); ok && code != 0 { // of waitid(2); 0: it has not ended
		if status, ok := values["ExecMainStatus"].Value().(int32); ok {
			f["exit"] = int(status)
		}
	}
}
