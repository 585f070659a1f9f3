package bench

import (
	"syscall"
	"time"
)

// nap sleeps for d. When idle the Go runtime rounds a short sleep up to a millisecond, in which a
// broker that keeps 100 events in flight would wait for acknowledgements; the kernel doesn't round.
func nap(d time.Duration) {
	if d >= time.Millisecond {
		time.Sleep(d)
		return
	}
	ts := syscall.NsecToTimespec(int64(d))
	syscall.Nanosleep(&ts, nil)
}
