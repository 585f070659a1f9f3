// This file connects "pub" and "sub" to a bus over MQTT 5. The version 5 client serves both: only
// it has user properties and reason codes, and two clients would be two sets of errors to explain.
// The commands use its low-level half, not its connection manager, because pub must not retry, and
// sub decides itself which errors are final.

package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/session"
	"github.com/spf13/cobra"

	"github.com/postbus/postbus/config"
)

const (
	dialTimeout   = 10 * time.Second
	answerTimeout = 30 * time.Second // for CONNACK, PUBACK and the like: a slow disk is no error
	lastWords     = 2 * time.Second  // for the reason to arrive, once the connection has ended
	keepAlive     = 30               // seconds
)

// remote is how to reach a bus, from flags and environment.
type remote struct {
	url, user         string
	caFile, cert, key string
	password          string
	hasPassword       bool
	config            string // the config file of this machine's bus
	own               string // the certificate of this machine's bus, when that is the bus to reach
}

// remoteFlags adds the flags that every client command has.
func (r *remote) remoteFlags(cmd *cobra.Command, what string) {
	f := cmd.Flags()
	f.StringVar(&r.url, "url", "", what+" (default: --config, POSTBUS_URL, else the bus of this machine)")
	f.StringVar(&r.config, "config", "", "config `FILE` of a bus on this machine")
	f.StringVar(&r.user, "user", "", "user `NAME`; the password is read from POSTBUS_PASSWORD")
	f.StringVar(&r.caFile, "cafile", "", "PEM `FILE` of the authority that signed the bus's certificate")
	f.StringVar(&r.cert, "cert", "", "PEM `FILE` of a client certificate")
	f.StringVar(&r.key, "key", "", "PEM `FILE` of its key")
}

// complete fills in defaults. local returns the address in this machine's config. adopt converts a
// URL to one of the wanted kind for the same bus, and returns nil where it can't.
func (m *Main) complete(r *remote, local func(*config.Config) string, adopt func(*url.URL) *url.URL, want string) (*url.URL, error) {
	if r.user == "" {
		r.user = m.getenv("POSTBUS_USER")
	}
	if r.user != "" {
		r.password, r.hasPassword = m.getenv("POSTBUS_PASSWORD"), true
	}
	given, from := r.url, "--url"
	if given == "" && r.config == "" {
		given, from = m.getenv("POSTBUS_URL"), "POSTBUS_URL"
	}
	if given == "" {
		c, err := m.localConfig(r.config)
		if err != nil {
			return nil, err
		}
		given, r.own = local(c), c.Listen.TLS.Cert
	}
	u, err := url.Parse(given)
	if err != nil || u.Scheme == "" || u.Host == "" && u.Scheme != "unix" {
		return nil, withHint(usagef("%q is not a URL", given),
			"write tcp://HOST:PORT, tls://HOST:PORT, unix:///PATH or http://HOST:PORT")
	}
	if u.User != nil {
		return nil, withHint(usagef("the URL contains a user or a password"),
			"other users of this machine can see it: use --user and POSTBUS_PASSWORD")
	}
	if !schemes[u.Scheme] {
		return nil, withHint(usagef("%s %s: %q is not a supported scheme", from, given, u.Scheme),
			"write tcp://, tls://, unix://, ws://, wss://, http:// or https://")
	}
	wanted := adopt(u)
	if wanted == nil { // only this machine's config knows the bus's other addresses
		c, err := m.localConfig(r.config)
		if err != nil {
			return nil, err
		}
		if !listensOn(c, u) {
			return nil, withHint(usagef("%s %s: this command needs the HTTP address of the bus", from, given),
				"%s", want)
		}
		if wanted, err = url.Parse(local(c)); err != nil {
			return nil, err
		}
		r.own = c.Listen.TLS.Cert
	}
	if !secure(wanted) && r.caFile+r.cert+r.key != "" {
		return nil, withHint(usagef("--cafile, --cert and --key need TLS, and %s does not use it", wanted),
			"write tls://HOST:PORT or https://HOST:PORT")
	}
	return wanted, nil
}

