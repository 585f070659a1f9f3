// This file is "user": the users in the config file.

package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/postbus/postbus/config"
	"github.com/postbus/postbus/config/userfile"
	"github.com/postbus/postbus/config/yamlnode"
)

func (m *Main) userCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Edit the users in the config file; a running bus applies the change at once",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(m.userAdd(), m.userSet(), m.userPasswd(), m.userRemove(), m.userList(), m.userToken())
	return cmd
}

func (m *Main) userAdd() *cobra.Command {
	var s settings
	var u config.User
	var noPassword bool
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a user; the password is asked for, or read from standard input",
		Long: `Add a user. The password is asked for twice on a terminal; otherwise it is the first line of standard
input. Without --publish, --subscribe, --deny and --group the user may publish and read everything, also what
the bus publishes about itself on $SYS and $bus, which # does not match.`,
		Example: `  postbus user add admin
  postbus user add pi --publish 'home/#' --subscribe 'home/#' --deny 'home/safe/#'`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			u.Name = args[0]
			if err := checkColon(u.Name); err != nil {
				return withHint(&usageError{err}, colonHint)
			}
			if u.Publish == nil && u.Subscribe == nil && u.Deny == nil && u.Groups == nil {
				u.Publish, u.Subscribe = []string{"#"}, []string{"#", "$SYS/#", "$bus/#"}
			}
			if noPassword && u.Certificates == nil {
				return usagef("--no-password needs --certificate: the user could not log in")
			}
			hash := sync.OnceValues(m.hash) // the edit may be repeated
			err := m.editUsers(&s, func(f *userfile.File) error {
				if f.Has(u.Name) {
					return withHint(fmt.Errorf("user %q already exists", u.Name),
						"postbus user passwd %s changes the password", u.Name)
				}
				// Everything but the password is checked before the user is asked for it.
				u.Password = userfile.Placeholder
				if err := f.CheckUser(userfile.UserOf(u)); err != nil {
					return err
				}
				var err error
				if u.Password = ""; !noPassword {
					if u.Password, err = hash(); err != nil {
						return err
					}
				}
				return f.Add(u)
			}, "added user %s", u.Name)
			if err == nil && u.Groups == nil && !slices.Contains(u.Subscribe, "$bus/#") {
				fmt.Fprintf(m.Stderr,
					"the dashboard's pages about plugins, sessions and the bus also need --subscribe '$bus/#'\n")
			}
			return err
		},
	}
	s.configFlag(cmd)
	m.userFlags(cmd, &s, &u)
	cmd.Flags().BoolVar(&noPassword, "no-password", false, "the user logs in with a certificate only")
	cmd.Flags().BoolVar(&u.Bridge, "bridge", false,
		"the user is another broker, trusted to state an event's route through bridges")
	return cmd
}

const colonHint = "a browser sends NAME:PASSWORD, and the first colon ends the name"

// checkColon refuses names of new users that can't log in over HTTP.
func checkColon(name string) error {
	if strings.Contains(name, ":") {
		return fmt.Errorf("user %q: a name cannot contain a colon", name)
	}
	return nil
}

// userFlags are those of a user's rights.
func (m *Main) userFlags(cmd *cobra.Command, s *settings, u *config.User) {
	ruleFlags(cmd, "the user", &u.Publish, &u.Subscribe, &u.Deny)
	fl := cmd.Flags()
	fl.StringArrayVar(&u.Groups, "group", nil, "`GROUP` whose rules the user has too; may be repeated")
	fl.StringArrayVar(&u.Certificates, "certificate", nil,
		"`CERTIFICATE` with which clients need no password: 'CN=pi', 'SAN=dns:pi.example' or 'sha256:…'; may be repeated")
	fl.BoolVar(&u.Admin, "admin", false, "the user may administer the bus")
	fl.StringVar(&u.ClientID, "client-id", "",
		"`PATTERN` of the client identifiers that the user may present, such as '${user}-*'")
	_ = cmd.RegisterFlagCompletionFunc("group", m.groupNames(s)) // it fails for flags that do not exist
}

func ruleFlags(cmd *cobra.Command, who string, publish, subscribe, deny *[]string) {
	fl := cmd.Flags()
	fl.StringArrayVar(publish, "publish", nil, "topic `FILTER` that "+who+" may publish to; may be repeated")
	fl.StringArrayVar(subscribe, "subscribe", nil, "topic `FILTER` that "+who+" may read; may be repeated")
	fl.StringArrayVar(deny, "deny", nil,
		"topic `FILTER` that "+who+" may neither publish to nor read; may be repeated")
}

