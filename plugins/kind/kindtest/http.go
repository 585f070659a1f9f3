package kindtest

// This file is the fake's HTTP listener and its log.

import (
	"bytes"
	"log/slog"
	"net/http"
	"sync"
)

// mountedHandler is a handler at a path.
type mountedHandler struct {
	http.Handler
	public bool
}

// Handle mounts a handler, which ServeHTTP calls.
func (b *Bus) Handle(path string, public bool, h http.Handler) (func(), error) {
	b.Mu.Lock()
	defer b.Mu.Unlock()
	if b.HandleError != nil {
		return nil, b.HandleError
	}
	m := &mountedHandler{h, public}
	b.mounted[path] = m
	return func() {
		b.Mu.Lock()
		defer b.Mu.Unlock()
		if b.mounted[path] == m {
			delete(b.mounted, path)
		}
	}, nil
}

// Mounted reports whether a handler is mounted at a path, and whether it is public.
func (b *Bus) Mounted(path string) (is, public bool) {
	b.Mu.Lock()
	defer b.Mu.Unlock()
	m := b.mounted[path]
	return m != nil, m != nil && m.public
}

// ServeHTTP calls the handler that is mounted at the request's path, so that a Bus is the handler
// of an httptest.Server.
func (b *Bus) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.Mu.Lock()
	m := b.mounted[r.URL.Path]
	b.Mu.Unlock()
	if m == nil {
		http.NotFound(w, r)
		return
	}
	m.ServeHTTP(w, r)
}

// Log records everything, from level debug on, for Logged.
func (b *Bus) Log() *slog.Logger {
	return slog.New(slog.NewTextHandler(&b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// Logged returns the lines of the log, in the format of slog.TextHandler.
func (b *Bus) Logged() string {
	b.log.mu.Lock()
	defer b.log.mu.Unlock()
	return b.log.text.String()
}

// recorder is a log's text.
type recorder struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(p)
}
