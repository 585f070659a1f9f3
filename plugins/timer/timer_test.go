package timer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/plugins/kind/kindtest"
)

// run is a source under a fake clock whose wall clock can be set independently of the monotonic
// one.
type run struct {
	events []map[string]any
	at     []time.Time
	err    error
	cancel context.CancelFunc
	done   chan struct{}
	mu     sync.Mutex
	offset time.Duration
	bus    *kindtest.Bus
	busy   time.Duration // how long emit takes
	fail   error
}

func start(t *testing.T, o Options, prepare ...func(*run)) *run {
	r := &run{done: make(chan struct{}), bus: kindtest.NewBus()}
	for _, p := range prepare {
		p(r)
	}
	s := New(o, r.bus)
	s.now = r.clock
	var ctx context.Context
	ctx, r.cancel = context.WithCancel(context.Background())
	t.Cleanup(func() { r.cancel(); <-r.done }) // otherwise a failed test's clock would run forever
	go func() {
		defer close(r.done)
		r.err = s.Run(ctx, func(ctx context.Context, at time.Time, fields map[string]any) error {
			r.mu.Lock()
			r.events, r.at = append(r.events, fields), append(r.at, at)
			r.mu.Unlock()
			time.Sleep(r.busy) // on the fake clock
			return r.fail
		})
	}()
	return r
}

func (r *run) clock() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Now().Add(r.offset).Round(0)
}

func (r *run) setClock(by time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.offset += by
}

// take returns the events since the last call as "n time late missed".
func (r *run) take() []string {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	var got []string
	for _, e := range r.events {
		got = append(got, fmt.Sprint(e["n"], " ", e["time"], " ", e["late"], " ", e["missed"]))
	}
	r.events = nil
	return got
}

// all returns the events since the last call, with the times at which they were emitted.
func (r *run) all() (events []map[string]any, at []time.Time) {
	synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	events, at = r.events, r.at
	r.events, r.at = nil, nil
	return events, at
}

func (r *run) stop(t *testing.T) {
	r.cancel()
	<-r.done
	if r.err != nil && !errors.Is(r.err, context.Canceled) {
		t.Error("Run:", r.err)
	}
}

func same(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s: got\n  %s\nwant\n  %s", what, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// The fake clock of synctest begins at 2000-01-01T00:00:00Z.

func TestAlignedInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(3 * time.Second)
		r := start(t, Options{Every: 10 * time.Second, Align: true, Zone: "UTC"})
		time.Sleep(28 * time.Second)
		same(t, "multiples of the interval", r.take(),
			"1 2000-01-01T00:00:10Z 0 0", "2 2000-01-01T00:00:20Z 0 0", "3 2000-01-01T00:00:30Z 0 0")
		r.stop(t)
	})
}

func TestFromTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(3 * time.Second)
		r := start(t, Options{Every: 10 * time.Second, Zone: "Asia/Kolkata", AtStart: true})
		time.Sleep(11 * time.Second)
		same(t, "from the start", r.take(), "1 2000-01-01T05:30:03+05:30 0 0", "2 2000-01-01T05:30:13+05:30 0 0")
		r.setClock(-5 * time.Hour)
		time.Sleep(10 * time.Second)
		r.setClock(20 * time.Hour)
		time.Sleep(10 * time.Second)
		same(t, "the clock was set", r.take(), "3 2000-01-01T00:30:23+05:30 0 0", "4 2000-01-01T20:30:33+05:30 0 0")
		r.stop(t)
	})
}

func TestMissedTicksAreOneEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{Every: time.Hour, Align: true, Zone: "UTC"})
		time.Sleep(30*time.Minute + time.Second)
		r.setClock(3*time.Hour + 10*time.Minute) // 03:40:01: 1, 2 and 3 o'clock have passed
		time.Sleep(slice)
		same(t, "after sleep", r.take(), "1 2000-01-01T03:00:00Z 2460 2")
		time.Sleep(19 * time.Minute)
		same(t, "the next one is in time", r.take(), "2 2000-01-01T04:00:00Z 0 0")
		r.stop(t)
	})
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{Every: time.Second, Zone: "UTC"}, func(r *run) { r.busy = 3500 * time.Millisecond })
		time.Sleep(9 * time.Second)
		same(t, "a busy bus", r.take(), "1 2000-01-01T00:00:01Z 0 0", "2 2000-01-01T00:00:04Z 0.5 2", "3 2000-01-01T00:00:08Z 0 3")
		r.stop(t)
	})
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{Cron: "0 * * * *", Align: true, Zone: "UTC"})
		time.Sleep(30*time.Minute + time.Second)
		r.setClock(3*time.Hour + 10*time.Minute)
		time.Sleep(slice)
		same(t, "cron after sleep", r.take(), "1 2000-01-01T03:00:00Z 2460 2")
		time.Sleep(time.Second)
		r.setClock(56 * 365 * 24 * time.Hour) // a machine without a clock battery
		time.Sleep(slice)
		if got := r.take(); len(got) != 1 || !strings.HasSuffix(got[0], " 10000") {
			t.Errorf("after 56 years: %q", got)
		}
		time.Sleep(time.Hour)
		if got := r.take(); len(got) != 1 || !strings.HasSuffix(got[0], "0 0") {
			t.Errorf("an hour later: %q", got)
		}
		r.stop(t)
	})
}

