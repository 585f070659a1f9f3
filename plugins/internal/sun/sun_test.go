package sun

import (
	"math"
	"strings"
	"testing"
	"time"
)

// figure is one published time. Without a time there is no such event between from and 24 hours
// later.
type figure struct {
	name, from          string
	latitude, longitude float64
	event               Event
	want                string
}

// jpl are figures of JPL Horizons (ssd.jpl.nasa.gov/horizons), as the tests of the library
// klausbrunner/solarpositioning have them (sunrise/jpl_events.csv): the first event of 24 hours.
var jpl = []figure{
	{"Longyearbyen, the first day with a sun", "2020-02-16", 78.216667, 15.633333, Sunrise, "2020-02-16T10:31:29.209Z"},
	{"", "2020-02-16", 78.216667, 15.633333, Sunset, "2020-02-16T11:53:49.504Z"},
	{"", "2020-02-16", 78.216667, 15.633333, Dawn, "2020-02-16T07:21:35.407Z"},
	{"", "2020-02-16", 78.216667, 15.633333, Dusk, "2020-02-16T15:04:04.891Z"},
	{"", "2020-02-16", 78.216667, 15.633333, Noon, "2020-02-16T11:11:32.811Z"},
	{"two sunrises on one date", "2020-04-16", 78.216667, 15.633333, Sunrise, "2020-04-16T00:19:44.764Z"},
	{"", "2020-04-16T01:00:00Z", 78.216667, 15.633333, Sunrise, "2020-04-16T23:56:56.806Z"},
	{"and one sunset", "2020-04-16", 78.216667, 15.633333, Sunset, "2020-04-16T21:54:55.178Z"},
	{"no dusk: it stays light", "2020-04-16", 78.216667, 15.633333, Dusk, ""},
	{"", "2020-04-16", 78.216667, 15.633333, Dawn, ""},
	{"", "2020-04-16", 78.216667, 15.633333, Noon, "2020-04-16T10:57:10.406Z"},
	{"the last sunrise was in spring", "2020-08-25", 78.216667, 15.633333, Sunrise, ""},
	{"the first sunset after it", "2020-08-25", 78.216667, 15.633333, Sunset, "2020-08-25T21:45:07.710Z"},
	{"the polar circle in the south", "2025-01-05", -66.566667, 0, Sunset, "2025-01-05T23:42:12.025Z"},
	{"", "2025-01-05", -66.566667, 0, Sunrise, ""},
	{"", "2025-01-05", -66.566667, 0, Noon, "2025-01-05T12:05:30.658Z"},
	{"at the date line", "2020-06-10", 0, 179.9, Sunrise, "2020-06-10T17:56:23.442Z"},
	{"", "2020-06-10", 0, 179.9, Sunset, "2020-06-10T06:03:30.969Z"},
	{"", "2020-06-10", 0, 179.9, Dawn, "2020-06-10T17:33:54.836Z"},
	{"", "2020-06-10", 0, 179.9, Dusk, "2020-06-10T06:25:59.239Z"},
	{"24 hours of UTC without a noon", "2020-06-10", 0, 179.9, Noon, ""},
	{"and with two", "2020-04-16", 0, 179.9, Noon, "2020-04-16T00:00:12.806Z"},
	{"", "2020-04-16T00:01:00Z", 0, 179.9, Noon, "2020-04-16T23:59:58.925Z"},
	{"Anchorage, dusk after midnight", "2020-07-05", 61.216667, -149.866667, Dusk, "2020-07-05T09:47:30.443Z"},
	{"", "2020-07-05", 61.216667, -149.866667, Dawn, "2020-07-05T10:21:04.205Z"},
	{"", "2020-07-05", 61.216667, -149.866667, Sunset, "2020-07-05T07:34:47.404Z"},
	{"", "2020-07-05", 61.216667, -149.866667, Sunrise, "2020-07-05T12:33:47.798Z"},
	{"the north pole in summer", "2024-06-21", 90, 0, Sunset, ""},
	{"", "2024-06-21", 90, 0, Sunrise, ""},
	{"the south pole in summer", "2024-12-21", -90, 0, Sunset, ""},
	{"Golden, Colorado", "2003-10-17", 39.742476, -105.1786, Sunrise, "2003-10-17T13:12:44.270Z"},
	{"", "2003-10-17", 39.742476, -105.1786, Sunset, "2003-10-17T00:20:18.425Z"},
	{"", "2003-10-17", 39.742476, -105.1786, Noon, "2003-10-17T18:46:04.990Z"},
	{"Vienna at the equinox", "2024-03-20", 48.21, 16.37, Sunrise, "2024-03-20T04:56:47.557Z"},
	{"", "2024-03-20", 48.21, 16.37, Sunset, "2024-03-20T17:07:47.200Z"},
	{"", "2024-03-20", 48.21, 16.37, Dawn, "2024-03-20T04:25:44.435Z"},
	{"", "2024-03-20", 48.21, 16.37, Dusk, "2024-03-20T17:38:55.654Z"},
	{"Auckland in summer", "2024-12-21", -36.84, 174.74, Sunrise, "2024-12-21T16:58:49.153Z"},
	{"", "2024-12-21", -36.84, 174.74, Sunset, "2024-12-21T07:39:51.441Z"},
	{"", "2024-12-21", -36.84, 174.74, Dawn, "2024-12-21T16:28:02.477Z"},
	{"", "2024-12-21", -36.84, 174.74, Dusk, "2024-12-21T08:10:38.112Z"},
}

