//go:build !linux

package serial

import "github.com/postbus/postbus/devices/internal/tty"

// drops is empty: the kernel's counts are read on Linux only.
type drops struct{}

func (drops) begin(*tty.Port) {}

func (drops) look(*tty.Port, func(int, string)) {}
