package timer

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/plugins/internal/sun"
)

// sunsets are options of a timer in Berlin, where the sun sets at 15:02 UTC on 2000-01-01.
func sunsets() Options {
	return Options{Sun: "sunset", Offset: -30 * time.Minute, At: []float64{52.52, 13.4}, Align: true, Zone: "Europe/Berlin"}
}

func TestSunEachDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, sunsets())
		time.Sleep(3 * 24 * time.Hour)
		same(t, "half an hour before sunset", r.take(),
			"1 2000-01-01T15:32:12+01:00 0 0", "2 2000-01-02T15:33:16+01:00 0 0", "3 2000-01-03T15:34:24+01:00 0 0")
		if log := r.bus.Logged(); log != "" {
			t.Errorf("logged %s", log)
		}
		r.stop(t)
	})
}

func TestEveryEventOfTheSun(t *testing.T) {
	for event, want := range map[string]string{
		"dawn": "2000-01-01T07:36", "sunrise": "2000-01-01T08:17", "noon": "2000-01-01T12:09", "sunset": "2000-01-01T16:02", "dusk": "2000-01-01T16:43",
	} {
		synctest.Test(t, func(t *testing.T) {
			o := sunsets()
			o.Sun, o.Offset = event, 0
			r := start(t, o)
			time.Sleep(24 * time.Hour)
			if got := r.take(); len(got) != 1 || !strings.HasPrefix(got[0], "1 "+want) {
				t.Errorf("%s: %q, want %s", event, got, want)
			}
			r.stop(t)
		})
	}
}

// In Longyearbyen the sun rises from 16 February 2000 on, each day until it does not set any more.
func TestPolarNightAndDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{Sun: "sunrise", At: []float64{78.216667, 15.633333}, Align: true, Zone: "UTC"})
		time.Sleep(45 * 24 * time.Hour)
		same(t, "in polar night", r.take())
		const night = `msg="no sunrise here for some days: it is polar day or night" next=2000-02-1`
		if log := r.bus.Logged(); strings.Count(log, "\n") != 1 || !strings.Contains(log, night) {
			t.Errorf("logged %s", log)
		}
		time.Sleep(100 * 24 * time.Hour)
		got := r.take()
		if len(got) < 60 || len(got) > 66 {
			t.Errorf("%d sunrises in spring", len(got))
		}
		for _, e := range got {
			if !strings.HasSuffix(e, " 0 0") {
				t.Errorf("a sunrise is late, or others were missed: %s", e)
			}
		}
		if log := r.bus.Logged(); strings.Count(log, "\n") != 2 || !strings.Contains(log, "next=2000-08-2") {
			t.Errorf("logged %s", log)
		}
		r.stop(t)
	})
}

func TestSunWhenTheClockJumps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, sunsets())
		time.Sleep(15 * time.Hour)
		same(t, "the first day", r.take(), "1 2000-01-01T15:32:12+01:00 0 0")
		r.setClock(-time.Hour)
		time.Sleep(3 * time.Hour)
		same(t, "an hour back repeats nothing", r.take())
		r.setClock(3 * 24 * time.Hour) // suspended until 2000-01-04T18:00+01:00
		time.Sleep(slice)
		same(t, "after three days of sleep", r.take(), "2 2000-01-04T15:35:34+01:00 8678 2")
		r.setClock(18 * time.Hour) // 12:01 on the next day
		time.Sleep(slice)
		same(t, "forward to before the next one", r.take())
		time.Sleep(4 * time.Hour)
		same(t, "which comes in time", r.take(), "3 2000-01-05T15:36:47+01:00 0 0")
		r.setClock(-30 * 24 * time.Hour)
		time.Sleep(24 * time.Hour)
		if got := r.take(); len(got) != 1 || !strings.HasPrefix(got[0], "4 1999-12-0") {
			t.Errorf("after a wrong clock was corrected: %q", got)
		}
		r.setClock(56 * 365 * 24 * time.Hour) // a machine without a clock battery
		time.Sleep(slice)
		if got := r.take(); len(got) != 1 || !strings.HasSuffix(got[0], " 366") {
			t.Errorf("after 56 years: %q", got)
		}
		r.stop(t)
	})
}

