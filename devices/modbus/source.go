// This file is the source: polls, and their events.

package modbus

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

// Source polls the registers of a file. An instance runs once: New, Open, Run, Close.
type Source struct {
	o       Options
	env     kind.Env
	link    *link
	added   bool
	release func()
	blocks  []block
	units   int // the number of units
	silent  map[byte]*silence
	polls   int            // the number of polls so far
	last    map[string]any // the last event's values; nil: there was none
}

// silence records a unit that doesn't answer.
type silence struct {
	polls   int       // consecutive polls without an answer
	last    int       // the number of the last such poll
	retryAt time.Time // it isn't asked before this time
	err     error
}

// silentPolls is after how many polls a silent unit is asked less often, at least every backoffMax.
// A single unit delays no others, so it is always asked.
const silentPolls = 2

// New makes a source of checked options.
func New(o Options, env kind.Env) *Source {
	units := map[byte]bool{}
	for _, r := range o.Registers {
		units[r.unit(o.Unit)] = true
	}
	return &Source{o: o, env: env, blocks: plan(o.Registers, o.Unit, o.Gap, o.MaxRegisters), units: len(units), silent: map[byte]*silence{}}
}

// Open takes over the connection of this plugin's previous source, if there is one. It doesn't
// connect: an unreachable device is not an error, and Run retries it.
func (s *Source) Open(context.Context) (err error) {
	if s.link, s.release, err = sharedLink(s.env, s.o.setting()); err != nil {
		return err
	}
	if err = s.link.addSource(s.o.setting()); err == nil {
		s.added = true
	}
	return err
}

// Close releases the connection, unless the next source or an action uses it.
func (s *Source) Close() error {
	if s.added {
		s.link.removeSource(s.o.setting())
		s.added = false
	}
	if s.release != nil {
		s.release()
		s.release = nil
	}
	return nil
}

// Run polls until ctx ends.
func (s *Source) Run(ctx context.Context, emit kind.Emit) error {
	for next := time.Now(); ; {
		values, wrong := s.poll(ctx)
		if ctx.Err() != nil {
			return nil
		}
		s.env.Degraded(condition(wrong, len(s.o.Registers)))
		if fields := fieldsOf(values, wrong); s.o.Report != "change" || s.changed(values, wrong) {
			if err := emit(ctx, time.Now(), fields); err != nil {
				return err
			}
		}
		next = next.Add(s.o.Every)
		if over := time.Since(next); over > 0 { // the polls due meanwhile are skipped
			next = next.Add(over.Truncate(s.o.Every) + s.o.Every)
		}
		if kind.Sleep(ctx, time.Until(next)) != nil {
			return nil
		}
	}
}

// poll reads everything once. wrong has the error of each register that can't be read.
func (s *Source) poll(ctx context.Context) (values map[string]any, wrong map[string]error) {
	values, wrong = map[string]any{}, map[string]error{}
	h := askOptions{s.o.setting(), s.o.Timeout, s.o.Retries, s.o.Pause}
	s.polls++
	var gone error // set when nothing can be read
	for i := 0; i < len(s.blocks); i++ {
		b := s.blocks[i]
		unit := s.silent[b.q.unit]
		err, asked := gone, false
		var data []byte
		switch {
		case gone != nil:
		case unit != nil && (unit.last == s.polls || time.Now().Before(unit.retryAt)):
			err = unit.err
		default:
			asked = true
			data, err = s.link.ask(ctx, b.q, h)
		}
		if ctx.Err() != nil {
			return nil, nil
		}
		var e exception
		var u unreachable
		var n noAnswer
		switch {
		case err == nil:
			delete(s.silent, b.q.unit)
		case gone != nil:
		case errors.As(err, &u):
			gone = err
		case errors.As(err, &e):
			delete(s.silent, b.q.unit)
			if e.Permanent() && len(b.registers) > 1 { // one of them may be the cause: each is read separately from now on
				var each []block
				for _, r := range b.registers {
					each = append(each, single(r, s.o.Unit))
				}
				s.blocks = slices.Replace(s.blocks, i, i+1, each...)
				i--
				continue
			}
		case errors.As(err, &n) && asked:
			s.note(b.q.unit, err)
		}
		for _, r := range b.registers {
			if err != nil {
				wrong[r.Name] = err
				continue
			}
			v, err := r.decode(b.data(r, data))
			if err != nil {
				wrong[r.Name] = err
				continue
			}
			values[r.Name] = v
		}
	}
	for _, r := range s.o.Registers {
		if _, ok := values[r.Name]; !ok {
			values[r.Name] = nil
		}
	}
	return values, wrong
}

// note records that a unit is silent. The unit isn't asked again in this poll, nor for a growing
// time while it stays silent.
func (s *Source) note(unit byte, err error) {
	n := s.silent[unit]
	if n == nil {
		n = &silence{}
		s.silent[unit] = n
	}
	n.polls++
	n.last, n.err = s.polls, err
	if n.polls >= silentPolls && s.units > 1 {
		wait := min(max(backoffMin, s.o.Every)<<min(n.polls-silentPolls, 10), max(backoffMax, s.o.Every))
		n.retryAt = time.Now().Add(wait - s.o.Every/2) // the nearest poll
	}
}

// condition is the error of the registers that could not be read; nil when all could.
func condition(wrong map[string]error, all int) error {
	if len(wrong) == 0 {
		return nil
	}
	var reasons []string
	for _, name := range slices.Sorted(maps.Keys(wrong)) {
		if r := wrong[name].Error(); !slices.Contains(reasons, r) {
			reasons = append(reasons, r)
		}
	}
	const maxReasons = 3
	if more := len(reasons) - maxReasons; more > 0 {
		reasons = append(reasons[:maxReasons], fmt.Sprintf("%d other reasons", more))
	}
	return fmt.Errorf("%d of %d registers could not be read: %s", len(wrong), all, strings.Join(reasons, "; "))
}

func fieldsOf(values map[string]any, wrong map[string]error) map[string]any {
	errs := map[string]any{}
	for name, err := range wrong {
		errs[name] = err.Error()
	}
	f := maps.Clone(values)
	f["ok"], f["errors"] = len(wrong) == 0, errs
	return f
}

// changed reports whether values differ from the last event's, or other registers fail. A different
// cause of a failure is no change.
func (s *Source) changed(values map[string]any, wrong map[string]error) bool {
	now := maps.Clone(values)
	for name := range wrong {
		now[name] = errNaN
	}
	if s.last != nil && reflect.DeepEqual(s.last, now) {
		return false
	}
	s.last = now
	return true
}
