//go:build !linux

// This file is for platforms without I²C.

package i2c

import (
	"context"
	"errors"
)

var errPlatform = errors.New("i2c is on Linux only")

func openBus(Bus, Address) (bus, error) { return nil, errPlatform }

func silent(error) bool { return false }

func hangs(error) bool { return false }

func refused(error) bool { return false }

// buses is empty.
func buses() []busInfo { return nil }

// scanBus fails.
func scanBus(context.Context, int) ([]answering, error) { return nil, errPlatform }
