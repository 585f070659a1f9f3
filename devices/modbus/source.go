// This file is the source: polls, and the events that are made of them.

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
)

// Source polls the registers of a file. It is used once: New, Open, Run, Close.
type Source struct {
	o       Options
	env     Env
	link    *link
	entered bool
	release func()
	blocks  []block
	units   int // how many there are
	silent  map[byte]*silence
	polls   int            // how many there were
	last    map[string]any // of the event before; nil: there was none
}

// silence is of a unit that doesn't answer.
type silence struct {
	polls int       // in a row
	last  int       // the number of the last of them
	again time.Time // before, it isn't asked
	err   error
}

// patient is after how many polls a silent unit is asked less often, at least every backoffMax. One that is alone keeps nobody
// waiting.
const patient = 2

// New makes a source; the options were checked.
func New(o Options, env Env) *Source {
	units := map[byte]bool{}
	for _, r := range o.Registers {
		units[r.unit(o.Unit)] = true
	}
	return &Source{o: o, env: env, blocks: plan(o.Registers, o.Unit, o.Gap, o.Most), units: len(units), silent: map[byte]*silence{}}
}

// Open takes over the connection of this plugin's previous source, if there is one. It doesn't connect: a device that is away is
// no error, and Run looks for it.
func (s *Source) Open(context.Context) (err error) {
	if s.link, s.release, err = join(s.env, s.o.setting()); err != nil {
		return err
	}
	if err = s.link.enter(s.o.setting()); err == nil {
		s.entered = true
	}
	return err
}

// Close lets go of the connection, unless the next source or an action has it.
func (s *Source) Close() error {
	if s.entered {
		s.link.leave(s.o.setting())
		s.entered = false
	}
	if s.release != nil {
		s.release()
		s.release = nil
	}
	return nil
}

// Run polls until ctx ends.
func (s *Source) Run(ctx context.Context, emit func(ctx context.Context, at time.Time, fields map[string]any) error) error {
	for next := time.Now(); ; {
		values, wrong := s.poll(ctx)
		if ctx.Err() != nil {
			return nil
		}
		s.env.Degraded(complaint(wrong, len(s.o.Registers)))
		if fields := fieldsOf(values, wrong); s.o.Report != "change" || s.changed(values, wrong) {
			if err := emit(ctx, time.Now(), fields); err != nil {
				return err
			}
		}
		next = next.Add(s.o.Every)
		if over := time.Since(next); over > 0 { // the polls of meanwhile are left out
			next = next.Add(over.Truncate(s.o.Every) + s.o.Every)
		}
		if !sleep(ctx, time.Until(next)) {
			return nil
		}
	}
}

// poll reads everything once. What can't be read has its error in wrong.
func (s *Source) poll(ctx context.Context) (values map[string]any, wrong map[string]error) {
	values, wrong = map[string]any{}, map[string]error{}
	h := how{s.o.setting(), s.o.Timeout, s.o.Retries, s.o.Pause}
	s.polls++
	var gone error // nothing can be read
	for i := 0; i < len(s.blocks); i++ {
		b := s.blocks[i]
		unit := s.silent[b.q.unit]
		err, asked := gone, false
		var data []byte
		switch {
		case gone != nil:
		case unit != nil && (unit.last == s.polls || time.Now().Before(unit.again)):
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
			if e.Permanent() && len(b.registers) > 1 { // one of them may be to blame: each for itself, from now on
				var each []block
				for _, r := range b.registers {
					each = append(each, alone(r, s.o.Unit))
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

// note remembers that a unit is silent: it isn't asked again in this poll, nor for a growing time when it stays so.
func (s *Source) note(unit byte, err error) {
	n := s.silent[unit]
	if n == nil {
		n = &silence{}
		s.silent[unit] = n
	}
	n.polls++
	n.last, n.err = s.polls, err
	if n.polls >= patient && s.units > 1 {
		wait := min(max(backoffMin, s.o.Every)<<min(n.polls-patient, 10), max(backoffMax, s.o.Every))
		n.again = time.Now().Add(wait - s.o.Every/2) // the poll that is nearest
	}
}

// complaint says what could not be read; nil: everything could.
func complaint(wrong map[string]error, all int) error {
	if len(wrong) == 0 {
		return nil
	}
	var reasons []string
	for _, name := range slices.Sorted(maps.Keys(wrong)) {
		if r := wrong[name].Error(); !slices.Contains(reasons, r) {
			reasons = append(reasons, r)
		}
	}
	const most = 3
	if more := len(reasons) - most; more > 0 {
		reasons = append(reasons[:most], fmt.Sprintf("%d other reasons", more))
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

// changed reports whether there is news since the last event. Why something can't be read is none.
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
