// This file is the program: its commands, and how it ends.

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postbus/postbus/cmd/postbus/bench"
	"github.com/postbus/postbus/config/suggest"
)

// The exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// Main is the program with everything that it takes from its environment.
type Main struct {
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Env    []string // "NAME=value", as from os.Environ
}

// Run executes args and returns the exit code. When it returns because of a second signal,
// goroutines may still run: end the process.
func (m *Main) Run(ctx context.Context, args []string) int {
	root := m.command()
	root.SetArgs(args)
	root.SetIn(m.Stdin)
	root.SetOut(m.Stdout)
	root.SetErr(m.Stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	// Errors of cobra itself never reach a RunE.
	if !m.started(root) {
		err = &usageError{err}
	}
	m.report(err)
	var u *usageError
	if errors.As(err, &u) {
		return exitUsage
	}
	return exitFailed
}

func (m *Main) started(root *cobra.Command) bool { return root.Annotations["started"] != "" }

func (m *Main) command() *cobra.Command {
	root := &cobra.Command{
		Use:           "postbus",
		Short:         "An MQTT event bus that never loses an acknowledged event",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noArgs,
		Annotations:   map[string]string{},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if v, _ := cmd.Flags().GetBool("version"); v {
				m.printVersion()
				return nil
			}
			return cmd.Help()
		},
	}
	root.Flags().Bool("version", false, "print the version")
	root.PersistentPreRun = func(*cobra.Command, []string) { root.Annotations["started"] = "yes" }
	load := bench.Command()
	for _, c := range append(load.Commands(), load) {
		c.Args = noArgs
	}
	root.AddCommand(m.runCommand(), m.checkCommand(), m.pubCommand(), m.subCommand(), m.sessionsCommand(), m.clientCommand(), m.pluginCommand(), m.whyCommand(), m.devicesCommand(), m.userCommand(), m.groupCommand(), m.fleetCommand(), m.serviceCommand(), m.versionCommand(), load)
	return root
}

// noArgs is for commands without arguments. Where there are sub-commands, an argument is a mistyped
// one.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	if names == nil {
		return withHint(usagef("%s takes no argument, got %q", cmd.CommandPath(), args[0]),
			"%s shows its flags; quote an argument that contains spaces", cmd.CommandPath()+" --help")
	}
	err := usagef("%s has no command %q", cmd.CommandPath(), args[0])
	if s := suggest.Nearest(args[0], names); s != "" {
		return withHint(err, "did you mean %s %s?", cmd.CommandPath(), s)
	}
	return withHint(err, "the commands: %s", strings.Join(names, ", "))
}

// getenv is os.Getenv on the program's own environment.
func (m *Main) getenv(name string) string {
	for i := len(m.Env) - 1; i >= 0; i-- {
		if n, v, ok := strings.Cut(m.Env[i], "="); ok && n == name {
			return v
		}
	}
	return ""
}

// home returns the user's folder, or "".
func (m *Main) home() string {
	if h := m.getenv("HOME"); h != "" {
		return h
	}
	h, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return h
}

// printf writes to standard output. Errors are checked only where they matter: see sub.
func (m *Main) printf(format string, args ...any) { fmt.Fprintf(m.Stdout, format, args...) }
