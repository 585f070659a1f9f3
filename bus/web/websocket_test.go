package web_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/gorilla/websocket"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/broker"
	"github.com/postbus/postbus/bus/web"
)

// startMQTT runs a bus with a broker behind the web server.
func startMQTT(t testing.TB, o web.Options) (b *bus.Bus, url string) {
	t.Helper()
	b, err := bus.Open(context.Background(), bus.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	k := broker.New(b, broker.Options{})
	if err := k.Open(); err != nil {
		t.Fatal(err)
	}
	o.Broker = k
	o.MQTT = func(c net.Conn, local bool) { k.Serve(c, "ws", local) }
	s := web.New(b, o)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Serve(l)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := errors.Join(s.Close(ctx), k.Close(ctx), b.Close()); err != nil {
			t.Error(err)
		}
	})
	return b, "ws://" + l.Addr().String() + "/mqtt"
}

func TestMQTTOverWebSocket(t *testing.T) {
	_, url := startMQTT(t, web.Options{Local: true})
	connect := func(id string) paho.Client {
		c := paho.NewClient(paho.NewClientOptions().AddBroker(url).SetClientID(id).SetCleanSession(false))
		if tok := c.Connect(); !tok.WaitTimeout(time.Minute) || tok.Error() != nil {
			t.Fatal(tok.Error())
		}
		return c
	}
	got := make(chan string, 3000)
	sub := connect("sub")
	sub.Subscribe("a/#", 1, func(_ paho.Client, m paho.Message) { got <- string(m.Payload()) }).Wait()
	pub := connect("pub")
	large := strings.Repeat("x", 500_000)
	var last paho.Token
	for i := range 2000 {
		last = pub.Publish("a/b", 1, false, fmt.Sprint(i))
	}
	pub.Publish("a/b", 1, false, large)
	last.Wait()
	for i := range 2001 {
		select {
		case p := <-got:
			if i < 2000 && p != fmt.Sprint(i) || i == 2000 && p != large {
				t.Fatalf("event %d is %.20s", i, p)
			}
		case <-time.After(time.Minute):
			t.Fatalf("event %d does not come", i)
		}
	}
	sub.Disconnect(100)
	pub.Disconnect(100)
}

func dial(t *testing.T, url string, protocols []string, origin string) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	d := websocket.Dialer{Subprotocols: protocols, HandshakeTimeout: time.Minute, WriteBufferSize: 4 << 20}
	h := http.Header{}
	if origin != "" {
		h.Set("Origin", origin)
	}
	return d.Dial(url, h)
}

