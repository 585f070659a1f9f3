package timer

// This file is the schedule of the sun: once a day, where the sun does what the option says.

import (
	"fmt"
	"time"

	"github.com/postbus/postbus/plugins/internal/sun"
	"github.com/postbus/postbus/plugins/kind"
)

// maxMissedDays bounds the search for missed days.
const maxMissedDays = 366

// dark is more than the time between two events of the sun, unless a day between them has none.
const dark = 36 * time.Hour

// solar ticks at offset after each event of the sun at a place.
type solar struct {
	place  sun.Place
	event  sun.Event
	offset time.Duration
}

func (s solar) next(t time.Time) time.Time {
	at := s.place.Next(s.event, t.Add(-s.offset))
	if at.IsZero() {
		return at
	}
	return at.Add(s.offset)
}

func (s solar) last(tick, t time.Time) (time.Time, int64) {
	latest := tick
	if at := s.place.Last(s.event, t.Add(-s.offset)); !at.IsZero() && at.Add(s.offset).After(tick) {
		latest = at.Add(s.offset)
	}
	missed := int64(0)
	for ; tick.Before(latest) && missed < maxMissedDays; missed++ {
		tick = s.next(tick)
	}
	return latest, missed
}

// tolerance is a day: a clock that is set back by less does not make the same sunset come twice.
func (s solar) tolerance() time.Duration { return 24 * time.Hour }

// checkPlace checks the latitude and the longitude of an option, which are from -180 to 180.
func checkPlace(key string, at []float64) []error {
	const form = "write the latitude, then the longitude, in degrees: [52.52, 13.40]"
	switch {
	case len(at) != 2:
		return []error{kind.Wrong(key, fmt.Sprintf("want [latitude, longitude], got a list of %d", len(at)), form)}
	case at[0] < -90 || at[0] > 90:
		return []error{kind.Wrong(key+"[0]", fmt.Sprintf("the latitude %v is not on the earth: want -90 (south pole) to 90 (north pole)", at[0]), form)}
	}
	return nil
}
