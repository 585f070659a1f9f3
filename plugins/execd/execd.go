// Package execd is the kind `execd`: a program in any language that runs as long as the plugin
// does. As a source it writes JSON lines to its standard output, each an event; as an action it
// reads each event as a JSON line.
//
// What it promises:
//
//   - The program is a list of arguments, never a shell's line. It runs in a process group of its
//     own and is ended with all of its children when the plugin ends (package program says how, and
//     what Windows can't do).
//   - A program that ends is restarted after a pause. The pause doubles from the first to the
//     second time of `restart`, and is short again after the program ran for a minute. Meanwhile
//     the plugin is degraded and reports how the program ended.
//   - Lines are bounded. A line that doesn't have the format is dropped, counted and logged.
//   - Backpressure slows the program down (its writes block) rather than dropping an event: a line
//     is read when the event before it is being delivered. There is no way to tell the program
//     which events became durable: lines that it wrote and postbus didn't read are lost when
//     postbus dies.
//   - The action acknowledges when the line is in the program's pipe, not when the program has
//     processed it.
package execd

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/postbus/postbus/plugins/internal/lines"
	"github.com/postbus/postbus/plugins/internal/program"
	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/payload"
	"github.com/postbus/postbus/plugins/payload/decode"
)

// sample is a commented plugin file with the source.
//
//go:embed sample.yaml
var sample string

// about is what the source does, for the documentation.
const about = "Runs a program that writes lines to its standard output. Each line is an event: JSON, or text. A program that ends is restarted " +
	"with backoff. Its standard error goes to the plugin's log, at most 100 lines a second. There is no shell. The environment is PATH, HOME, LANG, TZ and the variables of " +
	"`env`. The program runs in a process group of its own, which is ended with it. On Linux its memory can be limited. A plugin that runs a program needs `postbus plugin approve`."

// Options of the source.
type Options struct {
	Command []string          `key:"command" doc:"the program and its arguments; ./name is in the plugins folder, a bare name is looked up in PATH" need:"yes"`
	Restart Restart           `key:"restart" doc:"the pause before the program is restarted, from the first to the longest, as 1s..60s; or never"`
	Memory  int64             `key:"memory" doc:"the program and its children are killed when their resident memory exceeds this; 0: no limit; Linux only" unit:"size" min:"0" max:"1TiB"`
	Env     map[string]string `key:"env" doc:"variables that are added to the program's environment, which otherwise is PATH, HOME, LANG and TZ" secret:"within"`
	Dir     string            `key:"dir" doc:"the working directory; empty: the plugins folder" path:"yes"`
	Format  string            `key:"format" doc:"the format of a line" oneof:"json|text"`
	MaxLine int64             `key:"max_line" doc:"the maximum length of a line in bytes" unit:"size" min:"64B" max:"16MiB"`

	Decode decode.Encoding `key:"decode" doc:"with format: text, the encoding of a line, whose value is in event.json; csv: a list of texts; none: it is not decoded" oneof:"json|csv|none"`
}

// defaults returns the options of a file that sets none.
func defaults() Options {
	return Options{Restart: Restart{Min: time.Second, Max: time.Minute}, Format: "json", MaxLine: lines.MaxLine, Decode: "none"}
}

// Check checks the options against each other.
func (o Options) Check() []error {
	errs := check(o.Command, o.Env)
	if o.Format == "json" && o.Decode != "none" && o.Decode != "" {
		errs = append(errs, kind.Wrong("decode", "decode applies to format: text only", "write format: text, or leave decode out"))
	}
	return errs
}

// Access is the program that the source runs.
func (o Options) Access() []string { return program.Access(o.Command) }

// Runs is the command, to be shown to the user who approves the plugin.
func (o Options) Runs() []string { return o.Command }

// Scripts are the files that the approval covers.
func (o Options) Scripts(folder string) []string { return program.Scripts(folder, o.Dir, o.Command) }

func check(command []string, env map[string]string) (errs []error) {
	if err := program.Check(command); err != nil {
		errs = append(errs, kind.Wrong("command", err.Error(), "for example [./sensor.py, /dev/ttyUSB0]"))
	}
	if err := program.CheckEnv(env); err != nil {
		errs = append(errs, kind.Wrong("env", err.Error(), ""))
	}
	return errs
}

// event is what the source emits.
type event struct {
	Value any      `key:"value" doc:"the line's value, if it is JSON but not an object"`
	Text  string   `key:"text" doc:"the line, when the format is text"`
	Open  struct{} `key:"*" doc:"every other field of a line that is a JSON object"`
}

