package web

// This file is the form of answers: JSON, also for errors.

import (
	"encoding/json"
	"fmt"
	"net/http"
)

type problem struct {
	Error string `json:"error"`
	Hint  string `json:"hint,omitempty"`
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // on an error the client has disconnected
}

func fail(w http.ResponseWriter, status int, hint, format string, args ...any) {
	answer(w, status, problem{Error: fmt.Sprintf(format, args...), Hint: hint})
}

// plainErrors gives the mux's own answers (404, 405) the form of all others.
func plainErrors(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		rec := &statusOnly{ResponseWriter: w}
		mux.ServeHTTP(rec, r)
		switch rec.status {
		case http.StatusMethodNotAllowed:
			fail(w, rec.status, "allowed: "+w.Header().Get("Allow"),
				"the method %s is not allowed for %s", r.Method, r.URL.Path)
		default:
			fail(w, http.StatusNotFound, "/api lists all endpoints", "there is no %s", r.URL.Path)
		}
	})
}

// statusOnly keeps the headers of an answer and drops its body.
type statusOnly struct {
	http.ResponseWriter
	status int
}

func (s *statusOnly) WriteHeader(status int)      { s.status = status }
func (s *statusOnly) Write(p []byte) (int, error) { return len(p), nil }
