package web

// This file is /api/v1/users and /api/v1/groups: an administrator edits the users, groups and rules in
// the config file. users.go and groups.go have the requests; this is what they share.
//
// A client must have logged in, although programs of this machine are administrators while there are no
// users. Such a program may run as a user who can't write the config file. If it could make an account
// for itself, it would keep its rights when the bus is opened to the network.

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Accounts is the users and groups in the config file. What its methods change is in the file, and in
// force, when they return. Their errors wrap an *AccountError, or ErrBusy.
type Accounts interface {
	// Accounts returns the users and groups that are in force, in the order of their names.
	Accounts() ([]User, []Group)
	// PutUser makes a user, or replaces its rights; its passwords stay. If password isn't empty, it
	// becomes the one without a name.
	PutUser(e Edit, u User, password string) error
	RemoveUser(e Edit, name string) error
	// PutPassword sets one of a user's passwords; the name is "" for the one without. expires is a
	// duration from now, such as 90d, or a time; "": never.
	PutPassword(e Edit, user, name, password, expires string) error
	RemovePassword(e Edit, user, name string) error
	PutGroup(e Edit, g Group) error
	// RemoveGroup removes a group that no user is in.
	RemoveGroup(e Edit, name string) error
}

// Edit is what all changes of accounts have.
type Edit struct {
	By      Identity // must still be an administrator afterwards
	User    string   // the name of By
	Address string   // with its port
	// Match reports why a user or group must not be changed: a User, a Group, or nil if there is none.
	// What it gets is in the file, which may be newer than what Accounts returns.
	Match func(current any) error
}

// AccountError is why an account isn't changed.
type AccountError struct {
	Status int // of HTTP
	Err    error
	Hint   string
}

func (e *AccountError) Error() string { return e.Err.Error() }

// Unwrap implements errors.
func (e *AccountError) Unwrap() error { return e.Err }

// User is the JSON form of a user. It never has a password or a hash.
type User struct {
	Name         string     `json:"name"`
	Publish      []string   `json:"publish"`
	Subscribe    []string   `json:"subscribe"`
	Deny         []string   `json:"deny"`
	Groups       []string   `json:"groups"`
	Admin        bool       `json:"admin"`
	ClientID     string     `json:"client_id,omitempty"`
	Certificates []string   `json:"certificates,omitempty"`
	Bridge       bool       `json:"bridge,omitempty"`
	Passwords    []Password `json:"passwords"`
}

// Password is the name of a user's password; "" for the one that has none.
type Password struct {
	Name    string    `json:"name"`
	Expires time.Time `json:"expires,omitzero"`
}

// Group is the JSON form of a group.
type Group struct {
	Name      string   `json:"name"`
	Publish   []string `json:"publish"`
	Subscribe []string `json:"subscribe"`
	Deny      []string `json:"deny"`
	Admin     bool     `json:"admin"`
}

// maxAccount is the maximum size of a body: some thousand filters.
const maxAccount = 64 << 10

// accountAdmin returns what an edit by the client of a request needs. It answers the request of who may
// not edit accounts.
func (s *Server) accountAdmin(w http.ResponseWriter, r *http.Request) (e Edit, ok bool) {
	id, user := s.identify(w, r)
	switch {
	case id == nil:
		return e, false
	case user == "" || !Administers(id):
		s.refuse(w, r, user, user == "", "log in as an administrator; postbus user add NAME --admin, on the machine of the bus, makes the first",
			"users and groups: only administrators who have logged in have access")
		return e, false
	}
	return Edit{By: id, User: user, Address: r.RemoteAddr, Match: func(current any) error { return matches(r.Header, current) }}, true
}

// tagOf identifies a state of a user or a group.
func tagOf(account any) string {
	text, err := json.Marshal(account)
	if err != nil {
		panic(err) // texts and times
	}
	sum := sha256.Sum256(text)
	return `"` + hex.EncodeToString(sum[:12]) + `"`
}

