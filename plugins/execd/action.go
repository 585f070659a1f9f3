// This file is the action, a program that reads events as JSON lines.

package execd

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/postbus/postbus/plugins/internal/lines"
	"github.com/postbus/postbus/plugins/internal/program"
	"github.com/postbus/postbus/plugins/kind"
)

// actionSample is a commented plugin file with the action.
//
//go:embed action.yaml
var actionSample string

// actionAbout is what the action does, for the documentation.
const actionAbout = "Writes each event as a JSON line to the standard input of a program, which is started at the first event, and restarted with backoff when it ends. " +
	"An event counts as *sent*, and leaves the queue, when its line is in the program's pipe; whether the program processed it is not known. Lines that it " +
	"had not read when it ended, also at an orderly restart, are lost: use `exec` for a program that must not miss an event. The program's output goes to the plugin's log. It needs `postbus plugin approve`."

// ActionOptions are the options of the action, fixed when the file is loaded.
type ActionOptions struct {
	Command []string          `key:"command" doc:"the program and its arguments; ./name is in the plugins folder, a bare name is looked up in PATH" need:"yes"`
	Restart Restart           `key:"restart" doc:"the pause before the program is restarted, from the first to the longest, as 1s..60s; or never"`
	Memory  int64             `key:"memory" doc:"the program and its children are killed when their resident memory exceeds this; 0: no limit; Linux only" unit:"size" min:"0" max:"1TiB"`
	Env     map[string]string `key:"env" doc:"variables that are added to the program's environment, which otherwise is PATH, HOME, LANG and TZ" secret:"within"`
	Dir     string            `key:"dir" doc:"the working directory; empty: the plugins folder" path:"yes"`
}

// actionDefaults returns the options of a file that sets none.
func actionDefaults() ActionOptions {
	return ActionOptions{Restart: defaults().Restart}
}

// Check checks the options against each other.
func (o ActionOptions) Check() []error { return check(o.Command, o.Env) }

// Access is the program that the action runs.
func (o ActionOptions) Access() []string { return program.Access(o.Command) }

// Runs is the command, to be shown to the user who approves the plugin.
func (o ActionOptions) Runs() []string { return o.Command }

// Scripts are the files that the approval covers.
func (o ActionOptions) Scripts(folder string) []string {
	return program.Scripts(folder, o.Dir, o.Command)
}

// Args are the arguments for one event.
type Args struct {
	JSON any `key:"json" doc:"the value to write, as one line of JSON of at most 1 MiB" need:"yes"`
}

// maxWrite bounds a line that is written, in bytes.
const maxWrite = 1 << 20

// Action owns the program. Several goroutines may call Do; lines are written one at a time.
type Action struct {
	o     ActionOptions
	env   kind.Env
	base  string
	turn  chan struct{} // a semaphore of one: its holder may write
	ctx   context.Context
	stop  context.CancelFunc
	owned sync.WaitGroup

	child *child    // nil: not running
	pause *pauses   // between two starts
	after time.Time // the program must not be started before
	watch watch
}

// NewAction makes an action. It does not start the program yet.
func NewAction(o ActionOptions, env kind.Env) *Action {
	ctx, stop := context.WithCancel(context.Background()) // cancelled by Close: the program outlives the event that started it
	return &Action{o: o, env: env, base: env.Dir(), turn: make(chan struct{}, 1), ctx: ctx, stop: stop, pause: o.Restart.pauses(), watch: watch{env: env}}
}

// Do writes the line. It returns nil when the line is in the program's pipe.
func (a *Action) Do(ctx context.Context, args Args) error {
	line, err := json.Marshal(args.JSON)
	if err != nil {
		return kind.Permanent(fmt.Errorf("json can't be written as JSON: %w", err))
	}
	if len(line) > maxWrite {
		return kind.Permanent(fmt.Errorf("json has %d bytes, more than the %d of a line", len(line), maxWrite))
	}
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	c, err := a.running(ctx)
	if err != nil {
		return err
	}
	return a.write(ctx, c, append(line, '\n'))
}

