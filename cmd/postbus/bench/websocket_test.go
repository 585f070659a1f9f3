package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
)

// TestWebSocketBytes sends frames of all sizes both ways, with pings in between and a reader that
// deadlines interrupt all the time: no byte is lost.
func TestWebSocketBytes(t *testing.T) {
	sizes := []int{0, 1, 125, 126, 65_535, 65_536, 300_000, 3}
	body := func(n int) []byte { return bytes.Repeat([]byte{byte(n), 1, 2}, n/3+1)[:n] }
	var want []byte
	for _, n := range sizes {
		want = append(want, body(n)...)
	}
	failed := make(chan error, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		failed <- func() error {
			u := websocket.Upgrader{Subprotocols: []string{"mqtt"}}
			ws, err := u.Upgrade(w, r, nil)
			if err != nil {
				return err
			}
			defer ws.Close()
			if ws.Subprotocol() != "mqtt" {
				return errors.New("no subprotocol")
			}
			if _, _, err := ws.ReadMessage(); err != nil { // as a broker waits for CONNECT
				return err
			}
			pongs := 0
			ws.SetPongHandler(func(text string) error {
				if text == "are you there" {
					pongs++
				}
				return nil
			})
			for _, n := range sizes {
				if err := ws.WriteControl(websocket.PingMessage, []byte("are you there"), time.Now().Add(time.Second)); err != nil {
					return err
				}
				if err := ws.WriteMessage(websocket.BinaryMessage, body(n)); err != nil {
					return err
				}
				time.Sleep(time.Millisecond)
			}
			for _, n := range sizes {
				kind, b, err := ws.ReadMessage()
				if err != nil || kind != websocket.BinaryMessage || !bytes.Equal(b, body(n)) {
					return errors.Join(err, errors.New("another message comes"))
				}
			}
			if pongs != len(sizes) {
				return fmt.Errorf("%d of %d pings were answered", pongs, len(sizes))
			}
			return ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
		}()
	}))
	defer srv.Close()
	nc, err := dialWebSocket(context.Background(), "ws"+strings.TrimPrefix(srv.URL, "http"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	var got []byte
	for p := make([]byte, 10_000); len(got) < len(want); {
		if err := nc.SetReadDeadline(time.Now().Add(100 * time.Microsecond)); err != nil {
			t.Fatal(err)
		}
		n, err := nc.Read(p)
		if got = append(got, p[:n]...); err != nil && !timedOut(err) {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(got, want) {
		t.Error("other bytes come than were sent")
	}
	if err := nc.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	for _, n := range sizes {
		if _, err := nc.Write(body(n)); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := nc.Read(make([]byte, 10)); n != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("after the close frame: %d bytes, %v", n, err)
	}
	if err := <-failed; err != nil {
		t.Error(err)
	}
}
