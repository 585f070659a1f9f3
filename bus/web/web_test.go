package web_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/auth"
	"github.com/postbus/postbus/bus/web"
)

// start runs a bus with a web server; the client connects to its handler over a real connection.
func start(t *testing.T, o web.Options) (*bus.Bus, string) {
	t.Helper()
	b, err := bus.Open(context.Background(), bus.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s := web.New(b, o)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Serve(l)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := errors.Join(s.Close(ctx), b.Close()); err != nil {
			t.Error(err)
		}
	})
	return b, "http://" + l.Addr().String()
}

// policy has the user pi (password "secret"), who may use home/# and see the bus, and eve, who has
// few rights.
func policy(t *testing.T, anonymous *auth.Rules) web.Authenticate {
	t.Helper()
	hash, err := auth.Hash("secret")
	if err != nil {
		t.Fatal(err)
	}
	p, err := auth.NewPolicy(auth.NewVerifier(0), auth.Options{Anonymous: anonymous, Users: []auth.User{
		{Name: "pi", Password: hash, Rules: auth.Rules{Publish: []string{"home/#"}, Subscribe: []string{"home/#", "$bus/#"}, Deny: []string{"home/safe/#"}}},
		{Name: "root", Password: hash, Rules: auth.Rules{Publish: []string{"#"}, Subscribe: []string{"#", "$bus/#"}}},
		{Name: "chief", Password: hash, Admin: true, Rules: auth.Rules{Subscribe: []string{"$bus/#"}}},
		{Name: "eve", Password: hash, Rules: auth.Rules{Publish: []string{"eve/#"}, Subscribe: []string{"#"}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return func(c web.Credentials) (web.Identity, error) {
		id, err := p.Authenticate(c.User, c.Password, c.HasPassword, c.Local, c.Address)
		if err != nil {
			return nil, err
		}
		return id, nil
	}
}

type request struct {
	method, path, body, user string
	header                   map[string]string
}

func (r request) do(t *testing.T, base string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequest(r.method, base+r.path, strings.NewReader(r.body))
	if err != nil {
		t.Fatal(err)
	}
	if r.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range r.header {
		if k == "Host" {
			req.Host = v
		}
		req.Header.Set(k, v)
	}
	if r.user != "" {
		name, password, _ := strings.Cut(r.user, ":")
		req.SetBasicAuth(name, password)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(body)
}

func TestRequests(t *testing.T) {
	b, base := start(t, web.Options{Local: true, MaxPayload: 100, Hosts: []string{"pi.local"}, Origins: []string{"https://dash.example.org"},
		Authenticate: policy(t, &auth.Rules{Publish: []string{"open/#"}, Subscribe: []string{"open/#"}})})
	for _, name := range []string{"of pi", "of/eve"} {
		s, _, err := b.Attach(context.Background(), bus.SessionOptions{Name: name, User: name[3:], Expiry: 100})
		if err != nil {
			t.Fatal(err)
		}
		s.Detach(true, 100)
	}
	live, err := b.Subscribe(context.Background(), "live", "#")
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()

	const event = `{"topic": "home/x", "payload": "1"}`
	for _, c := range []struct {
		name string
		request
		status int
		body   string // expected in the answer
	}{
		{"a page lists what there is", request{method: "GET", path: "/api"}, 200, "/api/v1/publish"},
		{"the dashboard", request{method: "GET", path: "/"}, 200, "<script type=\"module\""},
		{"the browser SDK", request{method: "GET", path: "/postbus.js"}, 200, "connect"},
		{"its types", request{method: "GET", path: "/postbus.d.ts"}, 200, "connect"},
		{"healthz needs nobody", request{method: "GET", path: "/healthz"}, 200, `"ok"`},
		{"readyz", request{method: "GET", path: "/readyz"}, 200, `"ready"`},
		{"no such page", request{method: "GET", path: "/nope"}, 404, `{"error":"there is no /nope"`},
		{"wrong method", request{method: "PUT", path: "/api/v1/publish"}, 405, `"hint":"allowed: POST"`},

		{"a name that was pointed here", request{method: "GET", path: "/", header: map[string]string{"Host": "evil.example"}}, 421, "is not this bus"},
		{"another address", request{method: "GET", path: "/", header: map[string]string{"Host": "192.0.2.1:80"}}, 421, "is not this bus"},
		{"localhost", request{method: "GET", path: "/", header: map[string]string{"Host": "localhost:1"}}, 200, ""},
		{"IPv6 loopback", request{method: "GET", path: "/", header: map[string]string{"Host": "[::1]:8080"}}, 200, ""},
		{"the machine's name", request{method: "GET", path: "/", header: map[string]string{"Host": "PI.local:8080"}}, 200, ""},
		{"a configured origin's name", request{method: "GET", path: "/", header: map[string]string{"Host": "dash.example.org"}}, 200, ""},
		{"a page of somebody else", request{method: "GET", path: "/readyz", header: map[string]string{"Origin": "https://evil.example"}}, 403, "not allowed"},
		{"a sandboxed page", request{method: "GET", path: "/readyz", header: map[string]string{"Origin": "null"}}, 403, "not allowed"},
		{"a form of somebody else", request{method: "POST", path: "/api/v1/publish", body: event, header: map[string]string{"Sec-Fetch-Site": "cross-site"}}, 403, "not allowed"},
		{"a page of a configured origin", request{method: "GET", path: "/readyz", header: map[string]string{"Origin": "https://dash.example.org"}}, 200, ""},
		{"its preflight", request{method: "OPTIONS", path: "/api/v1/publish", header: map[string]string{"Origin": "https://dash.example.org"}}, 204, ""},
		{"a page of another port is another page", request{method: "GET", path: "/readyz", header: map[string]string{"Origin": "http://127.0.0.1:1"}}, 403, ""},

		{"anonymous may what anonymous may", request{method: "POST", path: "/api/v1/publish", body: `{"topic": "open/x"}`}, 200, `"seq":`},
		{"and nothing else", request{method: "POST", path: "/api/v1/publish", body: event}, 401, "not allowed"},
		{"a proxy's clients are not local", request{method: "POST", path: "/api/v1/publish", body: `{"topic": "open/x"}`, header: map[string]string{"X-Forwarded-For": "192.0.2.1"}}, 401, "user name"},
		{"whatever header it has", request{method: "GET", path: "/api/v1/topics?filter=open/%23", header: map[string]string{"X-Forwarded-Proto": "https"}}, 401, "user name"},
		{"whatever proxy it is", request{method: "GET", path: "/api/v1/topics?filter=open/%23", header: map[string]string{"CF-Connecting-IP": "192.0.2.1"}}, 401, "user name"},
		{"a hook is nothing for a page of somebody else", request{method: "GET", path: "/hooks/open", header: map[string]string{"Sec-Fetch-Site": "cross-site"}}, 403, "not allowed"},
		{"were it empty", request{method: "GET", path: "/api/v1/topics?filter=open/%23", header: map[string]string{"Forwarded": ""}}, 401, "user name"},
		{"without it they are", request{method: "GET", path: "/api/v1/topics?filter=open/%23"}, 200, "[]"},
		{"a wrong password", request{method: "POST", path: "/api/v1/publish", body: event, user: "pi:guess"}, 401, "wrong"},
		{"a user publishes", request{method: "POST", path: "/api/v1/publish", body: event, user: "pi:secret"}, 200, `"seq":`},
		{"not what is denied", request{method: "POST", path: "/api/v1/publish", body: `{"topic": "home/safe/x"}`, user: "pi:secret"}, 403, "not allowed"},
		{"not as the bus", request{method: "POST", path: "/api/v1/publish", body: `{"topic": "$SYS/x"}`, user: "root:secret"}, 403, "not allowed"},
		{"QoS 0 has no sequence", request{method: "POST", path: "/api/v1/publish", body: `{"topic": "home/x", "qos": 0}`, user: "pi:secret"}, 200, `{"seq":0}`},
		{"QoS 3", request{method: "POST", path: "/api/v1/publish", body: `{"topic": "home/x", "qos": 3}`, user: "pi:secret"}, 400, "qos is 0, 1 or 2"},
		{"two payloads", request{method: "POST", path: "/api/v1/publish", body: `{"topic": "home/x", "payload": "", "payload_base64": "AA=="}`, user: "pi:secret"}, 400, "exclude"},
		{"nothing, retained", request{method: "POST", path: "/api/v1/publish", body: `{"topic": "home/x", "retain": true}`, user: "pi:secret"}, 400, `"hint":"\"payload\": \"\" deletes it"`},
		{"null, retained", request{method: "POST", path: "/api/v1/publish", body: `{"topic": "home/x", "payload": null, "retain": true}`, user: "pi:secret"}, 400, "would delete"},
		{"an empty text, retained", request{method: "POST", path: "/api/v1/publish", body: `{"topic": "home/x", "payload": "", "retain": true}`, user: "pi:secret"}, 200, `"seq":`},
		{"no bytes, retained", request{method: "POST", path: "/api/v1/publish", body: `{"topic": "home/x", "payload_base64": "", "retain": true}`, user: "pi:secret"}, 200, `"seq":`},
		{"an unknown key", request{method: "POST", path: "/api/v1/publish", body: `{"topik": "home/x"}`, user: "pi:secret"}, 400, "topik"},
		{"cut JSON", request{method: "POST", path: "/api/v1/publish", body: "{\"topic\":\n  \"home/x", user: "pi:secret"}, 400, "the JSON ends too early, at line 2, character 9"},
		{"no JSON", request{method: "POST", path: "/api/v1/publish", body: `{"topic": "home/ä", payload}`, user: "pi:secret"}, 400, "looking for beginning of object key string, at character 21"},
		{"no body", request{method: "POST", path: "/api/v1/publish", body: " ", user: "pi:secret"}, 400, "the body is empty"},
		{"a payload that is an object", request{method: "POST", path: "/api/v1/publish", body: `{"topic": "home/x", "payload": {"on": true}}`, user: "pi:secret"}, 400,
			`"payload is a text, not an object: JSON is written as text, as in \"payload\": \"{\\\"on\\\": true}\", or as payload_base64"`},
		{"a payload that is a number", request{method: "POST", path: "/api/v1/publish", body: `{"topic": "home/x", "payload": 21.5}`, user: "pi:secret"}, 400, "payload is a text, not a number: "},
		{"a topic that is a list", request{method: "POST", path: "/api/v1/publish", body: `{"topic": ["home/x"]}`, user: "pi:secret"}, 400, "topic is a text, not a list"},
		{"a QoS that is a text", request{method: "POST", path: "/api/v1/publish", body: `{"topic": "home/x", "qos": "1"}`, user: "pi:secret"}, 400, "qos is 0, 1 or 2, not a text"},
		{"a QoS of 300", request{method: "POST", path: "/api/v1/publish", body: `{"topic": "home/x", "qos": 300}`, user: "pi:secret"}, 400, "qos is 0, 1 or 2, not 300"},
		{"retain as a text", request{method: "POST", path: "/api/v1/publish", body: `{"topic": "home/x", "retain": "yes"}`, user: "pi:secret"}, 400, "retain is true or false, not a text"},
		{"a list", request{method: "POST", path: "/api/v1/publish", body: `[]`, user: "pi:secret"}, 400, "want an object, not a list"},
		{"no base64", request{method: "POST", path: "/api/v1/publish", body: `{"topic": "home/x", "payload_base64": "a*=="}`, user: "pi:secret"}, 400, "payload_base64 is not valid base64: wrong at its byte 2"},
		{"a token for a number", request{method: "POST", path: "/api/v1/token", body: `{"for": 1}`, user: "pi:secret"}, 400, "for is a text, not a number"},
		{"an unknown key of a query", request{method: "GET", path: "/api/v1/events?filter=home/%23&limt=1", user: "pi:secret"}, 400, `{"error":"unknown key \"limt\" in the query","hint":"known: filter, since, limit"}`},
		{"where none is known", request{method: "GET", path: "/api/v1/bus?bogus=1", user: "pi:secret"}, 400, `{"error":"unknown key \"bogus\" in the query","hint":"this endpoint takes no query"}`},
		{"a query that is none", request{method: "GET", path: "/api/v1/topics?filter=%zz", user: "pi:secret"}, 400, "the query cannot be read"},
		{"the index can be copied", request{method: "GET", path: "/api"}, 200, "?filter=home/%23&since=10m"},
		{"two values", request{method: "POST", path: "/api/v1/publish", body: event + event, user: "pi:secret"}, 400, "more than one"},
		{"a wildcard", request{method: "POST", path: "/api/v1/publish", body: `{"topic": "home/#"}`, user: "pi:secret"}, 400, "topic"},
		{"what a form can send", request{method: "POST", path: "/api/v1/publish", body: event, user: "pi:secret", header: map[string]string{"Content-Type": "text/plain"}}, 415, "JSON"},
		{"too large", request{method: "POST", path: "/api/v1/publish", body: `{"topic": "home/x", "payload": "` + strings.Repeat("x", 101) + `"}`, user: "pi:secret"}, 413, "100 bytes"},
		{"far too large", request{method: "POST", path: "/api/v1/publish", body: `{"topic": "home/x", "payload": "` + strings.Repeat("x", 1<<20) + `"}`, user: "pi:secret"}, 413, "100 bytes"},

		{"sessions are not for all", request{method: "GET", path: "/api/v1/sessions"}, 401, "$bus/#"},
		{"nor for eve", request{method: "GET", path: "/api/v1/sessions", user: "eve:secret"}, 403, "$bus/#"},
		{"sessions", request{method: "GET", path: "/api/v1/sessions", user: "pi:secret"}, 200, `"name":"of pi"`},
		{"no such session", request{method: "DELETE", path: "/api/v1/sessions/x", user: "pi:secret"}, 404, `no session is called \"x\"`},
		{"another user's session", request{method: "DELETE", path: "/api/v1/sessions/of%2Feve", user: "pi:secret"}, 403, "another user"},
		{"a session with a connection", request{method: "DELETE", path: "/api/v1/sessions/@live", user: "root:secret"}, 409, "has a connection"},
		{"one's own session", request{method: "DELETE", path: "/api/v1/sessions/of%20pi", user: "pi:secret"}, 204, ""},
		{"it is gone", request{method: "DELETE", path: "/api/v1/sessions/of%20pi", user: "pi:secret"}, 404, ""},
		{"an administrator, and a session with a connection", request{method: "DELETE", path: "/api/v1/sessions/@live", user: "chief:secret"}, 409, "has a connection"},
		{"who may everything", request{method: "DELETE", path: "/api/v1/sessions/of%2Feve", user: "root:secret"}, 204, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			status, header, body := c.do(t, base)
			if status != c.status || !strings.Contains(body, c.body) {
				t.Errorf("got %d %s, want %d with %q", status, body, c.status, c.body)
			}
			if header.Get("Content-Security-Policy") == "" || header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("headers are missing: %v", header)
			}
			if status == 401 && header.Get("WWW-Authenticate") == "" {
				t.Error("no challenge")
			}
			if allowed := header.Get("Access-Control-Allow-Origin"); allowed != "" && c.header["Origin"] != "https://dash.example.org" {
				t.Errorf("allowed the origin %s", allowed)
			}
			if status >= 400 && !json.Valid([]byte(body)) {
				t.Errorf("not JSON: %s", body)
			}
		})
	}
}

// refusing is a bus whose disk is full.
type refusing struct{ web.Bus }

func (refusing) SessionsAfter(string, int) []bus.SessionInfo { return []bus.SessionInfo{} }
func (refusing) SessionNamed(name string) (bus.SessionInfo, bool) {
	return bus.SessionInfo{Name: name}, true
}
func (refusing) Ready() error                       { return errors.New("disk full") }
func (refusing) Drop(context.Context, string) error { return errors.New("disk full") }
func (refusing) Publish(context.Context, bus.Event) (uint64, error) {
	return 0, errors.New("disk full")
}

func TestAFullDiskIsSaid(t *testing.T) {
	h := web.New(refusing{}, web.Options{}).Handler()
	for _, r := range []*http.Request{
		httptest.NewRequest("GET", "http://localhost/readyz", nil),
		httptest.NewRequest("POST", "http://localhost/api/v1/publish", strings.NewReader(`{"topic": "x"}`)),
	} {
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 503 || !strings.Contains(w.Body.String(), "disk full") {
			t.Errorf("%s: %d %s", r.URL, w.Code, w.Body)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "http://localhost/api/v1/sessions", nil))
	if strings.TrimSpace(w.Body.String()) != "[]" {
		t.Errorf("no sessions: %s", w.Body)
	}
}
