package http

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/kind/kindtest"
)

// start runs a source; stop ends it.
func start(t *testing.T, b *kindtest.Bus, url string, change func(*Options)) (stop func()) {
	t.Helper()
	o := defaults()
	o.URL, o.Every = url, 5*time.Millisecond
	if change != nil {
		change(&o)
	}
	return b.Start(t, New(o, b), nil)
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func TestPoll(t *testing.T) {
	requests := make(chan *http.Request, 1000)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Header.Set("Test-Body", string(body))
		select {
		case requests <- r:
		default:
		}
		w.Header().Set("X-Thing", "1")
		w.Header().Set("Set-Cookie", "a=b")
		w.Header().Set("Content-Type", "application/json")
		w.Header().Del("Date")
		w.WriteHeader(404)
		io.WriteString(w, `{"a": [1]}`)
	})
	b := kindtest.NewBus()
	start(t, b, url+"/x?y=z", func(o *Options) {
		o.Method, o.Body = "POST", "question"
		o.Headers = map[string]string{"x-api-key": "k", "Host": "other.example"}
	})
	e := b.Next(t)
	if took := e["took"].(float64); took <= 0 || took > 5 {
		t.Errorf("took %v", took)
	}
	delete(e, "took")
	delete(e["headers"].(map[string]any), "date")
	want := map[string]any{"status": 404, "ok": false, "text": `{"a": [1]}`, "json": map[string]any{"a": []any{int64(1)}}, "changed": true, "error": "",
		"headers": map[string]any{"x-thing": "1", "content-type": "application/json", "content-length": "10"}}
	if !reflect.DeepEqual(e, want) {
		t.Errorf("got %v, want %v", e, want)
	}
	if e := b.Next(t); e["changed"] != false {
		t.Errorf("the second: %v", e)
	}
	r := <-requests
	if r.Method != "POST" || r.URL.String() != "/x?y=z" || r.Host != "other.example" || r.Header.Get("X-Api-Key") != "k" ||
		r.Header.Get("User-Agent") != "postbus" || r.Header.Get("Test-Body") != "question" {
		t.Errorf("request: %v %v %v %v", r.Method, r.URL, r.Host, r.Header)
	}
}

// steps answers the nth request with the nth step, then with the last.
type steps struct {
	mu    sync.Mutex
	n     int
	steps []http.HandlerFunc
}

func (s *steps) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	h := s.steps[min(s.n, len(s.steps)-1)]
	s.n++
	s.mu.Unlock()
	h(w, r)
}

func say(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// tagged answers 304 when the request knows the tag.
func tagged(tag, body string, hits chan<- string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", tag)
		if r.Header.Get("If-None-Match") == tag {
			hits <- "304 " + tag
			w.WriteHeader(304)
			return
		}
		hits <- "200 " + tag
		io.WriteString(w, body)
	}
}

func abort(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func TestDecode(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "a,1\nb,2\n") })
	b := kindtest.NewBus()
	start(t, b, url, func(o *Options) { o.Decode = "csv" })
	if e := b.Next(t); !reflect.DeepEqual(e["json"], []any{[]any{"a", "1"}, []any{"b", "2"}}) {
		t.Errorf("%v", e)
	}
}

func TestOnChange(t *testing.T) {
	hits := make(chan string, 1000)
	a, b2 := tagged(`"a"`, "A", hits), tagged(`"b"`, "B", hits)
	s := &steps{steps: []http.HandlerFunc{say(200, "1"), say(200, "1"), say(200, "2"), say(500, "2"), a, a, a, say(500, "x"), a, a, abort, a, b2, say(200, "end"), say(200, "end")}}
	b := kindtest.NewBus()
	start(t, b, serve(t, s.ServeHTTP), func(o *Options) { o.On = "change" })
	for _, want := range []string{"200 1", "200 2", "500 2", "200 A", "500 x", "200 A", "200 B", "200 end"} {
		e := b.Next(t)
		if got := fmt.Sprint(e["status"], " ", e["text"]); got != want || e["changed"] != true {
			t.Errorf("got %s, %v, want %s", got, e["changed"], want)
		}
	}
	var got []string
	for len(hits) > 0 {
		got = append(got, <-hits)
	}
	if s := strings.Join(got, ", "); s != `200 "a", 304 "a", 304 "a", 200 "a", 304 "a", 304 "a", 200 "b"` {
		t.Errorf("requests: %s", s)
	}
}

func TestNoAnswer(t *testing.T) {
	for _, on := range []string{"all", "change"} {
		for _, emit := range []string{"degrade", "emit"} {
			s := &steps{steps: []http.HandlerFunc{say(200, "1"), abort, abort, abort, say(200, "1"), say(200, "end")}} // net/http retries by itself when a kept connection ends
			b := kindtest.NewBus()
			url := serve(t, s.ServeHTTP)
			stop := start(t, b, strings.Replace(url, "http://", "http://user:hunter2@", 1)+"/tok3n?key=s3cret", func(o *Options) { o.On, o.Errors = on, emit })
			var got []string
			for len(got) == 0 || got[len(got)-1] != "200 end" {
				e := b.Next(t)
				got = append(got, fmt.Sprint(e["status"], " ", e["text"]))
				if e["status"] == 0 && (e["error"] == "" || e["ok"] != false) {
					t.Errorf("error event: %v", e)
				}
				if strings.Contains(fmt.Sprint(e), "hunter2") || strings.Contains(fmt.Sprint(e), "s3cret") || strings.Contains(fmt.Sprint(e), "tok3n") {
					t.Errorf("a secret is in the event %v", e)
				}
			}
			stop()
			want := map[string]string{
				"all degrade": "200 1, 200 1, 200 end", "all emit": "200 1, 0 , 0 , 200 1, 200 end",
				"change degrade": "200 1, 200 end", "change emit": "200 1, 0 , 200 1, 200 end",
			}[on+" "+emit]
			if s := strings.Join(got, ", "); s != want {
				t.Errorf("%s %s: got %s, want %s", on, emit, s, want)
			}
			if want := "GET " + url + ": EOF"; len(b.Conditions) != 3 || b.Conditions[0] != want || b.Conditions[1] == "<nil>" || b.Conditions[2] != "<nil>" {
				t.Errorf("degraded: %q, want %s first", b.Conditions, want)
			}
		}
	}
}

