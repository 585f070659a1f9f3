package bench

// This file is the broker's address: it parses --target and opens connections.

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"time"
)

// connectLimit bounds dialling and the CONNECT handshake.
const connectLimit = 15 * time.Second

// target is a parsed Options.Target with its credentials.
type target struct {
	text, network, address string
	user, password         string
	v5                     bool // speak MQTT 5
}

func parseTarget(text, user, password string) (target, error) {
	t := target{text: text, user: user, password: password}
	u, err := url.Parse(text)
	if err != nil {
		return t, usage("--target %q: not a URL; write tcp://host:port, ws://host:port/path or unix:///path", text)
	}
	switch u.Scheme {
	case "tcp", "mqtt":
		t.network, t.address = "tcp", u.Host
		if u.Hostname() == "" {
			return t, usage("--target %q: no host; write tcp://host:port", text)
		}
		if u.Port() == "" {
			t.address = net.JoinHostPort(u.Hostname(), "1883")
		}
	case "unix":
		t.network, t.address = "unix", u.Path
		if u.Path == "" || u.Host != "" {
			return t, usage("--target %q: write three slashes, unix:///path", text)
		}
	case "ws":
		t.network, t.address = "ws", text
		if u.Hostname() == "" {
			return t, usage("--target %q: no host; write ws://host:port/mqtt", text)
		}
	default:
		return t, usage("--target %q: write tcp://host:port, ws://host:port/path or unix:///path", text)
	}
	if u.User != nil {
		return t, usage("--target: leave the user out of the URL; use --user and POSTBUS_PASSWORD")
	}
	if password != "" && user == "" {
		return t, usage("POSTBUS_PASSWORD is set but --user is not: MQTT 3.1.1 knows no password without a user")
	}
	return t, nil
}

// dial opens a connection that closes when ctx ends.
func (t target) dial(ctx context.Context) (*conn, error) {
	var nc net.Conn
	var err error
	if t.network == "ws" {
		nc, err = dialWebSocket(ctx, t.address)
	} else {
		d := net.Dialer{Timeout: connectLimit}
		nc, err = d.DialContext(ctx, t.network, t.address)
	}
	if err != nil {
		return nil, withHint(fmt.Errorf("connect to %s: %w", t.text, err),
			"start the broker there, or name another with --target")
	}
	return newConn(ctx, nc), nil
}

// connect dials and sends CONNECT. present is CONNACK's session present flag.
func (t target) connect(ctx context.Context, id string, clean bool) (c *conn, present bool, err error) {
	if c, err = t.dial(ctx); err != nil {
		return nil, false, err
	}
	hello := appendConnect(nil, id, clean, t.user, t.password)
	if c.v5 = t.v5; c.v5 {
		hello = appendConnect5(nil, id, clean, t.user, t.password)
	}
	p, err := c.ask(hello, typeConnack)
	switch {
	case err != nil:
		err = fmt.Errorf("connect to %s as %s: %w", t.text, id, err)
	case len(p.body) != 2 && !(t.v5 && len(p.body) > 2):
		err = fmt.Errorf("connect to %s as %s: %w: CONNACK of %d bytes", t.text, id, errMalformed, len(p.body))
	case p.body[1] != 0:
		err = withHint(fmt.Errorf("connect to %s as %s: %w: %s", t.text, id, errRefused, refusal(p.body[1])), "give --user and POSTBUS_PASSWORD")
	default:
		return c, p.body[0]&1 == 1, nil
	}
	c.close()
	return nil, false, err
}

// forget ends the session of id, so that a run leaves nothing in the broker.
func (t target) forget(ctx context.Context, id string) error {
	c, _, err := t.connect(ctx, id, true)
	if err != nil {
		return err
	}
	return c.disconnect()
}
