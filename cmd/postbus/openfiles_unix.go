//go:build unix

package main

import "syscall"

// openFileLimit returns how many files this process may have open; 0: any number.
func openFileLimit() uint64 {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil || l.Cur > 1<<30 {
		return 0
	}
	return uint64(l.Cur)
}
