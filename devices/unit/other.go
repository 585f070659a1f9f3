//go:build !linux

// This file is for platforms without systemd.

package unit

import (
	"context"
	"errors"
	"time"
)

var errPlatform = errors.New("unit is on Linux with systemd only")

// Source watches units.
type Source struct{}

// New makes a source.
func New(Options, Env) *Source { return &Source{} }

// Open fails.
func (s *Source) Open(context.Context) error { return errPlatform }

// Run fails.
func (s *Source) Run(context.Context, func(ctx context.Context, at time.Time, fields map[string]any) error) error {
	return errPlatform
}

// Describe lists nothing on this platform.
func Describe() []string { return nil }
