// This file runs programs that end with their test.

package desktoptest

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Patience is how long anything may take on a busy machine.
const Patience = time.Minute

// Need skips the test when a program is missing; pkg is the Debian package that has it.
func Need(t *testing.T, program, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		missing(t, program, pkg)
	}
	return path
}

func missing(t *testing.T, program, pkg string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("needs %s: apt-get install %s", program, pkg)
	}
	t.Skipf("needs %s: apt-get install %s", program, pkg)
}

// Program is a running program.
type Program struct {
	t     *testing.T
	c     *exec.Cmd
	lines chan string // of its standard output
	ended chan struct{}
	once  sync.Once
	text  strings.Builder // of its standard error; valid when it has ended
}

// Start runs a program in a process group of its own, with variables added to the environment.
func Start(t *testing.T, variables []string, name string, args ...string) *Program {
	t.Helper()
	p := &Program{t: t, c: exec.Command(name, args...), lines: make(chan string, 100), ended: make(chan struct{})}
	p.c.Env = append(os.Environ(), variables...)
	p.c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.c.Stderr = &p.text
	p.c.WaitDelay = time.Second
	out, err := p.c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.c.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			select {
			case p.lines <- s.Text():
			default:
			}
		}
		_ = p.c.Wait()
		close(p.ended)
	}()
	t.Cleanup(p.Kill)
	return p
}

// Line returns the program's next line.
func (p *Program) Line() string {
	p.t.Helper()
	select {
	case l := <-p.lines:
		return l
	case <-p.ended:
		p.t.Fatalf("%s ended: %s", p.c.Path, p.text.String())
	case <-time.After(Patience):
		p.t.Fatalf("%s wrote nothing within %s", p.c.Path, Patience)
	}
	return ""
}

// PID is its process id.
func (p *Program) PID() int { return p.c.Process.Pid }

// Kill kills it and waits until it has ended.
func (p *Program) Kill() {
	p.once.Do(func() { _ = syscall.Kill(-p.c.Process.Pid, syscall.SIGKILL) })
	<-p.ended
}

// Eventually waits until so returns true.
func Eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(Patience); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %s", what, Patience)
		}
	}
}

// Output runs a program to its end and returns its output.
func Output(t *testing.T, variables []string, name string, args ...string) string {
	t.Helper()
	c := exec.Command(name, args...)
	c.Env = append(os.Environ(), variables...)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}
