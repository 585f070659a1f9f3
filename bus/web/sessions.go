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
	list := s.bus.Sessions()
	if list == nil {
		list = []bus.SessionInfo{}
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
	var info *bus.SessionInfo
	for _, i := range s.bus.Sessions() {
		if i.Name == name {
			info = &i
			break
		}
	}
	// Only the filter "#", and filters that are as wide, match "#" as a topic name.
	mayAll := id.MayPublish("#")
	switch {
	case info == nil:
		fail(w, http.StatusNotFound, "", "no session is called %q", name)
	case info.User != user && !mayAll:
		s.forbid(w, r, "the session %q belongs to another user", name)
	case info.Online:
		fail(w, http.StatusConflict, "stop the client first: it would open the session again",
			"the session %q has a connection", name)
	default:
		s.drop(w, r, name)
	}
}

func (s *Server) drop(w http.ResponseWriter, r *http.Request, name string) {
	err := s.bus.Drop(r.Context(), name)
	switch {
	case errors.Is(err, bus.ErrNoSession):
		fail(w, http.StatusNotFound, "", "no session is called %q", name)
	case err != nil:
		fail(w, http.StatusServiceUnavailable, "", "%v", err)
	default:
		s.log.Info("session dropped over HTTP", "session", name, "remote", r.RemoteAddr)
		w.WriteHeader(http.StatusNoContent)
	}
}
