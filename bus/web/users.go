package web

// This file is /api/v1/users.

import (
	"errors"
	"net/http"
	"slices"
)

var errPasswords = errors.New("passwords are not changed with the rights")

func (s *Server) users(w http.ResponseWriter, r *http.Request) {
	if _, ok := s.accountAdmin(w, r); ok {
		list, _ := s.o.Accounts.Accounts()
		answerPage(w, r, list)
	}
}

func (s *Server) user(w http.ResponseWriter, r *http.Request) {
	if _, ok := s.accountAdmin(w, r); ok {
		s.answerUser(w, http.StatusOK, r.PathValue("name"))
	}
}

// answerUser answers with a user as it is now.
func (s *Server) answerUser(w http.ResponseWriter, status int, name string) {
	list, _ := s.o.Accounts.Accounts()
	answerAccount(w, status, list, name)
}

func (s *Server) putUser(w http.ResponseWriter, r *http.Request) {
	e, ok := s.accountAdmin(w, r)
	if !ok {
		return
	}
	var in struct {
		User
		Password string `json:"password"`
	}
	if !accountBody(w, r, &in, &in.Name) {
		return
	}
	status := http.StatusOK
	match := e.Match
	e.Match = func(current any) error {
		u, exists := current.(User)
		if status = http.StatusOK; !exists {
			status = http.StatusCreated
		}
		// A client may send back what it got. A list that differs would change nothing, silently.
		if in.Passwords != nil && !slices.EqualFunc(in.Passwords, u.Passwords, samePassword) {
			return &AccountError{http.StatusBadRequest, errPasswords, `PUT /api/v1/users/{name}/passwords/{label} sets one; leave "passwords" out`}
		}
		return match(current)
	}
	if s.changed(w, r, e, s.o.Accounts.PutUser(e, in.User, in.Password), "user changed", "user", in.Name) {
		s.answerUser(w, status, in.Name)
	}
}

func (s *Server) removeUser(w http.ResponseWriter, r *http.Request) {
	e, ok := s.accountAdmin(w, r)
	if !ok {
		return
	}
	name := r.PathValue("name")
	if s.changed(w, r, e, s.o.Accounts.RemoveUser(e, name), "user removed", "user", name) {
		w.WriteHeader(http.StatusNoContent)
	}
}

const passwordForm = `{"password": "…"}; one with a name may have "expires": "90d" or "2027-01-31T12:00:00Z", too`

func (s *Server) putPassword(w http.ResponseWriter, r *http.Request) {
	e, ok := s.accountAdmin(w, r)
	if !ok || !sentJSON(w, r) {
		return
	}
	var in struct {
		Password string `json:"password"`
		Expires  string `json:"expires"`
	}
	if err := readJSON(w, r, 16<<10, &in); err != nil {
		fail(w, http.StatusBadRequest, passwordForm, "%v", err)
		return
	}
	user, label := r.PathValue("name"), r.PathValue("label")
	switch {
	case in.Password == "":
		fail(w, http.StatusBadRequest, passwordForm, "the password is empty")
	case in.Expires != "" && label == "":
		fail(w, http.StatusBadRequest, "PUT /api/v1/users/{name}/passwords/{label} sets one with a name", "only a password with a name expires")
	case s.changed(w, r, e, s.o.Accounts.PutPassword(e, user, label, in.Password, in.Expires), "password changed", "user", user, "password", label):
		s.answerUser(w, http.StatusOK, user)
	}
}

func (s *Server) removePassword(w http.ResponseWriter, r *http.Request) {
	e, ok := s.accountAdmin(w, r)
	if !ok {
		return
	}
	user, label := r.PathValue("name"), r.PathValue("label")
	if s.changed(w, r, e, s.o.Accounts.RemovePassword(e, user, label), "password removed", "user", user, "password", label) {
		w.WriteHeader(http.StatusNoContent)
	}
}

func samePassword(a, b Password) bool { return a.Name == b.Name && a.Expires.Equal(b.Expires) }
