package web_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/admission"
	"github.com/postbus/postbus/bus/broker"
	"github.com/postbus/postbus/bus/web"
)

// TestConnectionsBeforeALogin: connections that no client has logged in on share the budget, between two
// requests too, and as WebSockets. Others don't.
func TestConnectionsBeforeALogin(t *testing.T) {
	b := openBus(t)
	budget := admission.NewBudget(nil)
	k := broker.New(b, broker.Options{Budget: budget})
	if err := k.Open(); err != nil {
		t.Fatal(err)
	}
	s := web.New(b, web.Options{Local: true, MQTT: func(c net.Conn, local bool) { k.Serve(c, "ws", local) }})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Serve(admission.Listen(l, budget, admission.Options{}))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := errors.Join(s.Close(ctx), k.Close(ctx)); err != nil {
			t.Error(err)
		}
	})
	type client struct {
		net.Conn
		in *bufio.Reader
	}
	ask := func(c client, path string) error {
		if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: "+l.Addr().String()+"\r\n\r\n"); err != nil {
			return err
		}
		resp, err := http.ReadResponse(c.in, nil)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	open := func(path string) client {
		t.Helper()
		raw, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { raw.Close() })
		_ = raw.SetDeadline(time.Now().Add(time.Minute))
		c := client{raw, bufio.NewReader(raw)}
		if path != "" {
			if err := ask(c, path); err != nil {
				t.Fatal(err)
			}
		}
		return c
	}
	silent, stranger, user := open(""), open("/healthz"), open("/api/v1/topics?filter=x")
	ws, _, err := (&websocket.Dialer{Subprotocols: []string{"mqtt"}}).Dial("ws://"+l.Addr().String()+"/mqtt", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	mqtt, _, err := (&websocket.Dialer{Subprotocols: []string{"mqtt"}}).Dial("ws://"+l.Addr().String()+"/mqtt", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer mqtt.Close()
	exchange := func(packet string) {
		t.Helper()
		_ = mqtt.SetReadDeadline(time.Now().Add(time.Minute))
		if err := mqtt.WriteMessage(websocket.BinaryMessage, []byte(packet)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := mqtt.ReadMessage(); err != nil {
			t.Fatal(err)
		}
	}
	exchange("\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02id")
	if err := budget.Add("127.0.0.1:1", func() {}).Charge(16<<20 - 8<<10 - 1); err != nil { // 8 KiB are charged for each
		t.Fatal(err)
	}
	for name, c := range map[string]net.Conn{"silent": silent, "a stranger": stranger, "a WebSocket": ws.NetConn()} {
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := io.Copy(io.Discard, c); isTimeout(err) {
			t.Errorf("%s is not ended", name)
		}
	}
	if err := ask(user, "/healthz"); err != nil {
		t.Error("a client that has logged in is ended:", err)
	}
	exchange("\xc0\x00")
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

func openBus(t *testing.T) *bus.Bus {
	t.Helper()
	b, err := bus.Open(t.Context(), bus.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}
