// Package clock measures time for waits that must survive a clock that is set, a machine that sleeps and
// a program that is restarted.
//
// The contract: Up grows with real time, also while the machine sleeps, and cannot be set. It is zero when
// the machine boots; Boot identifies the boot. Wall is the wall clock, which can jump.
package clock

import "time"

// Instant is a moment on both clocks.
type Instant struct {
	Wall time.Time
	Up   time.Duration // since the machine's start
}

// Add returns the instant d later.
func (i Instant) Add(d time.Duration) Instant { return Instant{i.Wall.Add(d), i.Up + d} }

// At returns the instant of a recent wall clock time. A time ahead of the clock counts as now.
func (i Instant) At(wall time.Time) Instant {
	if wall.IsZero() || wall.After(i.Wall) {
		return i
	}
	return Instant{wall, i.Up - i.Wall.Sub(wall)}
}

// Now reads both clocks. Tests have their own.
type Now func() Instant

// Stored is an instant as it is stored.
type Stored struct {
	Wall int64         `cbor:"1,keyasint"` // Unix nanoseconds
	Up   time.Duration `cbor:"2,keyasint,omitempty"`
	Boot string        `cbor:"3,keyasint,omitempty"` // empty: unknown
}

// Store returns i for storing, boot as of Boot.
func (i Instant) Store(boot string) Stored { return Stored{i.Wall.UnixNano(), i.Up, boot} }

// Restore returns a stored instant. After a reboot only the wall clock tells how long ago that was.
func (s Stored) Restore(now Instant, boot string) Instant {
	wall := time.Unix(0, s.Wall)
	if s.Boot != "" && s.Boot == boot {
		return Instant{wall, s.Up}
	}
	return Instant{wall, now.Up + wall.Sub(now.Wall)}
}
