// This file has the options of a Stream, and how they become those of the NATS client.

package stream

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
)

const (
	defaultMaxMessage = 320 << 10
	defaultTimeout    = 10 * time.Second
	defaultRetry      = 30 * time.Second
	firstRetry        = 100 * time.Millisecond
	connectTimeout    = 5 * time.Second
	pingInterval      = 15 * time.Second
	queueLength       = 16384 // messages that wait in a subscription: more than a Reader's 2 MiB can be
)

// Dialer makes the connections to the hub.
type Dialer interface {
	Dial(network, address string) (net.Conn, error)
}

// Options say which hub and which stream, and who asks.
type Options struct {
	URLs       []string      // nats://, tls://, ws://, wss://; tried in turn. user:password@ is allowed
	Creds      []byte        // the content of a creds file, or of a file with an nkey seed; nil: none
	TLS        *tls.Config   // for tls://, wss:// and hubs that demand TLS; nil: the roots of the system
	Name       string        // of this client, for the hub's reports
	Inbox      string        // prefix of the subjects for replies, see InboxOf; "": _INBOX
	Stream     string        // the name of the stream
	Shape      *Shape        // what the stream must look like; nil: any that keeps messages. See Info.Differences
	MaxMessage int           // bytes of the largest message; 0: 320 KiB
	Timeout    time.Duration // of one request; 0: 10 s
	Retry      time.Duration // the longest pause between two attempts to connect; 0: 30 s
	Logger     *slog.Logger  // nil: slog.Default()

	// Changed is called when Connected changes: in order, by one goroutine, and no more once Close
	// returned. It must not call Close.
	Changed func(connected bool, err error)

	Dialer Dialer // nil: net.Dialer
}

// complete fills in the defaults, and reports what is missing.
func (o Options) complete() (Options, error) {
	if len(o.URLs) == 0 {
		return o, fault("no address of the hub", "add hub: with an address such as tls://hub.example.org:4222", nil)
	}
	if !validToken(o.Stream) {
		return o, fault(fmt.Sprintf("%q cannot be the name of a stream", o.Stream), "use letters, digits, - and _", nil)
	}
	if len(o.Creds) > 0 {
		if _, err := credentials(o.Creds); err != nil {
			return o, err
		}
	}
	o.MaxMessage = cmp.Or(o.MaxMessage, defaultMaxMessage)
	o.Timeout = cmp.Or(o.Timeout, defaultTimeout)
	o.Retry = cmp.Or(o.Retry, defaultRetry)
	o.Inbox = cmp.Or(o.Inbox, "_INBOX")
	if o.Inbox != "_INBOX" && !strings.HasPrefix(o.Inbox, "_INBOX.") || !validSubject(o.Inbox, false) {
		return o, fault(fmt.Sprintf("%q is not a prefix for answers", o.Inbox), "begin it with _INBOX.", nil)
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Dialer == nil {
		o.Dialer = &net.Dialer{Timeout: connectTimeout, KeepAlive: 15 * time.Second}
	}
	return o, nil
}

// client is the NATS client's options. It makes one connection and never another by itself, so that
// nothing is sent to a hub that was not checked.
func (o *Options) client(d nats.CustomDialer) ([]nats.Option, error) {
	list := []nats.Option{
		nats.Name(o.Name),
		nats.CustomInboxPrefix(o.Inbox),
		nats.SetCustomDialer(d),
		nats.Timeout(connectTimeout),
		nats.FlusherTimeout(connectTimeout),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(2),
		nats.SyncQueueLen(queueLength),
		nats.NoReconnect(),
		nats.IgnoreDiscoveredServers(),
	}
	if o.TLS != nil {
		list = append(list, func(c *nats.Options) error { // nats.Secure would demand TLS of nats:// too
			c.TLSConfig = o.TLS.Clone()
			return nil
		})
	}
	if len(o.Creds) > 0 {
		option, err := credentials(o.Creds)
		if err != nil {
			return nil, err
		}
		list = append(list, option)
	}
	return list, nil
}

// credentials logs in with the content of a creds file, or of a file with an nkey seed.
func credentials(content []byte) (nats.Option, error) {
	const hint = "use the file that `postbus fleet add` or the hub's operator made; " +
		"it begins with SU or with -----BEGIN NATS"
	pair, err := nkeys.ParseDecoratedNKey(content)
	if err != nil {
		if pair, err = nkeys.ParseDecoratedUserNKey(content); err != nil {
			return nil, fault("the credentials hold no key of a user", hint, err)
		}
	}
	defer pair.Wipe()
	seed, err := pair.Seed()
	if err != nil || !bytes.HasPrefix(seed, []byte("SU")) {
		return nil, fault("the key in the credentials is not a user's", hint, err)
	}
	seed = bytes.Clone(seed)
	if bytes.Contains(content, []byte("-----BEGIN NATS USER JWT-----")) {
		return nats.UserCredentialBytes(bytes.Clone(content)), nil
	}
	public, err := pair.PublicKey()
	if err != nil {
		return nil, fault("the key in the credentials is not a user's", hint, err)
	}
	return nats.Nkey(public, func(nonce []byte) ([]byte, error) {
		pair, err := nkeys.FromSeed(seed)
		if err != nil {
			return nil, err
		}
		defer pair.Wipe()
		return pair.Sign(nonce)
	}), nil
}

// pause is the wait before the next of several attempts: doubled each time, up to the longest, less
// up to a half by chance, so that the buses of a fleet don't come back at once.
func pause(attempts int, longest time.Duration) time.Duration {
	d := longest
	if attempts < 20 {
		d = min(longest, firstRetry<<max(attempts-1, 0))
	}
	return d - rand.N(d/2+1)
}

// dialer ends attempts to connect, and the connection, when ctx ends.
type dialer struct {
	ctx   context.Context
	under Dialer
	err   error // of the last attempt
}

func (d *dialer) Dial(network, address string) (net.Conn, error) {
	var conn net.Conn
	if with, ok := d.under.(interface {
		DialContext(ctx context.Context, network, address string) (net.Conn, error)
	}); ok {
		ctx, cancel := context.WithTimeout(d.ctx, connectTimeout)
		defer cancel()
		conn, d.err = with.DialContext(ctx, network, address)
	} else {
		conn, d.err = d.under.Dial(network, address)
	}
	if d.err != nil {
		return nil, d.err
	}
	return &boundConn{conn, context.AfterFunc(d.ctx, func() { conn.Close() })}, nil
}

// boundConn is a connection that is closed when a context ends.
type boundConn struct {
	net.Conn
	stop func() bool
}

func (c *boundConn) Close() error {
	c.stop()
	return c.Conn.Close()
}

// validToken reports whether s can be one token of a subject, as names of streams and consumers are.
func validToken(s string) bool {
	return s != "" && len(s) <= 200 && !strings.ContainsAny(s, " \t\r\n.*>/\\\x00")
}

// validSubject reports whether messages can be published on s; with wildcards, whether it can be
// a filter.
func validSubject(s string, wildcards bool) bool {
	if s == "" || len(s) > 1000 || strings.ContainsAny(s, " \t\r\n\x00") {
		return false
	}
	tokens := strings.Split(s, ".")
	for i, t := range tokens {
		switch {
		case t == "", !wildcards && (t == "*" || t == ">"), t == ">" && i < len(tokens)-1:
			return false
		}
	}
	return true
}