func (m *Main) userSet() *cobra.Command {
	var s settings
	var u config.User
	cmd := &cobra.Command{
		Use:   "set NAME",
		Short: "Change a user's rights",
		Long: `Change a user's rights. Each flag replaces the whole list of that name in the config file, and an empty
value removes it. Everything else stays as it is: other lists, the passwords, comments.`,
		Example: `  postbus user set pi --publish 'home/#' --publish 'garden/#'
  postbus user set pi --group family --deny ''
  postbus user set ann --admin
  postbus user set ann --admin=false`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: m.completeUsers(&s),
		RunE: func(cmd *cobra.Command, args []string) error {
			type change struct {
				key   string
				value any
			}
			changes := map[string]change{
				"publish": {"publish", list(u.Publish)}, "subscribe": {"subscribe", list(u.Subscribe)}, "deny": {"deny", list(u.Deny)},
				"group": {"groups", list(u.Groups)}, "admin": {"admin", u.Admin}, "client-id": {"client_id", u.ClientID}, "certificate": {"certificates", list(u.Certificates)},
			}
			for flag := range changes {
				if !cmd.Flags().Changed(flag) {
					delete(changes, flag)
				}
			}
			if len(changes) == 0 {
				return usagef("nothing to change: give --publish, --subscribe, --deny, --group, --admin, --certificate or --client-id")
			}
			return m.editUsers(&s, func(f *userfile.File) error {
				if !f.Has(args[0]) {
					return noUser(args[0])
				}
				for _, flag := range slices.Sorted(maps.Keys(changes)) {
					if err := f.Set(args[0], changes[flag].key, changes[flag].value); err != nil {
						return err
					}
				}
				user, ok := f.User(args[0])
				if !ok {
					return nil // postbus check says what is wrong
				}
				return f.CheckUser(user)
			}, "changed user %s", args[0])
		},
	}
	s.configFlag(cmd)
	m.userFlags(cmd, &s, &u)
	return cmd
}

// list is a flag's list; one empty value is an empty list.
func list(values []string) []string {
	if len(values) == 1 && values[0] == "" {
		return nil
	}
	return values
}

func (m *Main) userRemove() *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:               "remove NAME",
		Short:             "Remove a user",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: m.completeUsers(&s),
		RunE: func(_ *cobra.Command, args []string) error {
			return m.editUsers(&s, func(f *userfile.File) error {
				if !f.Has(args[0]) {
					return noUser(args[0])
				}
				return f.Remove(args[0])
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
			fmt.Fprintln(w, "NAME\tADMIN\tLOGINS\tGROUPS\tPUBLISH\tSUBSCRIBE\tDENY")
			for _, u := range l.Users {
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", oneLine(u.Name), yes(u.Admin), logins(u, time.Now()), filters(u.Groups),
					filters(u.Publish), filters(u.Subscribe), filters(u.Deny))
			}
			return w.Flush()
		},
	}
	s.configFlag(cmd)
	return cmd
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "-"
}

// logins lists the names of a user's passwords, when they expire, and its certificates.
func logins(u config.User, now time.Time) string {
	var list []string
	if u.Password != "" {
		list = append(list, "(unnamed)")
	}
	for _, p := range u.Passwords {
		switch text := p.Expires.UTC().Format("2006-01-02 15:04"); {
		case p.Expires.IsZero():
			list = append(list, p.Name)
		case now.Before(p.Expires):
			list = append(list, fmt.Sprintf("%s (until %s)", p.Name, text))
		default:
			list = append(list, fmt.Sprintf("%s (expired %s)", p.Name, text))
		}
	}
	list = append(list, u.Certificates...)
	if list == nil {
		return "-"
	}
	return oneLine(strings.Join(list, ", "))
}

func filters(list []string) string {
	if len(list) == 0 {
		return "-"
	}
	return oneLine(strings.Join(list, " "))
}

// editUsers edits the config file and prints done. It may call edit again, see userfile.Edit.
func (m *Main) editUsers(s *settings, edit func(*userfile.File) error, done string, args ...any) error {
	file, err := m.configFile(s)
	if err != nil {
		return err
	}
	if err := userfile.Edit(file, edit); err != nil {
		return unreadable(file, err)
	}
	m.printf(done+" in %s\n", append(args, m.shown(file))...)
	m.warnReadable(file)
	if _, err := m.load(s); err != nil {
		fmt.Fprintf(m.Stderr, "the config has other errors: postbus check shows them\n")
	}
	return nil
}

// openUserFile opens a config file, to look at it.
func openUserFile(file string) (*userfile.File, error) {
	f, err := userfile.Open(file)
	return f, unreadable(file, err)
}

// unreadable makes errors in the text of a file a configError.
func unreadable(file string, err error) error {
	var list yamlnode.Errors
	if errors.As(err, &list) {
		return &configError{where: file, list: list}
	}
	return err
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
