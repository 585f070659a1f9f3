package timer

// This file is cron expressions: which are accepted, and when their next tick is in a zone with
// daylight saving. gronx computes times only in UTC, so this file applies the zone.

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/adhocore/gronx"

	"github.com/postbus/postbus/plugins/kind"
)

// maxMissed bounds the search for missed ticks: a clock that starts in 1970 misses decades.
const maxMissed = 10000

var macros = map[string]string{
	"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0",
	"@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *",
}

// field is one of an expression's five fields.
type field struct {
	name     string
	min, max int
	words    []string // names of the values, from min on
}

var cronFields = [5]field{
	{name: "minute", max: 59},
	{name: "hour", max: 23},
	{name: "day of the month", min: 1, max: 31},
	{name: "month", min: 1, max: 12, words: strings.Fields("jan feb mar apr may jun jul aug sep oct nov dec")},
	{name: "day of the week", max: 7, words: strings.Fields("sun mon tue wed thu fri sat")},
}

// cron is a schedule in a zone. Every minute of the zone's clock that matches the expression is a
// tick, except in the hours that daylight saving skips and repeats: see next.
type cron struct {
	expr      string // with numbers for names, as gronx requires
	zone      *time.Location
	everyHour bool // follows the clock through every change
}

// parseCron parses an expression. An error is an kind.Error about the key cron.
func parseCron(text string, zone *time.Location) (*cron, error) {
	bad := func(hint, format string, args ...any) (*cron, error) {
		return nil, kind.Wrong("cron", fmt.Sprintf(format, args...), hint)
	}
	expr := strings.ToLower(strings.TrimSpace(text))
	if strings.HasPrefix(expr, "@") {
		m, ok := macros[expr]
		switch {
		case ok:
			expr = m
		case expr == "@reboot":
			return bad(`write "at_start: true"`, "@reboot is not a time")
		case strings.HasPrefix(expr, "@every"):
			return bad(`write "every: 10s" in place of cron`, "@every is not a time of the clock")
		default:
			return bad("", "unknown name %q; there are @hourly, @daily, @weekly, @monthly and @yearly", text)
		}
	}
	parts := strings.Fields(expr)
	if len(parts) != len(cronFields) {
		return bad("minute, hour, day of the month, month, day of the week, as 0 7 * * 1-5",
			"%q has %d fields, not 5", text, len(parts))
	}
	for i, p := range parts {
		number, err := cronFields[i].parse(p)
		if err != nil {
			return bad("", "%s %q: %v", cronFields[i].name, p, err)
		}
		parts[i] = number
	}
	c := &cron{expr: strings.Join(parts, " "), zone: zone, everyHour: strings.HasPrefix(parts[1], "*")}
	if c.next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return bad("", "%q never occurs: there is no such date", text)
	}
	return c, nil
}

// parse checks a field and returns it with numbers for names, in the form that makes gronx read it
// as cron does.
func (f field) parse(text string) (string, error) {
	items := strings.Split(text, ",")
	for i, item := range items {
		if special, ok, err := f.special(item); ok {
			if err != nil {
				return "", err
			}
			items[i] = special
			continue
		}
		span, step, stepped := strings.Cut(item, "/")
		if stepped {
			n, err := strconv.ParseUint(step, 10, 16)
			if err != nil || n == 0 || int(n) > f.max {
				return "", fmt.Errorf("the step %q is not a number from 1 to %d", step, f.max)
			}
			step = "/" + strconv.Itoa(int(n))
		}
		if span == "*" {
			items[i] = "*" + step
			continue
		}
		low, high, ranged := strings.Cut(span, "-")
		from, err := f.number(low)
		if err != nil {
			return "", err
		}
		to := from
		switch {
		case ranged:
			if to, err = f.number(high); err != nil {
				return "", err
			}
		case stepped:
			to = f.max
		}
		if to < from {
			hint := ""
			if to == 0 && f.max == 7 {
				hint = "; Sunday at the end of a range is 7"
			}
			return "", fmt.Errorf("the range %s ends before it begins%s", span, hint)
		}
		items[i] = strconv.Itoa(from)
		if ranged || stepped {
			items[i] += "-" + strconv.Itoa(to) + step
		}
	}
	return strings.Join(items, ","), nil
}

// number parses a value or its name.
func (f field) number(text string) (int, error) {
	for i, w := range f.words {
		if text == w {
			return f.min + i, nil
		}
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || int(n) < f.min || int(n) > f.max {
		return 0, fmt.Errorf("%q is not a number from %d to %d", text, f.min, f.max)
	}
	return int(n), nil
}

// special parses the forms that only days have: l, 15w, 5l and 5#2.
func (f field) special(item string) (expr string, ok bool, err error) {
	switch {
	case f.max == 31 && item == "l":
		return "L", true, nil
	case f.max == 31 && strings.HasSuffix(item, "w"):
		n, err := f.number(strings.TrimSuffix(item, "w"))
		return strconv.Itoa(n) + "W", true, err
	case f.max == 7 && len(item) > 1 && strings.HasSuffix(item, "l"):
		n, err := f.number(strings.TrimSuffix(item, "l"))
		return strconv.Itoa(n) + "L", true, err
	case f.max == 7 && strings.Contains(item, "#"):
		day, nth, _ := strings.Cut(item, "#")
		n, err := f.number(day)
		if k, e := strconv.ParseUint(nth, 10, 8); err == nil && (e != nil || k < 1 || k > 5) {
			err = fmt.Errorf("%q is not a number from 1 to 5", nth)
		}
		return strconv.Itoa(n) + "#" + nth, true, err
	}
	return "", false, nil
}

// next returns the first tick after t. Where an hour does not exist (clocks go forward), its ticks
// are one tick right after the change. Where an hour occurs twice, only its first pass counts. This
// is what Vixie cron does. With an hour of * or */n every matching minute counts.
func (c *cron) next(t time.Time) time.Time {
	t = t.In(c.zone)
	from := onWall(t)
	for range 64 { // changes of the offset; Feb 29 is at most 8 years and so 16 changes away
		start, end := t.ZoneBounds()
		if !end.IsZero() && !end.After(t) {
			end = t.Add(24 * time.Hour) // Go 1.26 errs on December 31 of leap years; no zone changes then
		}
		if !c.everyHour && !start.IsZero() {
			if old := onWall(start.Add(-1)); from.Before(old) {
				from = old.Truncate(time.Second) // these hours occurred before the change
			}
		}
		n, err := gronx.NextTickAfter(c.expr, from, false)
		if err != nil {
			return time.Time{}
		}
		_, offset := t.Zone()
		at := n.Add(-time.Duration(offset) * time.Second).In(c.zone)
		if end.IsZero() || at.Before(end) {
			return at
		}
		end = end.In(c.zone)
		if !c.everyHour && n.Before(onWall(end)) {
			return end
		}
		t, from = end, onWall(end).Add(-time.Second)
	}
	return time.Time{}
}

// onWall returns the local wall clock's reading at t, as a time in UTC.
func onWall(t time.Time) time.Time {
	_, offset := t.Zone()
	return t.Add(time.Duration(offset) * time.Second).UTC()
}

func (c *cron) last(tick, t time.Time) (time.Time, int64) {
	for n := range int64(maxMissed) {
		next := c.next(tick)
		if next.IsZero() || next.After(t) {
			return tick, n
		}
		tick = next
	}
	return t, maxMissed // near enough
}

func (c *cron) tolerance() time.Duration { return time.Minute }