// matches checks If-Match and If-None-Match of a request for a change [RFC 9110, 13.1].
func matches(h http.Header, current any) error {
	tag := ""
	if current != nil {
		tag = tagOf(current)
	}
	has := func(name string) bool {
		for _, t := range strings.Split(strings.Join(h.Values(name), ","), ",") {
			if t = strings.TrimSpace(t); tag != "" && (t == "*" || t == tag) {
				return true
			}
		}
		return false
	}
	if h.Values("If-Match") != nil && !has("If-Match") {
		err := errors.New("it was changed since you read it")
		if current == nil {
			err = errors.New("it does not exist")
		}
		return &AccountError{http.StatusPreconditionFailed, err, "read it again; If-Match is the ETag of the answer"}
	}
	if h.Values("If-None-Match") != nil && has("If-None-Match") {
		return &AccountError{http.StatusPreconditionFailed, errors.New("it already exists"), "without If-None-Match it is replaced"}
	}
	return nil
}

// changed answers a request that changed an account, or could not.
func (s *Server) changed(w http.ResponseWriter, r *http.Request, e Edit, err error, what string, args ...any) (ok bool) {
	var a *AccountError
	switch {
	case err == nil:
		s.log.Info(what+" over HTTP", append(args, "by", e.User, "remote", r.RemoteAddr)...)
		return true
	case errors.Is(err, ErrBusy):
		failBusy(w, err)
	case errors.As(err, &a):
		if a.Status == http.StatusNotFound && a.Hint == "" {
			a.Hint = "GET /api/v1/users and /api/v1/groups list them"
		}
		fail(w, a.Status, a.Hint, "%v", a)
	default:
		s.log.Error("changing the config over HTTP failed", "err", err, "by", e.User)
		fail(w, http.StatusInternalServerError, "the log of the bus has the reason", "the change failed")
	}
	return false
}

// account is a user or a group: what is listed and answered in one form.
type account interface {
	User | Group
	account() (kind, name string)
}

func (u User) account() (kind, name string)  { return "user", u.Name }
func (g Group) account() (kind, name string) { return "group", g.Name }

// search returns the index of a name in a list that is ordered by names.
func search[T account](list []T, name string) (i int, ok bool) {
	return slices.BinarySearchFunc(list, name, func(a T, name string) int {
		_, n := a.account()
		return strings.Compare(n, name)
	})
}

// answerAccount answers with the account of a list that has the name. A PUT that made it gets 201.
func answerAccount[T account](w http.ResponseWriter, status int, list []T, name string) {
	i, ok := search(list, name)
	if !ok {
		var none T
		kind, _ := none.account()
		fail(w, http.StatusNotFound, fmt.Sprintf("/api/v1/%ss lists them", kind), "no %s is called %q", kind, name)
		return
	}
	w.Header().Set("ETag", tagOf(list[i]))
	answer(w, status, list[i])
}

// answerPage answers with a part of a list.
func answerPage[T account](w http.ResponseWriter, r *http.Request, list []T) {
	limit, ok := limitOf(w, r)
	if !ok {
		return
	}
	if after := r.URL.Query().Get("after"); after != "" {
		i, found := search(list, after)
		if found {
			i++
		}
		list = list[i:]
	}
	if len(list) > limit {
		list = list[:limit]
		_, last := list[limit-1].account()
		linkNext(w, r, last)
	}
	if list == nil {
		list = []T{}
	}
	answer(w, http.StatusOK, list)
}

// accountBody reads the body of a PUT, whose path has the name that the body may repeat.
func accountBody(w http.ResponseWriter, r *http.Request, v any, name *string) bool {
	if !sentJSON(w, r) {
		return false
	}
	err := readJSON(w, r, maxAccount, v)
	var large *http.MaxBytesError
	switch path := r.PathValue("name"); {
	case errors.As(err, &large):
		fail(w, http.StatusRequestEntityTooLarge, "", "the body has more than %d bytes", maxAccount)
		return false
	case err != nil:
		fail(w, http.StatusBadRequest, accountForm, "%v", err)
		return false
	case *name != "" && *name != path:
		fail(w, http.StatusBadRequest, "a new name is a new account: PUT it, then DELETE the old one", "the body is about %q, the path about %q", *name, path)
		return false
	default:
		*name = path
	}
	return true
}

const accountForm = `{"publish": ["home/#"], "subscribe": ["home/#"], "deny": [], "admin": false}; a user has "groups", "client_id", "certificates", "bridge" and "password", too`
