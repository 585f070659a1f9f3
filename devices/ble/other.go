//go:build !linux

// This file is for platforms without BlueZ.

package ble

import (
	"context"
	"errors"

	"github.com/postbus/postbus/plugins/kind"
)

var errPlatform = errors.New("ble is on Linux with BlueZ only")

// Source fails.
type Source struct{}

// New makes a source that fails.
func New(Options, kind.Env) *Source { return &Source{} }

// Open fails.
func (s *Source) Open(context.Context) error { return errPlatform }

// Stream fails.
func (s *Source) Stream(context.Context, kind.Post) error { return errPlatform }

// Describe lists nothing on this platform.
func Describe() []string { return nil }
