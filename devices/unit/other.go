//go:build !linux

// This file is for platforms without systemd.

package unit

import (
	"context"
	"errors"

	"github.com/postbus/postbus/plugins/kind"
)

var errPlatform = errors.New("unit is on Linux with systemd only")

// Source watches units.
type Source struct{}

// New makes a source.
func New(Options, kind.Env) *Source { return &Source{} }

// Open fails.
func (s *Source) Open(context.Context) error { return errPlatform }

// Run fails.
func (s *Source) Run(context.Context, kind.Emit) error {
	return errPlatform
}

// Describe lists nothing on this platform.
func Describe() []string { return nil }
