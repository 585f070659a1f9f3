// Package timer is the source that makes an event at regular times: every interval, by a cron
// expression, or once a day by the sun.
//
// What it promises:
//
//   - An aligned interval (the default) ticks at multiples of the interval on the clock: 10s at
//     :00, :10, :20. With `align: false` it counts from the start, on the monotonic clock.
//   - Missed ticks (the machine was asleep, the clock was set forward, the bus was slow) make one
//     event, which contains their number, never a burst.
//   - A clock that is set back does not stop the timer: an interval is at most doubled, and cron
//     checks the clock once a minute. Smaller steps back (NTP) don't repeat a tick.
//   - A cron time that daylight saving skips ticks right after the change, and a repeated one ticks
//     once. An expression with `*` as its hour just follows the clock.
//   - The sun ticks once a day, and not on a polar day or night that has no such event: the source
//     logs that, and waits. A clock that is set back by less than a day repeats no sunset.
//   - Jitter is the same for the same tick of the same plugin, also after a restart. A tick of cron
//     or the sun that is delayed by it while the bus restarts comes after the restart.
//
// It stores nothing over a restart: ticks that were due while the bus was down are not made up for.
package timer

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"math"
	"time"

	"github.com/postbus/postbus/plugins/internal/sun"
	"github.com/postbus/postbus/plugins/kind"
)

// sample is a complete plugin file of this kind.
//
//go:embed sample.yaml
var sample string

// about is the kind's description, in Markdown.
const about = "Emits an event at regular times: `every` interval, aligned to the clock, at the times of a `cron` " +
	"expression in a time zone, or once a day by the `sun`, at its rise or set, at dawn or dusk (civil twilight, 6° below the horizon) or at noon. Ticks that were missed because the machine slept or the clock jumped forward make **one** " +
	"event with their number in `missed`; a clock that is set back does not stop the timer. " +
	"On a polar day or night there is no sunrise or sunset: the source says so in the log and waits for the next one. Nothing is kept over a restart " +
	"of the bus. It runs on every platform; where there is no time zone database (`tzdata` on Linux), only the machine's own zone and UTC are known."

// slice is the longest sleep. A change of the clock meanwhile is detected after it.
const slice = time.Minute

// Options of the source.
type Options struct {
	Every   time.Duration `key:"every" doc:"time between two events; either this, cron or sun" min:"10ms" max:"8760h"`
	Cron    string        `key:"cron" doc:"five fields (minute, hour, day of the month, month, day of the week) or @hourly, @daily, @weekly, @monthly, @yearly; either this, every or sun"`
	Sun     string        `key:"sun" oneof:"sunrise|sunset|dawn|dusk|noon" doc:"what the sun does, once a day, at the place that at names; either this, every or cron"`
	Offset  time.Duration `key:"offset" doc:"so much later than the sun; earlier with a minus: -30m" min:"-12h" max:"12h"`
	At      []float64     `key:"at" default:"location" doc:"latitude and longitude in degrees, as [52.52, 13.40]: of sun, and of sun.up and sun.elevation in the file's expressions" min:"-180" max:"180"`
	Zone    string        `key:"zone" doc:"the IANA time zone of cron, of the event's time, and of time.hour and its like in the file's expressions, as Europe/Berlin; default: this machine's"`
	Align   bool          `key:"align" doc:"align the ticks of every to multiples of the interval on the clock (in UTC), not to the start"`
	Jitter  time.Duration `key:"jitter" doc:"each event is delayed by a random time of up to this, which stays the same over a restart of the bus; less than every" min:"0s" max:"1h"`
	AtStart bool          `key:"at_start" doc:"emit also one event when the source starts"`
}

// defaults returns the options of a file that sets none.
func defaults() Options { return Options{Align: true} }

// event documents the fields of an event.
type event struct {
	N      int64   `key:"n" doc:"the number of the event since the source started, from 1"`
	Time   string  `key:"time" doc:"the time at which the tick was due (before jitter), RFC 3339 in the zone"`
	Late   float64 `key:"late" doc:"the delay of the event since then, in seconds"`
	Missed int64   `key:"missed" doc:"the number of ticks before this one without an event, because the machine slept, the clock was set forward or the bus was busy; cron counts to 10000, sun to 366"`
}

// Source is one timer. An instance runs once: New, Run.
type Source struct {
	o   Options
	env kind.Env
	now func() time.Time // the wall clock; a test sets it back
}

// New makes a source of checked options.
func New(o Options, env kind.Env) *Source {
	return &Source{o: o, env: env, now: func() time.Time { return time.Now().Round(0) }}
}

