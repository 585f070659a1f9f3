package broker

// This file is the Broker: its options, its life, and the registry of who is connected.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/broker/frame"
)

// Identity is what a client may do; see package auth. Its methods are on the hot path.
type Identity interface {
	MayPublish(topic string) bool
	MaySubscribe(filter string) bool
	MayRead(topic string) bool
}

// Authenticate decides about a CONNECT. user is empty without a user name; local tells loopback and
// unix sockets. An error refuses the client. An Identity that is a Login has the last word about the user.
type Authenticate func(user, password string, hasPassword, local bool) (Identity, error)

// Options of a broker. The zero value works: everybody may do everything but publish to $SYS and $bus.
type Options struct {
	Logger        *slog.Logger
	Authenticate  Authenticate
	SessionExpiry time.Duration // the longest a session outlives its connection; 168 h when 0
	PacketSize    int           // bytes of the largest packet taken; 1 MiB when 0
	Connections   int           // at a time; 0: no limit
	PublishRate   int           // events per client and second, 0: no limit; above it reading slows down
	KeepAlive     time.Duration // the longest a client may ask for; 0: any
	Inflight      int           // deliveries in flight to one client; 100 when 0
	OutputBuffer  int           // bytes queued for one connection before it counts as slow; 512 KiB when 0
	Version       string        // for $SYS/broker/version
}

func (o *Options) defaults() {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Authenticate == nil {
		o.Authenticate = func(string, string, bool, bool) (Identity, error) { return everybody{}, nil }
	}
	if o.SessionExpiry == 0 {
		o.SessionExpiry = 168 * time.Hour
	}
	if o.PacketSize == 0 {
		o.PacketSize = 1 << 20
	}
	if o.Inflight == 0 {
		o.Inflight = 100
	}
	if o.OutputBuffer == 0 {
		o.OutputBuffer = 512 << 10
	}
}

type everybody struct{}

func (everybody) MayPublish(string) bool   { return true }
func (everybody) MaySubscribe(string) bool { return true }
func (everybody) MayRead(string) bool      { return true }

const (
	// Clients burst past a lower Receive Maximum, MQTT.js among them. 65,535 is as many as there are packet
	// identifiers, so no client can exceed it. What bounds memory is backpressure: see input.go.
	receiveMaximum    = 65_535
	topicAliasMaximum = 64 // aliases of one connection, in each direction
	connectTimeout    = 10 * time.Second
	connectSize       = 64 << 10 // bytes of the largest CONNECT taken
	closeTimeout      = 5 * time.Second

	// What is above limits.connections is told so when its CONNECT comes soon, as long as there are few
	// of them; a flood is just closed.
	politeRefusals = 16
	politeTimeout  = 2 * time.Second
)

// Broker is a running broker.
type Broker struct {
	o       atomic.Pointer[Options]
	bus     *bus.Bus
	log     *slog.Logger
	server  *mqtt.Server
	started time.Time
	origin  string // this bus, as the origin of events

	mu      sync.Mutex
	owners  map[string]*conn // by client identifier
	conns   map[*conn]struct{}
	turned  int // connections that are only told that there is no room
	extra   int // of them, those in conns
	opened  []net.Listener
	closing bool
	tasks   sync.WaitGroup
	stop    chan struct{}
	count   counters

	userNameReported sync.Once     // a user name where there are no users was reported
	judged           atomic.Uint64 // how often Reauthorize was called
	crowd            crowd         // connections that cannot take QoS 0 as fast as it comes
}

// New makes a broker in front of a bus. Open starts it.
func New(on *bus.Bus, o Options) *Broker {
	o.defaults()
	b := &Broker{bus: on, log: o.Logger, owners: map[string]*conn{}, conns: map[*conn]struct{}{},
		stop: make(chan struct{}), started: time.Now(), origin: originOf(on)}
	b.o.Store(&o)
	return b
}

