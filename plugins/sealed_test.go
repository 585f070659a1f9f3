package plugins

// This file tests secrets in what actions send: they reach the receiver, and nothing else.

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	nethttp "net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

func TestSecretsThatActionsSend(t *testing.T) {
	secrets := t.TempDir()
	log := new(lockedBuffer)
	requests := make(chan string, 10)
	server := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		body, _ := io.ReadAll(r.Body)
		requests <- r.URL.String() + " " + r.Header.Get("Authorization") + " " + r.Header.Get("X-Key") + " " + string(body)
		w.WriteHeader(403)
		io.WriteString(w, "no "+string(body)) // a server may repeat what it got
	}))
	defer server.Close()
	w := newWorld(t, Options{Logger: slog.New(slog.NewTextHandler(log, nil)), SecretDirs: []string{secrets}})
	jobs, dead, trace := w.subscribe("$plugin/a/do/#"), w.subscribe("$bus/dead/#"), w.subscribe("$bus/plugins/a/trace")
	w.write("a.yaml", `
source: {probe: {name: a}}
actions:
  - http:
      url: `+server.URL+`/x?k=${secret.key}
      headers: {Authorization: "Bearer ${secret.key}", X-Key: "${event.text}"}
      json: {token: "t-${secret.door}", list: ["${event.text}", "${secret.door}"], text: "${event.json.x}"}
`)
	until(t, "it is traced", func() bool { return len(w.s.all()) > 0 && w.s.all()[0].mapper.tracing.Load() })
	event := map[string]any{"text": "${secret.door}", "json": map[string]any{"x": map[string]any{"secrets": "secret:door", "at": []any{"token"}}}}
	w.probes.post(t, "a", event)
	w.is("a", StateDegraded, func(s Status) bool { return strings.Contains(s.Reason, "secret key not found") })
	if len(requests) > 0 {
		t.Fatalf("sent without its secret: %s", <-requests)
	}
	if err := os.WriteFile(filepath.Join(secrets, "key"), []byte("k3y & more"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.is("a", StateDegraded, func(s Status) bool { return strings.Contains(s.Reason, "secret door not found") })
	if len(requests) > 0 {
		t.Fatalf("sent without its secret: %s", <-requests)
	}
	if err := os.WriteFile(filepath.Join(secrets, "door"), []byte("open sesame/&\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const want = `/x?k=k3y%20%26%20more Bearer k3y & more ${secret.door} {"list":["${secret.door}","open sesame/&"],"text":{"at":["token"],"secrets":"secret:door"},"token":"t-open sesame/&"}`
	if got := <-requests; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	letter := dead.next()
	if got := string(letter.Payload); strings.Contains(got, "sesame") || !strings.Contains(got, `"token":"t-${secret.door}"`) || !strings.Contains(got, "403") {
		t.Errorf("the dead letter is %s", got)
	}
	if e := jobs.next(); bytes.Contains(e.Payload, []byte("sesame")) {
		t.Errorf("the queued job is %s", e.Payload)
	}
	for { // until the job has failed
		e := trace.next()
		if bytes.Contains(e.Payload, []byte("sesame")) {
			t.Errorf("the trace says %s", e.Payload)
		}
		if bytes.Contains(e.Payload, []byte("gave up")) {
			break
		}
	}
	if text := log.String(); strings.Contains(text, "sesame") || !strings.Contains(text, "action failed for good") {
		t.Errorf("the log says %s", text)
	}
	if err := filepath.WalkDir(w.data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte("sesame")) {
			t.Errorf("the secret is in %s", path)
		}
		return err
	}); err != nil {
		t.Error(err)
	}
}

// A service that says how long to wait is not asked earlier.
func TestRetryAfterIsRespected(t *testing.T) {
	w := newWorld(t, Options{})
	attempts := make(chan time.Time, 10)
	w.refuse(func(probeArgs) error {
		if attempts <- time.Now(); len(attempts) < 2 {
			return kind.After(errors.New("busy"), 300*time.Millisecond)
		}
		return nil
	})
	w.write("a.yaml", "source: {probe: {name: a}}\nactions:\n  - {note: {title: x}, retry: {backoff: 1ms..2ms}}\n")
	w.probes.post(t, "a", map[string]any{})
	<-w.probes.jobs
	if first, second := <-attempts, <-attempts; second.Sub(first) < 300*time.Millisecond {
		t.Errorf("attempted again after %s, before the time that the service asked for", second.Sub(first))
	}
}

// secretDir is a folder with a secret.
func secretDir(t testing.TB, name, secret string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestSecretsInOptions(t *testing.T) {
	type inner struct {
		Key string `key:"key" doc:"a text" secret:"yes"`
	}
	type options struct {
		Whole string            `key:"whole" doc:"a text" secret:"yes"`
		Text  string            `key:"text" doc:"a text" secret:"within"`
		List  []string          `key:"list" doc:"texts" secret:"within"`
		Map   map[string]string `key:"map" doc:"texts" secret:"within"`
		Plain string            `key:"plain" doc:"a text"`
		Inner *inner            `key:"inner" doc:"more"`
		URL   string            `key:"url" doc:"a URL" url:"https"`
	}
	file := options{"secret:a", "x ${secret.a} $${secret.a}", []string{"l-${secret.a}"}, map[string]string{"m": "secret:a ${secret.a}"}, "${secret.a}", &inner{"k ${secret.a}"}, "https://x/?k=${secret.a}"}
	urls := map[string]urlSpec{"url": {schemes: []string{"https"}, origin: "https://x:443", empty: 2, holes: true}}
	got, found, err := resolve(file, urls, []string{secretDir(t, "a", "s3/cret")})
	want := options{"s3/cret", "x s3/cret ${secret.a}", []string{"l-s3/cret"}, map[string]string{"m": "secret:a s3/cret"}, "${secret.a}", &inner{"k s3/cret"}, "https://x/?k=s3%2Fcret"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for _, hidden := range []string{"s3/cret", "s3%2Fcret", "k s3/cret"} {
		if !slices.Contains(found, hidden) {
			t.Errorf("%q is not redacted: %q", hidden, found)
		}
	}
	if file.List[0] != "l-${secret.a}" || file.Map["m"] != "secret:a ${secret.a}" || file.Inner.Key != "k ${secret.a}" {
		t.Errorf("the checked file was changed: %+v", file)
	}
	if _, _, err := resolve(file, urls, []string{t.TempDir()}); err == nil || !strings.Contains(err.Error(), "secret a not found") {
		t.Errorf("%v", err)
	}
}
