package clock

import (
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// asleep is how long the machine has slept since it started, as of checked. Both are in nanoseconds; checked
// is a time since the program's start, not counting sleep.
var asleep, checked atomic.Int64

func init() { checked.Store(-int64(refresh)) }

// refresh is how long asleep counts. To ask the kernel costs as much as to map half an event, and a late
// answer makes a timer late by no more than this.
const refresh = 50 * time.Millisecond

// System reads the machine's clocks.
func System() Instant {
	now := time.Now()
	awake := sinceStart(now)
	if at := checked.Load(); int64(awake)-at >= int64(refresh) && checked.CompareAndSwap(at, int64(awake)) {
		var t unix.Timespec
		if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) == nil {
			asleep.Store(t.Nano() - int64(sinceStart(time.Now())))
		}
	}
	return Instant{now, awake + time.Duration(asleep.Load())}
}

// Boot identifies the machine's start; empty if that is not known.
func Boot() string { return boot() }

var boot = sync.OnceValue(func() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
})
