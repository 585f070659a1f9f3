package web_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/postbus/postbus/bus/web"
)

// TestPages follows what the dashboard's page loads: all of it comes from this server, and the page
// contains no script or style.
func TestPages(t *testing.T) {
	_, base := start(t, web.Options{Local: true, Examples: fstest.MapFS{"index.html": {Data: []byte("<h1>examples</h1>")}, "chat.js": {Data: []byte("chat()")}}})
	get := func(path string, header ...string) (*http.Response, string) {
		req, err := http.NewRequest("GET", base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
	resp, page := get("/")
	policy := resp.Header.Get("Content-Security-Policy")
	for _, part := range []string{"default-src 'none'", "script-src 'self';", "style-src 'self';", "frame-ancestors 'none'"} {
		if !strings.Contains(policy, part) {
			t.Errorf("no %s in %s", part, policy)
		}
	}
	if strings.Contains(policy, "unsafe") || regexp.MustCompile(`ws: |wss:[ ;]|\*`).MatchString(policy) || !strings.Contains(policy, " ws://"+resp.Request.URL.Host+" ") {
		t.Errorf("%s", policy)
	}
	if regexp.MustCompile(`(?i)<script(?:[^>](?:[^s]|s[^r]))*>[^<]|<style|\son[a-z]+=|\sstyle=|javascript:`).MatchString(page) {
		t.Errorf("script or style in the page:\n%s", page)
	}
	links := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(page, -1)
	if len(links) < 3 {
		t.Fatalf("the page loads %v", links)
	}
	for _, l := range links {
		if strings.Contains(l[1], "//") {
			t.Errorf("%s is elsewhere", l[1])
		}
		path := strings.TrimPrefix(l[1], ".")
		if !strings.HasPrefix(path, "/assets/") {
			continue
		}
		resp, _ := get(path)
		if resp.StatusCode != 200 || !strings.Contains(resp.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d, %s", path, resp.StatusCode, resp.Header.Get("Cache-Control"))
		}
	}
	resp, plain := get("/postbus.js")
	tag := resp.Header.Get("ETag")
	if resp.Header.Get("Content-Type") != "text/javascript; charset=utf-8" || tag == "" {
		t.Errorf("%v", resp.Header)
	}
	if resp, _ := get("/postbus.js", "If-None-Match", tag); resp.StatusCode != http.StatusNotModified {
		t.Errorf("unchanged: %d", resp.StatusCode)
	}
	resp, packed := get("/postbus.js", "Accept-Encoding", "gzip")
	r, err := gzip.NewReader(strings.NewReader(packed))
	if err != nil || resp.Header.Get("Content-Encoding") != "gzip" {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(r); err != nil || string(b) != plain || len(packed) > 120<<10 {
		t.Errorf("%d bytes of %d, %v", len(packed), len(plain), err)
	}
	for path, want := range map[string]string{"/examples/": "<h1>examples</h1>", "/examples/chat.js": "chat()"} {
		if resp, body := get(path); resp.StatusCode != 200 || body != want {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
	}
	if resp, _ := get("/assets/"); resp.StatusCode != 404 {
		t.Errorf("a folder is listed: %d", resp.StatusCode)
	}
}
