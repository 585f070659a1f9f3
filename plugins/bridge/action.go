// This file is the action, which publishes one message at a remote.

package bridge

import (
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/payload"
)

// actionSample is a commented plugin file with the action.
//
//go:embed action.yaml
var actionSample string

// actionAbout is what the action does, for the documentation.
const actionAbout = "Publishes one message at another MQTT broker for each event. It counts as done when that broker has acknowledged it, and is retried until then. The connection " +
	"is opened at the first event and kept. To send whole topics, in order, use a `bridge` source with `out`."

// ActionOptions are the options of the action, fixed when the file is loaded.
type ActionOptions struct {
	URL       string        `key:"url" doc:"the remote broker's URL, as mqtt://host:1883; also tcp, mqtts, ssl, tls, ws and wss" need:"yes"`
	ClientID  string        `key:"client_id" doc:"the client identifier; empty: a random one for each connection" secret:"within"`
	User      string        `key:"user" doc:"the user name at the remote" secret:"within"`
	Password  string        `key:"password" doc:"the password, best as secret:name" secret:"yes"`
	CA        string        `key:"ca" doc:"a file with the CA certificates (PEM) for the remote's certificate; empty: the system's" path:"yes"`
	Insecure  bool          `key:"insecure" doc:"don't verify the remote's certificate: anyone can then impersonate the remote"`
	KeepAlive time.Duration `key:"keep_alive" doc:"the keep-alive interval, after which a dead connection is noticed" min:"1s" max:"18h"`
}

// actionDefaults returns the options of a file that sets none.
func actionDefaults() ActionOptions { return ActionOptions{KeepAlive: defaults().KeepAlive} }

// Check checks the options against each other.
func (o ActionOptions) Check() []error {
	return checkRemote(o.URL, o.ClientID, o.User, o.Password, o.CA, o.Insecure)
}

// Access is the remote's address.
func (o ActionOptions) Access() []string {
	return []string{"host:" + newLink(o.URL, "-", "", "", "", false, 0).addr}
}

// Args are the arguments for one event.
type Args struct {
	Topic   string   `key:"topic" doc:"the topic at the remote" need:"yes" topic:"remote"`
	Payload any      `key:"payload" doc:"the payload to publish: text, numbers and booleans as they are, mappings and lists as JSON; an empty mapping or list is written as null"`
	QoS     kind.QoS `key:"qos" doc:"the quality of service, 0 to 2; default 1. With 0 it counts as done when it is sent"`
	Retain  bool     `key:"retain" doc:"whether the remote retains it as the topic's last value"`
}

// Action holds the connection. Several goroutines may call Do.
type Action struct {
	ctx  context.Context // cancelled by Close
	stop context.CancelFunc
	turn chan struct{} // a semaphore of one: its holder may connect
	link link

	mu      sync.Mutex
	conn    *conn // nil while disconnected
	closed  bool
	waiting map[uint16]chan error
	next    uint16
	readers sync.WaitGroup
}

// NewAction makes an action. It does not connect yet.
func NewAction(o ActionOptions, _ kind.Env) *Action {
	id := o.ClientID
	if id == "" { // the remote keeps no session for us, so each start may use another name
		var b [4]byte
		_, _ = rand.Read(b[:]) // cannot fail
		id = clientID(o.URL) + "-" + hex.EncodeToString(b[:])
	}
	ctx, stop := context.WithCancel(context.Background())
	a := &Action{ctx: ctx, stop: stop, turn: make(chan struct{}, 1), link: newLink(o.URL, id, o.User, o.Password, o.CA, o.Insecure, o.KeepAlive), waiting: map[uint16]chan error{}}
	a.link.noBridges = true // the action connects as an ordinary client
	return a
}

var errActionClosed = errors.New("the action is closed")