// running returns the program, and starts it if necessary.
func (a *Action) running(ctx context.Context) (*child, error) {
	if a.child != nil {
		if !a.child.closing() {
			return a.child, nil
		}
		_ = a.ended(ctx, a.child) // reported to postbus; this event is written to the next run
		if a.child != nil {
			return nil, ctx.Err()
		}
	}
	if a.o.Restart.Never && !a.after.IsZero() {
		return nil, fmt.Errorf("%s has ended, and restart is never", a.o.Command[0])
	}
	select {
	case <-time.After(time.Until(a.after)):
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-a.ctx.Done():
		return nil, errors.New("the action is closed")
	}
	c := &child{log: program.NewLog(a.env.Log())}
	p, err := program.Start(a.ctx, program.Command{Args: a.o.Command, Base: a.base, Dir: a.o.Dir, Env: a.o.Env, Memory: a.o.Memory, Allowed: a.env.MayRun, Stdin: true, Stdout: true, Stderr: c.log.Line})
	if err != nil {
		a.setPause(0)
		a.watch.failed(err)
		return nil, err
	}
	c.p, c.stdin, c.exited = p, p.Stdin(), make(chan struct{})
	c.stopWaiting = a.watch.recoverLater()
	a.child = c
	a.owned.Go(c.run)
	return c, nil
}

// write writes the whole line or ends the program, because the line after half a line would be
// garbage.
func (a *Action) write(ctx context.Context, c *child, line []byte) error {
	stop := kind.Interrupt(ctx, func() {
		if c.stdin.SetWriteDeadline(time.Now()) != nil {
			c.p.Stop() // Windows: pipes have no write deadline
		}
	})
	n, err := c.stdin.Write(line)
	stop()
	_ = c.stdin.SetWriteDeadline(time.Time{}) // the next event has its own deadline
	if err == nil {
		return nil
	}
	if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%s doesn't read its input: %w", a.o.Command[0], ctx.Err())
	}
	c.broken = true
	c.p.Stop()
	return a.ended(ctx, c)
}

// ended waits until a program that has ended is cleaned up, and records the end.
func (a *Action) ended(ctx context.Context, c *child) error {
	select {
	case <-c.exited:
	case <-ctx.Done():
		return ctx.Err() // the next event will find that the program has ended
	}
	c.stopWaiting()
	a.child = nil
	a.setPause(c.exit.Took)
	err := ending(a.o.Command[0], c.exit, c.err, c.log.Last())
	a.watch.failed(err)
	return err
}

// setPause sets when the program may be started again.
func (a *Action) setPause(took time.Duration) {
	next, _ := a.pause.next(took)
	a.after = time.Now().Add(next)
}

// Close closes the program's input, so that it can finish, and stops it if it is still running
// after a second.
func (a *Action) Close() error {
	a.turn <- struct{}{} // postbus promises that Do has returned; if not, this waits for it
	defer func() { <-a.turn }()
	if c := a.child; c != nil {
		c.stdin.Close()
		select {
		case <-c.exited:
		case <-time.After(time.Second):
		}
	}
	a.stop()
	a.owned.Wait()
	if a.child != nil {
		a.child.stopWaiting()
		a.child = nil
	}
	return nil
}

// child is one run of the program.
type child struct {
	p           *program.Process
	stdin       *os.File
	log         *program.Log
	stopWaiting func()
	broken      bool // a line may have been written in part

	exited chan struct{} // closed when the fields below are valid
	exit   program.Exit
	err    error
}

// closing reports whether the program accepts no more lines.
func (c *child) closing() bool {
	select {
	case <-c.p.Exited():
		return true
	default:
		return c.broken
	}
}

// run logs the program's output and waits for the program.
func (c *child) run() {
	defer close(c.exited)
	l := lines.NewReader(c.p.Stdout(), 4<<10)
	for {
		line, err := l.Next()
		if err != nil {
			break
		}
		c.log.Line(line)
	}
	c.exit, c.err = c.p.Wait()
	c.log.Flush()
}