// ticks is a schedule: an endless sequence of times.
type ticks interface {
	// next returns the first tick after t; the zero time when there is none.
	next(t time.Time) time.Time
	// last returns the latest tick that is not after t, and the number of ticks from tick up to it,
	// itself excluded. tick must not be after t.
	last(tick, t time.Time) (latest time.Time, before int64)
	// tolerance is how far the clock may be set back before the ticks are planned again.
	tolerance() time.Duration
}

// Run emits until ctx ends. Ticks that are due while emit runs are missed.
func (s *Source) Run(ctx context.Context, emit kind.Emit) error {
	zone, err := location(s.o.Zone)
	if err != nil {
		return err
	}
	start := time.Now() // with a monotonic reading
	clock := s.now
	var plan ticks
	switch {
	case s.o.Cron != "":
		if plan, err = parseCron(s.o.Cron, zone); err != nil {
			return err
		}
	case s.o.Sun != "":
		plan = solar{place: sun.Place{Latitude: s.o.At[0], Longitude: s.o.At[1]}, event: sun.Event(s.o.Sun), offset: s.o.Offset}
	case s.o.Align:
		plan = interval{every: s.o.Every}
	default:
		// The monotonic clock, which cannot be set.
		clock = func() time.Time { return start.Add(time.Since(start)).Round(0) }
		plan = interval{every: s.o.Every, offset: start.Round(0).Sub(start.Round(0).Truncate(s.o.Every))}
	}

	n := int64(0)
	send := func(late time.Duration, due time.Time, missed int64) error {
		n++
		return emit(ctx, s.now(), map[string]any{
			"n":      n,
			"time":   due.In(zone).Format("2006-01-02T15:04:05.999Z07:00"),
			"late":   math.Round(max(late, 0).Seconds()*1000) / 1000,
			"missed": missed,
		})
	}
	seen, since := clock(), time.Now()
	tick := s.first(plan, seen)
	if s.o.AtStart {
		if err := send(0, s.now(), 0); err != nil {
			return err
		}
	}
	for ctx.Err() == nil { // sleep checks ctx too, but it isn't called when every tick is late
		s.report(tick, seen, zone)
		if tick.IsZero() {
			<-ctx.Done()
			return nil
		}
		jitter := s.jitter(tick)
		var now time.Time
		for {
			now = clock()
			if back := seen.Add(time.Since(since)).Sub(now); back > plan.tolerance() {
				tick = plan.next(now)
				jitter = s.jitter(tick)
				s.report(tick, now, zone)
			}
			seen, since = now, time.Now()
			wait := tick.Add(jitter).Sub(now)
			if wait <= 0 {
				break
			}
			if kind.Sleep(ctx, min(wait, slice)) != nil {
				return nil
			}
		}
		latest, missed := plan.last(tick, now.Add(-jitter))
		late := now.Add(-jitter).Sub(latest)
		due := latest
		if s.o.Every > 0 && !s.o.Align {
			due = s.now().Add(-late - jitter)
		}
		if err := send(late, due, missed); err != nil {
			return err
		}
		tick = plan.next(now.Add(-jitter))
	}
	return nil
}

// first returns the first tick of a source that starts now. A tick of cron or the sun that jitter
// delays until after now is one: the bus was restarted meanwhile.
func (s *Source) first(plan ticks, now time.Time) time.Time {
	if s.o.Every > 0 {
		return plan.next(now)
	}
	tick := plan.next(now.Add(-s.o.Jitter))
	for !tick.IsZero() && !tick.Add(s.jitter(tick)).After(now) {
		tick = plan.next(tick)
	}
	return tick
}

// jitter is the delay of a tick: it looks random, and it is the same for the same tick of the same
// plugin.
func (s *Source) jitter(tick time.Time) time.Duration {
	if s.o.Jitter == 0 {
		return 0
	}
	h := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(s.env.ID()), uint64(tick.UnixNano())))
	return time.Duration(binary.BigEndian.Uint64(h[:]) % uint64(s.o.Jitter))
}

// report logs that the sun has no event for some days.
func (s *Source) report(tick, now time.Time, zone *time.Location) {
	if s.o.Sun != "" && tick.Sub(now) > dark {
		s.env.Log().Info("no "+s.o.Sun+" here for some days: it is polar day or night", "next", tick.In(zone).Format(time.RFC3339))
	}
}

// interval ticks at offset after each multiple of every.
type interval struct{ every, offset time.Duration }

func (i interval) next(t time.Time) time.Time {
	return t.Add(-i.offset).Truncate(i.every).Add(i.every + i.offset)
}

func (i interval) last(tick, t time.Time) (time.Time, int64) {
	n := t.Sub(tick) / i.every
	return tick.Add(n * i.every), int64(n)
}

func (i interval) tolerance() time.Duration { return i.every }
