package dirwatch

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestRegularCallsTakeAFractionOfTheTime: the more a call costs, the rarer are calls without a sign of
// a change.
func TestRegularCallsTakeAFractionOfTheTime(t *testing.T) {
	for _, c := range []struct{ took, want time.Duration }{
		{0, Rescan},
		{time.Millisecond, Rescan},
		{time.Second, calm * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			var ended time.Time
			calls := 0
			Watch(ctx, t.TempDir(), Options{Silent: true, Look: time.Hour}, func(string) {
				if calls++; calls == 3 {
					if pause := time.Since(ended); pause != c.want {
						t.Errorf("after a call that took %s the next comes after %s, want %s", c.took, pause, c.want)
					}
					cancel()
					return
				}
				time.Sleep(c.took)
				ended = time.Now()
			})
		})
	}
}
