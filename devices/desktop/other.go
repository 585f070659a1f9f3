//go:build !linux

// This file is for platforms without a Linux desktop.

package desktop

import (
	"context"
	"errors"

	"github.com/postbus/postbus/plugins/kind"
)

var errPlatform = errors.New("desktop is on Linux only")

// Source fails.
type Source struct{}

// New makes a source that fails.
func New(Options, kind.Env) *Source { return &Source{} }

// Open fails.
func (s *Source) Open(context.Context) error { return errPlatform }

// Run fails.
func (s *Source) Run(context.Context, kind.Emit) error {
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

// Describe is empty.
func Describe() []string { return nil }
