package clock

import (
	"time"

	"golang.org/x/sys/windows"
)

// System reads the machine's clocks.
func System() Instant { return Instant{time.Now(), windows.DurationSinceBoot()} }

// Boot is empty: Windows does not identify its starts.
func Boot() string { return "" }
