package webhook

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// bus is the little of a bus that the source needs, with an HTTP listener.
type bus struct {
	server *httptest.Server
	mu     sync.Mutex
	paths  map[string]http.Handler
	public bool
	held   map[string]io.Closer
	log    bytes.Buffer
	events chan map[string]any
	done   func(done func(error)) // called with each event's done; nil: at once durable
}

func newBus(t *testing.T) *bus {
	b := &bus{paths: map[string]http.Handler{}, held: map[string]io.Closer{}, events: make(chan map[string]any, 1000)}
	b.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		h := b.paths[r.URL.Path]
		b.mu.Unlock()
		if h == nil {
			http.NotFound(w, r)
			return
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		b.server.Close()
		for _, c := range b.held {
			c.Close()
		}
	})
	return b
}

func (b *bus) Log() *slog.Logger {
	return slog.New(slog.NewTextHandler(&b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (b *bus) Handle(path string, public bool, h http.Handler) (func(), error) {
	if b.server == nil {
		return nil, errors.New("it is off")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.paths[path], b.public = h, public
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.paths[path] == h {
			delete(b.paths, path)
		}
	}, nil
}

func (b *bus) Hold(key string, open func() (io.Closer, error)) (io.Closer, func(), error) {
	if c, ok := b.held[key]; ok {
		return c, func() {}, nil
	}
	c, err := open()
	if err != nil {
		return nil, nil, err
	}
	b.held[key] = c
	return c, func() {}, nil
}

func (b *bus) emit(ctx context.Context, at time.Time, fields map[string]any, done func(error)) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	b.events <- fields
	if b.done != nil {
		b.done(done)
		return nil
	}
	go done(nil)
	return nil
}

func (b *bus) none(t *testing.T) {
	t.Helper()
	select {
	case e := <-b.events:
		t.Errorf("there is the event %v", e)
	default:
	}
}

func options() Options {
	o := Defaults()
	o.Path = "/hooks/x"
	return o
}

// start runs a source; stop ends it.
func (b *bus) start(t *testing.T, o Options, prepare ...func(*Source)) (s *Source, stop func()) {
	t.Helper()
	s = New(o, b)
	for _, p := range prepare {
		p(s)
	}
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Stream(ctx, b.emit) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-ended:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(time.Second):
				t.Error("the source did not end within a second")
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return s, stop
}

type answer struct {
	status int
	body   string
	header http.Header
}

// ask sends a request; header is name, value, name, value …
func ask(t *testing.T, method, url, body string, header ...string) answer {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	return answer{res.StatusCode, string(text), res.Header}
}

func TestEvent(t *testing.T) {
	b := newBus(t)
	o := options()
	o.Methods = []string{"POST", "PUT"}
	b.start(t, o)
	url := b.server.URL + "/hooks/x"
	if b.public {
		t.Error("a path without a signature or token is public")
	}
	got := ask(t, "POST", url+"?a=1&a=2&b", `{"ref": "main"}`, "Content-Type", "application/json; charset=utf-8",
		"X-GitHub-Event", "push", "Authorization", "Basic eDp5", "Cookie", "session=1")
	if got.status != 204 || got.body != "" {
		t.Errorf("answer: %+v", got)
	}
	e := <-b.events
	headers := e["headers"].(map[string]any)
	if headers["x-github-event"] != "push" || headers["content-type"] != "application/json; charset=utf-8" {
		t.Errorf("headers: %v", headers)
	}
	if headers["authorization"] != nil || headers["cookie"] != nil {
		t.Errorf("headers have what must not be seen: %v", headers)
	}
	if !strings.HasPrefix(e["remote"].(string), "127.0.0.1:") {
		t.Errorf("remote: %v", e["remote"])
	}
	delete(e, "headers")
	delete(e, "remote")
	want := map[string]any{"method": "POST", "path": "/hooks/x", "query": map[string]any{"a": "1", "b": ""},
		"text": `{"ref": "main"}`, "json": map[string]any{"ref": "main"}, "form": nil}
	if !reflect.DeepEqual(e, want) {
		t.Errorf("got %v, want %v", e, want)
	}

	ask(t, "PUT", url, "a=1&b=x+y&a=2", "Content-Type", "application/x-www-form-urlencoded")
	if e := <-b.events; !reflect.DeepEqual(e["form"], map[string]any{"a": "1", "b": "x y"}) {
		t.Errorf("form: %v", e)
	}
	ask(t, "POST", url, "a\xffb")
	if e := <-b.events; e["text"] != "a\uFFFDb" || e["json"] != nil {
		t.Errorf("bytes: %v", e)
	}
	ask(t, "POST", url, "null", "Content-Type", "application/vnd.x+json")
	if e := <-b.events; e["json"] != nil {
		t.Errorf("null: %v", e)
	}
}

func TestRefused(t *testing.T) {
	b := newBus(t)
	o := options()
	o.MaxBody = 10
	b.start(t, o)
	url := b.server.URL + "/hooks/x"
	for _, c := range []struct {
		name, method, body string
		header             []string
		status             int
	}{
		{"method", "GET", "", nil, 405},
		{"body too large", "POST", "01234567890", nil, 413},
		{"no JSON", "POST", "{", []string{"Content-Type", "application/json"}, 400},
		{"no body at all", "POST", "", []string{"Content-Type", "application/json"}, 400},
		{"JSON and more", "POST", "{} {}", []string{"Content-Type", "application/json"}, 400},
		{"no form", "POST", "a=%zz", []string{"Content-Type", "application/x-www-form-urlencoded"}, 400},
		{"compressed", "POST", "x", []string{"Content-Encoding", "gzip"}, 415},
	} {
		got := ask(t, c.method, url, c.body, c.header...)
		if got.status != c.status {
			t.Errorf("%s: %+v", c.name, got)
		}
		if c.status == 405 && got.header.Get("Allow") != "POST" {
			t.Errorf("%s: %v", c.name, got.header)
		}
	}
	r, _ := http.NewRequest("POST", url, io.MultiReader(strings.NewReader("0123456789"), strings.NewReader("x"))) // chunked
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 413 {
		t.Errorf("chunked body too large: %d", res.StatusCode)
	}
	http.DefaultClient.CloseIdleConnections()
	b.none(t)
}

func sign(key, body string) []byte {
	m := hmac.New(sha256.New, []byte(key))
	m.Write([]byte(body))
	return m.Sum(nil)
}

func TestSignature(t *testing.T) {
	const key, body = "hunter2-key", "It's a secret"
	hexed, based := hex.EncodeToString(sign(key, body)), base64.StdEncoding.EncodeToString(sign(key, body))
	var none, v1 Prefix
	none.UnmarshalText(nil)
	v1.UnmarshalText([]byte("v1="))
	github := HMAC{Header: "X-Sig", Key: key}
	for _, c := range []struct {
		name   string
		h      HMAC
		header []string
		status int
	}{
		{"GitHub", github, []string{"X-Sig", "sha256=" + hexed}, 204},
		{"upper case", github, []string{"X-Sig", "sha256=" + strings.ToUpper(hexed)}, 204},
		{"none", github, nil, 401},
		{"empty", github, []string{"X-Sig", ""}, 401},
		{"only the prefix", github, []string{"X-Sig", "sha256="}, 401},
		{"without the prefix", github, []string{"X-Sig", hexed}, 401},
		{"other key", github, []string{"X-Sig", "sha256=" + hex.EncodeToString(sign("x", body))}, 401},
		{"other body", github, []string{"X-Sig", "sha256=" + hex.EncodeToString(sign(key, "x"))}, 401},
		{"shorter", github, []string{"X-Sig", "sha256=" + hexed[:62]}, 401},
		{"not hex", github, []string{"X-Sig", "sha256=zz" + hexed[2:]}, 401},
		{"other header", github, []string{"X-Other", "sha256=" + hexed}, 401},
		{"no prefix", HMAC{Header: "X-Sig", Key: key, Prefix: none}, []string{"X-Sig", hexed}, 204},
		{"base64", HMAC{Header: "X-Sig", Key: key, Prefix: v1, Encoding: "base64"}, []string{"X-Sig", "v1=" + based}, 204},
		{"hex for base64", HMAC{Header: "X-Sig", Key: key, Prefix: v1, Encoding: "base64"}, []string{"X-Sig", "v1=" + hexed}, 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBus(t)
			o := options()
			o.HMAC = &c.h
			_, stop := b.start(t, o)
			if !b.public {
				t.Error("not public")
			}
			got := ask(t, "POST", b.server.URL+"/hooks/x", body, c.header...)
			if got.status != c.status {
				t.Errorf("%+v", got)
			}
			if c.status != 204 {
				b.none(t)
			} else if e := fmt.Sprint(<-b.events); strings.Contains(strings.ToLower(e), hexed) || strings.Contains(e, based) {
				t.Errorf("the signature is in the event: %s", e)
			}
			stop()
			if strings.Contains(b.log.String()+got.body+fmt.Sprint(o, o.HMAC), key) {
				t.Errorf("the key is in the log or the answer: %s", b.log.String())
			}
		})
	}
}

func TestToken(t *testing.T) {
	for _, c := range []struct {
		name, header string
		given        []string
		status       int
	}{
		{"bearer", "", []string{"Authorization", "Bearer s3cret"}, 204},
		{"bearer in lower case", "", []string{"Authorization", "bearer s3cret"}, 204},
		{"plain", "", []string{"Authorization", "s3cret"}, 204},
		{"own header", "X-Token", []string{"X-Token", "s3cret"}, 204},
		{"none", "", nil, 401},
		{"empty", "", []string{"Authorization", ""}, 401},
		{"bearer of nothing", "", []string{"Authorization", "Bearer "}, 401},
		{"wrong", "", []string{"Authorization", "Bearer s3creT"}, 401},
		{"longer", "", []string{"Authorization", "Bearer s3cret1"}, 401},
		{"other header", "X-Token", []string{"Authorization", "Bearer s3cret"}, 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBus(t)
			o := options()
			o.Token = &Token{Header: c.header, Value: "s3cret"}
			_, stop := b.start(t, o)
			if got := ask(t, "POST", b.server.URL+"/hooks/x", "x", c.given...); got.status != c.status || !b.public {
				t.Errorf("%+v", got)
			}
			if c.status != 204 {
				b.none(t)
			} else if e := fmt.Sprint(<-b.events); strings.Contains(e, "s3cret") {
				t.Errorf("the token is in the event: %s", e)
			}
			stop()
			if strings.Contains(b.log.String(), "s3cret") {
				t.Errorf("the token is in the log: %s", b.log.String())
			}
		})
	}
	for _, o := range []Options{{Token: &Token{}}, {HMAC: &HMAC{}}} {
		if err := New(o, newBus(t)).Open(t.Context()); err == nil {
			t.Errorf("an empty secret opens: %+v", o)
		}
	}
}

