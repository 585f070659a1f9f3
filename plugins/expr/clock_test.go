package expr

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"
)

// berlin is a scope with a place and a zone.
func berlin(t testing.TB) Scope {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	return Scope{Open: true, At: []float64{52.52, 13.4}, Zone: zone}
}

func TestClock(t *testing.T) {
	for _, c := range []struct {
		src, now string
		want     any
	}{
		{"time.hour", "2026-01-04T23:30:00Z", int64(0)}, // Monday the 5th in Berlin
		{"time.minute", "2026-01-04T23:30:59Z", int64(30)},
		{"time.weekday", "2026-01-04T23:30:00Z", "mon"},
		{"time.weekday", "2026-01-04T22:59:59Z", "sun"},
		{`time.weekday in ["sat", "sun"]`, "2026-01-03T12:00:00Z", true},
		{`time["weekday"] == "sat"`, "2026-01-03T12:00:00Z", true},
		{"time.hour", "2026-03-29T00:59:59Z", int64(1)}, // the hour from 2 to 3 is left out
		{"time.hour", "2026-03-29T01:00:00Z", int64(3)},
		{"time.hour", "2026-10-25T00:30:00Z", int64(2)}, // and comes twice
		{"time.hour", "2026-10-25T01:30:00Z", int64(2)},
		{"time.hour in 6..22 && !sun.up", "2026-01-03T20:00:00Z", true},
		{"sun.up", "2026-06-21T12:00:00Z", true},
		{"sun.up", "2026-06-21T23:00:00Z", false},
		{"sun.elevation > 60 and sun.elevation < 61", "2026-06-21T11:08:00Z", true},
		{"round(sun.elevation)", "2026-12-21T23:08:00Z", -61.0},
		{"let time = 7; time", "2026-01-04T23:30:00Z", int64(7)}, // files of before may have such names
		{"let sun = {up: 1}; sun.up", "2026-01-04T23:30:00Z", int64(1)},
		{"map([1], time.hour)[0]", "2026-01-04T23:30:00Z", int64(0)},
		{"sun.up ?? 1", "1582-10-10T00:00:00Z", int64(1)}, // a day that the calendar does not have
	} {
		p, err := Compile(c.src, berlin(t))
		if err != nil {
			t.Errorf("%s: %v", c.src, err)
			continue
		}
		now, err := time.Parse(time.RFC3339, c.now)
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.Eval(&Vars{Now: now})
		if err != nil || !Equal(got, c.want) {
			t.Errorf("%s at %s: got %v, %v, want %v", c.src, c.now, got, err, c.want)
		}
	}
}

func TestClockErrors(t *testing.T) {
	nowhere := berlin(t)
	nowhere.At = nil
	withTime := berlin(t)
	withTime.Open, withTime.Fields = false, []string{"time"}
	for _, c := range []struct {
		scope           Scope
		src, part, want string
	}{
		{nowhere, "1 < 2 && sun.up", "sun", "sun needs a location; write location: [latitude, longitude] in postbus.yaml"},
		{nowhere, "sun", "sun", "sun is not a value; write sun.up or sun.elevation"},
		{berlin(t), "time", "time", "time is not a value; write time.hour, time.minute or time.weekday"},
		{berlin(t), "time[event.x]", "time", "time is not a value; write time.hour, time.minute or time.weekday"},
		{withTime, "date(time)", "time", "time is not a value; did you mean event.time?"},
		{berlin(t), "sun.rise", "rise", `sun has no "rise"; write sun.up or sun.elevation`},
		{berlin(t), "time.huor", "huor", `time has no "huor"; did you mean "hour"?`},
		{berlin(t), `time.weekday == "Saturday"`, `"Saturday"`, `no day of the week is called "Saturday"; write "sat"; the days are mon, tue, wed, thu, fri, sat and sun`},
		{berlin(t), `time.weekday in ["sat", "so"]`, `"so"`, `no day of the week is called "so"; the days are mon, tue, wed, thu, fri, sat and sun`},
		{berlin(t), `time.weekday == 6`, `6`, "time.weekday is a text, not a number; the days are mon, tue, wed, thu, fri, sat and sun"},
		{berlin(t), `6 != time.weekday`, `6`, "time.weekday is a text, not a number; the days are mon, tue, wed, thu, fri, sat and sun"},
		{berlin(t), `time.weekday in 1..5`, `..`, "time.weekday is a text, not a number; the days are mon, tue, wed, thu, fri, sat and sun"},
		{berlin(t), `time.weekday < "fri"`, `<`, `days of the week have no order; write time.weekday in ["sat", "sun"]`},
		{berlin(t), `time.hour == "7"`, `==`, "a number never equals a text; write the number without quotes; float(…) makes a number of a text"},
		{berlin(t), `sun.up == 1`, `==`, "true or false never equals a number"},
	} {
		_, err := Compile(c.src, c.scope)
		var e *Error
		if !errors.As(err, &e) {
			t.Errorf("%s: compiles", c.src)
			continue
		}
		if part := c.src[e.Offset : e.Offset+e.Length]; e.Error() != c.want || part != c.part {
			t.Errorf("%s: got %s at %s, want %s at %s", c.src, e, part, c.want, c.part)
		}
	}
}

func TestClockIsUsed(t *testing.T) {
	for src, want := range map[string]bool{"sun.up": true, "time.hour > 3": true, "now.Hour()": false, "let time = {hour: 1}; time.hour": false} {
		p, err := Compile(src, berlin(t))
		if err != nil {
			t.Fatal(err)
		}
		var u Uses
		u.Merge(p.Uses())
		if u.Clock != want || u.Now != strings.Contains("sun.up time.hour > 3 now.Hour()", src) {
			t.Errorf("%s: %+v", src, u)
		}
	}
}

// Without a zone it is the machine's.
func TestClockOfTheMachine(t *testing.T) {
	p, err := Compile("time.hour", Scope{})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 1, 7, 0, 0, 0, time.Local)
	if got, err := p.Eval(&Vars{Now: now.UTC()}); got != int64(7) {
		t.Errorf("%v, %v", got, err)
	}
}

// A loop over positions of the sun ends within the bounds of an evaluation.
func TestSunIsBounded(t *testing.T) {
	defer func(d time.Duration) { maxTime = d }(maxTime)
	maxTime = time.Hour // steps end it
	p, err := Compile("sum(map(1..10000, sun.elevation))", berlin(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Eval(&Vars{Now: time.Unix(1e9, 0)}); !errors.Is(err, ErrLimit) {
		t.Errorf("ten thousand positions: %v", err)
	}
	p, err = Compile("sun.up ? sun.elevation : -sun.elevation", berlin(t))
	if err != nil {
		t.Fatal(err)
	}
	if x, err := p.Eval(&Vars{Now: time.Unix(1e9, 0)}); err != nil || math.Abs(x.(float64)) > 90 {
		t.Errorf("%v, %v", x, err)
	}
}

func BenchmarkSunUp(b *testing.B) {
	p, err := Compile("sun.up", berlin(b))
	if err != nil {
		b.Fatal(err)
	}
	v := &Vars{Now: time.Unix(1e9, 0)}
	for b.Loop() {
		if _, err := p.Eval(v); err != nil {
			b.Fatal(err)
		}
	}
}
