// Package program runs a child process for the kinds `exec` and `execd`, and makes sure that no
// process of its group survives it.
//
// What it promises:
//
//   - A command is an argument list; there is no shell. The child's environment is PATH, HOME, LANG
//     and TZ as postbus has them, and the additions in the file.
//   - The child is the leader of a process group of its own. When it ends, or is to end, the
//     remaining processes of the group receive SIGTERM and after Grace SIGKILL, so that
//     grandchildren end too. A process that leaves the group (setsid) escapes.
//   - No zombies: every child is waited for. A grandchild whose parent died is waited for by init.
//     When postbus is process 1 of a container there is no init, so run it with one (docker run
//     --init). Making postbus a subreaper would change that for the whole process, and take
//     children from other parts of it.
//   - On Linux the child (not its children) is killed by the kernel when postbus dies.
//   - Wait returns once the child has ended and its output has been read or given up: it does not
//     wait for a process that escaped and still holds the pipe.
//   - Memory is bounded, in postbus and (Linux) in the child: see Command.Memory.
//
// Windows has neither groups nor SIGTERM. There the child is in a job object, which is killed at
// once, with its children, and when postbus dies. Where the system refuses the job only the child
// is killed.
package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"github.com/postbus/postbus/plugins/internal/lines"
)

// Grace is the time between SIGTERM and SIGKILL.
const Grace = 2 * time.Second

// straggle is how long output is still read after the whole group has ended. Then only a process
// that left the group can hold the pipe.
const straggle = 500 * time.Millisecond

// ErrMemory is wrapped by the error of Wait when the child was killed because it used too much
// memory.
var ErrMemory = errors.New("it exceeded its memory limit")

// Command is a program to run.
type Command struct {
	Args []string          // the program (see Resolve) and its arguments
	Base string            // the plugins folder, absolute: ./x is in it, and it is the working directory unless Dir is set
	Dir  string            // the working directory; empty for Base
	Env  map[string]string // added to the child's environment
	// Memory bounds the resident memory of the group in bytes; 0 is no bound. Linux only. The
	// memory is measured every second, and a group above the bound is killed; pages that processes
	// share are counted for each. Between two measurements the kernel refuses the child more than
	// four times the bound and 256 MiB of private memory (RLIMIT_DATA; not RLIMIT_AS, which counts
	// address space that runtimes such as Node's and Go's reserve without using it).
	Memory int64
	// Allowed is asked right before the start; its error prevents it. nil: always.
	Allowed func() error
	Stdin   bool              // the child reads what is written to Stdin(); otherwise its input is empty
	Stdout  bool              // Stdout() returns the child's output; otherwise it is discarded
	Stderr  func(line []byte) // one goroutine calls it for each line of standard error, which is valid during the call; nil: discarded
}

// Exit is how the child ended.
type Exit struct {
	Code   int           // its exit code; 128+n when signal n killed it, as in a shell
	Signal string        // the signal's name, if one killed it
	Took   time.Duration // from start to end
}

func (e Exit) String() string {
	if e.Signal != "" {
		return "killed: " + e.Signal
	}
	return fmt.Sprintf("exit code %d", e.Code)
}

// Process is a running child. Any goroutine may call Stop, any number of times.
type Process struct {
	pid    int
	stdin  *os.File
	stdout *output
	stderr *output
	cmd    *exec.Cmd
	group  group // what the platform needs to end all processes
	killed atomic.Bool

	stop    chan struct{} // closed by Stop
	once    sync.Once
	exited  chan struct{} // the leader has been waited for
	done    chan struct{} // the group has ended as well
	readers sync.WaitGroup
	exit    Exit
	waitErr error
	memory  atomic.Pointer[error]
	began   time.Time
}

// Start starts the command. When ctx ends, the child is stopped as by Stop. The caller must read
// Stdout to its end and call Wait. An error says what could not be started and why.
func Start(ctx context.Context, c Command) (*Process, error) {
	path, err := Resolve(c.Base, c.Args)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	dir := c.Dir
	if dir == "" {
		dir = c.Base
	}
	if _, err := os.Stat(dir); err != nil { // otherwise the error would name the program
		return nil, fmt.Errorf("%s can't be started: the working directory: %w", c.Args[0], err)
	}
	if c.Allowed != nil {
		if err := c.Allowed(); err != nil {
			return nil, err
		}
	}
	cmd := &exec.Cmd{Path: path, Args: c.Args, Dir: dir, Env: environment(c.Env)}
	p := &Process{cmd: cmd, stop: make(chan struct{}), exited: make(chan struct{}), done: make(chan struct{})}
	theirs, err := p.pipes(c)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Args[0], err)
	}
	started := make(chan error)
	go p.live(ctx, started, c.Memory)
	err = <-started
	for _, f := range theirs {
		f.Close()
	}
	if err != nil {
		p.closeAll()
		return nil, fmt.Errorf("%s can't be started: %w", c.Args[0], err)
	}
	if c.Stderr != nil {
		p.readers.Go(func() {
			r := lines.NewReader(p.stderr, maxErrLine)
			for {
				line, err := r.Next()
				if err != nil {
					return
				}
				c.Stderr(line)
			}
		})
	}
	return p, nil
}

