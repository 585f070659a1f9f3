// This file is the action, which runs a program once for each event.

package exec

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
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
const actionAbout = "Runs a program for each event. The command is fixed; an item `{name}` in it is replaced by the parameter of that name as one argument, and " +
	"`params` says what the parameter may be: a text (its length, a pattern), a whole number in a range, or one of a list. Anything else is refused before the " +
	"program runs. The event is acknowledged when the program ends with exit code 0 or one of `ok_codes`; otherwise it is retried. It needs `postbus plugin approve`."

// ActionOptions are the options of the action, fixed when the file is loaded.
type ActionOptions struct {
	Command []string          `key:"command" doc:"the program and its arguments, where an item {name} stands for a parameter; ./name is in the plugins folder, a bare name is looked up in PATH" need:"yes"`
	Params  any               `key:"params" doc:"the parameters by name: {type: text, max, pattern, dash}, {type: int, min, max} or {oneof: [a, b]}"`
	Stdin   string            `key:"stdin" doc:"what the program gets as standard input: nothing, or the argument json" oneof:"none|json"`
	Timeout time.Duration     `key:"timeout" doc:"the maximum duration of a run; a longer one is ended" min:"10ms" max:"24h"`
	OKCodes []int             `key:"ok_codes" doc:"the exit codes that count as success"`
	Env     map[string]string `key:"env" doc:"variables that are added to the program's environment, which otherwise is PATH, HOME, LANG and TZ" secret:"within"`
	Dir     string            `key:"dir" doc:"the working directory; empty: the plugins folder" path:"yes"`
	Memory  int64             `key:"memory" doc:"the program and its children are killed when their resident memory exceeds this; 0: no limit; Linux only" unit:"size" min:"0" max:"1TiB"`
}

// actionDefaults returns the options of a file that sets none.
func actionDefaults() ActionOptions {
	return ActionOptions{Stdin: "none", Timeout: 10 * time.Second, OKCodes: []int{0}}
}

// Check checks the options against each other.
func (o ActionOptions) Check() []error {
	errs := check(o.Command, o.Env)
	params, bad := readParams(o.Params)
	errs = append(errs, bad...)
	errs = append(errs, checkUse(o.Command, params, bad == nil)...)
	for _, c := range o.OKCodes {
		if c < 0 || c > 255 {
			errs = append(errs, kind.Wrong("ok_codes", fmt.Sprintf("%d is not an exit code", c), "0 to 255"))
		}
	}
	return errs
}

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
	With any `key:"with" doc:"the values of the parameters, by name"`
	JSON any `key:"json" doc:"the value that the program gets as JSON on standard input, with stdin: json"`
}

// Action runs a program for each event. It keeps no state between events.
type Action struct {
	o      ActionOptions
	params map[string]param
	base   string
	env    kind.Env
}

// NewAction makes an action of checked options.
func NewAction(o ActionOptions, env kind.Env) *Action {
	params, _ := readParams(o.Params)
	return &Action{o: o, params: params, base: env.Dir(), env: env}
}

// maxInput bounds the program's input, in bytes.
const maxInput = 1 << 20

// Do runs the program. It returns nil when the program succeeded.
func (a *Action) Do(ctx context.Context, args Args) error {
	command, err := fill(a.o.Command, a.params, args.With)
	if err != nil {
		return kind.Permanent(err)
	}
	var input []byte
	switch {
	case a.o.Stdin == "json":
		if input, err = json.Marshal(args.JSON); err != nil {
			return kind.Permanent(fmt.Errorf("json can't be written as JSON: %w", err))
		}
		if len(input) > maxInput {
			return kind.Permanent(fmt.Errorf("json has %d bytes, more than %d", len(input), maxInput))
		}
		input = append(input, '\n')
	case args.JSON != nil:
		return kind.Permanent(errors.New("json is given, but the program doesn't read it; set stdin: json"))
	}
	c := program.Command{Args: command, Base: a.base, Dir: a.o.Dir, Env: a.o.Env, Memory: a.o.Memory, Allowed: a.env.MayRun}
	out, err := program.Run(ctx, c, a.o.Timeout, 300, input)
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", command[0], err)
	case out.Signal == "" && slices.Contains(a.o.OKCodes, out.Code):
		a.env.Log().Debug("a program ended", "program", command[0], "code", out.Code, "took", out.Took, "output", lines.Text(out.Stdout))
		return nil
	}
	stderr := strings.TrimSpace(lines.Text(out.Stderr[:min(300, len(out.Stderr))]))
	if stderr == "" {
		return fmt.Errorf("%s: %s", command[0], out.Exit)
	}
	return fmt.Errorf("%s: %s: %s", command[0], out.Exit, stderr)
}
