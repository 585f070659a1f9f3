package bench

import (
	"syscall"
	"time"
)

// nap sleeps for d. The Go runtime rounds a short sleep up to a millisecond when it is idle, in which
// a broker that keeps 100 events in flight would wait for acknowledgements; the kernel doesn't.
func nap(d time.Duration) {
	if d >= time.Millisecond {
		time.Sleep(d)
		return
	}
	ts := syscall.NsecToTimespec(int64(d))
	syscall.Nanosleep(&ts, nil)
}
