package web

// This file is /api/v1/sessions.

import (
	"errors"
	"net/http"

	"github.com/postbus/postbus/bus"
)

func (s *Server) sessions(w http.ResponseWriter, r *http.Request) {
	if !s.seesBus(w, r, "sessions") {
		return
	}
	limit, ok := limitOf(w, r)
	if !ok {
		return
	}
	list := s.bus.SessionsAfter(r.URL.Query().Get("after"), limit+1)
	if len(list) > limit {
		list = list[:limit]
		linkNext(w, r, list[limit-1].Name)
	}
	answer(w, http.StatusOK, list)
}

func (s *Server) dropSession(w http.ResponseWriter, r *http.Request) {
	id, user := s.observer(w, r, "sessions")
	if id == nil {
		return
	}
	name := r.PathValue("name")
	info, exists := s.bus.SessionNamed(name)
	switch {
	case !exists:
		fail(w, http.StatusNotFound, "", "no session is called %q", name)
	case info.User != user && !mayAll(id):
		s.forbid(w, r, user, "the session %q belongs to another user", name)
	case info.Online:
		fail(w, http.StatusConflict, "stop the client first: it would open the session again",
			"the session %q has a connection", name)
	default:
		s.drop(w, r, name, user)
	}
}

func (s *Server) drop(w http.ResponseWriter, r *http.Request, name, user string) {
	err := s.bus.Drop(r.Context(), name)
	switch {
	case errors.Is(err, bus.ErrNoSession):
		fail(w, http.StatusNotFound, "", "no session is called %q", name)
	case err != nil:
		fail(w, http.StatusServiceUnavailable, "", "%v", err)
	default:
		s.did(r, "session dropped", "session", name, "by", user)
		w.WriteHeader(http.StatusNoContent)
	}
}
