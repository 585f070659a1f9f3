// This file edits the users and groups in the config file for the HTTP API: verify, write, commit.

package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/postbus/postbus/bus/auth"
	"github.com/postbus/postbus/bus/web"
	"github.com/postbus/postbus/config"
	"github.com/postbus/postbus/config/userfile"
	"github.com/postbus/postbus/config/yamlnode"
)

// accounts are the users and groups of a running bus. The zero accounts know none: it is not open yet.
type accounts struct{ reloader atomic.Pointer[reloader] }

var _ web.Accounts = (*accounts)(nil)

// Accounts implements web.Accounts.
func (a *accounts) Accounts() (users []web.User, groups []web.Group) {
	r := a.reloader.Load()
	if r == nil {
		return nil, nil
	}
	r.mu.Lock()
	c := r.current
	r.mu.Unlock()
	for _, u := range c.Users {
		users = append(users, shownUser(u))
	}
	for _, g := range c.Groups {
		groups = append(groups, shownGroup(g))
	}
	slices.SortFunc(users, func(a, b web.User) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(groups, func(a, b web.Group) int { return strings.Compare(a.Name, b.Name) })
	return users, groups
}

func shownUser(u config.User) web.User {
	w := web.User{Name: u.Name, Publish: texts(u.Publish), Subscribe: texts(u.Subscribe), Deny: texts(u.Deny), Groups: texts(u.Groups), Admin: u.Admin,
		ClientID: u.ClientID, Certificates: u.Certificates, Bridge: u.Bridge, Passwords: []web.Password{}}
	if u.Password != "" {
		w.Passwords = append(w.Passwords, web.Password{})
	}
	for _, p := range u.Passwords {
		w.Passwords = append(w.Passwords, web.Password{Name: p.Name, Expires: p.Expires})
	}
	return w
}

func shownGroup(g config.Group) web.Group {
	return web.Group{Name: g.Name, Publish: texts(g.Publish), Subscribe: texts(g.Subscribe), Deny: texts(g.Deny), Admin: g.Admin}
}

// texts is a list that JSON shows as [] when it is empty.
func texts(list []string) []string { return append([]string{}, list...) }

// userOf returns a user of a config; the one shown is nil if there is none.
func userOf(c *config.Config, name string) (u config.User, shown any) {
	i := slices.IndexFunc(c.Users, func(u config.User) bool { return u.Name == name })
	if i < 0 {
		return config.User{Name: name}, nil
	}
	return c.Users[i], shownUser(c.Users[i])
}

// PutUser implements web.Accounts.
func (a *accounts) PutUser(e web.Edit, want web.User, password string) error {
	hash, err := a.hash(e, password)
	if err != nil {
		return err
	}
	return a.edit(e, func(f *userfile.File, before *config.Config) error {
		u, shown := userOf(before, want.Name)
		if err := e.Match(shown); err != nil {
			return err
		}
		old := u
		u.Publish, u.Subscribe, u.Deny, u.Groups = want.Publish, want.Subscribe, want.Deny, want.Groups
		u.Admin, u.ClientID, u.Certificates, u.Bridge = want.Admin, want.ClientID, want.Certificates, want.Bridge
		if hash != "" {
			u.Password = hash
		}
		switch {
		case u.Password == "" && len(u.Passwords) == 0 && len(u.Certificates) == 0:
			return refuse(http.StatusBadRequest, `send "password", or the "certificates" of the user's clients`, "the user %q could not log in: no password", u.Name)
		case shown != nil:
			return setUser(f, old, u)
		}
		if err := checkColon(u.Name); err != nil {
			return &web.AccountError{Status: http.StatusBadRequest, Err: err, Hint: colonHint}
		}
		return f.Add(u)
	})
}

// setUser writes what differs, so that the rest of the entry keeps its form.
func setUser(f *userfile.File, old, u config.User) error {
	for _, key := range []struct {
		name     string
		old, new any
	}{
		{"password", old.Password, u.Password}, {"publish", old.Publish, u.Publish}, {"subscribe", old.Subscribe, u.Subscribe}, {"deny", old.Deny, u.Deny},
		{"groups", old.Groups, u.Groups}, {"certificates", old.Certificates, u.Certificates}, {"client_id", old.ClientID, u.ClientID},
		{"admin", old.Admin, u.Admin}, {"bridge", old.Bridge, u.Bridge},
	} {
		if reflect.DeepEqual(key.old, key.new) || emptyLists(key.old, key.new) {
			continue
		}
		if err := f.Set(u.Name, key.name, key.new); err != nil {
			return err
		}
	}
	return nil
}

func emptyLists(a, b any) bool {
	x, isList := a.([]string)
	return isList && len(x) == 0 && len(b.([]string)) == 0
}

// RemoveUser implements web.Accounts.
func (a *accounts) RemoveUser(e web.Edit, name string) error {
	return a.editUser(e, name, func(f *userfile.File, _ userfile.User) error { return f.Remove(name) })
}

// PutPassword implements web.Accounts.
func (a *accounts) PutPassword(e web.Edit, user, name, password, expires string) error {
	var until time.Time
	if expires != "" {
		var err error
		if until, err = parseExpiry(expires, time.Now()); err != nil {
			return refuse(http.StatusBadRequest, "", "expires: %v", err)
		}
	}
	hash, err := a.hash(e, password)
	if err != nil {
		return err
	}
	return a.editUser(e, user, func(f *userfile.File, u userfile.User) error {
		if name == "" {
			return f.SetPassword(user, hash)
		}
		return f.Set(user, "passwords", u.WithPassword(userfile.Password{Name: name, Hash: hash, Expires: until}).Passwords)
	})
}

// RemovePassword implements web.Accounts.
func (a *accounts) RemovePassword(e web.Edit, user, name string) error {
	return a.editUser(e, user, func(f *userfile.File, u userfile.User) error {
		switch exists := slices.ContainsFunc(u.Passwords, func(p userfile.Password) bool { return p.Name == name }); {
		case name == "" && u.Password == "":
			return refuse(http.StatusNotFound, "GET /api/v1/users/{name} lists the passwords with names", "user %q has no password without a name", user)
		case name != "" && !exists:
			return refuse(http.StatusNotFound, "GET /api/v1/users/{name} lists the passwords", "user %q has no password called %q", user, name)
		}
		err := removePassword(f, u, name, name != "")
		if h := (*hintError)(nil); errors.As(err, &h) {
			return refuse(http.StatusConflict, "set another password first, or DELETE the user", "%v", err)
		}
		return err
	})
}

// editUser changes a user that exists.
func (a *accounts) editUser(e web.Edit, user string, change func(*userfile.File, userfile.User) error) error {
	return a.edit(e, func(f *userfile.File, before *config.Config) error {
		u, shown := userOf(before, user)
		switch err := e.Match(shown); {
		case err != nil:
			return err
		case shown == nil:
			return refuse(http.StatusNotFound, "", "no user is called %q", user)
		}
		return change(f, userfile.UserOf(u))
	})
}

// groupOf returns a group of a config, as it is shown; nil if there is none.
func groupOf(c *config.Config, name string) (shown any) {
	for _, g := range c.Groups {
		if g.Name == name {
			return shownGroup(g)
		}
	}
	return nil
}

// PutGroup implements web.Accounts.
func (a *accounts) PutGroup(e web.Edit, g web.Group) error {
	return a.edit(e, func(f *userfile.File, before *config.Config) error {
		shown := groupOf(before, g.Name)
		if err := e.Match(shown); err != nil {
			return err
		}
		if reflect.DeepEqual(shown, shownGroup(config.Group(g))) {
			return nil // the entry keeps its form
		}
		return f.SetGroup(g.Name, &userfile.Group{Publish: g.Publish, Subscribe: g.Subscribe, Deny: g.Deny, Admin: g.Admin})
	})
}

// RemoveGroup implements web.Accounts.
func (a *accounts) RemoveGroup(e web.Edit, name string) error {
	return a.edit(e, func(f *userfile.File, before *config.Config) error {
		shown := groupOf(before, name)
		switch err := e.Match(shown); {
		case err != nil:
			return err
		case shown == nil:
			return refuse(http.StatusNotFound, "", "no group is called %q", name)
		}
		if users := f.Members(name); len(users) > 0 {
			return refuse(http.StatusConflict, `PUT the users without it in "groups" first`, "group %q has users: %s", name, few(users))
		}
		return f.SetGroup(name, nil)
	})
}

// few names the first of many.
func few(names []string) string {
	const most = 10
	text := oneLine(strings.Join(names[:min(most, len(names))], ", "))
	if len(names) > most {
		text += fmt.Sprintf(" and %d more", len(names)-most)
	}
	return text
}

func refuse(status int, hint, format string, args ...any) error {
	return &web.AccountError{Status: status, Err: fmt.Errorf(format, args...), Hint: hint}
}

// hash hashes a password in the queue of the logins; "" for none.
func (a *accounts) hash(e web.Edit, password string) (string, error) {
	r := a.reloader.Load()
	switch {
	case password == "" || r == nil:
		return "", nil
	case len(password) > auth.MaxPassword:
		return "", refuse(http.StatusBadRequest, "", "the password has more than %d bytes", auth.MaxPassword)
	}
	hash, err := r.server.access.verifier.Hash(e.User, e.Address, password)
	if errors.Is(err, auth.ErrBusy) {
		err = tryAgain{err}
	}
	return hash, err
}

// edit changes the config file, and puts the result in force, all or nothing. change gets the file and
// the config that it holds, which is valid. Holding the lock keeps a reload from seeing the file
// before the result is in force.
func (a *accounts) edit(e web.Edit, change func(*userfile.File, *config.Config) error) error {
	r := a.reloader.Load()
	if r == nil {
		return refuse(http.StatusServiceUnavailable, "try again", "the bus is starting")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == "" {
		return errNoFile
	}
	file := behindLinks(r.file)
	var v verified
	err := userfile.Edit(file, func(f *userfile.File) error {
		v.discard(r)
		v = verified{}
		if !f.Exists() {
			return errNoFile
		}
		before, err := r.parse(f.Text())
		if err != nil {
			return invalid(http.StatusConflict, "postbus check shows the errors: they must be corrected on the machine of the bus",
				"the config file has errors, so users and groups cannot be edited: ", err)
		}
		if err := change(f, before.Config); err != nil {
			return err
		}
		after, err := r.parse(f.Text())
		if err != nil {
			return invalid(http.StatusBadRequest, "", "", err)
		}
		if v, err = r.verifyUsers(after); err != nil {
			return err
		}
		v.digest = sha256.Sum256(f.Text())
		return v.keepsAdmin(e.By)
	})
	if err != nil {
		v.discard(r)
		return a.failed(r, file, err)
	}
	r.apply(v, "a change over HTTP", "by", e.User, "remote", e.Address)
	r.wrote = v.digest
	return nil
}

var errNoFile = refuse(http.StatusConflict, "postbus user add NAME, on the machine of the bus, makes the file; start the bus with it",
	"the bus has no config file, in which users and groups are kept")

// invalid is an error about a config, without the path of the file, which clients need not know.
func invalid(status int, hint, prefix string, err error) error {
	var list yamlnode.Errors
	if c := (*configError)(nil); errors.As(err, &c) {
		list = c.list
	} else if !errors.As(err, &list) {
		return err
	}
	text := list[0].Reason
	if list[0].Key != "" {
		text = list[0].Key + ": " + text
	}
	if len(list) > 1 {
		text += fmt.Sprintf(" (and %d more)", len(list)-1)
	}
	if hint == "" {
		hint = list[0].Hint
	}
	return refuse(status, hint, "%s%s", prefix, text)
}

// failed is an error of an edit for a client. What only the operator needs is logged.
func (a *accounts) failed(r *reloader, file string, err error) error {
	var known *web.AccountError
	var edit *userfile.Error
	var list yamlnode.Errors
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &known):
		return err
	case errors.As(err, &edit):
		return refuse(http.StatusConflict, edit.Hint(), "%s", strings.TrimPrefix(edit.Error(), file+": "))
	case errors.As(err, &list): // of the text that the edit made or found
		return invalid(http.StatusConflict, "a config file holds at most 1 MiB; users of an application need no entry: docs/security.md", "the config file cannot be edited: ", err)
	case errors.As(err, &path):
		err = path.Err
	case errors.As(err, &link):
		err = link.Err
	default:
		return err
	}
	r.server.log.Error("writing the config file failed: nothing has changed", "file", file, "err", err)
	return refuse(http.StatusServiceUnavailable, "the bus must be allowed to write to the folder of its config file: docs/security.md, Over HTTP", "the config file cannot be written: %v", err)
}
