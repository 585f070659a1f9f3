// This file runs a program to its end and keeps a bounded part of its output.

package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// MaxStderr is how much of standard error Run keeps, in bytes.
const MaxStderr = 4 << 10

// Output is a finished program's output and exit.
type Output struct {
	Exit
	Stdout []byte // at most the bound given to Run
	Stderr []byte // at most MaxStderr
	Cut    bool   // there was more on Stdout
}

// Run runs a program to its end, for at most timeout, with input on its standard input (nil:
// empty). It keeps at most max bytes of its output and discards more. An error means that it
// couldn't be started, took too long, used too much memory, or that ctx ended; an exit code is no
// error. Run sets the command's Stdin, Stdout and Stderr.
func Run(ctx context.Context, c Command, timeout time.Duration, max int, input []byte) (Output, error) {
	late := fmt.Errorf("it took longer than %s and was ended", timeout)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, late)
	defer cancel()
	var out Output
	c.Stdin, c.Stdout = input != nil, true
	c.Stderr = func(line []byte) {
		if room := MaxStderr - len(out.Stderr); room > 0 {
			if len(out.Stderr) > 0 {
				out.Stderr, room = append(out.Stderr, '\n'), room-1
			}
			out.Stderr = append(out.Stderr, line[:min(room, len(line))]...)
		}
	}
	p, err := Start(ctx, c)
	if err != nil {
		return out, err
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		if input != nil {
			_, _ = p.Stdin().Write(input) // a program may ignore its input
			p.Stdin().Close()
		}
	}()
	stdout, err := io.ReadAll(io.LimitReader(p.Stdout(), int64(max)+1))
	if err == nil {
		_, _ = io.Copy(io.Discard, p.Stdout())
	}
	exit, err := p.Wait()
	<-written
	out.Exit = exit
	if out.Cut = len(stdout) > max; out.Cut {
		stdout = stdout[:max]
	}
	out.Stdout = stdout
	switch {
	case err != nil:
		return out, err
	case ctx.Err() == nil:
		return out, nil
	case errors.Is(context.Cause(ctx), late):
		return out, late
	}
	return out, ctx.Err()
}
