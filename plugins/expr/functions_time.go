package expr

// functions_time.go: functions and methods on times and durations. Time zones are loaded when the
// expression is compiled, so that an evaluation reads no files.

import (
	"slices"
	"time"

	"github.com/expr-lang/expr/ast"
)

var timeFunctions = map[string]*function{
	"duration": {1, 1, "text", toDuration},
	"date":     {1, 3, "text, layout, zone", nil},
	"timezone": {1, 1, "name", nil},
}

func duration(v any) (time.Duration, bool) { d, ok := v.(time.Duration); return d, ok }
func instant(v any) (time.Time, bool)      { t, ok := v.(time.Time); return t, ok }

// short returns an argument that is parsed as a time or the like, and fails when it is too long.
func (r *run) short(n ast.Node, v any) string {
	s := r.text(n, v)
	if len(s) > 200 {
		r.fail(n, "", "%s is longer than 200 bytes", r.label(n))
	}
	r.step(20)
	return s
}

func toDuration(r *run, c *call, a []any) any {
	if d, ok := duration(a[0]); ok {
		return d
	}
	s := r.short(c.args[0], a[0])
	d, err := time.ParseDuration(s)
	if err != nil {
		r.fail(c.args[0], `write it like "1m30s"`, "%q is not a duration", cut(s, 40))
	}
	return d
}

// special compiles the builtins that need more than a plain call.
func (c *compiler) special(k *call) fn {
	switch k.name {
	case "date":
		return c.date(k)
	case "format":
		return c.format(k)
	}
	zone := c.zone(k, 0)
	return func(*run) any { return zone }
}

func (c *compiler) zone(call *call, i int) *time.Location {
	name := c.constantText(call, i, "the time zone is not constant")
	zone, err := time.LoadLocation(name)
	if err != nil {
		c.fail(call.args[i], `write it like "Europe/Berlin"`, "unknown time zone %q", cut(name, 40))
	}
	return zone
}

var layouts = []string{
	time.RFC3339, "2006-01-02", "2006-01-02 15:04:05", "15:04:05", "2006-01-02T15:04:05", time.RFC822, time.RFC850, time.RFC1123,
}

// date compiles date(text), date(text, layout), date(text, layout, "zone") and
// date(timezone("zone"), text, …).
func (c *compiler) date(k *call) fn {
	zone, args := time.UTC, k.args
	if z, ok := args[0].(*ast.BuiltinNode); ok && z.Name == "timezone" && len(z.Arguments) == 1 {
		zone, args = c.zone(&call{node: z, name: z.Name, args: z.Arguments}, 0), args[1:]
	}
	if len(args) == 3 {
		zone = c.zone(k, len(k.args)-1)
		args = args[:2]
	}
	if len(args) == 0 {
		c.fail(k.node, timeFunctions["date"].usage("date"), "date() without a text")
	}
	compiled := c.each(args)
	return func(r *run) any {
		v := compiled[0](r)
		if t, ok := instant(v); ok {
			return t
		}
		s := r.short(args[0], v)
		try := layouts
		if len(compiled) == 2 {
			try = []string{r.short(args[1], compiled[1](r))}
		}
		for _, layout := range try {
			r.step(20)
			if t, err := time.ParseInLocation(layout, s, zone); err == nil {
				return t
			}
		}
		hint := `write it like "2006-01-02 15:04:05"`
		if len(compiled) == 2 {
			hint = `the layout is written as the date "2006-01-02 15:04:05"`
		}
		r.fail(args[0], hint, "%q is not a date", cut(s, 40))
		return nil
	}
}

// method is a method of a time or a duration: now.Hour().
type method struct {
	args int
	call func(r *run, c *call, v any, a []any) any
}

func onTime(f func(t time.Time) any) *method {
	return &method{0, func(r *run, c *call, v any, a []any) any { return f(v.(time.Time)) }}
}

func onDuration(f func(d time.Duration) any) *method {
	return &method{0, func(r *run, c *call, v any, a []any) any { return f(v.(time.Duration)) }}
}

func withTime(f func(t, u time.Time) any) *method {
	return &method{1, func(r *run, c *call, v any, a []any) any {
		u, ok := instant(a[0])
		if !ok {
			r.fail(c.args[0], "", "%s is %s; want a time", r.label(c.args[0]), r.describe(a[0]))
		}
		return f(v.(time.Time), u)
	}}
}

func withDuration(f func(t time.Time, d time.Duration) any) *method {
	return &method{1, func(r *run, c *call, v any, a []any) any {
		d, ok := duration(a[0])
		if !ok {
			r.fail(c.args[0], `write duration("1h")`, "%s is %s; want a duration", r.label(c.args[0]), r.describe(a[0]))
		}
		return f(v.(time.Time), d)
	}}
}

