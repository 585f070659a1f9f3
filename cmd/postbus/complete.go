// This file completes arguments in the shell: kinds, plugins, users, groups. Lists that cannot be read
// offer nothing, since completion is no place for errors.

package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

type completion = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// one completes the first argument.
func one(list func(cmd *cobra.Command) []string) completion {
	return func(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return begin(list(cmd), begun), cobra.ShellCompDirectiveNoFileComp
	}
}

// begin returns the list's entries that begin with begun.
func begin(list []string, begun string) []string {
	return slices.DeleteFunc(list, func(s string) bool { return !strings.HasPrefix(s, begun) })
}

func kindNames(*cobra.Command) []string {
	var names []string
	for _, k := range catalog().Kinds() {
		names = append(names, k.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func deviceKinds() []string {
	var names []string
	for _, d := range described {
		names = append(names, d.kind)
	}
	return names
}

// completePlugins completes the plugins of the folder.
func (m *Main) completePlugins(s *settings) completion {
	return one(func(cmd *cobra.Command) []string {
		s.overrides(cmd)
		l, err := m.load(s)
		if err != nil {
			return nil
		}
		return m.pluginIDs(l)
	})
}

func (m *Main) completeUsers(s *settings) completion {
	return one(func(*cobra.Command) []string {
		l, err := m.load(s)
		if err != nil {
			return nil
		}
		var names []string
		for _, u := range l.Users {
			names = append(names, u.Name)
		}
		return names
	})
}

func (m *Main) completeGroups(s *settings) completion {
	return one(func(*cobra.Command) []string { return m.allGroups(s) })
}

// groupNames completes a flag.
func (m *Main) groupNames(s *settings) completion {
	return func(_ *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		return begin(m.allGroups(s), begun), cobra.ShellCompDirectiveNoFileComp
	}
}

func (m *Main) allGroups(s *settings) (names []string) {
	l, err := m.load(s)
	if err != nil {
		return nil
	}
	for _, g := range l.Groups {
		names = append(names, g.Name)
	}
	return names
}
