// This file is the source: it distributes the watched things to connections, and makes events of
// states.

package desktop

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/postbus/postbus/devices/internal/pulse"
	"github.com/postbus/postbus/plugins/kind"
)

// Source watches a desktop. An instance runs once: New, Run.
type Source struct {
	o   Options
	env kind.Env

	buses  [2][]*watch // of the system bus and of the session bus
	sounds []*sound    // of the sound server
	camera *watch      // nil when no camera is watched
	paths  paths

	turn     sync.Mutex                // held while an event is emitted: one at a time
	reported map[string]map[string]any // the last reported state, by what and player
	emit     kind.Emit
	end      context.CancelFunc
	err      error // why emit failed

	mu         sync.Mutex
	conditions map[string]error // by what
}

const (
	system = iota
	session
)

// New makes a source of checked options.
func New(o Options, env kind.Env) *Source {
	s := &Source{o: o, env: env, reported: map[string]map[string]any{}, conditions: map[string]error{}, paths: defaultPaths}
	on := func(bus int, w *watch) {
		w.wake, w.start = make(chan struct{}, 1), len(o.Watch) > 0
		s.buses[bus] = append(s.buses[bus], w)
	}
	const properties = ",interface='org.freedesktop.DBus.Properties',member='PropertiesChanged'"
	const sessions = "sender='" + logind + "',path_namespace='/org/freedesktop/login1'"
	for _, what := range o.watched() {
		switch what {
		case "sleep":
			on(system, &watch{what: what, names: []string{logind}, rules: []string{"sender='" + logind + "',interface='" + logind + ".Manager',member='PrepareForSleep'"}, w: &sleep{s: s}})
		case "lock":
			l := &lock{s: s, asked: map[string]bool{}}
			on(system, &watch{what: what, names: []string{logind}, rules: []string{sessions}, w: lockSession{l}})
			var rules []string
			for _, n := range savers {
				rules = append(rules, "sender='"+n+"',member='ActiveChanged'")
			}
			on(session, &watch{what: what, names: savers, rules: rules, optional: true, w: lockSaver{l}})
		case "idle":
			if o.IdleAfter == 0 {
				on(system, &watch{what: what, names: []string{logind}, rules: []string{sessions}, w: idle{s}})
			}
		case "power":
			on(system, &watch{what: what, names: []string{upower}, rules: []string{"sender='" + upower + "',path_namespace='/org/freedesktop/UPower'" + properties}, settle: settle, w: power{s}})
		case "network":
			on(system, &watch{what: what, names: []string{networks}, rules: []string{"sender='" + networks + "',path='" + networksPath + "'"}, settle: settle, w: network{s}})
		case "media":
			on(session, &watch{what: what, prefix: players, rules: []string{"path='" + string(playerPath) + "'" + properties}, settle: settle, w: &media{s: s}})
		case "volume":
			s.sounds = append(s.sounds, &sound{watch: burstWatch(what), kinds: pulse.Sinks | pulse.Servers, read: s.volume})
		case "microphone":
			s.sounds = append(s.sounds, &sound{watch: burstWatch(what), kinds: pulse.Sources | pulse.Recordings | pulse.Servers, read: s.microphone})
		case "camera":
			s.camera = &watch{what: what, settle: minOpenTime, wake: make(chan struct{}, 1)}
		}
	}
	return s
}

// Run reports the watched states until ctx ends.
func (s *Source) Run(ctx context.Context, emit kind.Emit) error {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	s.emit, s.end = emit, cancel
	var tasks sync.WaitGroup
	for bus, watches := range s.buses {
		if len(watches) > 0 {
			tasks.Go(func() { s.watchBus(inner, bus, watches) })
		}
	}
	if len(s.sounds) > 0 {
		tasks.Go(func() { s.watchSound(inner) })
	}
	if s.camera != nil {
		tasks.Go(func() { s.watchCameras(inner) })
	}
	for _, what := range s.o.watched() {
		switch {
		case what == "window":
			tasks.Go(func() { s.watchDisplay(inner, what, s.window) })
		case what == "idle" && s.o.IdleAfter > 0:
			tasks.Go(func() { s.watchDisplay(inner, what, s.watchIdle) })
		}
	}
	tasks.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return s.err
}

// report makes an event of a state that differs from the last reported one. A change of only the
// fields in quiet makes no event. first marks a state of the start. An error ends the source.
func (s *Source) report(ctx context.Context, first bool, fields map[string]any, quiet ...string) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	key := fmt.Sprint(fields["what"], " ", fields["player"])
	last := s.reported[key]
	same := last != nil && len(last) == len(fields)
	for k, v := range fields {
		same = same && (slices.Contains(quiet, k) || reflect.DeepEqual(last[k], v))
	}
	if same {
		return nil
	}
	if fields["status"] == "closed" {
		delete(s.reported, key)
	} else {
		s.reported[key] = maps.Clone(fields)
	}
	if first && !s.o.Initial {
		return nil
	}
	if err := s.emit(ctx, time.Now(), fields); err != nil {
		s.err = err
		s.end()
		return err
	}
	return nil
}

// setCondition records why something can't be watched now; nil: it can. Degraded reports the things
// that the file names, or all when nothing can be watched.
func (s *Source) setCondition(what string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		delete(s.conditions, what)
	} else {
		s.conditions[what] = err
	}
	all := s.o.watched()
	var texts []error
	for _, w := range slices.Sorted(maps.Keys(s.conditions)) {
		texts = append(texts, fmt.Errorf("%s: %w", w, s.conditions[w]))
	}
	joined := errors.Join(texts...)
	if len(s.o.Watch) == 0 && len(s.conditions) < len(all) {
		joined = nil
	}
	s.env.Degraded(joined)
}

// own returns the user's ID, and the session in the environment.
func own() (uid uint32, id string) { return uint32(os.Getuid()), os.Getenv("XDG_SESSION_ID") }
