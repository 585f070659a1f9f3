package web

// This file is MQTT over WebSocket at /mqtt: the same connection as over TCP, with the socket's
// bytes in binary messages, one for each flush [MQTT-6.0.0-1] [MQTT-6.0.0-2].

import (
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/gorilla/websocket"
)

// subprotocols are in the order of preference [MQTT-6.0.0-4].
var subprotocols = []string{"mqtt", "mqttv3.1"}

const closeWait = time.Second // time limit for sending a close frame

func (s *Server) webSocket(w http.ResponseWriter, r *http.Request) {
	if s.o.MQTT == nil {
		fail(w, http.StatusNotFound, "", "MQTT over WebSocket is not available")
		return
	}
	if !websocket.IsWebSocketUpgrade(r) {
		w.Header().Set("Upgrade", "websocket")
		fail(w, http.StatusUpgradeRequired, "an MQTT client opens it as ws://HOST/mqtt", "/mqtt is a WebSocket")
		return
	}
	u := websocket.Upgrader{
		Subprotocols: subprotocols,
		CheckOrigin:  func(*http.Request) bool { return true }, // guard.go checks it
		Error: func(w http.ResponseWriter, _ *http.Request, status int, reason error) {
			fail(w, status, "", "%v", reason)
		},
		ReadBufferSize:  s.o.ReadBuffer,
		WriteBufferSize: s.o.WriteBuffer,
		WriteBufferPool: &s.writeBuffers,
	}
	for name := range w.Header() { // these headers are for pages
		w.Header().Del(name)
	}
	ws, err := u.Upgrade(w, r, nil)
	if err != nil {
		s.log.Debug("WebSocket refused", "remote", r.RemoteAddr, "err", err)
		return
	}
	c := &socket{ws: ws, Conn: ws.NetConn()}
	if !slices.Contains(subprotocols, ws.Subprotocol()) {
		c.end(websocket.CloseProtocolError, "offer the subprotocol mqtt")
		return
	}
	ws.SetReadLimit(int64(s.o.MaxPayload) + 1<<20) // one message may contain several packets
	s.o.MQTT(c, s.local(r))
}

// socket presents the bytes of a WebSocket's messages as a net.Conn. Deadlines and addresses are
// those of the TCP connection below.
type socket struct {
	net.Conn
	ws  *websocket.Conn
	msg io.Reader // the message that is being read
}

// Read implements net.Conn. A packet may begin in one message and end in another [MQTT-6.0.0-3].
func (c *socket) Read(p []byte) (int, error) {
	for {
		if c.msg == nil {
			kind, msg, err := c.ws.NextReader()
			if err != nil {
				return 0, ended(err)
			}
			if kind != websocket.BinaryMessage {
				c.end(websocket.CloseUnsupportedData, "MQTT requires binary messages")
				return 0, errText
			}
			c.msg = msg
		}
		n, err := c.msg.Read(p)
		if errors.Is(err, io.EOF) {
			c.msg, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

var errText = errors.New("received a WebSocket text message: MQTT requires binary messages")

// ended is io.EOF for a connection that was closed properly.
func ended(err error) error {
	if websocket.IsCloseError(err, websocket.CloseNormalClosure, websocket.CloseGoingAway, websocket.CloseNoStatusReceived) {
		return io.EOF
	}
	return err
}

// Write implements net.Conn: all of p is one message.
func (c *socket) Write(p []byte) (int, error) {
	if err := c.ws.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// NetConn returns the connection below, which can be closed without a last message.
func (c *socket) NetConn() net.Conn { return c.Conn }

// Close implements net.Conn. It sends a close frame if that is possible without waiting.
func (c *socket) Close() error {
	_ = c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(50*time.Millisecond))
	return c.Conn.Close()
}

// end closes with a code and a reason.
func (c *socket) end(code int, reason string) {
	_ = c.ws.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason), time.Now().Add(closeWait))
	_ = c.Conn.Close()
}
