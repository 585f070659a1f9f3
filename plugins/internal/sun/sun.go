// Package sun says where the sun is, and when it rises, sets and is highest, at a place.
//
// What it promises:
//
//   - The sun is up while the upper edge of its disc is above a level horizon at sea level, with
//     the usual refraction of the air: while its centre is above [Horizon]. Sunrise is the first
//     second of that, sunset the first second after it, so that [Place.Up] changes exactly there.
//   - Dawn and dusk are those of civil twilight, at [Twilight]. Noon is when the sun crosses the
//     meridian.
//   - Between one midnight of the sun and the next there is at most one event of each kind. Where
//     the sun does not set, there is no sunset on that day.
//   - Times are within seconds of those of JPL and the USNO; within a minute where the sun moves
//     along the horizon, near the poles. Mountains, height and weather are not considered.
//
// A day here is a day of the sun, which begins when the sun is lowest. It knows neither time zones
// nor the date line, and has no leap seconds, as Go's clock has none.
package sun

import (
	"math"
	"time"

	sampa "github.com/hablullah/go-sampa"
)

// Elevations of the sun's centre, in degrees.
const (
	Horizon  = -50.0 / 60 // at sunrise and sunset: 16' of its radius and 34' of refraction below
	Twilight = -6.0       // at dawn and dusk
)

// Place is a place on the earth, in degrees: latitude -90 to 90, north is positive, and longitude
// -180 to 180, east is positive.
type Place struct{ Latitude, Longitude float64 }

// Event is what the sun does once a day.
type Event string

// The events.
const (
	Sunrise Event = "sunrise"
	Sunset  Event = "sunset"
	Dawn    Event = "dawn"
	Dusk    Event = "dusk"
	Noon    Event = "noon"
)

// Elevation is the height of the sun's centre above the horizon, in degrees, without refraction.
// It changes once a second. It is not a number for days that the calendar does not have, in 1582,
// and before the year -4712.
func (p Place) Elevation(t time.Time) float64 {
	s, err := p.position(t)
	if err != nil {
		return math.NaN()
	}
	// The library's own elevation has refraction, by a formula that fails some degrees below the
	// horizon.
	const degree = math.Pi / 180
	latitude, declination, hour := p.Latitude*degree, s.TopocentricDeclination*degree, s.TopocentricLocalHourAngle*degree
	sine := math.Sin(latitude)*math.Sin(declination) + math.Cos(latitude)*math.Cos(declination)*math.Cos(hour)
	return math.Asin(min(max(sine, -1), 1)) / degree
}

// Up reports whether the sun is up.
func (p Place) Up(t time.Time) bool { return p.Elevation(t) > Horizon }

func (p Place) position(t time.Time) (sampa.SunPosition, error) {
	return sampa.GetSunPosition(t, sampa.Location{Latitude: p.Latitude, Longitude: p.Longitude}, nil)
}

// searchDays is how far Next and Last search. Every event occurs each year at every place: even at
// the poles the sun rises once.
const searchDays = 370

// Next returns the first event after t; the zero time if there is none within a year.
func (p Place) Next(e Event, t time.Time) time.Time {
	for n := p.day(t) - 1; n <= p.day(t)+searchDays; n++ {
		if at, ok := p.on(e, n); ok && at.After(t) {
			return at
		}
	}
	return time.Time{}
}

// Last returns the latest event that is not after t; the zero time if there is none within a year.
func (p Place) Last(e Event, t time.Time) time.Time {
	for n := p.day(t) + 1; n >= p.day(t)-searchDays; n-- {
		if at, ok := p.on(e, n); ok && !at.After(t) {
			return at
		}
	}
	return time.Time{}
}

const secondsPerDay = 24 * 60 * 60

// day numbers the days of the mean sun, by which the real one is up to 17 minutes early or late.
func (p Place) day(t time.Time) int64 {
	return int64(math.Floor((float64(t.Unix()) + p.Longitude/360*secondsPerDay) / secondsPerDay))
}

// on returns the event of a day; ok is false where the day has none.
func (p Place) on(e Event, day int64) (at time.Time, ok bool) {
	noon := p.noon(day)
	// Within each half of a day the sun goes up, or it goes down. Near the poles it may do the same
	// in both: its declination changes more than the turn of the earth shows. The midnights are up
	// to half a minute off, which is less than a thousandth of a degree there.
	const half = secondsPerDay / 2
	begin, end := noon-half, noon+half
	switch e {
	case Noon:
		return time.Unix(noon, 0), true
	case Sunrise:
		return p.crossing(Horizon, true, begin, noon, end)
	case Sunset:
		return p.crossing(Horizon, false, begin, noon, end)
	case Dawn:
		return p.crossing(Twilight, true, begin, noon, end)
	default:
		return p.crossing(Twilight, false, begin, noon, end)
	}
}

// noon returns the second in which the sun crosses the meridian on a day.
func (p Place) noon(day int64) int64 {
	t := day*secondsPerDay + secondsPerDay/2 - int64(math.Round(p.Longitude/360*secondsPerDay))
	s, err := p.position(time.Unix(t, 0))
	if err != nil {
		return t
	}
	// The real sun is up to 17 minutes off the mean one, and moves a third of a second against it
	// in that time.
	return t - int64(math.Round(math.Remainder(s.ObserverLocalHourAngle, 360)/360*secondsPerDay))
}

// crossing returns the first second at which the sun is above the elevation, or no longer above it,
// in one of the spans between the given times.
func (p Place) crossing(elevation float64, above bool, times ...int64) (time.Time, bool) {
	reached := func(t int64) bool { return p.Elevation(time.Unix(t, 0)) > elevation == above }
	for i := range len(times) - 1 {
		before, at := times[i], times[i+1]
		if reached(before) || !reached(at) {
			continue
		}
		for at-before > 1 {
			if middle := (before + at) / 2; reached(middle) {
				at = middle
			} else {
				before = middle
			}
		}
		return time.Unix(at, 0), true
	}
	return time.Time{}, false
}
