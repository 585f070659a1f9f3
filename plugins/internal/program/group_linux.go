// This file is what only Linux offers: a death signal, limits, and the memory of a group.

package program

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// own makes the child the leader of a group and asks the kernel to kill it when the calling thread
// ends. The thread must therefore live as long as the child: it is locked to the goroutine until
// unlock, which is called after the child has been waited for.
func own(cmd *exec.Cmd) (unlock func()) {
	runtime.LockOSThread()
	leads(cmd).Pdeathsig = syscall.SIGKILL
	return runtime.UnlockOSThread
}

type group struct{}

func (group) release() {}

// adopt sets the limit that holds between two looks at the memory; see Command.Memory.
func (group) adopt(pid int, memory int64) {
	if memory <= 0 {
		return
	}
	most := uint64(4*memory + 256<<20)
	_ = unix.Prlimit(pid, unix.RLIMIT_DATA, &unix.Rlimit{Cur: most, Max: most}, nil) // the child may have ended; otherwise weigh still enforces the bound
}

const canWeigh = true

// scale measures the memory of a group. It reads the list of all processes at every fifth look
// only.
type scale struct {
	looks   int
	members []int
}

// weigh returns the resident memory of the group in bytes.
func (s *scale) weigh(pgid int) int64 {
	if s.looks%5 == 0 {
		s.members = members(pgid)
	}
	s.looks++
	var sum int64
	for _, pid := range s.members {
		sum += resident(pid)
	}
	return sum
}

func members(pgid int) []int {
	dir, err := os.Open("/proc")
	if err != nil {
		return []int{pgid} // no open files left: at least the leader
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	var found []int
	for _, n := range names {
		if pid, err := strconv.Atoi(n); err == nil {
			if g, err := unix.Getpgid(pid); err == nil && g == pgid {
				found = append(found, pid)
			}
		}
	}
	return found
}

// moves reports whether the group has a process other than zombies that their new parent has yet to
// wait for.
func moves(pgid int) bool {
	for _, pid := range members(pgid) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return true // no open files left: unknown
		}
		state := b[bytes.LastIndexByte(b, ')')+1:] // the name before it may contain any character
		if !bytes.HasPrefix(state, []byte(" Z")) && !bytes.HasPrefix(state, []byte(" X")) {
			return true
		}
	}
	return false
}

// resident reads the second number of statm, in pages.
func resident(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	f := bytes.Fields(b)
	if len(f) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(string(f[1]), 10, 64)
	return pages * int64(os.Getpagesize())
}
