// Package exec is the kind `exec`: a program that runs to its end. As a source it runs at an
// interval and each run is an event; as an action it runs once for each event.
//
// What it promises:
//
//   - The program is a list of arguments, never a shell's line. It runs in a process group of its
//     own that is ended with it (package program says how, and what Windows can't do). It sees only
//     the environment that the file gives it, and its output is bounded.
//   - Source: runs never overlap. A run that takes longer than the interval skips the runs that
//     were due meanwhile. A run that can't be started, or that exceeds its timeout, makes no event;
//     the plugin is degraded until a run works again.
//   - Action: an event reaches the program only through parameters that the file declares with a
//     type, each as one whole argument, or as JSON on standard input. A value that doesn't fit its
//     declaration never reaches the program: the event becomes a dead letter.
//   - The action acknowledges when the program ended with an accepted exit code. Until then the
//     event is retried, so the program may run twice for one event.
package exec

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
	"time"

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
const about = "Runs a program at an interval. Its output, exit code and error output make an event. Runs don't overlap, " +
	"and one that takes too long is ended with all of its children. There is no shell. The environment is PATH, HOME, LANG, TZ and the variables of `env`. " +
	"A plugin that runs a program needs `postbus plugin approve`."

// Options of the source.
type Options struct {
	Command   []string          `key:"command" doc:"the program and its arguments; ./name is in the plugins folder, a bare name is looked up in PATH" need:"yes"`
	Every     time.Duration     `key:"every" doc:"time from one start to the next" min:"100ms" max:"8760h"`
	Timeout   time.Duration     `key:"timeout" doc:"the maximum duration of a run; a longer one is ended" min:"10ms" max:"24h"`
	MaxOutput int64             `key:"max_output" doc:"the maximum size of the output; what exceeds it is dropped and counted as lost" unit:"size" min:"1B" max:"16MiB"`
	Env       map[string]string `key:"env" doc:"variables that are added to the program's environment, which otherwise is PATH, HOME, LANG and TZ" secret:"within"`
	Dir       string            `key:"dir" doc:"the working directory; empty: the plugins folder" path:"yes"`
	Memory    int64             `key:"memory" doc:"the program and its children are killed when their resident memory exceeds this; 0: no limit; Linux only" unit:"size" min:"0" max:"1TiB"`

	Decode decode.Encoding `key:"decode" doc:"the encoding of the output, whose value is in event.json; csv: a list of records, each a list of texts; none: it is not decoded" oneof:"json|cbor|msgpack|csv|none"`
}

// defaults returns the options of a file that sets none.
func defaults() Options {
	return Options{Every: time.Minute, Timeout: 10 * time.Second, MaxOutput: 64 << 10, Decode: decode.JSON}
}

// Check checks the options against each other.
func (o Options) Check() []error { return check(o.Command, o.Env) }

// Access is the program that the source runs.
func (o Options) Access() []string { return program.Access(o.Command) }

// Runs is the command, to be shown to the user who approves the plugin.
func (o Options) Runs() []string { return o.Command }

// Scripts are the files that the approval covers.
func (o Options) Scripts(folder string) []string { return program.Scripts(folder, o.Dir, o.Command) }

func check(command []string, env map[string]string) (errs []error) {
	if err := program.Check(command); err != nil {
		errs = append(errs, kind.Wrong("command", err.Error(), "for example [df, --output=pcent, /]"))
	}
	if err := program.CheckEnv(env); err != nil {
		errs = append(errs, kind.Wrong("env", err.Error(), ""))
	}
	return errs
}

// event is what the source emits.
type event struct {
	Text        string  `key:"text" doc:"the program's standard output, without the last line end"`
	JSON        any     `key:"json" doc:"the decoded output, see decode; nil if it cannot be decoded, or was cut"`
	DecodeError string  `key:"decode_error" doc:"why the output is not CBOR, MessagePack or CSV, if decode says that it is; otherwise nil"`
	Status      int     `key:"status" doc:"the exit code; 128+n when signal n killed it"`
	Took        float64 `key:"took" doc:"how long it ran, in seconds"`
	Stderr      string  `key:"stderr" doc:"the program's standard error, at most 4 KiB"`
}

// Source runs a program at an interval. An instance runs once.
type Source struct {
	o    Options
	env  kind.Env
	base string
}

// New makes a source. It does not run the program yet.
func New(o Options, env kind.Env) *Source { return &Source{o: o, env: env, base: env.Dir()} }

// Open checks that the program exists and is executable.
func (s *Source) Open(context.Context) error {
	_, err := program.Resolve(s.base, s.o.Command)
	return err
}

// Run runs the program at once and then at every interval until ctx ends.
func (s *Source) Run(ctx context.Context, emit kind.Emit) error {
	tick := time.NewTicker(s.o.Every) // drops the ticks during a longer run
	defer tick.Stop()
	sick := false
	for {
		c := program.Command{Args: s.o.Command, Base: s.base, Dir: s.o.Dir, Env: s.o.Env, Memory: s.o.Memory, Allowed: s.env.MayRun}
		out, err := program.Run(ctx, c, s.o.Timeout, int(s.o.MaxOutput), nil)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			sick = true
			s.env.Degraded(fmt.Errorf("%s: %w", s.o.Command[0], err))
		default:
			if sick {
				sick = false
				s.env.Degraded(nil)
			}
			if out.Cut {
				s.env.Lost(1, "the part of an output beyond max_output")
			}
			if err := emit(ctx, time.Now(), fields(out, s.o.Decode)); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func fields(out program.Output, e decode.Encoding) map[string]any {
	text := strings.TrimSuffix(strings.TrimSuffix(payload.Text(out.Stdout), "\n"), "\r")
	f := map[string]any{"text": text, "json": nil, "status": out.Code, "took": out.Took.Seconds(), "stderr": payload.Text(out.Stderr)}
	if !out.Cut {
		e.Payload(out.Stdout, f)
	}
	return f
}
