package http

import (
	"context"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind"
)

func action(url string) ActionOptions {
	o := actionDefaults()
	o.URL = url
	return o
}

// do sends one event.
func do(t *testing.T, a *Action, args Args) error {
	t.Helper()
	return doneBy(t.Context(), a, args)
}

func doneBy(ctx context.Context, a *Action, args Args) error {
	_, err := a.DoAll(ctx, []kind.Job[Args]{{ID: "id-1", Args: args}})
	return err
}

func TestRequest(t *testing.T) {
	got := make(chan string, 10)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- strings.Join([]string{r.Method, r.URL.String(), r.Header.Get("Content-Type"), r.Header.Get("Idempotency-Key"), string(body)}, " | ")
	})
	for _, c := range []struct {
		name, path string
		args       Args
		headers    map[string]string
		want       string
	}{
		{"nothing", "/x", Args{}, nil, "POST | /x |  | id-1 | "},
		{"JSON", "/x", Args{JSON: map[string]any{"a": "<&>"}}, nil, `POST | /x | application/json | id-1 | {"a":"<&>"}`},
		{"JSON of a falsy value", "/x", Args{JSON: false}, nil, `POST | /x | application/json | id-1 | false`},
		{"text", "/x", Args{Text: "a\nb"}, nil, "POST | /x | text/plain; charset=utf-8 | id-1 | a\nb"},
		{"form", "/x", Args{Form: map[string]string{"b": "x y", "a": "&="}}, nil, "POST | /x | application/x-www-form-urlencoded | id-1 | a=%26%3D&b=x+y"},
		{"query", "/x?a=1", Args{Query: map[string]string{"b": "&c=3", "a": "2"}}, nil, "POST | /x?a=2&b=%26c%3D3 |  | id-1 | "},
		{"key", "/x", Args{Key: "seq-17"}, nil, "POST | /x |  | seq-17 | "},
		{"headers and URL of the event", "/x", Args{URL: url + "/y?z=1", Headers: map[string]string{"Idempotency-Key": "own"}}, map[string]string{"Idempotency-Key": "k"}, "POST | /y?z=1 |  | own | "},
		{"own content type", "/x", Args{Text: "<a/>"}, map[string]string{"content-type": "text/xml"}, "POST | /x | text/xml | id-1 | <a/>"},
	} {
		o := action(url + c.path)
		o.Headers = c.headers
		a := NewAction(o, nil)
		if err := do(t, a, c.args); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if s := <-got; s != c.want {
			t.Errorf("%s: got %q, want %q", c.name, s, c.want)
		}
		a.Close()
	}
	a := NewAction(action(url), nil)
	defer a.Close()
	for name, args := range map[string]Args{
		"two bodies":               {Text: "x", JSON: 1},
		"a line break in a header": {Headers: map[string]string{"X": "a\r\nX-Evil: 1"}},
		"a header of the protocol": {Headers: map[string]string{"Content-Length": "1"}},
		"not a URL":                {URL: "http://\x7f"},
		"not JSON":                 {JSON: math.Inf(1)},
		"a line break in the key":  {Key: "a\r\nX-Evil: 1"},
		"a long key":               {Key: strings.Repeat("x", 256)},
	} {
		if err := do(t, a, args); !kind.IsPermanent(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(got) > 0 {
		t.Errorf("sent: %s", <-got)
	}
}

func TestStatuses(t *testing.T) {
	for _, c := range []struct {
		status int
		allow  []int
		want   string // done, again or permanent
	}{
		{200, nil, "done"}, {204, nil, "done"}, {299, nil, "done"},
		{302, nil, "permanent"}, {400, nil, "permanent"}, {401, nil, "permanent"}, {404, nil, "permanent"}, {409, nil, "permanent"},
		{408, nil, "again"}, {425, nil, "again"}, {429, nil, "again"}, {500, nil, "again"}, {502, nil, "again"}, {503, nil, "again"},
		{409, []int{200, 409}, "done"}, {201, []int{200, 409}, "permanent"}, {500, []int{500}, "done"},
	} {
		url := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(c.status)
		})
		o := action(url)
		o.Allow = c.allow
		a := NewAction(o, nil)
		err := do(t, a, Args{Text: "x"})
		got := "again"
		if err == nil {
			got = "done"
		} else if kind.IsPermanent(err) {
			got = "permanent"
		}
		if got != c.want {
			t.Errorf("%d, allow %v: %s (%v)", c.status, c.allow, got, err)
		}
		a.Close()
	}
}