func TestAgainstJPL(t *testing.T) {
	name, worst := "", 0.0
	for _, f := range jpl {
		if f.name != "" {
			name = f.name
		}
		from := parse(t, f.from)
		at := Place{f.latitude, f.longitude}.Next(f.event, from.Add(-time.Nanosecond))
		if f.want == "" {
			if end := from.Add(24 * time.Hour); at.Before(end) {
				t.Errorf("%s: %s at %s, want none before %s", name, f.event, at.UTC(), end)
			}
			continue
		}
		off := at.Sub(parse(t, f.want)).Seconds()
		worst = max(worst, math.Abs(off))
		if math.Abs(off) > 2 {
			t.Errorf("%s: %s at %s, %.1f s from %s", name, f.event, at.UTC(), off, f.want)
		}
	}
	t.Logf("at most %.1f s from JPL", worst)
}

// At the poles the sun rises in the course of a day: a second of arc is a minute.
func TestPoles(t *testing.T) {
	for _, f := range []figure{
		{"north", "2023-10-01", 90, 0, Sunrise, "2024-03-18T00:39:47.988Z"},
		{"south", "2024-04-01", -90, 0, Sunrise, "2024-09-20T09:26:22.500Z"},
	} {
		p := Place{f.latitude, f.longitude}
		at := p.Next(f.event, parse(t, f.from))
		if off := at.Sub(parse(t, f.want)); off.Abs() > 2*time.Minute {
			t.Errorf("%s: %s at %s, want %s", f.name, f.event, at.UTC(), f.want)
		}
		if again := p.Next(f.event, at); again.Sub(at) < 360*24*time.Hour {
			t.Errorf("%s: %s again at %s", f.name, f.event, again)
		}
		if set := p.Next(Sunset, at); set.Sub(at) < 180*24*time.Hour || set.Sub(at) > 195*24*time.Hour {
			t.Errorf("%s: the day is from %s to %s", f.name, at, set)
		}
	}
}

// timeAndDate are figures of timeanddate.com for 2023, as the library hablullah/go-sampa has them
// (scripts/comparison/data): a date, then dawn, sunrise, noon, sunset and dusk by the clock there.
// Most are days on which the clock changes.
var timeAndDate = []struct {
	zone                string
	latitude, longitude float64
	date                string
	times               [5]string
}{
	{"Europe/Amsterdam", 52.3667, 4.9, "2023-03-26", [5]string{"06:55:42", "07:29:51", "13:46:09", "20:03:32", "20:37:48"}},
	{"Europe/Amsterdam", 52.3667, 4.9, "2023-10-29", [5]string{"06:54:36", "07:30:10", "12:24:08", "17:17:21", "17:52:53"}},
	{"Australia/Lord_Howe", -31.55, 159.0833, "2023-04-02", [5]string{"05:40:46", "06:05:04", "11:57:24", "17:49:17", "18:13:34"}}, // by half an hour
	{"Australia/Lord_Howe", -31.55, 159.0833, "2023-10-01", [5]string{"05:38:10", "06:02:31", "12:13:31", "18:25:01", "18:49:25"}},
	{"America/New_York", 40.7167, -74.0167, "2023-03-12", [5]string{"06:45:39", "07:12:53", "13:05:45", "18:59:17", "19:26:34"}},
	{"America/New_York", 40.7167, -74.0167, "2023-11-05", [5]string{"06:02:08", "06:30:48", "11:39:36", "16:47:56", "17:16:34"}},
	{"Europe/Oslo", 59.9167, 10.7333, "2023-06-21", [5]string{"02:09:38", "03:53:49", "13:18:48", "22:43:47", "00:27:44"}},
	{"Africa/Maputo", -25.9667, 32.5667, "2023-06-21", [5]string{"06:10:48", "06:36:06", "11:51:28", "17:06:52", "17:32:09"}},
	{"America/Puerto_Rico", 18.0333, -63.05, "2023-12-21", [5]string{"06:14:58", "06:38:40", "12:10:11", "17:41:43", "18:05:25"}},
}

