package web

// This file is /api/v1/plugins and /api/v1/explain: the plugins' state, and the reasons of a
// failure.

import (
	"net/http"

	"github.com/postbus/postbus/bus/topic"
)

// Plugins is the view of the plugins; the values are encoded as JSON unchanged.
type Plugins interface {
	List() any
	Get(id string) (v any, ok bool)
	// GetWithLines is Get with the lines of the file that have errors, for administrators.
	GetWithLines(id string) (v any, ok bool)
	Explain(topic string) any
	// Maker returns what made an event; ok: a plugin did.
	Maker(source, topic string) (v any, ok bool)
	// Timers lists up to n pending timers of a plugin, or of all if id is empty.
	Timers(id string, n int) (v any, ok bool)
	// Figures lists the figures of every plugin, ordered by id.
	Figures() []PluginFigures
}

func (s *Server) plugins(w http.ResponseWriter, r *http.Request) {
	if s.seesBus(w, r, "plugins") {
		answer(w, http.StatusOK, s.o.Plugins.List())
	}
}

func (s *Server) plugin(w http.ResponseWriter, r *http.Request) {
	id, _ := s.observer(w, r, "plugins")
	if id == nil {
		return
	}
	get := s.o.Plugins.Get
	if mayAll(id) {
		get = s.o.Plugins.GetWithLines
	}
	v, ok := get(r.PathValue("id"))
	if !ok {
		fail(w, http.StatusNotFound, "/api/v1/plugins lists them", "no plugin is called %q", r.PathValue("id"))
		return
	}
	answer(w, http.StatusOK, v)
}

// timers lists pending timers. Their keys are parts of events, as traces show them.
func (s *Server) timers(w http.ResponseWriter, r *http.Request) {
	if !s.seesBus(w, r, "timers") {
		return
	}
	n, ok := limitOf(w, r)
	if !ok {
		return
	}
	id := r.URL.Query().Get("plugin")
	v, ok := s.o.Plugins.Timers(id, n)
	if !ok {
		fail(w, http.StatusNotFound, "/api/v1/plugins lists them", "no plugin is called %q", id)
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
