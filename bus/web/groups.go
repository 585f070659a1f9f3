package web

// This file is /api/v1/groups.

import "net/http"

func (s *Server) groups(w http.ResponseWriter, r *http.Request) {
	if _, ok := s.accountAdmin(w, r); ok {
		_, list := s.o.Accounts.Accounts()
		answerPage(w, r, list)
	}
}

func (s *Server) group(w http.ResponseWriter, r *http.Request) {
	if _, ok := s.accountAdmin(w, r); ok {
		s.answerGroup(w, http.StatusOK, r.PathValue("name"))
	}
}

// answerGroup answers with a group as it is now.
func (s *Server) answerGroup(w http.ResponseWriter, status int, name string) {
	_, list := s.o.Accounts.Accounts()
	answerAccount(w, status, list, name)
}

func (s *Server) putGroup(w http.ResponseWriter, r *http.Request) {
	e, ok := s.accountAdmin(w, r)
	if !ok {
		return
	}
	var in Group
	if !accountBody(w, r, &in, &in.Name) {
		return
	}
	status := http.StatusOK
	match := e.Match
	e.Match = func(current any) error {
		if status = http.StatusOK; current == nil {
			status = http.StatusCreated
		}
		return match(current)
	}
	if s.changed(w, r, e, s.o.Accounts.PutGroup(e, in), "group changed", "group", in.Name) {
		s.answerGroup(w, status, in.Name)
	}
}

func (s *Server) removeGroup(w http.ResponseWriter, r *http.Request) {
	e, ok := s.accountAdmin(w, r)
	if !ok {
		return
	}
	name := r.PathValue("name")
	if s.changed(w, r, e, s.o.Accounts.RemoveGroup(e, name), "group removed", "group", name) {
		w.WriteHeader(http.StatusNoContent)
	}
}
