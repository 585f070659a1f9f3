// This file is Windows, where a job object replaces the group. A job can't be asked to end, only
// killed. The kernel kills it when our handle is closed, so also when postbus dies. Processes that
// the child starts before it is in the job are not in it.

package program

import (
	"os"
	"os/exec"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

func own(*exec.Cmd) (unlock func()) { return func() {} }

// group is the job; 0 when the system refused it.
type group struct{ job windows.Handle }

func (g *group) adopt(pid int, _ int64) {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return
	}
	var info windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	info.BasicLimitInformation.LimitFlags = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
	_, err = windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation, uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)))
	if err == nil {
		var h windows.Handle
		if h, err = windows.OpenProcess(windows.PROCESS_SET_QUOTA|windows.PROCESS_TERMINATE, false, uint32(pid)); err == nil {
			err = windows.AssignProcessToJobObject(job, h)
			_ = windows.CloseHandle(h)
		}
	}
	if err != nil {
		_ = windows.CloseHandle(job)
		return
	}
	g.job = job
}

func (g *group) release() {
	if g.job != 0 {
		_ = windows.CloseHandle(g.job)
		g.job = 0
	}
}

func (p *Process) signal(bool) {
	select {
	case <-p.exited:
	default:
		_ = p.cmd.Process.Kill() // it may have ended just now; release kills the others
	}
}

func (p *Process) signalGroup(bool) bool { return false }

func (p *Process) groupLives() bool { return false }

func exitOf(s *os.ProcessState, _ error, took time.Duration) Exit {
	e := Exit{Code: -1, Took: took}
	if s != nil {
		e.Code = s.ExitCode()
	}
	return e
}
