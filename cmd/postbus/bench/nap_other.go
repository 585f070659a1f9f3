//go:build !linux

package bench

import "time"

// nap sleeps for d, as exactly as the runtime can.
func nap(d time.Duration) { time.Sleep(d) }
