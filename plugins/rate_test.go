package plugins

import (
	"testing"
	"time"
)

// TestRate: over time there are never more events than the rate allows. A timer of exactly that
// rate loses no tick, although some ticks are slightly early; in the past every other one was
// dropped.
func TestRate(t *testing.T) {
	const second = time.Second
	for _, c := range []struct {
		rate        string
		every, sway time.Duration
		n, want     int
	}{
		{"1/10s", 10 * second, 20 * time.Millisecond, 1000, 1000},
		{"1/10s", 5 * second, 20 * time.Millisecond, 1000, 500},
		{"1/10s", 10*second - 10*time.Millisecond, 0, 2000, 1962},
		{"5/s", second / 10, 0, 1000, 504},
		{"1/10s", time.Millisecond, 0, 20_000, 2},
	} {
		r, err := parseRate(c.rate)
		if err != nil {
			t.Fatal(err)
		}
		var b bucket
		got := 0
		for i := range c.n {
			at := time.Hour + time.Duration(i)*c.every
			if i%3 == 1 {
				at -= c.sway
			}
			if b.take(r, at) {
				got++
			}
		}
		if got < c.want-1 || got > c.want+1 {
			t.Errorf("%s, one every %s: %d of %d pass, want %d", c.rate, c.every, got, c.n, c.want)
		}
	}
}
