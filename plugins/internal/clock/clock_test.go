package clock

import (
	"testing"
	"time"
)

func TestStored(t *testing.T) {
	now := Instant{time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC), time.Hour}
	due := now.Add(10 * time.Minute)
	later := Instant{now.Wall.Add(5*time.Hour + time.Minute), now.Up + time.Minute} // a minute later, and the clock was set five hours forward
	if got := due.Store("a").Restore(later, "a"); got.Up-later.Up != 9*time.Minute {
		t.Errorf("with the same boot it is due in %s", got.Up-later.Up)
	}
	rebooted := Instant{now.Wall.Add(3 * time.Minute), time.Second}
	for _, boot := range []string{"b", ""} {
		if got := due.Store("a").Restore(rebooted, boot); got.Up-rebooted.Up != 7*time.Minute {
			t.Errorf("after a boot %q it is due in %s", boot, got.Up-rebooted.Up)
		}
	}
	if got := due.Store("").Restore(rebooted, ""); got.Up-rebooted.Up != 7*time.Minute {
		t.Errorf("with unknown boots it is due in %s", got.Up-rebooted.Up)
	}
}

func TestAt(t *testing.T) {
	now := Instant{time.Unix(1000, 0), 100 * time.Second}
	for wall, up := range map[int64]time.Duration{990: 90 * time.Second, 1000: 100 * time.Second, 1200: 100 * time.Second} {
		if got := now.At(time.Unix(wall, 0)); got.Up != up {
			t.Errorf("at %d: %s", wall, got.Up)
		}
	}
	if got := now.At(time.Time{}); got != now {
		t.Errorf("no time is %v", got)
	}
}

func TestSystem(t *testing.T) {
	a := System()
	b := System()
	if b.Up < a.Up || b.Up > a.Up+time.Hour || a.Wall.IsZero() {
		t.Errorf("%v then %v", a, b)
	}
	if first, second := Boot(), Boot(); first != second {
		t.Errorf("%q, then %q", first, second)
	}
}
