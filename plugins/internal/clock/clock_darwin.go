package clock

import (
	"time"

	"golang.org/x/sys/unix"
)

// System reads the machine's clocks. CLOCK_MONOTONIC of macOS continues while the machine sleeps.
func System() Instant {
	now := time.Now()
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) != nil {
		return Instant{now, sinceStart(now)}
	}
	return Instant{now, time.Duration(t.Nano())}
}

// Boot identifies the machine's start; empty if that is not known.
func Boot() string {
	s, err := unix.Sysctl("kern.bootsessionuuid")
	if err != nil {
		return ""
	}
	return s
}
