package plugins

// This file is "window": the figures of the numbers that came in a span of time.

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/postbus/postbus/config/yamlnode"
	"github.com/postbus/postbus/plugins/expr"
	"github.com/postbus/postbus/plugins/internal/clock"
	"github.com/postbus/postbus/plugins/internal/window"
)

// windowSpec is "window". Of every, last and quiet at least one is there.
type windowSpec struct {
	of     *expr.Program
	every  time.Duration // the entry acts at the end of each of these; 0: at each event, or when it is quiet
	last   time.Duration // the span of the numbers; 0: since the entry acted last
	quiet  time.Duration // the entry acts when no event came for this time
	zone   *time.Location
	having *expr.Program // a condition on the figures; nil: any
	shape  window.Shape
}

// windowNames are the figures of a window.
var windowNames = []string{"count", "sum", "mean", "min", "max", "first", "last", "median", "stddev", "rate", "start", "end"}

const windowHint = "write window: {of: event.value, every: 5m}"

// window reads {of: EXPRESSION, every: 5m, last: 1h, quiet: 30s}.
func (f *fileReader) window(n yamlnode.Node, r *rule, scope expr.Scope) {
	if n.IsScalar() {
		n.Fail(windowHint, "want the number that the window is about, and its length")
		return
	}
	m, ok := n.Map("of", "every", "last", "quiet")
	if !ok {
		return
	}
	w := &windowSpec{zone: f.scope.Zone}
	r.wait.window = w
	if v, ok := m.Get("of"); ok {
		w.of = expression(v, "of", scope)
	} else if complete(n, m) {
		n.FailKey(windowHint+"; of: 1 counts events", "the window has no of: the number that it is about")
	}
	given := 0
	for key, d := range map[string]*time.Duration{"every": &w.every, "last": &w.last, "quiet": &w.quiet} {
		if v, ok := m.Get(key); ok {
			*d, _ = v.Duration(minWait, maxWait)
			given++
		}
	}
	quiet, isQuiet := m.Get("quiet")
	every, _ := m.Get("every")
	switch {
	case given == 0 && complete(n, m):
		n.FailKey("write every: 5m, last: 5m, both, or quiet: 30s", "the window has no length")
	case isQuiet && given > 1:
		quiet.FailKey("leave it out, or every and last", "a window that ends when it is quiet has no other end")
	case w.every > 0 && w.last > 0 && w.every > w.last:
		every.Fail("every is at most as long as last", "numbers between two windows would be in none")
	}
	r.wait.text = w.text()
	w.shape.Span = w.last
}

// having reads the condition on the figures.
func (f *fileReader) having(m yamlnode.Map, r *rule, scope expr.Scope) {
	v, ok := m.Get("having")
	switch {
	case !ok:
	case r.wait.window == nil:
		if _, has := m.Get("window"); !has {
			v.FailKey(windowHint, "having belongs to window, which is not there")
		}
	default:
		r.wait.window.having = expression(v, "having", scope)
	}
}

// text is the window for people.
func (w *windowSpec) text() string {
	d := yamlnode.FormatDuration
	switch {
	case w.quiet > 0:
		return "window until it is quiet for " + d(w.quiet)
	case w.every > 0 && w.last > 0:
		return fmt.Sprintf("window of %s every %s", d(w.last), d(w.every))
	case w.last > 0:
		return "window of the last " + d(w.last)
	}
	return "window of " + d(w.every)
}

// sliding reports whether the entry acts at each event.
func (w *windowSpec) sliding() bool { return w.every == 0 && w.quiet == 0 }

// bounds returns the part of the clock that t is in: parts of a day begin at midnight, parts of several days
// on a Monday. Midnight ends the last part of a day, whose length differs when daylight saving time begins or ends.
func (w *windowSpec) bounds(t time.Time) (start, end time.Time) {
	const day = 24 * time.Hour
	t = t.In(w.zone)
	midnight := func(days int) time.Time { return dayBegins(t.Year(), t.Month(), t.Day()+days, w.zone) }
	switch {
	case w.every%day == 0:
		n := int(w.every / day)
		date := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
		const monday = 4 // 1970-01-05
		since := int(date.Unix()/int64(day/time.Second)) - monday
		in := ((since % n) + n) % n
		return midnight(-in), midnight(n - in)
	case day%w.every == 0:
		first := midnight(0)
		start = first.Add(t.Sub(first) / w.every * w.every)
		end = start.Add(w.every)
		if next := midnight(1); end.After(next) {
			end = next
		}
		return start, end
	}
	start = t.Truncate(w.every)
	return start, start.Add(w.every)
}

