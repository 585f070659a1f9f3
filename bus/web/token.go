package web

// This file is POST /api/v1/token: a user's password, or a token, becomes a token that ends.

import (
	"errors"
	"net/http"
	"time"
)

// Mint makes a token for somebody who showed who they are. life is a duration such as "1h"; empty, it is
// for the one that makes them to say. An error that wraps ErrTokenLife is the client's mistake, any other
// means that it cannot be done now.
type Mint func(id Identity, life string) (token string, ends time.Time, err error)

// ErrTokenLife is wrapped by Mint's error when there are no tokens that live so long.
var ErrTokenLife = errors.New("no such token")

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
		fail(w, http.StatusUnauthorized, "ask with a user name and a password", "a token stands for a user, and anonymous is none")
		return
	}
	token, ends, err := s.o.Mint(id, in.For)
	switch {
	case errors.Is(err, ErrTokenLife):
		fail(w, http.StatusBadRequest, `{"for": "1h"}`, "%v", err)
	case err != nil:
		fail(w, http.StatusServiceUnavailable, "", "%v", err)
	default:
		answer(w, http.StatusOK, minted{token, user, ends.UTC()})
	}
}