// Do publishes one message. It returns nil once the remote has acknowledged it.
func (a *Action) Do(ctx context.Context, args Args) error {
	if err := checkName(args.Topic); err != nil {
		return kind.Permanent(fmt.Errorf("topic: %w", err))
	}
	body, err := payload.Encode(args.Payload)
	if err != nil {
		return kind.Permanent(fmt.Errorf("payload: %w", err))
	}
	if len(body) > maxPacket {
		return kind.Permanent(fmt.Errorf("payload: it has %d bytes, more than %d", len(body), maxPacket))
	}
	c, err := a.connection(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", a.link.name, err)
	}
	m := &message{topic: args.Topic, payload: body, qos: min(args.QoS.Level(), c.terms.qos), retain: args.Retain && c.terms.retain}
	if c.terms.size > 0 && tooLarge(m, c.terms.size) {
		return kind.Permanent(fmt.Errorf("%s accepts no packet of more than %d bytes", a.link.name, c.terms.size))
	}
	select { // the remote limits how many messages may be in flight
	case c.room <- struct{}{}:
		defer func() { <-c.room }()
	case <-c.dead:
		return fmt.Errorf("%s: %w", a.link.name, c.reason(errClosed))
	case <-ctx.Done():
		return ctx.Err()
	}
	answer := make(chan error, 1)
	id, err := a.wait(answer)
	if err != nil {
		return err
	}
	defer a.forget(id)
	var written func()
	if m.qos == 0 {
		written = func() { a.answered(id, nil) }
	}
	c.send(&packet{kind: publish, id: id, msg: m}, written)
	select {
	case err := <-answer:
		return err
	case <-c.dead:
		select { // both channels may be ready
		case err := <-answer:
			return err
		default:
			return fmt.Errorf("%s: %w", a.link.name, c.reason(errClosed))
		}
	case <-ctx.Done():
		return fmt.Errorf("%s doesn't acknowledge: %w", a.link.name, ctx.Err())
	}
}

// connection returns the open connection, or makes a new one.
func (a *Action) connection(ctx context.Context) (*conn, error) {
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	a.mu.Lock()
	c, closed := a.conn, a.closed
	a.mu.Unlock()
	switch {
	case closed:
		return nil, errActionClosed
	case c != nil:
		return c, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(a.ctx, cancel)()
	c, err := a.link.connect(ctx, true)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.conn = c
	a.readers.Go(func() { a.read(c) })
	return c, nil
}

// read reads acknowledgements until the connection ends.
func (a *Action) read(c *conn) {
	err := c.read(func(p *packet) error {
		switch {
		case p.kind == disconnect:
			return &reason{"it ended the connection", p.code, p.text}
		case p.kind == pubrec && p.code < 0x80:
			c.send(&packet{kind: pubrel, id: p.id}, nil)
		case p.kind == puback, p.kind == pubrec, p.kind == pubcomp:
			a.answered(p.id, a.refused(p))
		}
		return nil
	}, func(string) {})
	c.fail(err)
	a.mu.Lock()
	if a.conn == c {
		a.conn = nil
	}
	a.mu.Unlock()
	c.end()
}

// wait allocates a packet identifier that is not in use.
func (a *Action) wait(answer chan error) (uint16, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for range 65535 {
		a.next = a.next%65535 + 1
		if _, taken := a.waiting[a.next]; !taken {
			a.waiting[a.next] = answer
			return a.next, nil
		}
	}
	return 0, errors.New("65535 messages are already waiting for the remote")
}

func (a *Action) forget(id uint16) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.waiting, id)
}

// refused returns the error of a negative acknowledgement.
func (a *Action) refused(p *packet) error {
	if p.kind == pubcomp || p.code < 0x80 {
		return nil
	}
	err := fmt.Errorf("%s: %w", a.link.name, &reason{"it refused the message", p.code, p.text})
	if final(p.code) {
		return kind.Permanent(err)
	}
	return err
}

func (a *Action) answered(id uint16, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if w, ok := a.waiting[id]; ok {
		w <- err
		delete(a.waiting, id)
	}
}

// Close ends the connection.
func (a *Action) Close() error {
	a.stop()
	a.turn <- struct{}{} // waits for a connection attempt in progress
	defer func() { <-a.turn }()
	a.mu.Lock()
	a.closed = true
	c := a.conn
	a.mu.Unlock()
	if c != nil {
		c.fail(errActionClosed)
	}
	a.readers.Wait()
	return nil
}
