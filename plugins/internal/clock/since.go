//go:build linux || darwin

package clock

import "time"

var started = time.Now()

// sinceStart is for a system without a clock that continues in sleep: the time since the program's start.
func sinceStart(now time.Time) time.Duration { return now.Sub(started) }