func TestAnswerComesAfterTheEventIsDurable(t *testing.T) {
	b := newBus(t)
	dones := make(chan func(error), 1)
	b.done = func(done func(error)) { dones <- done }
	o := options()
	o.Respond = &Respond{Body: "ok"}
	b.start(t, o)
	got := make(chan answer, 1)
	request := func() { got <- ask(t, "POST", b.server.URL+"/hooks/x", "x") }
	go request()
	done := <-dones
	select {
	case a := <-got:
		t.Fatalf("answered before the event is durable: %+v", a)
	case <-time.After(50 * time.Millisecond):
	}
	done(nil)
	if a := <-got; a.status != 200 || a.body != "ok" {
		t.Errorf("%+v", a)
	}
	go request()
	(<-dones)(errors.New("the disk is full"))
	if a := <-got; a.status != 503 || a.header.Get("Retry-After") == "" || strings.Contains(a.body, "disk") {
		t.Errorf("%+v", a)
	}
}

func TestBusThatDoesNotAnswer(t *testing.T) {
	b := newBus(t)
	stuck := make(chan func(error), 1)
	b.done = func(done func(error)) { stuck <- done }
	b.start(t, options(), func(s *Source) { s.patience = 50 * time.Millisecond })
	if a := ask(t, "POST", b.server.URL+"/hooks/x", "x"); a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("%+v", a)
	}
	(<-stuck)(nil) // late: nobody waits, nothing breaks
}

