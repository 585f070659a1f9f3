// This file is MQTT over WebSocket for "pub" and "sub": an HTTP address reaches the same bus,
// through the same proxies.

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// webSocketPath is the path of MQTT over WebSocket.
const webSocketPath = "/mqtt"

// webSocketURL returns the WebSocket URL of the bus with the HTTP address u.
func webSocketURL(u *url.URL) *url.URL {
	ws := *u
	ws.Scheme = map[string]string{"http": "ws", "ws": "ws", "https": "wss", "wss": "wss"}[u.Scheme]
	if u.Scheme == "http" || u.Scheme == "https" || strings.Trim(u.Path, "/") == "" {
		ws.Path = strings.TrimSuffix(strings.TrimRight(u.Path, "/"), webSocketPath) + webSocketPath
	}
	return &ws
}

// httpOf returns the HTTP address of the bus with the WebSocket URL u.
func httpOf(u *url.URL) *url.URL {
	h := *u
	h.Scheme = map[string]string{"ws": "http", "wss": "https"}[u.Scheme]
	h.Path = strings.TrimSuffix(strings.TrimRight(u.Path, "/"), webSocketPath)
	return &h
}

func dialWebSocket(ctx context.Context, u *url.URL, c *tls.Config) (net.Conn, error) {
	d := websocket.Dialer{NetDialContext: (&net.Dialer{}).DialContext, TLSClientConfig: c, Subprotocols: []string{"mqtt"}, Proxy: http.ProxyFromEnvironment}
	conn, resp, err := d.DialContext(ctx, webSocketURL(u).String(), nil)
	if errors.Is(err, websocket.ErrBadHandshake) && resp != nil {
		return nil, withHint(fmt.Errorf("it answers %s to a WebSocket at %s", resp.Status, webSocketURL(u).Path),
			"does postbus run there? a proxy in front of it must forward WebSockets")
	}
	if err != nil {
		return nil, err
	}
	return &webSocketConn{Conn: conn}, nil
}

// webSocketConn is a WebSocket as a stream of bytes, for one reader and one writer.
type webSocketConn struct {
	*websocket.Conn
	message io.Reader // the remainder of the current message
}

// Read implements net.Conn. The stream ignores message boundaries.
func (w *webSocketConn) Read(p []byte) (int, error) {
	for {
		if w.message == nil {
			_, r, err := w.NextReader()
			if err != nil {
				var closed *websocket.CloseError
				if errors.As(err, &closed) {
					return 0, io.EOF
				}
				return 0, err
			}
			w.message = r
		}
		n, err := w.message.Read(p)
		if err == io.EOF {
			w.message, err = nil, nil
			if n == 0 {
				continue
			}
		}
		return n, err
	}
}

// Write implements net.Conn.
func (w *webSocketConn) Write(p []byte) (int, error) {
	if err := w.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// SetDeadline implements net.Conn.
func (w *webSocketConn) SetDeadline(t time.Time) error {
	return errors.Join(w.SetReadDeadline(t), w.SetWriteDeadline(t))
}
