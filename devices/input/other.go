//go:build !linux

// This file is for platforms without evdev.

package input

import (
	"context"
	"errors"

	"github.com/postbus/postbus/plugins/kind"
)

// Stream fails.
func (s *Source) Stream(context.Context, kind.Post) error {
	return errors.New("input is on Linux only")
}

// List is empty.
func List() []Device { return nil }
