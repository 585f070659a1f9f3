//go:build !linux

package serial

import "github.com/postbus/postbus/devices/tty"

// drops would be the kernel's counts.
type drops struct{}

func (drops) begin(*tty.Port) {}

func (drops) look(*tty.Port, func(int, string)) {}
