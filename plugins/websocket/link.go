package websocket

// This file is a connection: dialling, and pings that notice a server that is gone.

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// dialOptions are what the source and the action share.
type dialOptions struct {
	url       string
	headers   map[string]string
	protocols []string
	insecure  bool
	timeout   time.Duration
	ping      time.Duration
	max       int64
}

// link is one connection. Its owner calls close.
type link struct {
	*websocket.Conn
	alive time.Duration // without a sign of life for this long the server is gone
	stop  context.CancelFunc
	ended chan struct{}
	once  sync.Once
}

// dial connects. The error names the host and no other part of the URL, which may be secret.
func dial(ctx context.Context, o dialOptions) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	d := websocket.Dialer{
		Proxy: http.ProxyFromEnvironment, HandshakeTimeout: o.timeout, Subprotocols: o.protocols,
		ReadBufferSize: 4 << 10, WriteBufferSize: 4 << 10,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: o.insecure}, // the user asked for it in the file, and the docs explain the risk
	}
	h := http.Header{"User-Agent": {"postbus"}}
	for name, value := range o.headers {
		h.Set(name, value)
	}
	c, res, err := d.DialContext(ctx, o.url, h)
	if res != nil && res.Body != nil {
		_ = res.Body.Close()
	}
	if err != nil {
		if res != nil {
			err = fmt.Errorf("the server answered %d", res.StatusCode)
		}
		return nil, o.failure(err)
	}
	c.SetReadLimit(o.max)
	l := &link{Conn: c, alive: o.ping + o.timeout, ended: make(chan struct{})}
	var pinging context.Context
	pinging, l.stop = context.WithCancel(context.Background())
	c.SetPongHandler(func(string) error { return l.sign() })
	answer := c.PingHandler()
	c.SetPingHandler(func(text string) error {
		_ = l.sign()
		return answer(text)
	})
	go l.pings(pinging, o.ping, o.timeout)
	return l, l.sign()
}

// failure adds where it happened.
func (o dialOptions) failure(err error) error {
	u, perr := url.Parse(o.url)
	if perr != nil {
		return err
	}
	return fmt.Errorf("%s://%s: %w", u.Scheme, u.Host, err)
}

// sign records a sign of life.
func (l *link) sign() error { return l.SetReadDeadline(time.Now().Add(l.alive)) }

func (l *link) pings(ctx context.Context, every, timeout time.Duration) {
	defer close(l.ended)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if l.WriteControl(websocket.PingMessage, nil, time.Now().Add(timeout)) != nil {
				return // whoever reads notices
			}
		}
	}
}

// close says goodbye, and ends the connection and its goroutine.
func (l *link) close() {
	l.once.Do(func() {
		l.stop()
		bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
		_ = l.WriteControl(websocket.CloseMessage, bye, time.Now().Add(100*time.Millisecond)) // a courtesy
		_ = l.Close()
		<-l.ended
	})
}
