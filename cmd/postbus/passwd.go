// This file is "user passwd": the passwords of a user.

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/postbus/postbus/bus/auth"
	"github.com/postbus/postbus/config/userfile"
	"github.com/postbus/postbus/config/yamlnode"
)

func (m *Main) userPasswd() *cobra.Command {
	var s settings
	var name, expires string
	var remove bool
	cmd := &cobra.Command{
		Use:   "passwd NAME",
		Short: "Change, add or remove a user's password",
		Long: `Change a user's password. With --name it is one of several passwords, of a device or a program for example:
it is added, or replaced if there is one of that name. When a password is removed or expires, the clients that
logged in with it are disconnected, and the tokens made with it end; the others stay.`,
		Example: `  postbus user passwd pi
  postbus user passwd pi --name laptop --expires 90d
  postbus user passwd pi --name laptop --expires 2027-01-01
  postbus user passwd pi --name laptop --remove`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: m.completeUsers(&s),
		RunE: func(cmd *cobra.Command, args []string) error {
			user, named := args[0], cmd.Flags().Changed("name")
			var until time.Time
			if cmd.Flags().Changed("expires") {
				var err error
				switch until, err = parseExpiry(expires, time.Now()); {
				case !named:
					return usagef("--expires needs --name: only a password with a name expires")
				case remove:
					return usagef("--expires and --remove exclude each other")
				case err != nil:
					return usagef("--expires: %v", err)
				}
			}
			what := "the password"
			if named {
				what = fmt.Sprintf("the password %s", name)
			}
			done := "changed"
			if remove {
				done = "removed"
			}
			hash := sync.OnceValues(m.hash) // the edit may be repeated
			return m.editUsers(&s, func(f *userfile.File) error {
				if !f.Has(user) {
					return noUser(user)
				}
				u, ok := f.User(user)
				if !ok {
					return withHint(fmt.Errorf("the entry of user %q has errors", user), "postbus check shows them")
				}
				if remove {
					return removePassword(f, u, name, named)
				}
				if named {
					// Everything but the password is checked before the user is asked for it.
					if err := f.CheckUser(u.WithPassword(userfile.Password{Name: name, Hash: userfile.Placeholder, Expires: until})); err != nil {
						return err
					}
				}
				h, err := hash()
				switch {
				case err != nil:
					return err
				case named:
					return f.Set(user, "passwords", u.WithPassword(userfile.Password{Name: name, Hash: h, Expires: until}).Passwords)
				}
				return f.SetPassword(user, h)
			}, done+" %s of %s", what, user)
		},
	}
	s.configFlag(cmd)
	fl := cmd.Flags()
	fl.StringVar(&name, "name", "", "one of several passwords, by its `PASSWORD` name")
	fl.StringVar(&expires, "expires", "", "when the password expires: `DURATION` from now or date (default: never)")
	fl.BoolVar(&remove, "remove", false, "remove the password")
	return cmd
}

// removePassword refuses to remove the last password of a user.
func removePassword(f *userfile.File, u userfile.User, name string, named bool) error {
	key, value := "password", any("")
	if named {
		i := slices.IndexFunc(u.Passwords, func(p userfile.Password) bool { return p.Name == name })
		if i < 0 {
			return noPassword(u.Name, name)
		}
		u.Passwords = slices.Delete(slices.Clone(u.Passwords), i, i+1)
		key, value = "passwords", u.Passwords
	} else if u.Password == "" {
		return withHint(fmt.Errorf("user %q has no password without a name", u.Name), "postbus user list shows the names: --name PASSWORD")
	} else {
		u.Password = ""
	}
	if u.Password == "" && len(u.Passwords) == 0 && len(u.Certs) == 0 {
		return withHint(fmt.Errorf("user %q could not log in without its last password", u.Name),
			"postbus user remove %s removes the user", u.Name)
	}
	return f.Set(u.Name, key, value)
}

func noPassword(user, name string) error {
	return withHint(fmt.Errorf("user %q has no password called %q", user, name), "postbus user list shows the names of passwords")
}

// parseExpiry reads a duration from now, or a time.
func parseExpiry(s string, now time.Time) (time.Time, error) {
	if d, err := yamlnode.ParseDuration(s); err == nil && d > 0 {
		return now.Add(d).UTC().Truncate(time.Second), nil
	}
	t, err := yamlnode.ParseTime(s)
	switch {
	case err != nil:
		return t, fmt.Errorf("want a duration such as 90d, or a time such as 2027-01-01 or 2027-01-01T12:00:00Z, got %q", s)
	case !t.After(now):
		return t, fmt.Errorf("%s is in the past", s)
	}
	return t, nil
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