func TestAgainstTimeAndDate(t *testing.T) {
	worst := 0.0
	for _, f := range timeAndDate {
		zone, err := time.LoadLocation(f.zone)
		if err != nil {
			t.Fatal(err)
		}
		midnight, err := time.ParseInLocation(time.DateOnly, f.date, zone)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range []Event{Dawn, Sunrise, Noon, Sunset, Dusk} {
			want, err := time.ParseInLocation(time.DateTime, f.date+" "+f.times[i], zone)
			if err != nil {
				t.Fatal(err)
			}
			if e == Dusk && want.Hour() == 0 {
				want = want.AddDate(0, 0, 1)
			}
			from := midnight
			if e == Dusk {
				from = midnight.Add(12 * time.Hour)
			}
			at := Place{f.latitude, f.longitude}.Next(e, from)
			off := at.Sub(want).Seconds()
			worst = max(worst, math.Abs(off))
			if math.Abs(off) > 30 { // half a minute is 0.007 degrees at a dusk of midsummer in Oslo
				t.Errorf("%s: %s at %s, want %s", f.zone, e, at.In(zone), want)
			}
		}
	}
	t.Logf("at most %.0f s from timeanddate.com", worst)
}

// Go's clock has no leap seconds: the sun moves on evenly over the second of 2016-12-31T23:59:60Z.
func TestLeapSecond(t *testing.T) {
	p := Place{21.31, -157.86} // Honolulu, where it was afternoon
	at := p.Next(Sunset, parse(t, "2016-12-25"))
	var before time.Duration
	for at.Before(parse(t, "2017-01-08")) {
		next := p.Next(Sunset, at)
		if day := next.Sub(at); before != 0 && (day-before).Abs() > 2*time.Second {
			t.Errorf("the day to %s takes %s, the one before %s", next.UTC(), day, before)
		} else {
			before = day
		}
		at = next
	}
}

// Elevations of NREL's own program, spa.c of 2014 at 1000 mbar and 10 °C, as the tests of
// klausbrunner/solarpositioning have them (azimuth_zenith/spa_reference_testdata.csv). It adds
// refraction only where the sun is up, so that the figures by night are exact.
func TestAgainstNREL(t *testing.T) {
	auckland, brasilia := Place{-36.840556, 174.74}, Place{-15.793889, -47.882778}
	for _, f := range []struct {
		place  Place
		at     string
		zenith float64
	}{
		{auckland, "2010-03-15T09:30:00Z", 122.919913}, {auckland, "2010-06-15T12:30:00Z", 166.352971},
		{auckland, "2110-12-15T15:30:00Z", 104.491236}, {auckland, "1910-06-15T06:30:00Z", 105.407758},
		{brasilia, "2010-06-15T06:30:00Z", 132.959702}, {brasilia, "2010-12-15T00:30:00Z", 125.361380},
		{brasilia, "2010-06-15T09:30:00Z", 92.195238}, // where the library's own elevation has refraction
	} {
		if off := f.place.Elevation(parse(t, f.at)) - (90 - f.zenith); math.Abs(off) > 0.001 {
			t.Errorf("%v at %s: %.6f degrees from NREL's", f.place, f.at, off)
		}
	}
	for _, f := range []struct {
		place  Place
		at     string
		zenith float64
	}{ // by day, with refraction of less than 1'
		{auckland, "2010-12-15T00:30:00Z", 13.924050}, {auckland, "2010-03-15T03:30:00Z", 53.909325}, {brasilia, "2010-09-15T15:30:00Z", 19.555300},
	} {
		if off := f.place.Elevation(parse(t, f.at)) - (90 - f.zenith); off > 0 || off < -0.03 {
			t.Errorf("%v at %s: %.6f degrees from NREL's", f.place, f.at, off)
		}
	}
}