// maxErrLine bounds a line of standard error, in bytes.
const maxErrLine = 4 << 10

// pipes makes the pipes and returns the child's ends.
func (p *Process) pipes(c Command) (theirs []*os.File, err error) {
	pipe := func() (r, w *os.File) {
		if err == nil {
			r, w, err = os.Pipe()
		}
		return r, w
	}
	if c.Stdin {
		r, w := pipe()
		p.stdin, theirs = w, append(theirs, r)
		p.cmd.Stdin = r
	}
	if c.Stdout {
		r, w := pipe()
		p.stdout, theirs = &output{f: r, left: drain}, append(theirs, w)
		p.cmd.Stdout = w
	}
	if c.Stderr != nil {
		r, w := pipe()
		p.stderr, theirs = &output{f: r, left: drain}, append(theirs, w)
		p.cmd.Stderr = w
	}
	if err != nil {
		for _, f := range theirs {
			f.Close()
		}
		p.closeAll()
	}
	return theirs, err
}

func (p *Process) closeAll() {
	p.stdin.Close() // also when it is nil, which only returns an error
	for _, o := range []*output{p.stdout, p.stderr} {
		if o != nil {
			o.f.Close()
		}
	}
}

// live starts the child, waits for it and ends its group. The kernel ties the child's death signal
// to the thread that started it. So the thread is locked to this goroutine, which lives as long as
// the child.
func (p *Process) live(ctx context.Context, started chan<- error, memory int64) {
	unlock := own(p.cmd)
	p.began = time.Now()
	err := p.cmd.Start()
	if err == nil {
		p.pid = p.cmd.Process.Pid
		p.group.adopt(p.pid, memory)
	}
	started <- err
	if err != nil {
		unlock()
		return
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		p.watch(ctx, memory)
	}()
	p.waitErr = p.cmd.Wait()
	unlock()
	p.exit = exitOf(p.cmd.ProcessState, p.waitErr, time.Since(p.began))
	close(p.exited)
	<-watched
	p.endGroup()
	// The writers have ended, so the readers reach the end of the pipes, unless an escaped process
	// holds one.
	for _, o := range []*output{p.stdout, p.stderr} {
		if o != nil {
			o.end()
		}
	}
	close(p.done)
}

// watch stops the child when it must end, and measures its memory.
func (p *Process) watch(ctx context.Context, memory int64) {
	var look <-chan time.Time
	if memory > 0 && canWeigh {
		t := time.NewTicker(time.Second)
		defer t.Stop()
		look = t.C
	}
	var scale scale
	for {
		select {
		case <-p.exited:
			return
		case <-ctx.Done():
			p.terminate()
			return
		case <-p.stop:
			p.terminate()
			return
		case <-look:
			if used := scale.weigh(p.pid); used > memory {
				err := fmt.Errorf("%w: %s, more than memory: %s", ErrMemory, size(used), size(memory))
				p.memory.Store(&err)
				p.signal(true)
				<-p.exited
				return
			}
		}
	}
}

// terminate asks the group to end, and kills the leader after Grace.
func (p *Process) terminate() {
	p.signal(false)
	t := time.NewTimer(Grace)
	defer t.Stop()
	select {
	case <-p.exited:
	case <-t.C:
		p.signal(true)
		<-p.exited
	}
}

// endGroup ends the remaining processes of the group once the leader has ended. The kernel doesn't
// reuse the group's number while the group has a process.
func (p *Process) endGroup() {
	defer p.group.release()
	if p.killed.Load() || !p.signalGroup(false) {
		return // all of them were killed already, or none is left
	}
	end := time.Now().Add(Grace)
	for pause := time.Millisecond; p.groupLives(); pause = min(2*pause, 50*time.Millisecond) {
		if time.Now().After(end) {
			p.signalGroup(true)
			return
		}
		time.Sleep(pause)
	}
}

// Pid is the child's process ID, which on Unix is its group's ID too.
func (p *Process) Pid() int { return p.pid }

// Stdin is the child's standard input, if the command has one. Closing it signals the end of the
// input to the child. Writes can have a deadline on Unix.
func (p *Process) Stdin() *os.File { return p.stdin }

// Stdout returns the child's output, if the command asks for it. It ends with io.EOF, or
// os.ErrDeadlineExceeded when a process that left the group still holds the pipe. Everything that
// the child wrote before it ended can be read, however late.
func (p *Process) Stdout() io.Reader { return p.stdout }

// Exited is closed when the child itself has ended. Others of its group may run for Grace.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Stop asks the child's group to end (SIGTERM) and kills it after Grace. It does not wait.
func (p *Process) Stop() { p.once.Do(func() { close(p.stop) }) }

// Wait returns when the child and its group have ended and standard error is read. The error is one
// of waiting, or wraps ErrMemory; an exit code is no error. It is called once, by the goroutine
// that has read Stdout.
func (p *Process) Wait() (Exit, error) {
	<-p.done
	p.readers.Wait()
	p.closeAll()
	if err := p.memory.Load(); err != nil {
		return p.exit, *err
	}
	var bad *exec.ExitError
	if p.waitErr != nil && !errors.As(p.waitErr, &bad) {
		return p.exit, p.waitErr
	}
	return p.exit, nil
}

func size(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
