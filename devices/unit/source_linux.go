// This file is the source: states as systemd tells of them.

package unit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

// Source watches units. It is used once: New, Open, Run, Close.
type Source struct {
	o    Options
	env  Env
	conn *session // made by Open
	why  error    // why Open made none
	told string   // what Degraded was told last

	last    map[string]state // by the units' names
	waitMin time.Duration    // for the bus to come back
}

// state is what was told of a unit.
type state struct{ active, sub string }

// New makes a source; the options were checked.
func New(o Options, env Env) *Source {
	return &Source{o: o, env: env, last: map[string]state{}, waitMin: time.Second}
}

// Open connects and finds the units. Only a unit that doesn't exist is an error: a bus that is absent is waited for.
func (s *Source) Open(ctx context.Context) error {
	s.conn, s.why = s.connect(ctx)
	var unknown unknownUnit
	if errors.As(s.why, &unknown) {
		return s.why
	}
	return nil
}

// Close ends the connection.
func (s *Source) Close() error {
	if s.conn != nil {
		s.conn.close()
		s.conn = nil
	}
	return nil
}

type emit = func(ctx context.Context, at time.Time, fields map[string]any) error

// Run emits changes until ctx ends.
func (s *Source) Run(ctx context.Context, emit emit) error {
	for wait := s.waitMin; ; {
		if s.conn == nil && s.why == nil {
			s.conn, s.why = s.connect(ctx)
		}
		if ctx.Err() != nil {
			return nil
		}
		if s.conn != nil {
			wait = s.waitMin
			s.tell(nil)
			var stop error
			stop, s.why = s.follow(ctx, emit)
			_ = s.Close()
			if ctx.Err() != nil {
				return nil
			}
			if stop != nil {
				return stop
			}
		}
		var unknown unknownUnit
		if errors.As(s.why, &unknown) {
			return s.why
		}
		s.tell(s.why)
		s.why = nil
		t := time.NewTimer(wait)
		select {
		case <-t.C:
			wait = min(2*wait, waitMax)
		case <-ctx.Done():
			t.Stop()
			return nil
		}
	}
}

// tell reports what is wrong when that is news.
func (s *Source) tell(err error) {
	now := ""
	if err != nil {
		now = err.Error()
	}
	if now != s.told {
		s.told = now
		s.env.Degraded(err)
	}
}

var errGone = errors.New("systemd has left the bus")

// follow says how the units are and then what changes. stop is why the source is to end, why that the session is over.
func (s *Source) follow(ctx context.Context, emit emit) (stop, why error) {
	c := s.conn
	compare := func() (stop, why error) { // what changed while nobody listened
		for _, u := range s.o.Units {
			for path, names := range c.units {
				if !slices.Contains(names, full(u)) {
					continue
				}
				if stop, why = s.look(ctx, path, full(u), emit); stop != nil || why != nil {
					return stop, why
				}
			}
		}
		return nil, nil
	}
	if stop, why := compare(); stop != nil || why != nil {
		return stop, why
	}
	for missed := false; ; {
		if missed && len(c.signals) == 0 { // what was there is older than what there was no room for
			missed = false
			if stop, why = compare(); stop != nil || why != nil {
				return stop, why
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
		case signal.Name == manager+".Reloading": // it read its files again; units may have come and gone
			if stop, why = compare(); stop != nil || why != nil {
				return stop, why
			}
		case signal.Name == properties+".PropertiesChanged":
			for _, name := range c.units[signal.Path] {
				if stop, why = s.changed(ctx, signal, name, emit); stop != nil || why != nil {
					return stop, why
				}
			}
		}
	}
}

// changed reads the state that a signal carries: by the time of a question it may be another one.
func (s *Source) changed(ctx context.Context, signal *dbus.Signal, name string, emit emit) (stop, why error) {
	var values map[string]dbus.Variant
	if len(signal.Body) > 1 {
		values, _ = signal.Body[1].(map[string]dbus.Variant)
	}
	if text(values, "ActiveState") == "" {
		if len(signal.Body) > 2 { // only that it is another one
			if names, _ := signal.Body[2].([]string); slices.Contains(names, "ActiveState") || slices.Contains(names, "SubState") {
				return s.look(ctx, signal.Path, name, emit)
			}
		}
		return nil, nil
	}
	return s.say(ctx, signal.Path, name, values, emit)
}

func stateOf(values map[string]dbus.Variant) state {
	return state{text(values, "ActiveState"), text(values, "SubState")}
}

// look asks for the state of a unit.
func (s *Source) look(ctx context.Context, path dbus.ObjectPath, name string, emit emit) (stop, why error) {
	values, err := s.conn.all(ctx, path, unitKind)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s.say(ctx, path, name, values, emit)
}

// say emits a state when it is another one than the last.
func (s *Source) say(ctx context.Context, path dbus.ObjectPath, name string, values map[string]dbus.Variant, emit emit) (stop, why error) {
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
	if _, ok := values["Description"]; !ok { // a signal has only what changed
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

// details adds what only some sorts of units have.
func (s *Source) details(ctx context.Context, path dbus.ObjectPath, name string, f map[string]any) {
	_, kind, _ := cutLast(name)
	values, err := s.conn.all(ctx, path, systemd+"."+strings.ToUpper(kind[:1])+kind[1:])
	if err != nil {
		return // a unit that can't be read now is still one that changed
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
