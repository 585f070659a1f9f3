package web

// This file is POST /api/v1/token: it exchanges a user's password, or a token, for a token that
// expires.

import (
	"errors"
	"net/http"
	"time"
)

// Mint makes a token for an authenticated client. life is a duration such as "1h"; if it is empty,
// Mint chooses. An error that wraps ErrTokenLife is the client's, any other means that tokens are
// not available now.
type Mint func(id Identity, life string) (token string, ends time.Time, err error)

// ErrTokenLife is wrapped by Mint's error when a token cannot have that life.
var ErrTokenLife = errors.New("token not issued")

// minted is the answer.
type minted struct {
	Token   string    `json:"token"`
	User    string    `json:"user"`
	Expires time.Time `json:"expires"`
}

func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	id, user := s.identify(w, r)
	if id == nil {
		return
	}
	if !sentJSON(w, r) {
		return
	}
	var in struct {
		For string `json:"for"`
	}
	err := readJSON(w, r, 1<<10, &in)
	switch {
	case err != nil:
		fail(w, http.StatusBadRequest, `{"for": "1h"}`, "%v", err)
		return
	case user == "" || s.o.Mint == nil:
		challenge(w, r)
		fail(w, http.StatusUnauthorized, "authenticate with a user name and a password",
			"a token belongs to a user, and this client is anonymous")
		return
	}
	token, ends, err := s.o.Mint(id, in.For)
	switch {
	case errors.Is(err, ErrTokenLife):
		fail(w, http.StatusBadRequest, `{"for": "1h"}`, "%v", err)
	case err != nil:
		fail(w, http.StatusServiceUnavailable, "", "%v", err)
	default:
		s.o.Audit.Done("token issued", "user", user, "expires", ends.UTC(), "remote", r.RemoteAddr)
		answer(w, http.StatusOK, minted{token, user, ends.UTC()})
	}
}