func TestStopWhileRequestsWait(t *testing.T) {
	for _, own := range []string{"", "127.0.0.1:0"} {
		b := newBus(t)
		stuck := make(chan func(error), 1)
		b.done = func(done func(error)) { stuck <- done }
		o := options()
		o.Listen = own
		s, stop := b.start(t, o)
		url := b.server.URL
		if own != "" {
			url = "http://" + s.own.Addr().String()
		}
		got := make(chan answer, 1)
		go func() { got <- ask(t, "POST", url+"/hooks/x", "x") }()
		<-stuck
		stop()
		if a := <-got; a.status != 503 || a.header.Get("Retry-After") == "" {
			t.Errorf("%+v", a)
		}
		if own == "" {
			if a := ask(t, "POST", url+"/hooks/x", "x"); a.status != 404 {
				t.Errorf("after Close: %+v", a)
			}
		}
	}
}

func TestReloadHasNoGap(t *testing.T) {
	b := newBus(t)
	_, stop := b.start(t, options())
	_, stopNew := b.start(t, options()) // replaces the first
	stop()
	if a := ask(t, "POST", b.server.URL+"/hooks/x", "x"); a.status != 204 {
		t.Errorf("after the old one is closed: %+v", a)
	}
	// Between Open and Stream a request waits.
	s := New(options(), b)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	stopNew()
	got := make(chan answer, 1)
	go func() { got <- ask(t, "POST", b.server.URL+"/hooks/x", "x") }()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Stream(ctx, b.emit) }()
	if a := <-got; a.status != 204 {
		t.Errorf("%+v", a)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if a := ask(t, "POST", b.server.URL+"/hooks/x", "x"); a.status != 503 {
		t.Errorf("stopped but not closed: %+v", a)
	}
	s.Close()
}

