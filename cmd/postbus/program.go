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
)

// The exit codes.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// Main is the program with everything it takes from its surroundings.
type Main struct {
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Env    []string // "NAME=value", as from os.Environ
}

// Run does what args say and returns the exit code. When it returns because of a second signal,
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
	// What cobra itself refuses never reached a RunE.
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
		Args:          cobra.NoArgs,
		Annotations:   map[string]string{},
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentPreRun = func(*cobra.Command, []string) { root.Annotations["started"] = "yes" }
	root.AddCommand(m.runCommand(), m.checkCommand(), m.pubCommand(), m.subCommand(), m.sessionsCommand(), m.pluginCommand(), m.devicesCommand(), m.userCommand(), m.serviceCommand(), m.versionCommand(), bench.Command())
	return root
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

// home is the user's folder, or "".
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

// printf writes to standard output. An error there shows up where it matters: see sub.
func (m *Main) printf(format string, args ...any) { fmt.Fprintf(m.Stdout, format, args...) }
