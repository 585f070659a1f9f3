package web

// This file is /api/v1/sessions.

import (
	"errors"
	"net/http"

	"github.com/postbus/postbus/bus"
)

func (s *Server) sessions(w http.ResponseWriter, r *http.Request) {
	id, _ := s.identify(w, r)
	if id == nil {
		return
	}
	if !id.MaySubscribe(seeBus) {
		s.forbid(w, r, "sessions: only users who may subscribe to %s have access", seeBus)
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
	id, user := s.identify(w, r)
	if id == nil {
		return
	}
	name := r.PathValue("name")
	if !id.MaySubscribe(seeBus) {
		s.forbid(w, r, "sessions: only users who may subscribe to %s have access", seeBus)
		return
	}
	info, exists := s.bus.SessionNamed(name)
	switch {
	case !exists:
		fail(w, http.StatusNotFound, "", "no session is called %q", name)
	case info.User != user && !mayAll(id):
		s.forbid(w, r, "the session %q belongs to another user", name)
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
		s.log.Info("session dropped over HTTP", "session", name, "remote", r.RemoteAddr)
		s.o.Audit.Done("session dropped", "session", name, "by", user, "remote", r.RemoteAddr)
		w.WriteHeader(http.StatusNoContent)
	}
}
