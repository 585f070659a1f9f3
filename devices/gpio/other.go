//go:build !linux

// This file is for platforms without GPIO.

package gpio

import (
	"context"
	"errors"

	"github.com/postbus/postbus/plugins/kind"
)

var errPlatform = errors.New("gpio is on Linux only")

type request struct{}

type watch struct{}

// Open fails.
func (s *Source) Open(context.Context) error { return errPlatform }

// Stream fails.
func (s *Source) Stream(context.Context, kind.Post) error {
	return errPlatform
}

// Action fails.
type Action struct{}

// NewAction makes an action that fails.
func NewAction(_ ActionOptions, env kind.Env) *Action {
	env.Degraded(errPlatform)
	return &Action{}
}

// Do fails permanently.
func (a *Action) Do(context.Context, Args) error { return kind.Permanent(errPlatform) }

// list is empty.
func list(string) ([]chipState, error) { return nil, errPlatform }
