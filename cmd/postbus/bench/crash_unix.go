//go:build unix

package bench

// This file runs the broker as a child in its own process group, so that kill -9 kills all of it.

import (
	"fmt"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

type process struct {
	cmd  *exec.Cmd
	out  tail
	gone chan struct{} // closed when it has ended and has been waited for
	err  error         // how it ended
}

func startProcess(argv []string) (*process, error) {
	b := &process{cmd: exec.Command(argv[0], argv[1:]...), gone: make(chan struct{})}
	b.cmd.Stdout, b.cmd.Stderr = &b.out, &b.out
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	b.cmd.WaitDelay = 2 * time.Second
	if err := b.cmd.Start(); err != nil {
		return nil, withHint(fmt.Errorf("start the broker: %w", err),
			"--start runs a program directly, not through a shell: give its full path")
	}
	go func() {
		defer close(b.gone)
		b.err = b.cmd.Wait()
	}()
	return b, nil
}

func (b *process) exited() bool {
	select {
	case <-b.gone:
		return true
	default:
		return false
	}
}

func (b *process) exitError() error {
	<-b.gone
	return fmt.Errorf("the broker ended by itself (%v); it said: %s", b.cmd.ProcessState, b.output())
}

func (b *process) pid() int { return b.cmd.Process.Pid }

func (b *process) output() string { return b.out.text() }

// kill sends SIGKILL to the group and waits; it may be called again.
func (b *process) kill() {
	if !b.exited() {
		syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL)
	}
	<-b.gone
}

// stop asks with SIGTERM, and kills after 10 s.
func (b *process) stop() {
	if !b.exited() {
		syscall.Kill(-b.cmd.Process.Pid, syscall.SIGTERM)
	}
	t := time.NewTimer(10 * time.Second)
	defer t.Stop()
	select {
	case <-b.gone:
	case <-t.C:
		b.kill()
	}
}

// tail keeps the end of the broker's output.
type tail struct {
	mu   sync.Mutex
	last []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	const keep = 2048
	t.last = append(t.last, p...)
	if extra := len(t.last) - keep; extra > 0 {
		t.last = append(t.last[:0], t.last[extra:]...)
	}
	return len(p), nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.last) == 0 {
		return "(nothing)"
	}
	return string(t.last)
}
