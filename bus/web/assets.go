package web

// This file serves the built-in files: the dashboard at /, the browser SDK, the example pages. A
// page loads everything from here; it fetches nothing from other hosts and contains no inline
// script.

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"regexp"
	"strings"
)

//go:embed all:dashboard/dist
var dashboardFiles embed.FS

//go:embed sdk/dist
var sdkFiles embed.FS

// pagePolicy returns the Content-Security-Policy of pages: scripts and styles from this bus, connections
// to this bus only. Browsers before 2022 don't count WebSockets as 'self', so it names the host too.
func pagePolicy(host string) string {
	connect := "'self'"
	if hostForm.MatchString(host) {
		connect += " ws://" + host + " wss://" + host
	}
	return "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; " +
		"connect-src " + connect + "; manifest-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
}

// hostForm matches a host, with or without a port, that can't end a directive.
var hostForm = regexp.MustCompile(`^(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(:[0-9]+)?$`)

// asset is one file, prepared for sending.
type asset struct {
	data, packed []byte // packed is nil when it would not be smaller
	kind, tag    string
	named        bool // its name contains its hash: it never changes
}

// assets are files by URL path.
type assets map[string]*asset

// add adds the files below dir, served below at.
func (a assets) add(at string, files fs.FS, dir string) error {
	return fs.WalkDir(files, dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(name, ".go") {
			return err
		}
		data, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		rel := strings.TrimPrefix(strings.TrimPrefix(name, dir), "/")
		url := path.Join(at, rel)
		one := newAsset(name, data)
		one.named = strings.HasPrefix(rel, "assets/")
		a[url] = one
		if path.Base(name) == "index.html" {
			a[strings.TrimSuffix(url, "index.html")] = one
		}
		return nil
	})
}

// kinds are the types of files that the system's own table may lack or define differently.
var kinds = map[string]string{".js": "text/javascript; charset=utf-8", ".ts": "text/plain; charset=utf-8", ".css": "text/css; charset=utf-8",
	".html": "text/html; charset=utf-8", ".svg": "image/svg+xml", ".json": "application/json", ".map": "application/json", ".webmanifest": "application/manifest+json"}

func newAsset(name string, data []byte) *asset {
	sum := sha256.Sum256(data)
	a := &asset{data: data, tag: `"` + hex.EncodeToString(sum[:12]) + `"`, kind: kinds[path.Ext(name)]}
	if a.kind == "" {
		a.kind = mime.TypeByExtension(path.Ext(name))
	}
	if a.kind == "" {
		a.kind = "application/octet-stream"
	}
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // the level is valid
	_, _ = w.Write(data)
	_ = w.Close() // never fails: it writes to memory
	if b.Len() < len(data)*9/10 {
		a.packed = b.Bytes()
	}
	return a
}

func (a *asset) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", pagePolicy(r.Host))
	h.Set("Content-Type", a.kind)
	h.Set("ETag", a.tag)
	h.Add("Vary", "Accept-Encoding")
	h.Set("Cache-Control", "no-cache") // the browser asks each time and gets 304
	if a.named {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	if r.Header.Get("If-None-Match") == a.tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body := a.data
	if a.packed != nil && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = a.packed
	}
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // on an error the client has disconnected
	}
}

// builtIn returns the files of this package, and the example pages if there are any.
func builtIn(examples fs.FS) (assets, error) {
	a := assets{}
	if err := a.add("/", dashboardFiles, "dashboard/dist"); err != nil {
		return nil, err
	}
	if err := a.add("/", sdkFiles, "sdk/dist"); err != nil {
		return nil, err
	}
	if examples == nil {
		return a, nil
	}
	return a, a.add("/examples", examples, ".")
}