// SetOptions changes what may change while the broker runs: everything but Logger, and for new
// connections only. Clients that are connected are judged anew by Reauthorize.
func (b *Broker) SetOptions(o Options) {
	o.defaults()
	b.o.Store(&o)
}

// Open starts mochi. Connections come with Listen and Serve.
func (b *Broker) Open() error {
	c := mqtt.NewDefaultServerCapabilities()
	c.MaximumMessageExpiryInterval = 0
	c.MaximumClientWritesPending = 1 // nothing takes mochi's own way out
	c.ReceiveMaximum = receiveMaximum
	c.TopicAliasMaximum = topicAliasMaximum
	c.MaximumSessionExpiryInterval = math.MaxUint32 // ours is patched into CONNACK
	c.Compatibilities.NoInheritedPropertiesOnAck = true
	b.server = mqtt.New(&mqtt.Options{
		Capabilities:             c,
		ClientNetReadBufferSize:  128, // conn has a buffer of its own
		ClientNetWriteBufferSize: 128,
		SysTopicResendInterval:   math.MaxInt32,
		Logger:                   slog.New(slog.DiscardHandler), // what matters is logged here, with our words
	})
	if err := b.server.AddHook(&hook{broker: b}, nil); err != nil {
		return err
	}
	// Serve is not called: it would start mochi's own clocks, for expiry and $SYS, that the bus has.
	b.startSys()
	return nil
}

// Listen takes connections from l until Close. name is for logs. Errors of Accept that pass (too many
// open files) are waited out.
func (b *Broker) Listen(l net.Listener, name string, local bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing {
		l.Close()
		return
	}
	b.opened = append(b.opened, l)
	b.tasks.Add(1)
	go func() {
		defer b.tasks.Done()
		b.accept(l, name, local)
	}()
}