var timeMethods = map[string]*method{
	"Year":       onTime(func(t time.Time) any { return int64(t.Year()) }),
	"Month":      onTime(func(t time.Time) any { return t.Month() }),
	"Day":        onTime(func(t time.Time) any { return int64(t.Day()) }),
	"Hour":       onTime(func(t time.Time) any { return int64(t.Hour()) }),
	"Minute":     onTime(func(t time.Time) any { return int64(t.Minute()) }),
	"Second":     onTime(func(t time.Time) any { return int64(t.Second()) }),
	"Nanosecond": onTime(func(t time.Time) any { return int64(t.Nanosecond()) }),
	"Weekday":    onTime(func(t time.Time) any { return t.Weekday() }),
	"YearDay":    onTime(func(t time.Time) any { return int64(t.YearDay()) }),
	"Unix":       onTime(func(t time.Time) any { return t.Unix() }),
	"UnixMilli":  onTime(func(t time.Time) any { return t.UnixMilli() }),
	"UnixMicro":  onTime(func(t time.Time) any { return t.UnixMicro() }),
	"UnixNano":   onTime(func(t time.Time) any { return t.UnixNano() }),
	"UTC":        onTime(func(t time.Time) any { return t.UTC() }),
	"IsZero":     onTime(func(t time.Time) any { return t.IsZero() }),
	"Before":     withTime(func(t, u time.Time) any { return t.Before(u) }),
	"After":      withTime(func(t, u time.Time) any { return t.After(u) }),
	"Equal":      withTime(func(t, u time.Time) any { return t.Equal(u) }),
	"Sub":        withTime(func(t, u time.Time) any { return t.Sub(u) }),
	"Add":        withDuration(func(t time.Time, d time.Duration) any { return t.Add(d) }),
	"Truncate":   withDuration(func(t time.Time, d time.Duration) any { return t.Truncate(d) }),
	"Round":      withDuration(func(t time.Time, d time.Duration) any { return t.Round(d) }),
	"Format": {1, func(r *run, c *call, v any, a []any) any {
		layout := r.short(c.args[0], a[0])
		r.alloc(2048)
		return v.(time.Time).Format(layout)
	}},
	"In": {1, func(r *run, c *call, v any, a []any) any {
		zone, ok := a[0].(*time.Location)
		if !ok {
			r.fail(c.args[0], `write timezone("Europe/Berlin")`,
				"%s is %s; want a time zone", r.label(c.args[0]), r.describe(a[0]))
		}
		return v.(time.Time).In(zone)
	}},
	"AddDate": {3, func(r *run, c *call, v any, a []any) any {
		var x [3]int
		for i := range x {
			x[i] = int(min(max(r.integer(c.args[i], a[i]), -100_000), 100_000))
		}
		return v.(time.Time).AddDate(x[0], x[1], x[2])
	}},
}

var durationMethods = map[string]*method{
	"Hours":        onDuration(func(d time.Duration) any { return d.Hours() }),
	"Minutes":      onDuration(func(d time.Duration) any { return d.Minutes() }),
	"Seconds":      onDuration(func(d time.Duration) any { return d.Seconds() }),
	"Milliseconds": onDuration(func(d time.Duration) any { return d.Milliseconds() }),
	"Microseconds": onDuration(func(d time.Duration) any { return d.Microseconds() }),
	"Nanoseconds":  onDuration(func(d time.Duration) any { return d.Nanoseconds() }),
	"Abs":          onDuration(func(d time.Duration) any { return d.Abs() }),
	"String":       onDuration(func(d time.Duration) any { return d.String() }),
}

func methodFor(v any, name string) *method {
	switch v.(type) {
	case time.Time:
		return timeMethods[name]
	case time.Duration:
		return durationMethods[name]
	}
	return nil
}

// method compiles x.Name(args).
func (c *compiler) method(n *ast.CallNode, callee *ast.MemberNode) fn {
	name, ok := callee.Property.(*ast.StringNode)
	if !ok {
		c.fail(n, "", "only a function can be called")
	}
	if timeMethods[name.Value] == nil && durationMethods[name.Value] == nil {
		var names []string
		for name := range timeMethods {
			names = append(names, name)
		}
		for name := range durationMethods {
			names = append(names, name)
		}
		slices.Sort(names)
		hint := didYouMean(name.Value, names, false)
		if f := functions[name.Value]; f != nil && hint == "" {
			hint = f.usage(name.Value)
		}
		c.fail(name, hint, "unknown method %q", cut(name.Value, 40))
	}
	base, args := c.compile(callee.Node), c.each(n.Arguments)
	k := &call{node: n, name: name.Value, args: n.Arguments}
	return func(r *run) any {
		r.step(4)
		v := base(r)
		if v == nil {
			r.missing(callee.Node)
		}
		m := methodFor(v, name.Value)
		if m == nil {
			r.fail(name, "", "%s is %s and has no %s()", r.label(callee.Node), r.describe(v), name.Value)
		}
		if len(args) != m.args {
			r.fail(n, "want "+plural(m.args, "argument"), "%s() with %s", name.Value, plural(len(args), "argument"))
		}
		at := len(r.args)
		for _, f := range args {
			x := f(r)
			r.args = append(r.args, x)
		}
		x := m.call(r, k, v, r.args[at:])
		clear(r.args[at:])
		r.args = r.args[:at]
		return x
	}
}
