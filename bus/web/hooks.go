package web

// This file mounts the web hooks of plugins below /hooks/. They change while the server runs.

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
)

const hookRoot = "/hooks/"

type hooks struct {
	mu     sync.RWMutex
	byPath map[string]*hook
}

type hook struct {
	owner  string
	public bool
	h      http.Handler
}

// Mount serves path, which begins with /hooks/, with h. public means that h itself authenticates
// its callers: requests may have any Host and Origin header then, as behind a proxy. Mounting again
// under the same owner replaces the handler; remove unmounts it unless it was replaced. A path of
// another owner is an error.
func (s *Server) Mount(owner, path string, public bool, h http.Handler) (remove func(), err error) {
	if !strings.HasPrefix(path, hookRoot) || path == hookRoot {
		return nil, fmt.Errorf("the path %q does not begin with %s", path, hookRoot)
	}
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	if old := s.hooks.byPath[path]; old != nil && old.owner != owner {
		return nil, fmt.Errorf("the path %s is already used by the plugin %s", path, old.owner)
	}
	mine := &hook{owner, public, h}
	if s.hooks.byPath == nil {
		s.hooks.byPath = map[string]*hook{}
	}
	s.hooks.byPath[path] = mine
	return func() {
		s.hooks.mu.Lock()
		defer s.hooks.mu.Unlock()
		if s.hooks.byPath[path] == mine {
			delete(s.hooks.byPath, path)
		}
	}, nil
}

func (s *Server) hookFor(r *http.Request) *hook {
	s.hooks.mu.RLock()
	defer s.hooks.mu.RUnlock()
	return s.hooks.byPath[r.URL.Path]
}

// publicHooks accepts requests from any origin for hooks that authenticate their callers
// themselves.
func (s *Server) publicHooks(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := s.hookFor(r); h != nil && h.public {
			secure(w.Header())
			h.h.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) hook(w http.ResponseWriter, r *http.Request) {
	h := s.hookFor(r)
	if h == nil {
		fail(w, http.StatusNotFound, "a plugin with source: {webhook: {path: "+r.URL.Path+"}} would serve it", "there is no %s", r.URL.Path)
		return
	}
	if id, _ := s.identify(w, r); id == nil { // the hook does not authenticate its callers, so the bus does
		return
	}
	h.h.ServeHTTP(w, r)
}
