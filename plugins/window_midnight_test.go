package plugins

import (
	"testing"
	"time"
)

// TestADayWithoutMidnight: in some zones daylight saving time begins at midnight, which that day doesn't have. Each part
// of the clock contains its instant, and begins where the one before ends.
func TestADayWithoutMidnight(t *testing.T) {
	for name, day := range map[string]string{"America/Santiago": "2025-09-07", "America/Havana": "2025-03-09", "Africa/Cairo": "2024-04-26", "Asia/Amman": "2021-10-29", "Europe/Berlin": "2025-03-30"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		noon, err := time.ParseInLocation("2006-01-02 15", day+" 12", zone)
		if err != nil {
			t.Fatal(err)
		}
		for _, every := range []time.Duration{time.Hour, 6 * time.Hour, 24 * time.Hour, 7 * 24 * time.Hour, 366 * 24 * time.Hour} {
			w := &windowSpec{every: every, zone: zone}
			var last time.Time
			for at := noon.Add(-48 * time.Hour); at.Before(noon.Add(48 * time.Hour)); at = at.Add(30 * time.Minute) {
				start, end := w.bounds(at)
				if at.Before(start) || !at.Before(end) {
					t.Errorf("%s, every %s: %s is not in the part from %s to %s", name, every, at, start, end)
				}
				if !last.IsZero() && !start.Equal(last) && at.Sub(start) < 30*time.Minute {
					t.Errorf("%s, every %s: a part ends at %s, and the next one begins at %s", name, every, last, start)
				}
				last = end
			}
		}
	}
}