// Whatever the place: the sun is up from sunrise to sunset, and no event is left out or comes twice.
func TestUpChangesAtSunriseAndSunset(t *testing.T) {
	for _, c := range []struct {
		place Place
		from  string
	}{
		{Place{52.52, 13.4}, "2026-02-15"}, {Place{0, 180}, "2026-02-15"}, {Place{0, -180}, "2026-02-15"}, {Place{89.99, 45}, "2026-02-15"},
		{Place{-77.85, 166.67}, "2026-02-15"},                                                                                                      // before the first sunset in McMurdo
		{Place{65.73, 0}, "2026-06-18"}, {Place{65.73, -179}, "2026-06-18"}, {Place{65.73, 179}, "2026-06-18"}, {Place{69.36, -170}, "2026-07-20"}, // sunset and sunrise around midnight
	} {
		p, at := c.place, parse(t, c.from)
		up, changes, end := p.Up(at), 0, at.AddDate(1, 0, 0)
		for ; changes < 20; changes++ {
			e := Sunset
			if !up {
				e = Sunrise
			}
			next := p.Next(e, at)
			if next.IsZero() || next.After(end) {
				break
			}
			for x := at; x.Before(next) && x.Before(at.Add(48*time.Hour)); x = x.Add(2 * time.Hour) {
				if p.Up(x) != up {
					t.Fatalf("%v: up is %v at %s, before %s at %s", p, !up, x.UTC(), e, next.UTC())
				}
			}
			if p.Up(next) == up || p.Up(next.Add(-time.Second)) != up {
				t.Fatalf("%v: up does not change at %s, %s", p, e, next.UTC())
			}
			if again := p.Next(e, next.Add(-time.Second)); !again.Equal(next) {
				t.Fatalf("%v: the next %s a second before %s is %s", p, e, next.UTC(), again.UTC())
			}
			if last := p.Last(e, next); !last.Equal(next) {
				t.Fatalf("%v: the last %s at %s is %s", p, e, next.UTC(), last.UTC())
			}
			if last := p.Last(e, next.Add(-time.Second)); !last.Before(next) {
				t.Fatalf("%v: the last %s before %s is %s", p, e, next.UTC(), last.UTC())
			}
			at, up = next, !up
		}
		if changes < 2 {
			t.Errorf("%v: %d changes in a year", p, changes)
		}
	}
}

// Noon comes once in each 24 hours, everywhere.
func TestNoonIsDaily(t *testing.T) {
	for _, p := range []Place{{52.52, 13.4}, {90, 0}, {-90, 0}, {0, 180}, {0, -180}} {
		for at, n := p.Next(Noon, parse(t, "2026-01-01")), 0; n < 366; n++ {
			next := p.Next(Noon, at)
			if off := next.Sub(at) - 24*time.Hour; off.Abs() > time.Minute {
				t.Fatalf("%v: noon at %s and then at %s", p, at.UTC(), next.UTC())
			}
			at = next
		}
	}
}

func TestDaysThatTheCalendarDoesNotHave(t *testing.T) {
	p := Place{52.52, 13.4}
	for _, at := range []time.Time{{}, parse(t, "1582-10-10"), time.Date(-6000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(30000, 1, 1, 0, 0, 0, 0, time.UTC)} {
		p.Next(Sunset, at) // ends, and does not panic
		p.Last(Sunset, at)
	}
	if e := p.Elevation(parse(t, "1582-10-10")); !math.IsNaN(e) {
		t.Errorf("the sun is at %v", e)
	}
}

func BenchmarkElevation(b *testing.B) {
	at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for b.Loop() {
		Place{52.52, 13.4}.Elevation(at)
	}
}

func BenchmarkNext(b *testing.B) {
	at := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for b.Loop() {
		Place{52.52, 13.4}.Next(Sunset, at)
	}
}

func parse(t *testing.T, s string) time.Time {
	t.Helper()
	layout := time.RFC3339
	switch {
	case len(s) == len(time.DateOnly):
		layout = time.DateOnly
	case !strings.ContainsAny(s, "Z+"):
		layout = "2006-01-02T15:04"
	}
	at, err := time.Parse(layout, s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}
