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

// list is empty.
func list(string) []deviceInfo { return nil }
