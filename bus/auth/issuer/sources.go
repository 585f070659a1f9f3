// This file is the places from which keys come: files, and URLs with a copy on disk.

package issuer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/postbus/postbus/bus/internal/remote"
	"github.com/postbus/postbus/bus/quiet"
)

// Sources keeps the keys of issuers fresh, from a start to Close. It outlives Issuers, so that a
// reload of the config fetches nothing again.
type Sources struct {
	o     SourcesOptions
	quiet quiet.Log

	mu  sync.Mutex
	all map[string]*source // by location
}

// SourcesOptions are the options of Sources.
type SourcesOptions struct {
	Dir    string // for copies of what was fetched; it is made when it is needed
	Logger *slog.Logger
	// Write writes a file as a whole, or leaves the old one. Only the owner may read it.
	Write func(file string, data []byte) error
}

// NewSources makes a Sources without any keys.
func NewSources(o SourcesOptions) *Sources {
	return &Sources{o: o, all: map[string]*source{}}
}

// KeysError is an error about the keys of one entry.
type KeysError struct {
	Entry int // its index
	Err   error
}

// Error implements error.
func (e *KeysError) Error() string { return e.Err.Error() }

// Unwrap implements errors.
func (e *KeysError) Unwrap() error { return e.Err }

// Check reads the keys that are files. Its error is a *KeysError.
func Check(entries []Entry) error {
	for n, e := range entries {
		if !isURL(e.Keys) {
			if _, _, err := readKeys(e.Keys); err != nil {
				return &KeysError{n, err}
			}
		}
	}
	return nil
}

// Open returns the Issuers of some entries. It reads files, and its error, a *KeysError, is that one
// of them has no usable keys; then nothing has changed. It waits for no URL: those are fetched
// meanwhile, and until then the copies of the last time are used. Keep ends what no entry needs any
// more.
func (s *Sources) Open(entries []Entry) (*Issuers, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := &Issuers{entries: entries, log: s.o.Logger, quiet: &s.quiet}
	read := map[string]*keySet{}
	for n, e := range entries {
		if isURL(e.Keys) {
			continue
		}
		_, keys, err := readKeys(e.Keys)
		if err != nil {
			return nil, &KeysError{n, err}
		}
		read[e.Keys] = keys
	}
	for _, e := range entries {
		src := s.all[e.Keys]
		if src == nil {
			src = s.newSource(e.Keys)
			src.start(isURL(e.Keys))
			s.all[e.Keys] = src
		}
		if keys := read[e.Keys]; keys != nil {
			src.use(keys)
		}
		i.sources = append(i.sources, src)
	}
	return i, nil
}

// Keep ends all sources but those of i, which may be nil.
func (s *Sources) Keep(i *Issuers) {
	s.mu.Lock()
	defer s.mu.Unlock()
	needed := map[string]bool{}
	if i != nil {
		for _, e := range i.entries {
			needed[e.Keys] = true
		}
	}
	for location, src := range s.all {
		if !needed[location] {
			src.close()
			delete(s.all, location)
		}
	}
}

// Close ends all sources. What they have is still used.
func (s *Sources) Close() { s.Keep(nil) }

func (s *Sources) newSource(location string) *source {
	src := newSource(location, s.o.Logger, &s.quiet)
	if !isURL(location) {
		src.get = func(context.Context) ([]byte, error) {
			data, _, err := readKeys(location)
			return data, err
		}
		return src
	}
	sum := sha256.Sum256([]byte(location))
	copied := filepath.Join(s.o.Dir, hex.EncodeToString(sum[:16])+".json")
	client := newClient()
	src.get = func(ctx context.Context) ([]byte, error) { return fetch(ctx, client, location) }
	src.keep = func(data []byte) error {
		if err := os.MkdirAll(s.o.Dir, 0o700); err != nil {
			return err
		}
		return s.o.Write(copied, data)
	}
	switch _, keys, err := readKeys(copied); {
	case err == nil:
		src.use(keys)
	case !errors.Is(err, fs.ErrNotExist):
		s.o.Logger.Warn("the copy of an issuer's keys is not usable, waiting for the issuer", "keys", src.shown, "err", err)
	}
	return src
}

func isURL(location string) bool { return strings.Contains(location, "://") }

func readKeys(file string) ([]byte, *keySet, error) {
	if info, err := os.Stat(file); err != nil { // before it is opened: a pipe would block
		return nil, nil, err
	} else if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is not a file", file)
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxKeySet+1))
	if err != nil {
		return nil, nil, err
	}
	keys, err := parseKeys(data)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file, err)
	}
	return data, keys, nil
}

func newClient() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableKeepAlives = true // once an hour
	t.MaxResponseHeaderBytes = 64 << 10
	return &http.Client{Transport: t, Timeout: fetchWithin, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		switch {
		case r.URL.Scheme != "https":
			return fmt.Errorf("a redirect to %s is refused: it must be https", r.URL.Scheme)
		case len(via) > 5:
			return errors.New("more than 5 redirects")
		}
		return nil
	}}
}

func fetch(ctx context.Context, client *http.Client, location string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, location, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/jwk-set+json, application/json")
	r.Header.Set("User-Agent", "postbus")
	a, err := client.Do(r)
	if err != nil {
		return nil, remote.WithoutURL(err)
	}
	defer a.Body.Close()
	if a.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the answer is %s", a.Status)
	}
	return io.ReadAll(io.LimitReader(a.Body, MaxKeySet+1)) // parseKeys refuses one that is larger
}