// schemes are the URL schemes of a bus; every command accepts all of them.
var schemes = map[string]bool{"tcp": true, "mqtt": true, "tls": true, "mqtts": true, "ssl": true, "unix": true, "ws": true, "wss": true, "http": true, "https": true}

// listensOn reports whether the bus of config c listens on the MQTT address u.
func listensOn(c *config.Config, u *url.URL) bool {
	for _, l := range c.Listen.MQTT {
		switch {
		case l.Network == "unix":
			if u.Scheme == "unix" && u.Path == l.Address {
				return true
			}
		case u.Scheme == "unix" || secure(u) != l.TLS:
		case u.Host == reachable(l.Address) || u.Host == l.Address || l.Local() && loopback(u) == loopback(&url.URL{Host: reachable(l.Address)}) && loopback(u) != "":
			return true
		}
	}
	return false
}

// loopback returns the port of an address of this machine; empty for other addresses.
func loopback(u *url.URL) string {
	ip := net.ParseIP(u.Hostname())
	if u.Hostname() == "localhost" || ip != nil && ip.IsLoopback() {
		return u.Port()
	}
	return ""
}

// secure reports whether a URL uses TLS.
func secure(u *url.URL) bool {
	return u.Scheme == "https" || u.Scheme == "wss" || u.Scheme == "tls" || u.Scheme == "mqtts" || u.Scheme == "ssl"
}

// localConfig returns the config of this machine's bus, as far as it is known. A config that was
// named must be valid.
func (m *Main) localConfig(file string) (*config.Config, error) {
	l, err := m.load(&settings{file: file})
	switch {
	case err == nil:
		return l.Config, nil
	case file != "":
		return nil, err
	}
	return config.Default(), nil
}

// reachable converts a listen address to one that clients can connect to.
func reachable(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

func (m *Main) mqttURL(r *remote) (*url.URL, error) {
	same := func(u *url.URL) *url.URL { return u }
	return m.complete(r, func(c *config.Config) string {
		l := c.Listen.MQTT[0]
		if l.Network != "unix" {
			l.Address = reachable(l.Address)
		}
		return l.String()
	}, same, "")
}

// tlsConfig returns the TLS settings. Without TLS files the system's certificate authorities apply.
func (r *remote) tlsConfig() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if r.caFile != "" {
		var err error
		if c.RootCAs, err = readAuthorities(r.caFile); err != nil {
			return nil, fmt.Errorf("--cafile: %w", err)
		}
	}
	if r.cert != "" || r.key != "" {
		pair, err := tls.LoadX509KeyPair(r.cert, r.key)
		if err != nil {
			return nil, fmt.Errorf("--cert and --key: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if r.own != "" && r.caFile == "" {
		trustOwn(c, r.own)
	}
	return c, nil
}

// readAuthorities reads a PEM file of certificate authorities.
func readAuthorities(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s contains no certificate", file)
	}
	return pool, nil
}

func (r *remote) dial(ctx context.Context, u *url.URL) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var d net.Dialer
	host := u.Host
	withPort := func(port string) string {
		if u.Port() == "" {
			return net.JoinHostPort(u.Hostname(), port)
		}
		return host
	}
	switch u.Scheme {
	case "unix":
		return d.DialContext(ctx, "unix", u.Path)
	case "tcp", "mqtt":
		return d.DialContext(ctx, "tcp", withPort("1883"))
	}
	c, err := r.tlsConfig()
	if err != nil {
		return nil, err
	}
	if scheme := webSocketURL(u).Scheme; scheme != "" {
		conn, err := dialWebSocket(ctx, u, c)
		if err != nil {
			return nil, err
		}
		return packets.NewThreadSafeConn(conn), nil
	}
	conn, err := (&tls.Dialer{NetDialer: &d, Config: c}).DialContext(ctx, "tcp", withPort("8883"))
	if err != nil {
		return nil, err
	}
	return packets.NewThreadSafeConn(conn), nil
}

