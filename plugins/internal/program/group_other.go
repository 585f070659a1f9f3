// This file is Unix without Linux's extras.

//go:build unix && !linux

package program

import "os/exec"

func own(cmd *exec.Cmd) (unlock func()) {
	leads(cmd)
	return func() {}
}

type group struct{}

func (group) adopt(int, int64) {}

func (group) release() {}

// moves always reports true, since zombies can't be recognised here.
func moves(int) bool { return true }
