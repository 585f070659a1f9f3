// This file connects to a remote: network, TLS, WebSocket and MQTT's handshake.

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

	v3 "github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/gorilla/websocket"
)

// patience bounds a connection attempt with its handshake.
const patience = 15 * time.Second

// link holds the settings of a remote and what was learned about it. One goroutine at a time may
// call connect.
type link struct {
	url            *url.URL
	addr, name     string // host:port
	clientID       string
	user, password string
	ca             string
	insecure       bool
	keepAlive      time.Duration
	plain          bool // on this connection we are a client, not a bridge: the remote sends us what we published
	spokeFive      bool // the remote has spoken MQTT 5
	noFive         bool // the remote has refused MQTT 5
	noBridges      bool // the remote has refused bridges of MQTT 3.1.1
}

// refusal is the return code of a CONNACK that refuses the connection.
type refusal byte

func (r refusal) Error() string {
	switch r {
	case v3.ErrRefusedBadProtocolVersion:
		return "it refuses our version of MQTT"
	case v3.ErrRefusedIDRejected:
		return "it refuses our client_id"
	case v3.ErrRefusedServerUnavailable:
		return "it says that it is not available"
	case v3.ErrRefusedBadUsernameOrPassword:
		return "it refuses our user name or password"
	case v3.ErrRefusedNotAuthorised:
		return "it says that we are not authorized; look at user and password"
	}
	return fmt.Sprintf("it refuses us (code %d)", byte(r))
}

// connect returns a connection whose handshake is complete. It tries MQTT 5 first, then MQTT 3.1.1
// as a bridge, then MQTT 3.1.1 as a client, each where the remote refuses the one before. A remote
// that has spoken MQTT 5 before and closes the connection without an answer has only a temporary
// fault.
func (l *link) connect(ctx context.Context, clean bool) (*conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("it doesn't answer within %s", patience))
	defer cancel()
	l.plain = false
	saidFive := false
	if !l.noFive {
		c, got, err := l.try(ctx, clean, 5)
		l.spokeFive = l.spokeFive || err == nil
		saidFive = errors.Is(err, errNotFive)
		if silent := got == silence && !l.spokeFive; !saidFive && !silent || ctx.Err() != nil {
			return c, err
		}
	}
	c, err := l.connectThree(ctx, clean)
	l.noFive = l.noFive || err == nil && saidFive
	return c, err
}

func (l *link) connectThree(ctx context.Context, clean bool) (*conn, error) {
	l.plain = l.noBridges
	refused := false
	if !l.plain {
		c, got, err := l.try(ctx, clean, 0x84)
		if err == nil || got == nobody || ctx.Err() != nil {
			return c, err
		}
		var no refusal
		if errors.As(err, &no) && no != v3.ErrRefusedBadProtocolVersion {
			return nil, err
		}
		refused = no == v3.ErrRefusedBadProtocolVersion
		l.plain = true // other brokers just close the connection
	}
	c, _, err := l.try(ctx, clean, 4)
	l.noBridges = l.noBridges || err == nil && refused
	return c, err
}

// got is the outcome of an attempt.
type got int

const (
	nobody  got = iota // the connection could not be made
	silence            // the connection was closed without an answer
	answer
)

// try makes one attempt with protocol level 5, 0x84 or 4.
func (l *link) try(ctx context.Context, clean bool, level byte) (c *conn, came got, err error) {
	nc, err := l.dial(ctx)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, nobody, ended(err)
	}
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	if level == 5 {
		c = newConn(nc, five{})
		if err = (five{}).connect(nc, l, clean); err == nil {
			err = c.readConnack(five{}.connack)
		}
	} else {
		c = newConn(nc, three{})
		if err = (three{}).connect(nc, l, clean, level); err == nil {
			err = c.readConnack(three{}.connack)
		}
	}
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		nc.Close()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if c.answered {
			return nil, answer, err
		}
		return nil, silence, ended(err)
	}
	c.start(l.keepAlive)
	return c, answer, nil
}

// tls returns the TLS configuration for a remote; nil without TLS.
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
		return nil, fmt.Errorf("ca: %s contains no certificate in PEM form", l.ca)
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
			return nil, fmt.Errorf("it answered the WebSocket request with %s", answer.Status)
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

// wsConn makes a stream of a WebSocket's messages. Any goroutine can set its deadlines, which
// gorilla's does not allow.
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
	return c.NetConn().SetWriteDeadline(t) // for a write in progress
}

func (c *wsConn) Write(b []byte) (int, error) {
	if t := c.write.Load(); t != nil {
		_ = c.Conn.SetWriteDeadline(*t) // only stores the deadline
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
