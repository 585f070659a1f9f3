// This file is "group": the groups in the config file.

package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/postbus/postbus/config/userfile"
)

func (m *Main) groupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "group",
		Short: "Edit the groups in the config file: rules that users share",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(m.groupAdd(), m.groupRemove(), m.groupList())
	return cmd
}

func (m *Main) groupAdd() *cobra.Command {
	var s settings
	var g userfile.Group
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a group; postbus user set NAME --group GROUP lets a user have its rules",
		Example: `  postbus group add family --publish 'home/#' --subscribe 'home/#' --deny 'home/safe/#'
  postbus group add devices --publish 'dev/${user}/${client}/#'`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return m.editUsers(&s, func(f *userfile.File) error {
				if f.HasGroup(args[0]) {
					return withHint(fmt.Errorf("group %q already exists", args[0]), "its rules are in the config file, under groups")
				}
				if err := userfile.CheckGroup(args[0], g); err != nil {
					return err
				}
				return f.SetGroup(args[0], &g)
			}, "added group %s", args[0])
		},
	}
	s.configFlag(cmd)
	ruleFlags(cmd, "its users", &g.Publish, &g.Subscribe, &g.Deny)
	cmd.Flags().BoolVar(&g.Admin, "admin", false, "its users may administer the bus")
	return cmd
}

func (m *Main) groupRemove() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:               "remove NAME",
		Short:             "Remove a group that no user is in",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: m.completeGroups(&s),
		RunE: func(_ *cobra.Command, args []string) error {
			return m.editUsers(&s, func(f *userfile.File) error {
				if !f.HasGroup(args[0]) {
					return withHint(fmt.Errorf("unknown group %q", args[0]), "postbus group list shows all groups")
				}
				if users := f.Members(args[0]); len(users) > 0 {
					return withHint(fmt.Errorf("group %q has users: %s", args[0], oneLine(strings.Join(users, ", "))),
						"postbus user set NAME --group replaces the groups of a user")
				}
				return f.SetGroup(args[0], nil)
			}, "removed group %s", args[0])
		},
	}
	s.configFlag(cmd)
	return cmd
}

func (m *Main) groupList() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the groups, their users and their rights",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			l, err := m.load(&s)
			if err != nil {
				return err
			}
			if len(l.Groups) == 0 {
				m.printf("no groups\n")
				return nil
			}
			w := tabwriter.NewWriter(m.Stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tADMIN\tUSERS\tPUBLISH\tSUBSCRIBE\tDENY")
			for _, g := range l.Groups {
				var members []string
				for _, u := range l.Users {
					if slices.Contains(u.Groups, g.Name) {
						members = append(members, u.Name)
					}
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", oneLine(g.Name), yes(g.Admin), filters(members),
					filters(g.Publish), filters(g.Subscribe), filters(g.Deny))
			}
			return w.Flush()
		},
	}
	s.configFlag(cmd)
	return cmd
}
