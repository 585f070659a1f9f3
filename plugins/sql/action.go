package sql

// This file is the action's side of the program postbus-sql: its life, and the batches that it gets.

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/postbus/postbus/plugins/internal/program"
	"github.com/postbus/postbus/plugins/kind"
)

// programName is the program's name in PATH.
const programName = "postbus-sql"

// Action stores batches of rows. One goroutine calls its methods.
type Action struct {
	o     Options
	env   kind.Env
	ctx   context.Context // of the program, which outlives a batch
	stop  context.CancelFunc
	child *child // nil: it does not run
	owned sync.WaitGroup
}

// New makes an action of checked options. It does not start the program yet.
func New(o Options, env kind.Env) *Action {
	ctx, stop := context.WithCancel(context.Background())
	return &Action{o: o, env: env, ctx: ctx, stop: stop}
}

// Batch returns the bounds of a transaction.
func (a *Action) Batch() kind.Batch { return a.o.Batch }

// DoAll stores rows. They are durable when it returns.
func (a *Action) DoAll(ctx context.Context, jobs []kind.Job[Args]) (done int, err error) {
	rows := make([]Row, len(jobs))
	for i, j := range jobs {
		rows[i] = Row{ID: j.ID, Values: make([]any, len(a.o.Columns))}
		for c, name := range a.o.Columns {
			rows[i].Values[c] = j.Args.Columns[name]
		}
	}
	if a.child == nil {
		open, err := a.open()
		if err != nil {
			return 0, err
		}
		if a.child, err = a.start(); err != nil {
			return 0, err
		}
		if _, err := a.ask(ctx, Request{Open: open}); err != nil {
			if a.child != nil {
				_ = a.end(0)
			}
			return 0, err
		}
	}
	return a.ask(ctx, Request{Rows: rows})
}

// open describes the database.
func (a *Action) open() (*Open, error) {
	o := Open{Version: Version, Password: a.o.Password, Table: a.o.Table, Create: a.o.Create, Timeout: a.o.Timeout.Milliseconds()}
	for _, name := range a.o.Columns {
		o.Columns = append(o.Columns, Column{name, a.o.Types[name]})
	}
	if o.File = a.o.file(); o.File == "" {
		o.URL = a.o.URL
		return &o, nil
	}
	if !filepath.IsAbs(o.File) {
		if o.Folder = a.env.Data(); o.Folder == "" {
			return nil, errors.New("this bus has no data folder: write the whole path of the database, as sqlite:/folder/events.db")
		}
		o.File = filepath.Join(o.Folder, o.File)
	}
	return &o, nil
}

// child is one run of the program.
type child struct {
	p       *program.Process
	log     *program.Log
	answers chan Answer   // closed when the program answers no more
	exited  chan struct{} // closed when exit and err are valid
	exit    program.Exit
	err     error
}

func (a *Action) start() (*child, error) {
	c := &child{log: program.NewLog(a.env.Log()), answers: make(chan Answer), exited: make(chan struct{})}
	name := where()
	p, err := program.Start(a.ctx, program.Command{Args: []string{name}, Base: a.env.Dir(), Stdin: true, Stdout: true, Stderr: c.log.Line})
	if err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			err = fmt.Errorf("%w; the action sql needs the program %s, in the folder of postbus or in PATH", err, programName)
		}
		return nil, err
	}
	c.p = p
	a.owned.Go(c.run)
	return c, nil
}

// where is the program in the folder of this one, or its name if it is not there.
func where() string {
	name := programName
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	if own, err := os.Executable(); err == nil {
		if own, err = filepath.EvalSymlinks(own); err == nil {
			path := filepath.Join(filepath.Dir(own), name)
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
				return path
			}
		}
	}
	return programName
}

// run reads the answers and waits for the program.
func (c *child) run() {
	d := json.NewDecoder(c.p.Stdout())
	for {
		var answer Answer
		if d.Decode(&answer) != nil {
			break
		}
		c.answers <- answer
	}
	close(c.answers)
	_, _ = io.Copy(io.Discard, c.p.Stdout())
	c.exit, c.err = c.p.Wait()
	c.log.Flush()
	close(c.exited)
}

// patience is how much longer than its own timeout the program may take for an answer.
const patience = 15 * time.Second

// ask sends a request and waits for its answer. After an error that is not the program's answer the
// program is ended, because its next answer would be to this request.
func (a *Action) ask(ctx context.Context, r Request) (done int, err error) {
	c := a.child
	var line bytes.Buffer
	e := json.NewEncoder(&line)
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return 0, kind.Permanent(fmt.Errorf("the values are not JSON: %w", err))
	}
	limited, cancel := context.WithTimeout(ctx, a.o.Timeout+patience)
	defer cancel()
	stop := kind.Interrupt(limited, c.p.Stop)
	_, err = c.p.Stdin().Write(line.Bytes())
	stop()
	if err == nil {
		select {
		case answer, ok := <-c.answers:
			if !ok {
				err = io.ErrUnexpectedEOF
				break
			}
			return answer.Done, answer.err()
		case <-limited.Done():
			err = fmt.Errorf("%s does not answer: %w", programName, limited.Err())
		}
	}
	ended := a.end(0)
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	return 0, fmt.Errorf("%w: %w", ended, err)
}

func (answer Answer) err() error {
	if answer.Error == "" {
		return nil
	}
	err := errors.New(answer.Error)
	if answer.Permanent {
		return kind.Permanent(err)
	}
	return err
}

// end ends the program, which may take so long to end itself, and says how it ended.
func (a *Action) end(grace time.Duration) error {
	c := a.child
	a.child = nil
	c.p.Stdin().Close()
	timer := time.AfterFunc(grace, c.p.Stop)
	defer timer.Stop()
	for range c.answers { // the last one may still be to be read
	}
	<-c.exited
	if c.err != nil {
		return fmt.Errorf("%s ended: %w", programName, c.err)
	}
	text := fmt.Sprintf("%s ended (%s)", programName, c.exit)
	if last := c.log.Last(); last != "" {
		text += ": " + last
	}
	return errors.New(text)
}

// Close lets the program finish, which takes a moment.
func (a *Action) Close() error {
	if a.child != nil {
		_ = a.end(time.Second)
	}
	a.stop()
	a.owned.Wait()
	return nil
}
