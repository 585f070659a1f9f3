// This file: the way to a remote: network, TLS, WebSocket and MQTT's handshake.

package bridge

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/gorilla/websocket"
)

// patience is how long a connection and its handshake may take.
const patience = 15 * time.Second

// link is what is known of a remote. connect is for one goroutine at a time.
type link struct {
	url            *url.URL
	addr, name     string // host:port
	clientID       string
	user, password string
	ca             string
	insecure       bool
	keepAlive      time.Duration
	plain          bool // on this connection we are a client, not a bridge
	noBridges      bool // it has said that it refuses bridges
}

// refusal is a CONNACK that says no.
type refusal byte

func (r refusal) Error() string {
	switch r {
	case packets.ErrRefusedBadProtocolVersion:
		return "it refuses our version of MQTT"
	case packets.ErrRefusedIDRejected:
		return "it refuses our client_id"
	case packets.ErrRefusedServerUnavailable:
		return "it says that it is not available"
	case packets.ErrRefusedBadUsernameOrPassword:
		return "it refuses our user name or password"
	case packets.ErrRefusedNotAuthorised:
		return "it says that we are not authorized; look at user and password"
	}
	return fmt.Sprintf("it refuses us (code %d)", byte(r))
}

// connect gives a connection whose handshake is done, and whether the remote has a session of ours. It asks to be a bridge, and where that is
// refused, to be a client.
func (l *link) connect(ctx context.Context, clean bool) (*conn, bool, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("it doesn't answer within %s", patience))
	defer cancel()
	l.plain = l.noBridges
	refused := false
	if !l.plain {
		c, present, spoken, err := l.try(ctx, clean, 0x84)
		if err == nil || !spoken || ctx.Err() != nil {
			return c, present, err
		}
		var no refusal
		if errors.As(err, &no) && no != packets.ErrRefusedBadProtocolVersion {
			return nil, false, err
		}
		refused = no == packets.ErrRefusedBadProtocolVersion
		l.plain = true // others just close the connection
	}
	c, present, _, err := l.try(ctx, clean, 4)
	l.noBridges = l.noBridges || err == nil && refused
	return c, present, err
}

// try makes one attempt; spoken is whether there was somebody at the other end.
func (l *link) try(ctx context.Context, clean bool, version byte) (c *conn, present, spoken bool, err error) {
	nc, err := l.dial(ctx)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, false, false, ended(err)
	}
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	p := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	p.ProtocolName, p.ProtocolVersion, p.CleanSession = "MQTT", version, clean
	p.ClientIdentifier, p.Keepalive = l.clientID, uint16(l.keepAlive/time.Second)
	if l.user != "" {
		p.UsernameFlag, p.Username = true, l.user
		p.PasswordFlag, p.Password = l.password != "", []byte(l.password)
	}
	c = newConn(nc)
	if err = p.Write(nc); err == nil {
		present, err = c.connack()
	}
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		nc.Close()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, false, true, ended(err)
	}
	c.start(l.keepAlive)
	return c, present, true, nil
}

// tls is the configuration for a remote; nil without TLS.
func (l *link) tls() (*tls.Config, error) {
	if l.url.Scheme != "wss" && ports[l.url.Scheme] != "8883" {
		return nil, nil
	}
	t := &tls.Config{ServerName: l.url.Hostname(), InsecureSkipVerify: l.insecure, MinVersion: tls.VersionTLS12}
	if l.ca == "" {
		return t, nil
	}
	pem, err := os.ReadFile(l.ca)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	t.RootCAs = x509.NewCertPool()
	if !t.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca: %s holds no certificate in PEM form", l.ca)
	}
	return t, nil
}

func (l *link) dial(ctx context.Context) (net.Conn, error) {
	t, err := l.tls()
	if err != nil {
		return nil, err
	}
	switch {
	case l.url.Scheme == "ws" || l.url.Scheme == "wss":
		d := websocket.Dialer{Proxy: http.ProxyFromEnvironment, Subprotocols: []string{"mqtt"}, TLSClientConfig: t}
		c, answer, err := d.DialContext(ctx, l.url.String(), nil)
		if err != nil && answer != nil {
			return nil, fmt.Errorf("it answered %s to our WebSocket", answer.Status)
		}
		if err != nil {
			return nil, err
		}
		return &wsConn{Conn: c}, nil
	case t != nil:
		return (&tls.Dialer{Config: t}).DialContext(ctx, "tcp", l.addr)
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", l.addr)
}

// wsConn makes a stream of a WebSocket's messages. Its deadlines can be set by any goroutine, which gorilla's can't.
type wsConn struct {
	*websocket.Conn
	r     io.Reader
	write atomic.Pointer[time.Time]
}

func (c *wsConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *wsConn) SetWriteDeadline(t time.Time) error {
	c.write.Store(&t)
	return c.NetConn().SetWriteDeadline(t) // for a write under way
}

func (c *wsConn) Write(b []byte) (int, error) {
	if t := c.write.Load(); t != nil {
		_ = c.Conn.SetWriteDeadline(*t) // it only takes note
	}
	if err := c.WriteMessage(websocket.BinaryMessage, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (c *wsConn) Read(b []byte) (int, error) {
	for {
		if c.r == nil {
			_, r, err := c.NextReader()
			if err != nil {
				return 0, err
			}
			c.r = r
		}
		n, err := c.r.Read(b)
		if err == io.EOF {
			c.r, err = nil, nil
			if n == 0 {
				continue
			}
		}
		return n, err
	}
}
