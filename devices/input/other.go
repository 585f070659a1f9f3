//go:build !linux

// This file is for platforms without evdev.

package input

import (
	"context"
	"errors"
	"time"
)

// Stream fails.
func (s *Source) Stream(context.Context, func(ctx context.Context, at time.Time, fields map[string]any, done func(error)) error) error {
	return errors.New("input is on Linux only")
}

// List is empty.
func List() []Device { return nil }
