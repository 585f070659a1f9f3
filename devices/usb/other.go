//go:build !linux

// This file is for platforms without uevents.

package usb

import (
	"context"
	"errors"
	"time"
)

var errPlatform = errors.New("usb is on Linux only")

type uevents struct{}

// Open fails.
func (s *Source) Open(context.Context) error { return errPlatform }

// Run fails.
func (s *Source) Run(context.Context, func(ctx context.Context, at time.Time, fields map[string]any) error) error {
	return errPlatform
}
