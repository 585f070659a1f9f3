// This file is "version".

package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version may be set by the linker: -ldflags "-X main.version=v1.2.3". Otherwise it is taken from
// the build information.
var version string

// versionOf returns the version to show, and the commit it was built from if that is known.
func versionOf() (v, commit string) {
	v = version
	info, ok := debug.ReadBuildInfo()
	if !ok {
		if v == "" {
			v = "unknown"
		}
		return v, ""
	}
	if v == "" {
		v = info.Main.Version
	}
	if v == "" || v == "(devel)" {
		v = "devel"
	}
	dirty := false
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			commit = s.Value
		case "vcs.modified":
			dirty = s.Value == "true"
		}
	}
	if len(commit) > 12 {
		commit = commit[:12]
	}
	if commit != "" && dirty {
		commit += ", changed"
	}
	return v, commit
}

func (m *Main) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			m.printVersion()
			return nil
		},
	}
}

func (m *Main) printVersion() {
	v, commit := versionOf()
	if commit != "" {
		commit = " (" + commit + ")"
	}
	m.printf("postbus %s%s %s %s/%s\n", v, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