func TestOwnListener(t *testing.T) {
	before := runtime.NumGoroutine()
	b := newBus(t)
	b.server.Close()
	b.server = nil
	if err := New(options(), b).Open(t.Context()); err == nil || !strings.Contains(err.Error(), "set listen") {
		t.Errorf("without an HTTP address: %v", err)
	}
	o := options()
	o.Listen = "127.0.0.1:0"
	s, stop := b.start(t, o)
	address := s.own.Addr().String()
	if a := ask(t, "POST", "http://"+address+"/hooks/x", "1"); a.status != 204 {
		t.Errorf("%+v", a)
	}
	if a := ask(t, "POST", "http://"+address+"/hooks/y", "1"); a.status != 404 {
		t.Errorf("%+v", a)
	}
	slow, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	io.WriteString(slow, "POST /hooks/x HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n0")
	stop() // within a second, with a body that does not come

	between := make(chan answer, 1)
	go func() { between <- ask(t, "POST", "http://"+address+"/hooks/x", "2") }()
	s, stop = b.start(t, o)
	if s.own.Addr().String() != address {
		t.Errorf("the port changed: %s, %s", address, s.own.Addr())
	}
	if a := <-between; a.status != 204 {
		t.Errorf("between: %+v", a)
	}
	stop()
	b.server = httptest.NewServer(http.NotFoundHandler())
	b.server.Close()
	for end := time.Now().Add(2 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, %d before", runtime.NumGoroutine(), before)
		}
	}
}

