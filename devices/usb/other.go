//go:build !linux

// This file is for platforms without uevents.

package usb

import (
	"context"
	"errors"

	"github.com/postbus/postbus/plugins/kind"
)

var errPlatform = errors.New("usb is on Linux only")

type uevents struct{}

// Open fails.
func (s *Source) Open(context.Context) error { return errPlatform }

// Run fails.
func (s *Source) Run(context.Context, kind.Emit) error {
	return errPlatform
}
