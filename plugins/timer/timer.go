// Package timer is the source that makes an event at regular times: every interval, or by a cron
// expression.
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
//
// It stores nothing over a restart: ticks that were due while the bus was down are not made up for.
package timer

import (
	"context"
	_ "embed"
	"math"
	"math/rand/v2"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

// sample is a complete plugin file of this kind.
//
//go:embed sample.yaml
var sample string

// about is the kind's description, in Markdown.
const about = "Emits an event at regular times: `every` interval, aligned to the clock, or at the times of a `cron` " +
	"expression in a time zone. Ticks that were missed because the machine slept or the clock jumped forward make **one** " +
	"event with their number in `missed`; a clock that is set back does not stop the timer. Nothing is kept over a restart " +
	"of the bus. It runs on every platform; where there is no time zone database (`tzdata` on Linux), only the machine's own zone and UTC are known."

// slice is the longest sleep. A change of the clock meanwhile is detected after it.
const slice = time.Minute

// Options of the source.
type Options struct {
	Every   time.Duration `key:"every" doc:"time between two events; either this or cron" min:"10ms" max:"8760h"`
	Cron    string        `key:"cron" doc:"five fields (minute, hour, day of the month, month, day of the week) or @hourly, @daily, @weekly, @monthly, @yearly; either this or every"`
	Zone    string        `key:"zone" doc:"the IANA time zone of cron and of the event's time, as Europe/Berlin; default: this machine's"`
	Align   bool          `key:"align" doc:"align the ticks of every to multiples of the interval on the clock (in UTC), not to the start"`
	Jitter  time.Duration `key:"jitter" doc:"each event is delayed by a random time of up to this; less than every" min:"0s" max:"1h"`
	AtStart bool          `key:"at_start" doc:"emit also one event when the source starts"`
}

// defaults returns the options of a file that sets none.
func defaults() Options { return Options{Align: true} }

// event documents the fields of an event.
type event struct {
	N      int64   `key:"n" doc:"the number of the event since the source started, from 1"`
	Time   string  `key:"time" doc:"the time at which the tick was due (before jitter), RFC 3339 in the zone"`
	Late   float64 `key:"late" doc:"the delay of the event since then, in seconds"`
	Missed int64   `key:"missed" doc:"the number of ticks before this one without an event, because the machine slept, the clock was set forward or the bus was busy; cron counts to 10000"`
}

// Source is one timer. An instance runs once: New, Run.
type Source struct {
	o   Options
	now func() time.Time // the wall clock; a test sets it back
}

// New makes a source of checked options.
func New(o Options, _ kind.Env) *Source {
	return &Source{o: o, now: func() time.Time { return time.Now().Round(0) }}
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
	tick := plan.next(seen)
	if s.o.AtStart {
		if err := send(0, s.now(), 0); err != nil {
			return err
		}
	}
	for ctx.Err() == nil { // sleep checks ctx too, but it isn't called when every tick is late
		if tick.IsZero() {
			<-ctx.Done()
			return nil
		}
		var jitter time.Duration
		if s.o.Jitter > 0 {
			jitter = rand.N(s.o.Jitter)
		}
		var now time.Time
		for {
			now = clock()
			if back := seen.Add(time.Since(since)).Sub(now); back > plan.tolerance() {
				tick = plan.next(now)
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
		if s.o.Cron == "" && !s.o.Align {
			due = s.now().Add(-late - jitter)
		}
		if err := send(late, due, missed); err != nil {
			return err
		}
		tick = plan.next(now.Add(-jitter))
	}
	return nil
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