func TestTooManyRequestsAtOneTime(t *testing.T) {
	b := newBus(t)
	o := options()
	o.MaxBody = 16 << 20 // four at one time
	b.start(t, o)
	address := strings.TrimPrefix(b.server.URL, "http://")
	for range 4 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, "POST /hooks/x HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n")
		// The server says so when the body is being read.
		if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
			t.Fatalf("%q, %v", line, err)
		}
	}
	if a := ask(t, "POST", b.server.URL+"/hooks/x", "x"); a.status != 503 {
		t.Errorf("%+v", a)
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Options)
		want   string
	}{
		{"good", func(o *Options) {}, ""},
		{"deep", func(o *Options) { o.Path = "/hooks/a/b.c~1" }, ""},
		{"elsewhere", func(o *Options) { o.Path = "/api/x" }, `path: "/api/x" does not begin with /hooks/ and a name`},
		{"no name", func(o *Options) { o.Path = "/hooks/" }, `path: "/hooks/" does not begin with /hooks/ and a name`},
		{"dots", func(o *Options) { o.Path = "/hooks/../x" }, `path: "/hooks/../x" has a slash at its end, //, . or ..`},
		{"slash", func(o *Options) { o.Path = "/hooks/x/" }, `path: "/hooks/x/" has a slash at its end, //, . or ..`},
		{"wildcard", func(o *Options) { o.Path = "/hooks/{x}" }, `path: "/hooks/{x}" is too long or has something else than letters, digits, - . _ ~ and / in it`},
		{"query", func(o *Options) { o.Path = "/hooks/x?y" }, `path: "/hooks/x?y" is too long or has something else than letters, digits, - . _ ~ and / in it`},
		{"no method", func(o *Options) { o.Methods = nil }, "methods: no method is left"},
		{"method", func(o *Options) { o.Methods = []string{"post"} }, `methods: "post" is not a method of a web hook`},
		{"method twice", func(o *Options) { o.Methods = []string{"PUT", "PUT"} }, "methods: PUT is there twice"},
		{"both", func(o *Options) { o.HMAC, o.Token = &HMAC{Header: "X"}, &Token{} }, "token: hmac_sha256 and token exclude each other"},
		{"header", func(o *Options) { o.HMAC = &HMAC{Header: "X: y"} }, `hmac_sha256.header: "X: y" is not a header's name`},
		{"no body", func(o *Options) { o.Respond = &Respond{Status: 204, Body: "x"} }, "respond.body: an answer with status 204 has no body"},
		{"listen", func(o *Options) { o.Listen = "9000" }, `listen: "9000" is not host:port`},
	} {
		o := options()
		c.change(&o)
		var got []string
		for _, err := range o.Check() {
			got = append(got, err.(interface{ Key() string }).Key()+": "+err.Error())
		}
		if s := strings.Join(got, "; "); s != c.want {
			t.Errorf("%s: got %q, want %q", c.name, s, c.want)
		}
	}
}

func FuzzFields(f *testing.F) {
	f.Add("application/json", "a=1", []byte(`{}`))
	f.Add("application/x-www-form-urlencoded", "%ff", []byte("a=%ff&b"))
	f.Add("x/y; z=\"", "", []byte{0xff})
	s := New(options(), nil)
	f.Fuzz(func(t *testing.T, kind, query string, body []byte) {
		r := httptest.NewRequest("POST", "/hooks/x", nil)
		r.URL.RawQuery = query
		r.Header.Set("Content-Type", kind)
		got, err := s.fields(r, body)
		if (err == nil) != (len(got) == 8) {
			t.Fatal(got, err)
		}
		h := HMAC{Header: "Content-Type", Key: "k"}
		if h.matches(r.Header, body) {
			t.Fatal("a guessed signature matches")
		}
	})
}