// Each sunset comes once, or is counted as missed, while the clock is set to and fro by less than a
// day.
func TestSunOncePerDay(t *testing.T) {
	for seed := range uint64(4) {
		synctest.Test(t, func(t *testing.T) {
			dice := rand.New(rand.NewPCG(seed, 1))
			o := sunsets()
			o.Jitter = time.Duration(dice.IntN(3)) * 29 * time.Minute
			r := start(t, o)
			place := sun.Place{Latitude: o.At[0], Longitude: o.At[1]}
			plan := solar{place, sun.Sunset, o.Offset}
			want := plan.next(r.clock())
			for range 60 {
				time.Sleep(time.Duration(dice.Int64N(int64(30 * time.Hour))))
				r.setClock(time.Duration(dice.Int64N(int64(40*time.Hour))) - 20*time.Hour)
			}
			time.Sleep(48 * time.Hour)
			events, _ := r.all()
			for _, e := range events {
				for range e["missed"].(int64) {
					want = plan.next(want)
				}
				if got := e["time"]; got != want.In(zone(t, o.Zone)).Format(time.RFC3339) {
					t.Fatalf("seed %d: got the sunset of %s, want %s", seed, got, want)
				}
				want = plan.next(want)
			}
			if len(events) < 30 {
				t.Errorf("seed %d: %d events", seed, len(events))
			}
			r.stop(t)
		})
	}
}

// The date line and changes of the clock leave no date out, but the one that Samoa skipped.
func TestSunOnEachDate(t *testing.T) {
	for _, c := range []struct {
		zone       string
		at         sun.Place
		year, days int
	}{
		{"Pacific/Apia", sun.Place{Latitude: -13.83, Longitude: -171.77}, 2011, 364}, // without December 30
		{"Pacific/Kiritimati", sun.Place{Latitude: 1.87, Longitude: -157.4}, 2026, 365},
		{"Pacific/Fiji", sun.Place{Latitude: -16.8, Longitude: 179.99}, 2026, 365},
		{"America/Adak", sun.Place{Latitude: 51.88, Longitude: -176.65}, 2026, 365},
		{"Europe/Berlin", sun.Place{Latitude: 52.52, Longitude: 13.4}, 2016, 366}, // whose last day has a leap second
		{"Australia/Lord_Howe", sun.Place{Latitude: -31.55, Longitude: 159.08}, 2026, 365},
	} {
		z := zone(t, c.zone)
		dates := map[string]int{}
		plan := solar{c.at, sun.Sunset, 0}
		for at := plan.next(time.Date(c.year, 1, 1, 0, 0, 0, 0, z)); at.In(z).Year() == c.year; at = plan.next(at) {
			dates[at.In(z).Format(time.DateOnly)]++
		}
		if len(dates) != c.days {
			t.Errorf("%s: %d dates in %d have a sunset, want %d", c.zone, len(dates), c.year, c.days)
		}
		for date, n := range dates {
			if n != 1 {
				t.Errorf("%s: %d sunsets on %s", c.zone, n, date)
			}
		}
	}
}

// A random delay stays the same over a restart, and a restart within it neither loses the event nor
// repeats it.
func TestJitterOverRestarts(t *testing.T) {
	for name, o := range map[string]Options{
		"sun":  {Sun: "sunset", At: []float64{52.52, 13.4}, Align: true, Zone: "UTC", Jitter: 59 * time.Minute},
		"cron": {Cron: "0 15 * * *", Align: true, Zone: "UTC", Jitter: 59 * time.Minute},
	} {
		once := func(restart bool) (events []string) {
			synctest.Test(t, func(t *testing.T) {
				r := start(t, o)
				for range 3 * 24 * 60 / 7 {
					time.Sleep(7 * time.Minute)
					some, at := r.all()
					for i, e := range some {
						events = append(events, fmt.Sprint(e["time"], " at ", at[i].UTC().Format(time.RFC3339Nano)))
					}
					if restart {
						r.stop(t)
						r = start(t, o)
					}
				}
				r.stop(t)
			})
			return events
		}
		calm := once(false)
		same(t, name+": restarted every seven minutes", once(true), calm...)
		if len(calm) != 3 {
			t.Errorf("%s: %q in three days", name, calm)
		}
	}
}

// A tick has its own delay also when a wrong clock was corrected while the source waited for another.
func TestJitterAfterTheClockWasCorrected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := sunsets()
		o.Jitter = 59 * time.Minute
		r := start(t, o)
		time.Sleep(12 * time.Hour)
		r.setClock(-30 * 24 * time.Hour)
		time.Sleep(3 * 24 * time.Hour)
		events, at := r.all()
		if len(events) < 2 {
			t.Errorf("%d events", len(events))
		}
		for i, e := range events {
			due, err := time.Parse(time.RFC3339, e["time"].(string))
			if err != nil {
				t.Fatal(err)
			}
			if got, want := at[i].Sub(due), New(o, r.bus).jitter(due); got != want {
				t.Errorf("the sunset of %s is delayed by %s, want %s", due, got, want)
			}
		}
		r.stop(t)
	})
}