func (b *Broker) accept(l net.Listener, name string, local bool) {
	wait := 5 * time.Millisecond
	for {
		c, err := l.Accept()
		if err == nil {
			wait = 5 * time.Millisecond
			if !b.spawn(c, name, local) {
				c.Close()
			}
			continue
		}
		select {
		case <-b.stop:
			return
		default:
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		b.log.Error("listener cannot accept; trying again", "listener", name, "err", err)
		select {
		case <-time.After(wait):
			wait = min(2*wait, time.Second)
		case <-b.stop:
			return
		}
	}
}

func (b *Broker) spawn(raw net.Conn, name string, local bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closing {
		return false
	}
	b.tasks.Add(1)
	go func() {
		defer b.tasks.Done()
		b.Serve(raw, name, local)
	}()
	return true
}

// Serve speaks MQTT on a connection and returns when it is over. It is how other transports, such as
// WebSocket, hand over what they accepted.
func (b *Broker) Serve(raw net.Conn, listener string, local bool) {
	c := newConn(b, raw, listener, local)
	b.mu.Lock()
	o := b.o.Load()
	full := o.Connections > 0 && len(b.conns)-b.extra >= o.Connections
	if b.closing || full && b.turned >= politeRefusals {
		closing := b.closing
		b.mu.Unlock()
		if !closing {
			b.log.Warn("connection closed: limits.connections is reached", "remote", c.remote, "limit", o.Connections)
		}
		raw.Close()
		return
	}
	b.conns[c] = struct{}{}
	if full {
		b.turned++
		b.extra++
		c.full = true
		c.deadline = time.Now().Add(politeTimeout)
		_ = raw.SetReadDeadline(c.deadline)
	}
	b.mu.Unlock()
	if !full {
		b.count.opened.Add(1)
	}
	defer b.over(c)
	defer func() {
		if p := recover(); p != nil {
			b.log.Error("connection closed after an internal error", "remote", c.remote, "client", c.id, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	if err := c.run(); err != nil && c.failure() == nil {
		b.log.Debug("connection ended", "client", c.id, "remote", c.remote, "err", err)
	}
}

// told is called when nothing is left of a connection that was full.
func (b *Broker) told(c *conn) {
	if !c.full {
		return
	}
	c.toldOnce.Do(func() {
		b.mu.Lock()
		b.turned--
		b.mu.Unlock()
	})
}

// over ends what belonged to the connection, in the order that lets the next one begin.
func (b *Broker) over(c *conn) {
	c.Close()
	if c.session != nil {
		expiry := c.expiry
		if c.client != nil && c.version == frame.V5 && c.goodbyeExpiry {
			expiry = b.sessionExpiry(c.client.Properties.Props.SessionExpiryInterval)
		}
		c.session.Detach(c.goodbye, expiry)
	}
	b.mu.Lock()
	delete(b.conns, c)
	if c.full {
		b.extra--
	}
	if b.owners[c.id] == c {
		delete(b.owners, c.id)
	}
	b.mu.Unlock()
	close(c.gone)
	if c.owner {
		attrs := []any{"client", c.id, "remote", c.remote}
		if err := c.failure(); err != nil {
			b.log.Info("client closed for an error", append(attrs, "err", err)...)
		} else {
			b.log.Debug("client left", append(attrs, "goodbye", c.goodbye)...)
		}
	}
}

// sessionExpiry bounds what a client asks for, in seconds.
func (b *Broker) sessionExpiry(asked uint32) uint32 {
	return uint32(min(int64(asked), int64(b.o.Load().SessionExpiry/time.Second)))
}

// own makes c the one connection of its client identifier. The one that was is closed and waited for.
func (b *Broker) own(c *conn) error {
	for {
		b.mu.Lock()
		if b.closing {
			b.mu.Unlock()
			return bus.ErrClosed
		}
		old := b.owners[c.id]
		if old == nil {
			b.owners[c.id] = c
			c.owner = true
			b.mu.Unlock()
			return nil
		}
		b.mu.Unlock()
		old.end(0x8E, "another connection took the session over")
		select {
		case <-old.gone:
		case <-time.After(closeTimeout):
			return fmt.Errorf("client %q: its former connection does not end", c.id)
		}
	}
}

// Reauthorize judges every connected client anew; who may not stay is disconnected.
func (b *Broker) Reauthorize(judge func(user string, local bool) (Identity, error)) {
	b.judged.Add(1)
	for _, c := range b.connections() {
		if c.identity.Load() == nil {
			continue // it is being judged, and judged again if that was by what no longer counts; see admit
		}
		id, err := judge(c.user, c.local)
		if err != nil {
			c.end(frame.CodeNotAuthorized, "the user may no longer connect")
			continue
		}
		c.identity.Store(&id)
	}
}

func (b *Broker) connections() []*conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]*conn, 0, len(b.conns))
	for c := range b.conns {
		list = append(list, c)
	}
	return list
}

// Connections counts the open connections, by listener.
func (b *Broker) Connections() map[string]int {
	n := map[string]int{}
	for _, c := range b.connections() {
		n[c.listener]++
	}
	return n
}

// Disconnect ends a client's connection as an administrator; false when it has none.
func (b *Broker) Disconnect(client string) bool {
	b.mu.Lock()
	c := b.owners[client]
	b.mu.Unlock()
	if c == nil {
		return false
	}
	c.end(frame.CodeAdministrative, "an administrator ended the connection")
	return true
}

// Close says goodbye to everyone and returns when all connections have ended, or the context has.
func (b *Broker) Close(ctx context.Context) error {
	b.mu.Lock()
	if b.closing {
		b.mu.Unlock()
		return nil
	}
	b.closing = true
	opened := b.opened
	b.mu.Unlock()
	close(b.stop)
	for _, l := range opened {
		l.Close()
	}
	for _, c := range b.connections() {
		c.end(0x8B, "the bus is shutting down")
	}
	done := make(chan struct{})
	go func() {
		b.tasks.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		for _, c := range b.connections() {
			c.raw.Close()
		}
		<-done
	}
	return nil
}