func TestClockSetBack(t *testing.T) {
	for _, c := range []struct {
		name string
		o    Options
	}{
		{"interval", Options{Every: time.Minute, Align: true, Zone: "UTC"}},
		{"cron", Options{Cron: "* * * * *", Align: true, Zone: "UTC"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := start(t, c.o)
				time.Sleep(95 * time.Second)
				r.take()
				r.setClock(-10 * time.Hour)
				time.Sleep(2 * time.Minute)
				if got := r.take(); len(got) == 0 {
					t.Error("the timer stalled")
				}
				r.stop(t)
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{Cron: "0 1 * * *", Align: true, Zone: "UTC"})
		time.Sleep(time.Hour + time.Second)
		same(t, "first", r.take(), "1 2000-01-01T01:00:00Z 0 0")
		r.setClock(-30 * time.Second)
		time.Sleep(time.Hour)
		same(t, "a small step back repeats nothing", r.take())
		r.stop(t)
	})
}

func TestJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{Every: 10 * time.Second, Align: true, Zone: "UTC", Jitter: 9999 * time.Millisecond})
		time.Sleep(1000 * time.Second)
		r.stop(t)
		early, late := 0, 0
		for i, at := range r.at {
			due := time.Date(2000, 1, 1, 0, 0, 10*(i+1), 0, time.UTC)
			d := at.Sub(due)
			if d < 0 || d >= 10*time.Second || r.events[i]["missed"] != int64(0) || r.events[i]["time"] != due.Format(time.RFC3339) || r.events[i]["late"] != 0.0 {
				t.Fatalf("event %d at %v: %v", i, at, r.events[i])
			}
			if d < 3*time.Second {
				early++
			}
			if d > 7*time.Second {
				late++
			}
		}
		if len(r.at) < 98 || early < 10 || late < 10 {
			t.Errorf("%d events, %d early, %d late: not spread", len(r.at), early, late)
		}
	})
}

func TestRunEndsWithItsContextAndWithEmit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Options{Every: 1000 * time.Hour, Align: true})
		before := time.Now()
		r.stop(t)
		if d := time.Since(before); d != 0 {
			t.Errorf("took %v to end", d)
		}
		stopped := errors.New("stopped")
		r = start(t, Options{Every: time.Second}, func(r *run) { r.fail = stopped })
		<-r.done
		if !errors.Is(r.err, stopped) || len(r.events) != 1 {
			t.Errorf("%v after %d events", r.err, len(r.events))
		}
	})
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name string
		o    Options
		want string // key: reason
	}{
		{"interval", Options{Every: time.Second, Align: true}, ""},
		{"cron", Options{Cron: "0 7 * * 1-5", Zone: "Europe/Berlin", Align: true}, ""},
		{"nothing", Options{Align: true}, ": a timer needs every, cron or sun"},
		{"sun", Options{Sun: "sunset", Offset: -time.Hour, At: []float64{-90, 180}, Align: true}, ""},
		{"a place for expressions", Options{Every: time.Second, At: []float64{52.52, 13.4}, Align: true}, ""},
		{"sun without a place", Options{Sun: "dusk", Align: true}, "sun: the sun needs a location"},
		{"sun and cron", Options{Sun: "dusk", Cron: "@daily", At: []float64{1, 2}, Align: true}, "sun: cron and sun exclude each other"},
		{"all", Options{Every: time.Second, Sun: "dusk", Cron: "@daily", At: []float64{1, 2}, Align: true}, "cron: every and cron and sun exclude each other"},
		{"offset of cron", Options{Cron: "@daily", Offset: time.Hour, Align: true}, "offset: offset applies to sun only"},
		{"align of sun", Options{Sun: "dusk", At: []float64{1, 2}}, "align: align applies to every, not to sun"},
		{"off the earth", Options{Sun: "dusk", At: []float64{95, -170}, Align: true}, "at[0]: the latitude 95 is not on the earth: want -90 (south pole) to 90 (north pole)"},
		{"half a place", Options{Sun: "dusk", At: []float64{95}, Align: true}, "at: want [latitude, longitude], got a list of 1"},
		{"no place", Options{Sun: "dusk", At: []float64{}, Align: true}, "at: want [latitude, longitude], got a list of 0"},
		{"both", Options{Every: time.Second, Cron: "@daily", Align: true}, "cron: every and cron exclude each other"},
		{"jitter", Options{Every: time.Second, Jitter: time.Second, Align: true}, "jitter: 1s is not less than every, 1s: events would be reordered"},
		{"zone", Options{Every: time.Second, Zone: "Europe/Bertin", Align: true}, `zone: there is no time zone "Europe/Bertin" here`},
		{"zone outside", Options{Every: time.Second, Zone: "../../etc/passwd", Align: true}, `zone: there is no time zone "../../etc/passwd" here`},
		{"align", Options{Cron: "@daily"}, "align: align applies to every, not to cron"},
		{"two mistakes", Options{Cron: "x", Zone: "y", Align: true}, `zone: there is no time zone "y" here; cron: "x" has 1 fields, not 5`},
	} {
		var got []string
		for _, err := range c.o.Check() {
			got = append(got, err.(interface{ Key() string }).Key()+": "+err.Error())
		}
		if s := strings.Join(got, "; "); s != c.want {
			t.Errorf("%s: got %q, want %q", c.name, s, c.want)
		}
	}
}