func TestErrorsQuoteTheServerButNoSecret(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(403)
		user, password, _ := r.BasicAuth()
		io.WriteString(w, "no:\n"+r.Header.Get("X-Key")+" "+user+" "+password+" "+r.URL.RawQuery+" "+strings.Repeat("é", 5000))
	})
	o := action(strings.Replace(url, "http://", "http://user:hunter2@", 1) + "/p4th?key=s3cret")
	o.Headers = map[string]string{"X-Key": "Bearer k3y-k3y"}
	a := NewAction(o, nil)
	defer a.Close()
	err := do(t, a, Args{})
	if err == nil {
		t.Fatal("no error")
	}
	want := "POST " + url + `: the server answered 403: "no: … user … key=… é`
	if !strings.HasPrefix(err.Error(), want) || len(err.Error()) > len(want)+210 {
		t.Errorf("got %v", err)
	}
	o.URL = "http://user:hunter2@" + closedPort(t) + "/p4th?key=s3cret"
	b := NewAction(o, nil)
	defer b.Close()
	if err := do(t, b, Args{}); err == nil || kind.IsPermanent(err) || !strings.Contains(err.Error(), "refused") {
		t.Errorf("no server: %v", err)
	} else {
		for _, secret := range []string{"hunter2", "s3cret", "p4th", "k3y"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s is in %v", secret, err)
			}
		}
	}
}

func TestServerThatDoesNotAnswer(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	o := action(url)
	o.Timeout = 50 * time.Millisecond
	a := NewAction(o, nil)
	defer a.Close()
	if err := do(t, a, Args{}); err == nil || kind.IsPermanent(err) || !strings.Contains(err.Error(), "no response in time") {
		t.Errorf("timeout: %v", err)
	}
	a.o.Timeout = time.Hour
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := doneBy(ctx, a, Args{}); err == nil || kind.IsPermanent(err) {
		t.Errorf("context: %v", err)
	}
}

// Keys occur in paths (Telegram, Slack) and as user names (Stripe), and servers repeat them.
func TestErrorsQuoteNoKeyOfTheURL(t *testing.T) {
	const path, user = "/bot123456:AAH-s3cret_t0ken/sendMessage", "sk_live_12345678"
	for _, body := range []string{
		"Cannot POST " + path,
		"no such bot: 123456:AAH-s3cret_t0ken", // a part of it
		`{"error": "Invalid API Key provided: ` + user + `"}`,
	} {
		url := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(404)
			io.WriteString(w, body)
		})
		o := action(strings.Replace(url, "http://", "http://"+user+"@", 1) + path)
		a := NewAction(o, nil)
		err := do(t, a, Args{})
		a.Close()
		if err == nil {
			t.Fatal("no error")
		}
		for _, secret := range []string{"AAH-s3cret_t0ken", user} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s is in %v", secret, err)
			}
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"120": 2 * time.Minute, "0": 0, "": 0, "-1": 0, "soon": 0, "1.5": 0, "99999999999999999999": 0,
		"Thu, 01 Jan 2026 12:00:30 GMT": 30 * time.Second, "Thu, 01 Jan 2026 11:00:00 GMT": 0,
	} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	for _, status := range []int{429, 503} {
		url := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "7200")
			w.WriteHeader(status)
		})
		a := NewAction(action(url), nil)
		if err := do(t, a, Args{}); kind.WaitOf(err) != time.Hour || kind.IsPermanent(err) {
			t.Errorf("%d: %v waits %s, want 1h at most", status, err, kind.WaitOf(err))
		}
		a.Close()
	}
}