func TestBodyAndTimeAreBounded(t *testing.T) {
	big := serve(t, say(200, strings.Repeat("x", 11)))
	hang := make(chan struct{})
	slow := serve(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	})
	defer close(hang)
	for name, c := range map[string]struct{ url, want string }{
		"body": {big, "the body is larger than max_body, 10 bytes"},
		"time": {slow, "no response in time"},
	} {
		b := kindtest.NewBus()
		stop := start(t, b, c.url, func(o *Options) { o.MaxBody, o.Timeout = 10, 50*time.Millisecond })
		if err := b.NextDegraded(t); !strings.Contains(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		stop()
	}
	b := kindtest.NewBus()
	stop := start(t, b, slow, nil)
	stop() // within a second although the server is slow
	if len(b.Conditions) > 0 {
		t.Errorf("degraded by its end: %q", b.Conditions)
	}
}

func TestRedirects(t *testing.T) {
	seen := make(chan http.Header, 1000)
	other := serve(t, func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Header
		io.WriteString(w, "other")
	})
	secure := httptest.NewTLSServer(http.RedirectHandler(other, http.StatusFound))
	t.Cleanup(secure.Close)
	mux := http.NewServeMux()
	mux.Handle("/other", http.RedirectHandler(other, http.StatusFound))
	mux.Handle("/other307", http.RedirectHandler(other, http.StatusTemporaryRedirect))
	mux.Handle("/upgrade", http.RedirectHandler(secure.URL+"/", http.StatusFound))
	mux.Handle("/file", http.RedirectHandler("file:///etc/passwd", http.StatusFound))
	for i := range 7 {
		mux.Handle(fmt.Sprintf("/%d", i), http.RedirectHandler(fmt.Sprintf("/%d", i-1), http.StatusFound))
	}
	mux.HandleFunc("/-1", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "end "+r.Header.Get("X-Api-Key")) })
	url := serve(t, mux.ServeHTTP)
	for _, c := range []struct{ name, path, body, want, err string }{
		{"five", "/4", "", "end k3y", ""},
		{"six", "/5", "", "", "more than 5 redirects"},
		{"another host", "/other", "", "", "a redirect to another host"},
		{"another host with the body", "/other307", "x", "", "a redirect to another host"},
		{"down", "/upgrade", "", "", "a redirect from https to http is not followed"},
		{"to a file", "/file", "", "", "a redirect from http to file is not followed"},
	} {
		b := kindtest.NewBus()
		stop := start(t, b, url+c.path, func(o *Options) {
			o.Headers = map[string]string{"X-Api-Key": "k3y", "Authorization": "Bearer k3y"}
			o.Insecure, o.Body = true, c.body
			if c.body != "" {
				o.Method = "POST"
			}
		})
		if c.err == "" {
			if e := b.Next(t); e["text"] != c.want {
				t.Errorf("%s: %v", c.name, e)
			}
		} else if err := b.NextDegraded(t); !strings.Contains(err, c.err) {
			t.Errorf("%s: %v", c.name, err)
		}
		stop()
	}
	if len(seen) > 0 {
		t.Errorf("another host was asked: %v", <-seen)
	}
}

func TestCertificates(t *testing.T) {
	s := httptest.NewUnstartedServer(say(200, "x"))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	b := kindtest.NewBus()
	stop := start(t, b, s.URL, nil)
	if err := b.NextDegraded(t); !strings.Contains(err, "certificate") {
		t.Errorf("%v", err)
	}
	stop()
	start(t, b, s.URL, func(o *Options) { o.Insecure = true })
	b.Next(t)
}

func TestNothingIsLeftRunning(t *testing.T) {
	s := httptest.NewServer(say(200, "x"))
	before := runtime.NumGoroutine()
	b := kindtest.NewBus()
	stop := start(t, b, s.URL, nil)
	b.Next(t)
	stop()
	a := NewAction(action(s.URL), nil)
	if err := do(t, a, Args{}); err != nil {
		t.Error(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	s.Close()
	kindtest.NoMoreGoroutines(t, before)
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name    string
		headers map[string]string
		want    string
	}{
		{"good", map[string]string{"X-Key": "secret:x"}, ""},
		{"header name", map[string]string{"X: y": "z"}, `headers.X: y: "X: y" is not a header's name`},
		{"header value", map[string]string{"X": "hunter2\r\nY: z"}, "headers.X: the value has a line break"},
		{"our header", map[string]string{"content-length": "1"}, "headers.content-length: the header Content-Length is set by the bus"},
	} {
		var got []string
		for _, err := range (Options{Headers: c.headers}).Check() {
			got = append(got, err.(*kind.OptionError).Key()+": "+err.Error())
		}
		if s := strings.Join(got, "; "); s != c.want {
			t.Errorf("%s: got %q, want %q", c.name, s, c.want)
		}
	}
	if errs := (Options{Headers: map[string]string{"x-a": "", "X-A": ""}}).Check(); len(errs) != 1 {
		t.Errorf("a header twice: %v", errs)
	}
	if errs := (ActionOptions{Allow: []int{200, 20}}).Check(); len(errs) != 1 {
		t.Errorf("allow: %v", errs)
	}
}

func closedPort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	return l.Addr().String()
}
