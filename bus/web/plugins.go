package web

// This file is /api/v1/plugins and /api/v1/explain: what the plugins do, and why not.

import (
	"net/http"

	"github.com/postbus/postbus/bus/topic"
)

// Plugins is what is shown of plugins; the values are encoded as JSON as they are.
type Plugins interface {
	List() any
	Get(id string) (v any, ok bool)
	Explain(topic string) any
}

// seesBus answers who may not see the bus, and reports whether the client may.
func (s *Server) seesBus(w http.ResponseWriter, r *http.Request, what string) bool {
	id, _ := s.identify(w, r)
	if id == nil {
		return false
	}
	if !id.MaySubscribe(seeBus) {
		s.forbid(w, r, "%s are for those who may subscribe to %s", what, seeBus)
		return false
	}
	return true
}

func (s *Server) plugins(w http.ResponseWriter, r *http.Request) {
	if s.seesBus(w, r, "plugins") {
		answer(w, http.StatusOK, s.o.Plugins.List())
	}
}

func (s *Server) plugin(w http.ResponseWriter, r *http.Request) {
	if !s.seesBus(w, r, "plugins") {
		return
	}
	v, ok := s.o.Plugins.Get(r.PathValue("id"))
	if !ok {
		fail(w, http.StatusNotFound, "/api/v1/plugins lists them", "no plugin is called %q", r.PathValue("id"))
		return
	}
	answer(w, http.StatusOK, v)
}

func (s *Server) explain(w http.ResponseWriter, r *http.Request) {
	if !s.seesBus(w, r, "explanations") {
		return
	}
	name := r.URL.Query().Get("topic")
	if err := topic.CheckName(name); err != nil {
		fail(w, http.StatusBadRequest, "as in /api/v1/explain?topic=home/x", "topic: %v", err)
		return
	}
	answer(w, http.StatusOK, s.o.Plugins.Explain(name))
}