// connectOptions are the options in which connections differ.
type connectOptions struct {
	id        string
	random    bool // nobody chose the id
	clean     bool
	expiry    uint32 // seconds
	session   session.SessionManager
	onPublish func(*paho.Publish)
}

// link is one connection.
type link struct {
	*paho.Client
	conn    net.Conn
	present bool // the bus has the session
	largest int  // bytes of the largest packet that the bus accepts; 0: no limit

	once      sync.Once
	reasonSet chan struct{} // closed when reason is set
	reason    error
}

// connect opens one connection. The error says what to do.
func (r *remote) connect(ctx context.Context, u *url.URL, o connectOptions) (*link, error) {
	conn, err := r.dial(ctx, u)
	if err != nil {
		return nil, unreachable(u, err)
	}
	l := &link{conn: conn, reasonSet: make(chan struct{})}
	cfg := paho.ClientConfig{
		Conn: conn, Session: o.session, PacketTimeout: answerTimeout,
		OnServerDisconnect: func(d *paho.Disconnect) { l.fail(disconnected(d)) },
		OnClientError:      func(err error) { l.fail(fmt.Errorf("connection lost: %w", cause(err))) },
	}
	if o.onPublish != nil {
		cfg.OnPublishReceived = []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			o.onPublish(p.Packet)
			return true, nil
		}}
	}
	l.Client = paho.NewClient(cfg)
	// A small window is enough for a command, and the client reserves memory for all of it.
	window := uint16(256)
	cp := &paho.Connect{ClientID: o.id, CleanStart: o.clean, KeepAlive: keepAlive,
		Properties: &paho.ConnectProperties{SessionExpiryInterval: &o.expiry, ReceiveMaximum: &window, RequestProblemInfo: true}}
	if o.random {
		cp.Properties.User = paho.UserProperties{{Key: "transient", Value: "1"}} // the bus need not remember who this was
	}
	if r.user != "" {
		cp.Username, cp.UsernameFlag = r.user, true
		cp.Password, cp.PasswordFlag = []byte(r.password), r.hasPassword
	}
	ack, err := l.Connect(ctx, cp)
	if err != nil {
		conn.Close()
		return nil, refused(u, r, ack, err)
	}
	l.present = ack.SessionPresent
	if p := ack.Properties; p != nil && p.MaximumPacketSize != nil {
		l.largest = int(*p.MaximumPacketSize)
	}
	return l, nil
}

// fail keeps the first reason: the server's DISCONNECT arrives before the end of the connection.
func (l *link) fail(err error) {
	l.once.Do(func() {
		l.reason = err
		close(l.reasonSet)
	})
}

// why returns the reason for which the connection ended. The client reports it only after it has
// closed Done, and a write may fail before the bus's DISCONNECT is read. Therefore it waits.
func (l *link) why() error {
	select {
	case <-l.reasonSet:
		return l.reason
	case <-time.After(lastWords):
		return errors.New("connection lost")
	}
}

// leave sends DISCONNECT. The session survives for its expiry interval unless forget is set.
func (l *link) leave(forget bool) {
	d := &paho.Disconnect{}
	if forget {
		var now uint32
		d.Properties = &paho.DisconnectProperties{SessionExpiryInterval: &now}
	}
	_ = l.Disconnect(d) // the connection ends in either case
}

// clientID returns a unique client identifier.
func clientID(role string) string {
	b := make([]byte, 6)
	_, _ = rand.Read(b)
	return "postbus-" + role + "-" + hex.EncodeToString(b)
}

