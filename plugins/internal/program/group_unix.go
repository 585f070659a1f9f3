// This file is process groups and signals.

//go:build unix

package program

import (
	"os"
	"os/exec"
	"syscall"
	"time"
)

// signal sends SIGTERM or SIGKILL to the group while its leader has not been waited for.
func (p *Process) signal(kill bool) {
	select {
	case <-p.exited: // endGroup ends the remaining processes
	default:
		p.signalGroup(kill)
	}
}

// signalGroup reports whether the group had a process.
func (p *Process) signalGroup(kill bool) bool {
	sig := syscall.SIGTERM
	if kill {
		sig = syscall.SIGKILL
		p.killed.Store(true)
	}
	return syscall.Kill(-p.pid, sig) == nil
}

// groupLives reports whether the group has a process. EPERM means that it has one which we may not
// signal.
func (p *Process) groupLives() bool {
	return syscall.Kill(-p.pid, 0) != syscall.ESRCH && moves(p.pid)
}

func exitOf(s *os.ProcessState, err error, took time.Duration) Exit {
	e := Exit{Code: -1, Took: took}
	if s == nil {
		return e
	}
	e.Code = s.ExitCode()
	if w, ok := s.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		e.Code, e.Signal = 128+int(w.Signal()), w.Signal().String()
	}
	return e
}

func leads(cmd *exec.Cmd) *syscall.SysProcAttr {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd.SysProcAttr
}