func TestWebSocketsThatAreRefused(t *testing.T) {
	_, url := startMQTT(t, web.Options{Local: true, MaxPayload: 1000, Origins: []string{"https://dash.example.org"}})
	connect := []byte{0x10, 0x0f, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, 3, 'a', 'b', 'c'}
	for _, c := range []struct {
		name, origin string
		protocols    []string
		kind         int
		data         []byte
		code         int // of the close frame; 0: the handshake is refused
	}{
		{"another origin", "https://evil.example", []string{"mqtt"}, 0, nil, 0},
		{"a sandboxed page", "null", []string{"mqtt"}, 0, nil, 0},
		{"a wrong subprotocol", "", []string{"chat"}, 0, nil, websocket.CloseProtocolError},
		{"no subprotocol", "", nil, 0, nil, websocket.CloseProtocolError},
		{"text", "", []string{"mqtt"}, websocket.TextMessage, []byte("hello"), websocket.CloseUnsupportedData},
		{"an oversized message", "https://dash.example.org", []string{"mqtt"}, websocket.BinaryMessage, append(connect, make([]byte, 3<<20)...), websocket.CloseMessageTooBig},
		{"no MQTT", "", []string{"mqtt"}, websocket.BinaryMessage, []byte("GET / HTTP/1.1\r\n\r\n"), websocket.CloseNormalClosure},
	} {
		t.Run(c.name, func(t *testing.T) {
			ws, resp, err := dial(t, url, c.protocols, c.origin)
			if c.code == 0 {
				if err == nil || resp.StatusCode != http.StatusForbidden {
					t.Fatalf("%v, %v", resp, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer ws.Close()
			if c.data != nil {
				_ = ws.WriteMessage(c.kind, c.data) // the connection may be closed during the write
			}
			_ = ws.SetReadDeadline(time.Now().Add(time.Minute))
			for err == nil {
				_, _, err = ws.ReadMessage()
			}
			var closed *websocket.CloseError
			if !errors.As(err, &closed) || closed.Code != c.code {
				// A reset may arrive before the frame while the client still writes.
				if c.code != websocket.CloseMessageTooBig || errors.As(err, &closed) {
					t.Errorf("closed with %v, want %d", err, c.code)
				}
			}
		})
	}
	resp, err := http.Get("http" + strings.TrimPrefix(url, "ws"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("a plain GET: %d", resp.StatusCode)
	}
}

// TestASlowWebSocketSlowsNobody has many clients, one of which does not read.
func TestASlowWebSocketSlowsNobody(t *testing.T) {
	b, url := startMQTT(t, web.Options{Local: true})
	slow, _, err := dial(t, url, []string{"mqtt"}, "")
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must(slow.WriteMessage(websocket.BinaryMessage, []byte{0x10, 0x10, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 4, 's', 'l', 'o', 'w', 0x82, 6, 0, 1, 0, 1, '#', 1}))
	const clients, events = 199, 100
	var wg sync.WaitGroup
	ready := make(chan struct{}, clients)
	for i := range clients {
		wg.Go(func() {
			n := make(chan struct{}, events)
			c := paho.NewClient(paho.NewClientOptions().AddBroker(url).SetClientID(fmt.Sprint("c", i)))
			c.Connect().Wait()
			c.Subscribe("load", 1, func(paho.Client, paho.Message) { n <- struct{}{} }).Wait()
			ready <- struct{}{}
			for range events {
				select {
				case <-n:
				case <-time.After(time.Minute):
					t.Errorf("client %d waits", i)
					return
				}
			}
			c.Disconnect(100)
		})
	}
	for range clients {
		<-ready
	}
	payload, flood := make([]byte, 2000), make([]byte, 500_000)
	for range events {
		_, err := b.Publish(context.Background(), bus.Event{Topic: "flood", Payload: flood, QoS: 1}) // more than its socket can hold
		must(err)
		_, err = b.Publish(context.Background(), bus.Event{Topic: "load", Payload: payload, QoS: 1})
		must(err)
	}
	wg.Wait()
}

func TestEventsTopicsAndFigures(t *testing.T) {
	b, base := start(t, web.Options{Local: true, Authenticate: policy(t, nil)})
	ctx := context.Background()
	for i := range 25 {
		for _, topic := range []string{"home/t", "home/safe/x", "other"} {
			if _, err := b.Publish(ctx, bus.Event{Topic: topic, Payload: fmt.Append(nil, i), QoS: 1, Retain: i == 24}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := b.Publish(ctx, bus.Event{Topic: "home/bytes", Payload: []byte{0xff}, QoS: 1, Retain: true}); err != nil {
		t.Fatal(err)
	}
	type event struct {
		Seq           uint64
		Topic         string
		Payload       string
		PayloadBase64 []byte `json:"payload_base64"`
	}
	var page struct {
		Epoch  string
		Events []event
		Next   uint64
	}
	get := func(path, user string, status int, v any) string {
		t.Helper()
		got, _, body := request{method: "GET", path: path, user: user}.do(t, base)
		if got != status {
			t.Fatalf("%s: %d %s", path, got, body)
		}
		if v != nil {
			if err := json.Unmarshal([]byte(body), v); err != nil {
				t.Fatalf("%s: %v in %s", path, err, body)
			}
		}
		return body
	}
	// Page by page, without the events that the user may not read.
	var all []event
	for since := "1h"; ; since = fmt.Sprint(page.Next) {
		page.Next, page.Events = 0, nil
		get("/api/v1/events?filter=home/%23&limit=10&since="+since, "pi:secret", 200, &page)
		all = append(all, page.Events...)
		if page.Next == 0 {
			break
		}
	}
	if len(all) != 26 || len(page.Epoch) != 32 {
		t.Fatalf("%d events, epoch %q", len(all), page.Epoch)
	}
	for i, e := range all[:25] {
		if e.Topic != "home/t" || e.Payload != fmt.Sprint(i) {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	if string(all[25].PayloadBase64) != "\xff" {
		t.Errorf("%+v", all[25])
	}
	var topics []event
	get("/api/v1/topics?filter=%23", "root:secret", 200, &topics)
	if len(topics) != 4 {
		t.Errorf("%+v", topics)
	}
	get("/api/v1/topics", "pi:secret", 200, &topics)
	if len(topics) != 2 || topics[0].Topic != "home/bytes" {
		t.Errorf("%+v", topics)
	}
	get("/api/v1/events?filter=home/%23/x", "pi:secret", 400, nil)
	get("/api/v1/events?since=yesterday", "pi:secret", 400, nil)
	get("/api/v1/events?limit=0", "pi:secret", 400, nil)
	get("/api/v1/events?filter=other", "pi:secret", 403, nil)
	get("/api/v1/events", "", 401, nil)
	get("/api/v1/bus", "eve:secret", 403, nil)
	var figures struct {
		Published uint64
		Ready     bool
		Journal   struct {
			Last uint64
			Sync struct{ P99 float64 } `json:"sync_seconds"`
		}
	}
	get("/api/v1/bus", "pi:secret", 200, &figures)
	if figures.Published != 76 || !figures.Ready || figures.Journal.Last < 76 || figures.Journal.Sync.P99 <= 0 {
		t.Errorf("%+v", figures)
	}
	text := get("/metrics", "pi:secret", 200, nil)
	for _, want := range []string{"postbus_published_events_total 76", "postbus_ready 1", `postbus_journal_sync_seconds_bucket{le="+Inf"}`, "go_goroutines"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
}

// TestEventsAsLines reads a long history as lines: complete, in order, with rights, and with the
// sequence at which to continue.
func TestEventsAsLines(t *testing.T) {
	b, base := start(t, web.Options{Local: true, Authenticate: policy(t, nil)})
	const events = 3000 // more than a page contains without a limit
	for i := range events {
		for _, topic := range []string{"home/t", "home/safe/x"} {
			if _, err := b.Send(bus.Event{Topic: topic, Payload: fmt.Append(nil, i), QoS: 1}); err != nil {
				t.Fatal(err)
			}
		}
	}
	last, err := b.Publish(context.Background(), bus.Event{Topic: "home/t", Payload: []byte("end"), QoS: 1})
	if err != nil {
		t.Fatal(err)
	}
	read := func(query string) (events []string, next uint64) {
		t.Helper()
		status, h, body := request{method: "GET", path: "/api/v1/events?" + query, user: "pi:secret", header: map[string]string{"Accept": "application/x-ndjson"}}.do(t, base)
		if status != 200 || h.Get("Content-Type") != "application/x-ndjson" {
			t.Fatalf("%d %s %.200s", status, h, body)
		}
		for line := range strings.Lines(body) {
			var v struct {
				Topic, Payload string
				Next           uint64
			}
			if err := json.Unmarshal([]byte(line), &v); err != nil || next != 0 {
				t.Fatalf("%q after next %d: %v", line, next, err)
			}
			if next = v.Next; next == 0 {
				events = append(events, v.Topic+" "+v.Payload)
			}
		}
		return events, next
	}
	got, next := read("filter=home/%23&since=1h")
	if len(got) != events+1 || got[0] != "home/t 0" || got[events-1] != fmt.Sprint("home/t ", events-1) || got[events] != "home/t end" || next != last+1 {
		t.Errorf("%d events, the last %q, next %d; the bus has up to %d", len(got), got[len(got)-1], next, last)
	}
	if got, next = read("filter=home/%23&since=1h&limit=2"); len(got) != 2 || next != 5 {
		t.Errorf("%q, next %d", got, next)
	}
	if got, next = read("filter=home/none&since=1h"); len(got) != 0 || next != last+1 {
		t.Errorf("%q, next %d", got, next)
	}
}
