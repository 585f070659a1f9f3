package websocket

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/kind/kindtest"
)

// serve runs a WebSocket server; each calls the function for each connection.
func serve(t *testing.T, each func(c *websocket.Conn, r *http.Request)) string {
	t.Helper()
	up := websocket.Upgrader{Subprotocols: []string{"v2", "v1"}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/forbidden" {
			w.WriteHeader(403)
			return
		}
		c, err := up.Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		each(c, r)
	}))
	t.Cleanup(s.Close)
	return "ws" + strings.TrimPrefix(s.URL, "http")
}

func source(url string, change func(*Options)) Options {
	o := defaults()
	o.URL = url
	if change != nil {
		change(&o)
	}
	return o
}

// stream opens and runs a source; the error is Stream's.
func stream(t *testing.T, b *kindtest.Bus, o Options) (stop func(), failed <-chan error) {
	t.Helper()
	s := New(o, b)
	if err := s.Open(t.Context()); err != nil {
		s.Close()
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error, 1)
	go func() {
		err := s.Stream(ctx, b.Post)
		s.Close()
		errs <- err
	}()
	return cancel, errs
}

func TestMessages(t *testing.T) {
	requests := make(chan *http.Request, 1)
	sent := make(chan string, 10)
	url := serve(t, func(c *websocket.Conn, r *http.Request) {
		requests <- r
		for range 2 {
			_, m, err := c.ReadMessage()
			if err != nil {
				t.Error(err)
			}
			sent <- string(m)
		}
		for _, m := range []string{`{"a": 1}`, "text", ""} {
			_ = c.WriteMessage(websocket.TextMessage, []byte(m))
		}
		_ = c.WriteMessage(websocket.BinaryMessage, []byte{0xff, 0})
		_, _, _ = c.ReadMessage() // until the client ends
	})
	b := kindtest.NewBus()
	stop, failed := stream(t, b, source(url+"/feed?x=y", func(o *Options) {
		o.Headers, o.Protocols, o.Send = map[string]string{"authorization": "Bearer k"}, []string{"v1"}, []string{"hello", "subscribe"}
	}))
	r := <-requests
	if r.URL.String() != "/feed?x=y" || r.Header.Get("Authorization") != "Bearer k" || r.Header.Get("Sec-WebSocket-Protocol") != "v1" || r.Header.Get("User-Agent") != "postbus" {
		t.Errorf("%v %v", r.URL, r.Header)
	}
	if a, b := <-sent, <-sent; a != "hello" || b != "subscribe" {
		t.Errorf("sent %q and %q", a, b)
	}
	for _, want := range []map[string]any{
		{"text": `{"a": 1}`, "json": map[string]any{"a": int64(1)}, "binary": false, "bytes": nil},
		{"text": "text", "json": nil, "binary": false, "bytes": nil},
		{"text": "", "json": nil, "binary": false, "bytes": nil},
		{"text": "\uFFFD\x00", "json": nil, "binary": true, "bytes": []byte{0xff, 0}},
	} {
		if e := b.Next(t); !reflect.DeepEqual(e, want) {
			t.Errorf("got %#v, want %#v", e, want)
		}
	}
	stop()
	if err := <-failed; err != nil {
		t.Error(err)
	}
}

func TestWhatEndsTheSource(t *testing.T) {
	hang := make(chan struct{})
	defer close(hang)
	for _, c := range []struct {
		name   string
		change func(*Options)
		server func(*websocket.Conn)
		want   string
	}{
		{"the server ends it", nil, func(c *websocket.Conn) {
			_ = c.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseGoingAway, "restart"))
		}, "the connection ended: websocket: close 1001 (going away): restart"},
		{"the connection breaks", nil, func(c *websocket.Conn) { c.NetConn().Close() }, "the connection ended"},
		{"a large message", func(o *Options) { o.MaxMessage = 10 }, func(c *websocket.Conn) {
			_ = c.WriteMessage(websocket.TextMessage, []byte("12345678901"))
			_, _, _ = c.ReadMessage()
		}, "a message is larger than max_message, 10 bytes"},
		{"no answer to pings", func(o *Options) { o.Ping, o.Timeout = 10*time.Millisecond, 200*time.Millisecond }, func(*websocket.Conn) { <-hang }, "the server does not answer pings"},
	} {
		url := serve(t, func(conn *websocket.Conn, _ *http.Request) { c.server(conn) })
		b := kindtest.NewBus()
		_, failed := stream(t, b, source(url+"/s3cret?k=s3cret", c.change))
		if err := <-failed; err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), url+": ") {
			t.Errorf("%s: %v", c.name, err)
		}
		if len(b.Events) > 0 {
			t.Errorf("%s: %v", c.name, <-b.Events)
		}
	}
}