// Source runs a program. An instance runs once.
type Source struct {
	o     Options
	env   kind.Env
	base  string
	log   *program.Log
	drops dropLog
}

// New makes a source. It does not start the program yet.
func New(o Options, env kind.Env) *Source {
	return &Source{o: o, env: env, base: env.Dir(), log: program.NewLog(env.Log()), drops: dropLog{log: env.Log()}}
}

// Open checks that the program exists and is executable.
func (s *Source) Open(context.Context) error {
	_, err := program.Resolve(s.base, s.o.Command)
	return err
}

// Stream runs the program, restarts it when it ends, and posts its lines until ctx ends.
func (s *Source) Stream(ctx context.Context, post kind.Post) error {
	w := watch{env: s.env}
	pause := s.o.Restart.pauses()
	for {
		took, err := s.once(ctx, post, &w)
		if ctx.Err() != nil {
			return nil
		}
		var stopped stopError
		if errors.As(err, &stopped) {
			return stopped.err
		}
		next, again := pause.next(took)
		if !again {
			w.failed(fmt.Errorf("%w, and restart is never", err))
			<-ctx.Done()
			return nil
		}
		w.failed(fmt.Errorf("%w; it will be restarted in %s", err, next.Round(time.Millisecond)))
		if kind.Sleep(ctx, next) != nil {
			return nil
		}
	}
}

// stopError wraps an error of post, which means that the plugin is being stopped.
type stopError struct{ err error }

func (e stopError) Error() string { return e.err.Error() }

// once runs the program to its end. The error, never nil, says how it ended.
func (s *Source) once(ctx context.Context, post kind.Post, w *watch) (took time.Duration, err error) {
	p, err := program.Start(ctx, program.Command{Args: s.o.Command, Base: s.base, Dir: s.o.Dir, Env: s.o.Env, Memory: s.o.Memory, Allowed: s.env.MayRun, Stdout: true, Stderr: s.log.Line})
	if err != nil {
		return 0, err
	}
	stopWaiting := w.recoverLater()
	bad := s.read(ctx, p.Stdout(), post, w)
	if bad != nil {
		p.Stop()
		_, _ = io.Copy(io.Discard, p.Stdout())
	}
	select { // a program that closed its output can emit no more events
	case <-p.Exited():
	case <-time.After(program.Grace):
		p.Stop()
	}
	exit, err := p.Wait()
	stopWaiting()
	s.log.Flush()
	s.drops.flush()
	if bad != nil {
		return exit.Took, bad
	}
	return exit.Took, ending(s.o.Command[0], exit, err, s.log.Last())
}

// ending describes how a program ended.
func ending(name string, exit program.Exit, err error, last string) error {
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", name, err)
	case last != "":
		return fmt.Errorf("%s ended: %s: %s", name, exit, last)
	}
	return fmt.Errorf("%s ended: %s", name, exit)
}

// read posts the lines until the output ends. An error is post's.
func (s *Source) read(ctx context.Context, r io.Reader, post kind.Post, w *watch) error {
	l := lines.NewReader(r, int(s.o.MaxLine))
	for {
		line, err := l.Next()
		if err != nil {
			return nil // the program ended; Wait says how
		}
		cut := l.Cut() > 0
		fields, why := parse(line, cut, s.o.Format, s.o.Decode)
		if why != "" {
			s.env.Lost(1, why)
		}
		if fields == nil {
			if why != "" {
				s.drops.line(why, line)
			}
			continue
		}
		w.recovered()
		if err := post(ctx, time.Now(), fields, nil); err != nil {
			return stopError{err}
		}
	}
}

// parse returns the fields of a line, or nil when the line holds no event; why says what was lost.
func parse(line []byte, cut bool, format string, e decode.Encoding) (fields map[string]any, why string) {
	if format == "text" {
		fields = map[string]any{"text": lines.Text(line)}
		if cut {
			return fields, "the part of a line beyond max_line"
		}
		if e != "none" && e != "" {
			e.Line(line, fields)
		}
		return fields, ""
	}
	if cut {
		return nil, "longer than max_line"
	}
	if len(line) == 0 {
		return nil, ""
	}
	v, ok := payload.JSON(line)
	if !ok {
		return nil, "not a JSON line"
	}
	if m, ok := v.(map[string]any); ok {
		return m, ""
	}
	return map[string]any{"value": v}, ""
}
