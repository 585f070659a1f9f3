package plugins

// This file is how long an error counts. It is a part of the plugin's state for a minute, and history
// after that: the last error and its time remain in the status.

import (
	"time"

	"github.com/postbus/postbus/plugins/internal/clock"
)

// errorCounts is how long an error makes a plugin degraded.
const errorCounts = time.Minute

// spoiled is the last error by which an event was lost, in whole or in part.
type spoiled struct {
	err error
	up  time.Duration
}

// recent reports whether the error is a part of the state.
func (e *spoiled) recent(now clock.Instant) bool { return e.err != nil && now.Up-e.up < errorCounts }

// spoilLocked records an error by which an event was lost. The caller holds mu.
func (m *mapper) spoilLocked(err error) {
	now := m.now()
	m.lastE, m.lastAt = err, now.Wall
	m.spoiled = spoiled{err, now.Up}
}
