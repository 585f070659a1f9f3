package webhook

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/kind/kindtest"
)

// newBus makes a bus that keeps released things, as during a reload, and its HTTP server.
func newBus(t *testing.T) (*kindtest.Bus, *httptest.Server) {
	t.Helper()
	b := kindtest.NewBus()
	b.Keep(true)
	server := httptest.NewServer(b)
	t.Cleanup(server.Close)
	return b, server
}

func options() Options {
	o := defaults()
	o.Path = "/hooks/x"
	return o
}

// start runs a source; stop ends it.
func start(t *testing.T, b *kindtest.Bus, o Options, prepare ...func(*Source)) (s *Source, stop func()) {
	t.Helper()
	s = New(o, b)
	for _, p := range prepare {
		p(s)
	}
	return s, b.Start(t, s, nil)
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
	b, server := newBus(t)
	b.Fates = make(chan error)
	o := options()
	o.Respond = &Respond{Body: "ok"}
	start(t, b, o)
	got := make(chan answer, 1)
	request := func() { got <- ask(t, "POST", server.URL+"/hooks/x", "x") }
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

func TestAnEventThatNothingComesOf(t *testing.T) {
	b, server := newBus(t)
	b.Fates = make(chan error, 1)
	start(t, b, options())
	b.Fates <- kind.Permanent(errors.New("publish[0]: secret details"))
	if a := ask(t, "POST", server.URL+"/hooks/x", "x"); a.status != 422 || a.header.Get("Retry-After") != "" || strings.Contains(a.body, "secret") {
		t.Errorf("%+v", a)
	}
}

func TestBusThatDoesNotAnswer(t *testing.T) {
	b, server := newBus(t)
	b.Fates = make(chan error)
	start(t, b, options(), func(s *Source) { s.patience = 50 * time.Millisecond })
	if a := ask(t, "POST", server.URL+"/hooks/x", "x"); a.status != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("%+v", a)
	}
	b.Next(t)
	b.Fates <- nil // late: nothing waits for it, and nothing breaks
}

func TestStopWhileRequestsWait(t *testing.T) {
	for _, own := range []string{"", "127.0.0.1:0"} {
		b, server := newBus(t)
		b.Fates = make(chan error)
		o := options()
		o.Listen = own
		s, stop := start(t, b, o)
		url := server.URL
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
	b, server := newBus(t)
	_, stop := start(t, b, options())
	_, stopNew := start(t, b, options()) // replaces the first
	stop()
	if a := ask(t, "POST", server.URL+"/hooks/x", "x"); a.status != 204 {
		t.Errorf("after the old one is closed: %+v", a)
	}
	// A request between Open and Stream waits.
	s := New(options(), b)
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	stopNew()
	got := make(chan answer, 1)
	go func() { got <- ask(t, "POST", server.URL+"/hooks/x", "x") }()
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
	if a := ask(t, "POST", server.URL+"/hooks/x", "x"); a.status != 503 {
		t.Errorf("stopped but not closed: %+v", a)
	}
	s.Close()
}

func TestOwnListener(t *testing.T) {
	before := runtime.NumGoroutine()
	b, server := newBus(t)
	server.Close()
	b.HandleError = errors.New("it is off")
	if err := New(options(), b).Open(t.Context()); err == nil || !strings.Contains(err.Error(), "set listen") {
		t.Errorf("without an HTTP address: %v", err)
	}
	o := options()
	o.Listen = "127.0.0.1:0"
	s, stop := start(t, b, o)
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
	s, stop = start(t, b, o)
	if s.own.Addr().String() != address {
		t.Errorf("the port changed: %s, %s", address, s.own.Addr())
	}
	if a := <-between; a.status != 204 {
		t.Errorf("between: %+v", a)
	}
	stop()
	kindtest.NoMoreGoroutines(t, before)
}

func TestTooManyRequestsAtOneTime(t *testing.T) {
	b, server := newBus(t)
	o := options()
	o.MaxBody = 16 << 20 // four at a time
	start(t, b, o)
	address := strings.TrimPrefix(server.URL, "http://")
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
	if a := ask(t, "POST", server.URL+"/hooks/x", "x"); a.status != 503 {
		t.Errorf("%+v", a)
	}
}
