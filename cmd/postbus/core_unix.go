//go:build unix

package main

import "syscall"

// withoutCoreDumps keeps a crash from writing memory to disk, in which there are secrets.
func withoutCoreDumps() {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_CORE, &l) == nil {
		l.Cur = 0
		_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &l) // to lower it is always allowed
	}
}