// cause returns the informative part of a network error.
func cause(err error) error {
	var sys *os.SyscallError
	if errors.As(err, &sys) {
		return sys.Err
	}
	return err
}

func unreachable(u *url.URL, err error) error {
	failed := fmt.Errorf("cannot reach %s: %w", u, cause(err))
	var unknown x509.UnknownAuthorityError
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, os.ErrNotExist) && u.Scheme == "unix":
		return withHint(failed,
			"is a bus running there? start one with: postbus run; or point elsewhere: --url tcp://HOST:1883")
	case errors.As(err, &unknown):
		return withHint(failed, "name the authority that signed the bus's certificate: --cafile FILE")
	case errors.As(err, &dns):
		return withHint(fmt.Errorf("cannot reach %s: no such host", u),
			"check the name, or use the address: --url tcp://ADDRESS:1883")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return withHint(failed, "a firewall, or a wrong address; point elsewhere with --url tcp://HOST:1883")
	}
	return failed
}

// finalError is an error that no retry can fix.
type finalError struct{ error }

func (e finalError) Unwrap() error { return e.error }

func refused(u *url.URL, r *remote, ack *paho.Connack, err error) error {
	if ack == nil {
		return withHint(fmt.Errorf("%s does not answer as an MQTT 5 broker: %w", u, cause(err)),
			"is it the right port? a tls:// address needs a tls:// URL")
	}
	text := ""
	if ack.Properties != nil {
		text = ack.Properties.ReasonString
	}
	failed := fmt.Errorf("%s refused the connection: %s", u, reason(ack.ReasonCode, text))
	switch {
	case (ack.ReasonCode == 0x86 || ack.ReasonCode == 0x87) && r.user == "":
		return finalError{withHint(failed, "give a user: --user NAME, and the password in POSTBUS_PASSWORD")}
	case ack.ReasonCode == 0x86:
		return finalError{withHint(failed, "check --user and POSTBUS_PASSWORD; postbus user list shows the users")}
	case ack.ReasonCode == 0x97:
		return withHint(failed, "limits.connections of the bus sets the maximum")
	case ack.ReasonCode == 0x84 || ack.ReasonCode == 0x85 || ack.ReasonCode == 0x87:
		return finalError{failed}
	}
	return failed
}

func disconnected(d *paho.Disconnect) error {
	text := ""
	if d.Properties != nil {
		text = d.Properties.ReasonString
	}
	err := fmt.Errorf("the bus ended the connection: %s", reason(d.ReasonCode, text))
	switch d.ReasonCode {
	case 0x8E:
		return finalError{withHint(err, "another client has this id; choose your own: --id NAME")}
	case 0x87:
		return finalError{err}
	case 0x95:
		return finalError{withHint(err, "limits.packet_size of the bus sets the maximum")}
	}
	return err
}

// reason describes an MQTT 5 reason code in words.
func reason(code byte, text string) string {
	if text != "" {
		return fmt.Sprintf("%s (0x%02X)", text, code)
	}
	words := map[byte]string{
		0x80: "unspecified error", 0x81: "malformed packet", 0x82: "protocol error", 0x83: "not accepted",
		0x84: "it does not speak MQTT 5", 0x85: "the client id is not allowed", 0x86: "wrong user name or password",
		0x87: "not authorized", 0x88: "server unavailable", 0x89: "server busy", 0x8B: "server shutting down",
		0x8D: "keep alive timeout", 0x8E: "session taken over", 0x8F: "invalid topic filter", 0x90: "invalid topic name",
		0x93: "receive maximum exceeded", 0x95: "packet too large", 0x97: "quota exceeded", 0x98: "administrative action",
		0x99: "payload format invalid", 0x9E: "shared subscriptions not supported", 0xA2: "wildcards not supported",
	}
	if w, ok := words[code]; ok {
		return fmt.Sprintf("%s (0x%02X)", w, code)
	}
	return fmt.Sprintf("reason code 0x%02X", code)
}