// dayBegins returns the first instant of a day. In zones that change their offset at midnight a day begins at 01:00,
// or has two midnights.
func dayBegins(year int, month time.Month, day int, zone *time.Location) time.Time {
	t := time.Date(year, month, day, 0, 0, 0, 0, zone)
	noon := time.Date(year, month, day, 12, 0, 0, 0, zone)
	if t.Day() != noon.Day() {
		_, t = t.ZoneBounds()
	} else if earlier := t.Add(-time.Hour); earlier.Day() == noon.Day() {
		t = earlier
	}
	return t
}

// fold adds an event to the window of its key, and acts if the window slides.
func (e *engine) fold(st *ruleState, k *keyState, v *expr.Vars, in input, el timer) {
	r, w := st.rule, st.rule.wait.window
	x, err := w.number(v)
	if err != nil {
		st.fail(verdictError, fmt.Errorf("window: %w", err))
		return
	}
	if k.window == nil {
		k.window = &window.Window{}
	}
	k.window.Add(w.shape, in.at.Up, x)
	e.change(k)
	if w.sliding() {
		k.window.Trim(in.at.Up - w.last)
		v.Named = el.named(map[string]any{"window": w.figures(k.window, in.at, in.at.Wall.Add(-w.last), in.at.Wall)})
		e.act(st, k, v, in.from, in.at.Wall, false)
		return
	}
	t := &k.timers[waitTimer]
	next := r.later(v, in.from, el)
	next.since, next.due = t.since, t.due
	switch {
	case w.quiet > 0:
		next.due = in.at.Add(w.quiet)
		if t.phase == timerIdle {
			next.since = in.at.Wall
		}
	case t.phase == timerIdle:
		next.since, next.due = w.next(in.at)
	}
	if w.last > 0 {
		k.window.Trim(next.due.Up - w.last) // what no figures can be of any more
	}
	e.alarms.arm(k, waitTimer, next)
	st.waits(r.wait.text, next.due.Wall)
}

// next returns when the part of the clock that an instant is in began, and when it ends.
func (w *windowSpec) next(at clock.Instant) (start time.Time, due clock.Instant) {
	start, end := w.bounds(at.Wall)
	return start, at.Add(end.Sub(at.Wall))
}

// number is the one that an event adds.
func (w *windowSpec) number(v *expr.Vars) (float64, error) {
	value, err := w.of.Eval(v)
	if err != nil {
		return 0, err
	}
	x, ok := number(value)
	switch {
	case value == nil:
		return 0, fmt.Errorf("%s is missing (nil)", w.of)
	case !ok:
		return 0, fmt.Errorf("%s is %s; want a number", w.of, kindOf(value))
	case math.IsNaN(x) || math.Abs(x) > window.Limit:
		return 0, fmt.Errorf("%s is %v, which is too large", w.of, x)
	}
	return x, nil
}

// figures are the values below the variable window, at the time now.
func (w *windowSpec) figures(of *window.Window, now clock.Instant, start, end time.Time) map[string]any {
	f := of.Figures(w.shape)
	if w.quiet > 0 {
		wall := func(up time.Duration) time.Time { return now.Wall.Add(up - now.Up) }
		start, end = wall(f.FirstAt), wall(f.LastAt)
	}
	return map[string]any{"count": int64(f.Count), "sum": f.Sum, "mean": f.Mean, "min": f.Min, "max": f.Max, "first": f.First, "last": f.Last,
		"median": f.Median, "stddev": f.Deviation, "rate": f.Rate, "start": start, "end": end}
}

// close ends a window whose timer t was due, and begins the next one if its numbers reach into it. It returns the
// figures; nil: there is no number.
func (e *engine) close(k *keyState, t *timer, now clock.Instant) map[string]any {
	w := k.rule.wait.window
	start, end := t.since, t.due.Wall
	if w.last > 0 {
		k.window.Trim(t.due.Up - w.last)
		start = end.Add(-w.last)
	}
	if k.window.Empty() {
		k.window = nil
		return nil
	}
	figures := w.figures(k.window, now, start, end)
	if w.last == 0 {
		k.window = nil
		return figures
	}
	next := *t
	at := t.due // the next part of the clock that is not over
	if now.Up > at.Up {
		at = now
	}
	next.since, next.due = w.next(at)
	e.alarms.arm(k, waitTimer, next)
	return figures
}

// wantsMedian reports whether the median is among what an entry uses.
func wantsMedian(u expr.Uses) bool {
	return slices.Contains(u.Named, "window.median") || slices.Contains(u.Named, "window")
}
