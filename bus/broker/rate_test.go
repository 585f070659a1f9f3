package broker

import (
	"testing"
	"time"
)

// TestMeter: bursts of a second pass at once, what follows waits as long as the rate says, and no event
// waits longer than longestWait.
func TestMeter(t *testing.T) {
	now := time.Unix(1000, 0)
	var m meter
	publish := func(limit Rate, size int) time.Duration {
		m.take(limit, size, now)
		wait, _ := m.wait("", "")
		now = now.Add(wait)
		return wait
	}
	limit := Rate{Events: 10, Bytes: 1000}
	for i := range 10 {
		if w := publish(limit, 50); w != 0 {
			t.Fatalf("event %d of a burst waits %s", i, w)
		}
	}
	for i := range 20 {
		if w := publish(limit, 50); w < 99*time.Millisecond || w > 101*time.Millisecond {
			t.Fatalf("event %d waits %s, want 100ms", i, w)
		}
	}
	now = now.Add(time.Hour)
	if w := publish(limit, 1500); w != 500*time.Millisecond {
		t.Errorf("half of a second too many bytes wait %s", w)
	}
	if _, which := m.wait("events", "bytes"); which != "bytes" {
		t.Errorf("it waits for %s", which)
	}
	now = now.Add(time.Hour)
	if w := publish(limit, 1<<20); w != longestWait {
		t.Errorf("a very large event waits %s", w)
	}
	if w := publish(Rate{}, 1<<20); w != 0 {
		t.Errorf("without a limit an event waits %s", w)
	}
	if w := publish(limit, 100); w != 0 {
		t.Errorf("the first event under a new limit waits %s", w)
	}
}
