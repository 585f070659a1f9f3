// This file is "user": the users in the config file.

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/postbus/postbus/bus/auth"
	"github.com/postbus/postbus/config"
)

func (m *Main) userCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Edit the users in the config file; a running bus applies the change at once",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(m.userAdd(), m.userPasswd(), m.userRemove(), m.userList(), m.userToken())
	return cmd
}

func (m *Main) userAdd() *cobra.Command {
	var s settings
	var u config.User
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a user; the password is asked for, or read from standard input",
		Long: `Add a user. The password is asked for twice on a terminal; otherwise it is the first line of standard
input. Without --publish, --subscribe and --deny the user may publish and read everything, also what the
bus publishes about itself on $SYS and $bus, which # does not match.`,
		Example: `  postbus user add admin
  postbus user add pi --publish 'home/#' --subscribe 'home/#' --deny 'home/safe/#'`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			u.Name = args[0]
			if strings.Contains(u.Name, ":") {
				return withHint(usagef("user %q: a name cannot contain a colon", u.Name),
					"a browser sends NAME:PASSWORD, and the first colon ends the name")
			}
			if u.Publish == nil && u.Subscribe == nil && u.Deny == nil {
				u.Publish, u.Subscribe = []string{"#"}, []string{"#", "$SYS/#", "$bus/#"}
			}
			err := m.editUsers(&s, func(f *userFile) error {
				if f.has(u.Name) {
					return withHint(fmt.Errorf("user %q already exists", u.Name),
						"postbus user passwd %s changes the password", u.Name)
				}
				// Everything but the password is checked before the user is asked for it.
				u.Password = placeholder
				if err := checkUser(u); err != nil {
					return err
				}
				var err error
				if u.Password, err = m.hash(); err != nil {
					return err
				}
				return f.add(u)
			}, "added user %s", u.Name)
			if err == nil && !slices.Contains(u.Subscribe, "$bus/#") {
				fmt.Fprintf(m.Stderr,
					"the dashboard's pages about plugins, sessions and the bus also need --subscribe '$bus/#'\n")
			}
			return err
		},
	}
	s.configFlag(cmd)
	fl := cmd.Flags()
	fl.StringArrayVar(&u.Publish, "publish", nil, "topic `FILTER` that the user may publish to; may be repeated")
	fl.StringArrayVar(&u.Subscribe, "subscribe", nil, "topic `FILTER` that the user may read; may be repeated")
	fl.StringArrayVar(&u.Deny, "deny", nil,
		"topic `FILTER` that the user may neither publish to nor read; may be repeated")
	fl.StringVar(&u.ClientID, "client-id", "",
		"`PATTERN` of the client identifiers that the user may present, such as '${user}-*'")
	fl.BoolVar(&u.Bridge, "bridge", false,
		"the user is another broker, trusted to state an event's route through bridges")
	return cmd
}

func (m *Main) userPasswd() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:               "passwd NAME",
		Short:             "Change a user's password",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: m.completeUsers(&s),
		RunE: func(_ *cobra.Command, args []string) error {
			return m.editUsers(&s, func(f *userFile) error {
				if !f.has(args[0]) {
					return noUser(args[0])
				}
				h, err := m.hash()
				if err != nil {
					return err
				}
				return f.setPassword(args[0], h)
			}, "changed the password of %s", args[0])
		},
	}
	s.configFlag(cmd)
	return cmd
}

func (m *Main) userRemove() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:               "remove NAME",
		Short:             "Remove a user",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: m.completeUsers(&s),
		RunE: func(_ *cobra.Command, args []string) error {
			return m.editUsers(&s, func(f *userFile) error {
				if !f.has(args[0]) {
					return noUser(args[0])
				}
				return f.remove(args[0])
			}, "removed user %s", args[0])
		},
	}
	s.configFlag(cmd)
	return cmd
}

func noUser(name string) error {
	return withHint(fmt.Errorf("unknown user %q", name), "postbus user list shows all users")
}

func (m *Main) userList() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the users and their rights",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			l, err := m.load(&s)
			if err != nil {
				return err
			}
			if len(l.Users) == 0 {
				m.printf("no users\n")
				return nil
			}
			w := tabwriter.NewWriter(m.Stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "NAME\tPUBLISH\tSUBSCRIBE\tDENY")
			for _, u := range l.Users {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", u.Name, filters(u.Publish), filters(u.Subscribe), filters(u.Deny))
			}
			return w.Flush()
		},
	}
	s.configFlag(cmd)
	return cmd
}

func filters(list []string) string {
	if len(list) == 0 {
		return "-"
	}
	return oneLine(strings.Join(list, " "))
}

// editUsers reads the file, lets edit change it, writes it and prints done.
func (m *Main) editUsers(s *settings, edit func(*userFile) error, done string, args ...any) error {
	file, err := m.configFile(s)
	if err != nil {
		return err
	}
	f, err := openUserFile(file)
	if err != nil {
		return err
	}
	if err := edit(f); err != nil {
		return err
	}
	if err := f.save(); err != nil {
		return err
	}
	m.printf(done+" in %s\n", append(args, m.shown(file))...)
	m.warnReadable(file)
	if _, err := m.load(s); err != nil {
		fmt.Fprintf(m.Stderr, "the config has other errors: postbus check shows them\n")
	}
	return nil
}

// warnReadable warns when all users of this machine can read a file with hashes. Its group may read
// it: that is how a service reads files of root. Windows has no such modes.
func (m *Main) warnReadable(file string) {
	if runtime.GOOS == "windows" {
		return
	}
	st, err := os.Stat(file)
	if err != nil || st.Mode().Perm()&0o004 == 0 {
		return
	}
	if dir, err := os.Stat(filepath.Dir(file)); err != nil || dir.Mode().Perm()&0o001 == 0 {
		return // other users can't reach the file
	}
	name := oneLine(m.shown(file))
	m.warn("every user of this machine can read the hashes in "+name, "chmod o-rwx "+name)
}

// hash asks for a password and hashes it.
func (m *Main) hash() (string, error) {
	p, err := m.askPassword()
	if err != nil {
		return "", err
	}
	switch {
	case p == "":
		return "", errors.New("the password is empty")
	case len(p) > auth.MaxPassword:
		return "", fmt.Errorf("the password has more than %d bytes", auth.MaxPassword)
	}
	return auth.Hash(p)
}

func (m *Main) askPassword() (string, error) {
	f, ok := m.Stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		line, err := bufio.NewReader(io.LimitReader(m.Stdin, 64<<10)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		line = strings.TrimRight(line, "\r\n")
		if line == "" {
			return "", withHint(errors.New("no password on standard input"),
				"run it on a terminal, or: printf '%%s' \"$PASSWORD\" | postbus user add NAME")
		}
		return line, nil
	}
	ask := func(prompt string) (string, error) {
		fmt.Fprint(m.Stderr, prompt)
		b, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(m.Stderr)
		return string(b), err
	}
	p, err := ask("password: ")
	if err != nil {
		return "", err
	}
	again, err := ask("again: ")
	if err != nil {
		return "", err
	}
	if p != again {
		return "", errors.New("the two passwords differ")
	}
	return p, nil
}
