package webhook

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind/kindtest"
)

// bus is the part of a bus that the source needs, with an HTTP listener.
type bus struct {
	*kindtest.Bus
	server *httptest.Server
	mu     sync.Mutex
	paths  map[string]http.Handler
	public bool
	log    bytes.Buffer
}

func newBus(t *testing.T) *bus {
	b := &bus{Bus: kindtest.NewBus(), paths: map[string]http.Handler{}}
	b.Keep(true) // as during a reload
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
	t.Cleanup(func() { b.server.Close() })
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
	return s, b.Start(t, s, func(ctx context.Context) error { return s.Stream(ctx, b.Post) })
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

func TestAnswerComesAfterTheEventIsDurable(t *testing.T) {
	b := newBus(t)
	b.Fates = make(chan error)
	o := options()
	o.Respond = &Respond{Body: "ok"}
	b.start(t, o)
	got := make(chan answer, 1)
	request := func() { got <- ask(t, "POST", b.server.URL+"/hooks/x", "x") }
	go request()
	b.Next(t)
	select {
	case a := <-got:
		t.Fatalf("answered before the event is durable: %+v", a)
	case <-time.After(50 * time.Millisecond):
	}
	b.Fates <- nil
	if a := <-got; a.status != 200 || a.body != "ok" {
		t.Errorf("%+v", a)
	}
	go request()
	b.Fates <- errors.New("the disk is full")
	if a := <-got; a.status != 503 || a.header.Get("Retry-After") == "" || strings.Contains(a.body, "disk") {
		t.Errorf("%+v", a)
	}
}

// refusal is an event that the plugin can't use.
type refusal struct{}

func (refusal) Error() string   { return "publish[0]: secret details" }
func (refusal) Permanent() bool { return true }

func TestAnEventThatNothingComesOf(t *testing.T) {
	b := newBus(t)
	b.Fates = make(chan error, 1)
	b.start(t, options())
	b.Fates <- refusal{}
	if a := ask(t, "POST", b.server.URL+"/hooks/x", "x"); a.status != 422 || a.header.Get("Retry-After") != "" || strings.Contains(a.body, "secret") {
		t.Errorf("%+v", a)
	}
}

func TestBusThatDoesNotAnswer(t *testing.T) {
	b := newBus(t)
	b.Fates = make(chan error)
	b.start(t, options(), func(s *Source) { s.patience = 50 * time.Millisecond })
	if a := ask(t, "POST", b.server.URL+"/hooks/x", "x"); a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("%+v", a)
	}
	b.Next(t)
	b.Fates <- nil // late: nothing waits for it, and nothing breaks
}

func TestStopWhileRequestsWait(t *testing.T) {
	for _, own := range []string{"", "127.0.0.1:0"} {
		b := newBus(t)
		b.Fates = make(chan error)
		o := options()
		o.Listen = own
		s, stop := b.start(t, o)
		url := b.server.URL
		if own != "" {
			url = "http://" + s.own.Addr().String()
		}
		got := make(chan answer, 1)
		go func() { got <- ask(t, "POST", url+"/hooks/x", "x") }()
		b.Next(t)
		stop()
		if a := <-got; a.status != 503 || a.header.Get("Retry-After") == "" {
			t.Errorf("%+v", a)
		}
		if own == "" {
			if a := ask(t, "POST", url+"/hooks/x", "x"); a.status != 404 {
				t.Errorf("after Close: %+v", a)
			}
		}
		close(b.Fates)
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
	// A request between Open and Stream waits.
	s := New(options(), b)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	stopNew()
	got := make(chan answer, 1)
	go func() { got <- ask(t, "POST", b.server.URL+"/hooks/x", "x") }()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Stream(ctx, b.Post) }()
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
	stop() // soon, although a body does not arrive

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
	kindtest.NoMoreGoroutines(t, before)
}

func TestTooManyRequestsAtOneTime(t *testing.T) {
	b := newBus(t)
	o := options()
	o.MaxBody = 16 << 20 // four at a time
	b.start(t, o)
	address := strings.TrimPrefix(b.server.URL, "http://")
	for range 4 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		io.WriteString(c, "POST /hooks/x HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n")
		// The server sends this when it begins to read the body.
		if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
			t.Fatalf("%q, %v", line, err)
		}
	}
	if a := ask(t, "POST", b.server.URL+"/hooks/x", "x"); a.status != 503 {
		t.Errorf("%+v", a)
	}
}