// A server that answers pings may be silent for as long as it likes.
func TestPings(t *testing.T) {
	url := serve(t, func(c *websocket.Conn, _ *http.Request) {
		pings := 0
		answer := c.PingHandler()
		c.SetPingHandler(func(s string) error {
			if pings++; pings == 60 { // more than the time after which a silent one is gone
				return c.WriteMessage(websocket.TextMessage, []byte("here"))
			}
			return answer(s)
		})
		_, _, _ = c.ReadMessage()
	})
	b := kindtest.NewBus()
	stop, failed := stream(t, b, source(url, func(o *Options) { o.Ping, o.Timeout = 10*time.Millisecond, 300*time.Millisecond }))
	if e := b.Next(t); e["text"] != "here" {
		t.Errorf("%v", e)
	}
	stop()
	if err := <-failed; err != nil {
		t.Error(err)
	}
}

func TestNoServer(t *testing.T) {
	url := serve(t, func(*websocket.Conn, *http.Request) {})
	for address, want := range map[string]string{
		url + "/forbidden":            url + ": the server answered 403",
		"ws://127.0.0.1:1/s3cret?k=v": "ws://127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused",
	} {
		s := New(source(address, nil), kindtest.NewBus())
		if err := s.Open(t.Context()); err == nil || err.Error() != want {
			t.Errorf("%s: %v", address, err)
		}
		s.Close()
		a := NewAction(action(address), nil)
		if err := a.Do(t.Context(), Args{Text: "x"}); err == nil || err.Error() != want || kind.IsPermanent(err) {
			t.Errorf("%s: %v", address, err)
		}
		a.Close()
	}
}

func action(url string) ActionOptions {
	o := actionDefaults()
	o.URL = url
	return o
}

func TestAction(t *testing.T) {
	got := make(chan string, 100)
	connections := make(chan *websocket.Conn, 10)
	url := serve(t, func(c *websocket.Conn, r *http.Request) {
		connections <- c
		_ = c.WriteMessage(websocket.TextMessage, []byte("ignored"))
		for {
			_, m, err := c.ReadMessage()
			if err != nil {
				return
			}
			got <- string(m)
		}
	})
	a := NewAction(action(url), nil)
	defer a.Close()
	send := func(args Args, want string) {
		t.Helper()
		for { // a message to a server that is gone may fail, and is retried
			if err := a.Do(t.Context(), args); err == nil {
				break
			}
		}
		if s := <-got; s != want {
			t.Errorf("got %s, want %s", s, want)
		}
	}
	send(Args{Text: "a"}, "a")
	send(Args{JSON: map[string]any{"b": "<"}}, `{"b":"\u003c"}`)
	send(Args{JSON: false}, "false")
	if len(connections) != 1 {
		t.Errorf("%d connections", len(connections))
	}
	(<-connections).Close()
	<-a.over // the action notices
	send(Args{Text: "c"}, "c")
	if len(connections) != 1 {
		t.Errorf("%d new connections", len(connections))
	}
	if err := a.Do(t.Context(), Args{JSON: func() {}}); !kind.IsPermanent(err) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a.drop()
	if err := a.Do(ctx, Args{Text: "x"}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestNothingIsLeftRunning(t *testing.T) {
	url := serve(t, func(c *websocket.Conn, _ *http.Request) { _, _, _ = c.ReadMessage() })
	before := runtime.NumGoroutine()
	b := kindtest.NewBus()
	stop, failed := stream(t, b, source(url, nil))
	a := NewAction(action(url), nil)
	if err := a.Do(t.Context(), Args{Text: "x"}); err != nil {
		t.Error(err)
	}
	stop()
	<-failed
	a.Close()
	kindtest.NoMoreGoroutines(t, before)
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		headers map[string]string
		want    string
	}{
		{map[string]string{"X-Key": "k"}, ""},
		{map[string]string{"sec-websocket-protocol": "v1"}, "headers.sec-websocket-protocol: the header sec-websocket-protocol is set by the bus"},
		{map[string]string{"X": "a\r\nb"}, "headers.X: the value has a line break"},
	} {
		var got []string
		for _, err := range (Options{Headers: c.headers}).Check() {
			got = append(got, err.(*kind.OptionError).Key()+": "+err.Error())
		}
		if s := strings.Join(got, "; "); s != c.want {
			t.Errorf("got %q, want %q", s, c.want)
		}
	}
	for n, given := range [][]string{{"text"}, {}, {"text", "json"}} {
		if errs := (Args{}).CheckGiven(given); (len(errs) == 0) != (n == 0) {
			t.Error(fmt.Sprint(given, errs))
		}
	}
}
