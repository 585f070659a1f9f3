package broker

// This file is the Broker: its options, its lifetime, and the registry of connected clients.

import (
	"context"
	"crypto/x509"
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
	"github.com/postbus/postbus/bus/admission"
	"github.com/postbus/postbus/bus/audit"
	"github.com/postbus/postbus/bus/ban"
	"github.com/postbus/postbus/bus/broker/frame"
	"github.com/postbus/postbus/bus/quiet"
)

// Identity is the set of a client's rights; see package auth. Its methods are on the hot path.
type Identity interface {
	MayPublish(topic string) bool
	MaySubscribe(filter string) bool
	MayRead(topic string) bool
}

// ClientIDs is an Identity that may use certain client identifiers only.
type ClientIDs interface{ MayConnectAs(clientID string) error }

// StoredLogin is an optional interface of an Identity. It returns what is stored with a last will, to judge
// it when it is due; nil: the user's name is enough.
type StoredLogin interface{ StoredLogin() []byte }

// Credentials are what is known of a client that connects.
type Credentials struct {
	User        string // empty without a user name
	Password    string
	HasPassword bool
	Local       bool   // over loopback or a unix socket
	Address     string // the remote one, with its port
	ClientID    string // may be of the broker's making
	// Certificate is the verified certificate that the client presented; nil: none.
	Certificate *x509.Certificate
}

// Authenticate decides about a CONNECT. An error refuses the client. If the Identity is a Login, its
// user replaces that of the credentials.
type Authenticate func(Credentials) (Identity, error)

// ErrBusy is an error of Authenticate, in the sense of errors.Is, after which the client should try
// again.
var ErrBusy = errors.New("logins can't be checked now, try again")

// Options of a broker. The zero value works: every client has all rights, except to publish to $SYS
// and $bus.
type Options struct {
	Logger        *slog.Logger
	Audit         *audit.Log // nil: none
	Authenticate  Authenticate
	SessionExpiry time.Duration // maximum time that a session outlives its connection; 168 h when 0
	PacketSize    int           // maximum size of a packet from a client in bytes; 1 MiB when 0
	Connections   int           // open at a time; 0: no limit
	PerAddress    int           // the same for one address that is not local; of IPv6 a /64 network
	PublishRate   Rate          // of one client, above which reading slows down
	UserRate      Rate          // the same for all clients of a user together; not for anonymous clients
	KeepAlive     time.Duration // the maximum that a client may request; 0: any
	Inflight      int           // deliveries in flight to one client; 100 when 0
	OutputBuffer  int           // bytes queued for one connection before it counts as slow; 512 KiB when 0
	Version       string        // for $SYS/broker/version
	Presence      bool          // report clients on $bus/clients; New reads it
	Bans          *ban.List     // who may not connect; nil: all may. New reads it
	// Budget is that of connections that have not logged in; nil: one of the broker's own. New reads it.
	Budget *admission.Budget
}

func (o *Options) defaults() {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Authenticate == nil {
		o.Authenticate = func(Credentials) (Identity, error) { return everybody{}, nil }
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
	// Some clients burst past a lower Receive Maximum, MQTT.js among them. 65,535 is the number of
	// packet identifiers, so no client can exceed it. Backpressure bounds the memory: see input.go.
	receiveMaximum    = 65_535
	topicAliasMaximum = 64 // aliases of one connection, in each direction
	connectTimeout    = 10 * time.Second
	connectSize       = 64 << 10 // maximum size of a CONNECT in bytes
	closeTimeout      = 5 * time.Second

	// A connection above limits.connections gets a refusal in its CONNACK if its CONNECT arrives
	// within politeTimeout. At most politeRefusals connections wait for that at a time; the broker
	// closes the others without an answer, so that a flood costs little.
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
	origin  string // the name of this bus as the origin of events

	mu       sync.Mutex
	owners   map[string]*conn // by client identifier
	heirs    map[string]*conn // those that wait until the owner has ended
	conns    map[*conn]struct{}
	sockets  map[*conn]struct{} // conns, and connections that have ended whose last bytes are being sent
	from     map[string]int     // open connections by address, where PerAddress applies
	users    map[string]*sharedMeter
	refusing int // refused connections that still get an answer
	extra    int // the part of them that is in conns
	opened   []net.Listener
	closing  bool
	tasks    sync.WaitGroup
	stop     chan struct{}
	count    counters

	quiet            quiet.Log     // for what clients cause
	userNameReported sync.Once     // for the log line about user names without users
	judged           atomic.Uint64 // the number of calls of Reauthorize
	bans             *ban.List     // nil: none
	budget           *admission.Budget
	presence         *presence // nil: clients are not reported
	crowd            crowd     // connections that cannot receive QoS 0 as fast as it is published
	shares           shares    // of connections that flood
}

// New makes a broker in front of a bus. Open starts it.
func New(on *bus.Bus, o Options) *Broker {
	o.defaults()
	b := &Broker{bus: on, log: o.Logger, owners: map[string]*conn{}, heirs: map[string]*conn{}, conns: map[*conn]struct{}{}, sockets: map[*conn]struct{}{}, from: map[string]int{}, users: map[string]*sharedMeter{}, shares: newShares(),
		stop: make(chan struct{}), started: time.Now(), origin: originOf(on)}
	b.o.Store(&o)
	b.bans, b.budget = o.Bans, o.Budget
	if b.budget == nil {
		b.budget = admission.NewBudget(b.log)
	}
	if o.Presence {
		b.presence = newPresence(on, b.log, b.connected)
	}
	return b
}

// SetOptions changes everything but Logger, Presence, Bans and Budget while the broker runs, for new connections only.
// Reauthorize checks the connected clients again.
func (b *Broker) SetOptions(o Options) {
	o.defaults()
	b.o.Store(&o)
}

// Open starts mochi. Listen and Serve add connections.
func (b *Broker) Open() error {
	c := mqtt.NewDefaultServerCapabilities()
	c.MaximumMessageExpiryInterval = 0
	c.MaximumClientWritesPending = 1 // mochi's own output path is unused
	c.ReceiveMaximum = receiveMaximum
	c.TopicAliasMaximum = topicAliasMaximum
	c.MaximumSessionExpiryInterval = math.MaxUint32 // connack sets the broker's own value
	c.Compatibilities.NoInheritedPropertiesOnAck = true
	b.server = mqtt.New(&mqtt.Options{
		Capabilities:             c,
		ClientNetReadBufferSize:  128, // conn has a buffer of its own
		ClientNetWriteBufferSize: 128,
		SysTopicResendInterval:   math.MaxInt32,
		Logger:                   slog.New(slog.DiscardHandler), // the broker logs what matters itself
	})
	if err := b.server.AddHook(&hook{broker: b}, nil); err != nil {
		return err
	}
	// Serve is not called, because it would start mochi's own timers for expiry and $SYS. The bus
	// has both.
	b.startSys()
	b.presence.open()
	return nil
}

// Listen accepts connections from l until Close. name is for logs. Temporary errors of Accept, such
// as too many open files, are retried.
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
		b.log.Error("listener cannot accept a connection, will retry", "listener", name, "err", err)
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

// Serve speaks MQTT on a connection and returns when it has ended. Other transports, such as
// WebSocket, pass their accepted connections to it.
func (b *Broker) Serve(raw net.Conn, listener string, local bool) {
	c := newConn(b, raw, listener, local)
	b.mu.Lock()
	o := b.o.Load()
	switch {
	case !local && o.PerAddress > 0 && b.from[c.address] >= o.PerAddress:
		c.excess = "limits.connections_per_address is reached"
	case o.Connections > 0 && len(b.conns)-b.extra >= o.Connections:
		c.excess = "limits.connections is reached"
	}
	full := c.excess != ""
	if b.closing || full && b.refusing >= politeRefusals {
		closing := b.closing
		b.mu.Unlock()
		if !closing {
			b.quiet.Warn(b.log, c.address, "connection closed: "+c.excess, "remote", c.remote)
		}
		raw.Close()
		return
	}
	b.conns[c] = struct{}{}
	b.sockets[c] = struct{}{}
	if !local && !full {
		b.from[c.address]++
	}
	if full {
		b.refusing++
		b.extra++
		c.deadline = time.Now().Add(politeTimeout)
		_ = raw.SetReadDeadline(c.deadline)
	}
	b.mu.Unlock()
	if !full {
		b.count.opened.Add(1)
	}
	defer b.over(c)
	c.takePlace()
	defer func() {
		if p := recover(); p != nil {
			b.log.Error("connection closed after an internal error", "remote", c.remote,
				"client", c.id, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	if err := c.run(); err != nil && c.failure() == nil {
		b.log.Debug("connection ended", "client", c.id, "remote", c.remote, "err", err)
	}
}

// releaseRefused frees the slot of a refused connection when its socket is closed or abandoned.
func (b *Broker) releaseRefused(c *conn) {
	if c.excess == "" {
		return
	}
	c.releaseOnce.Do(func() {
		b.mu.Lock()
		b.refusing--
		b.mu.Unlock()
	})
}

// over releases all that the connection owned, in the order that allows the next one to begin.
func (b *Broker) over(c *conn) {
	c.Close()
	c.place.Release()
	if c.session != nil {
		expiry := c.expiry
		if c.client != nil && c.version == frame.V5 && c.goodbyeExpiry {
			expiry = b.sessionExpiry(c.client.Properties.Props.SessionExpiryInterval)
		}
		c.session.Detach(c.goodbye, expiry)
		if c.reported.Load() {
			p := c.presence()
			p.Online, p.Since, p.Persistent, p.Reason = false, moment(time.Now()), expiry > 0, c.endReason()
			b.presence.offline(c.id, p, p.Reason == takenOver)
		}
	}
	b.mu.Lock()
	delete(b.conns, c)
	b.leaveUserLocked(c)
	switch {
	case c.excess != "":
		b.extra--
	case !c.local:
		if b.from[c.address]--; b.from[c.address] <= 0 {
			delete(b.from, c.address)
		}
	}
	if b.owners[c.id] == c {
		delete(b.owners, c.id)
	}
	b.mu.Unlock()
	if c.owner && !c.reported.Load() { // it may have ended the session before it failed
		b.presence.ended(c.id)
	}
	close(c.gone)
	if c.owner {
		attrs := []any{"client", c.id, "remote", c.remote}
		if err := c.failure(); err != nil {
			b.quiet.Log(b.log, slog.LevelInfo, c.address, "client disconnected by an error", append(attrs, "err", err)...)
		} else {
			b.log.Debug("client disconnected", append(attrs, "goodbye", c.goodbye)...)
		}
	}
}

// sessionExpiry limits the expiry that a client requested, in seconds.
func (b *Broker) sessionExpiry(asked uint32) uint32 {
	return uint32(min(int64(asked), int64(b.o.Load().SessionExpiry/time.Second)))
}

// own makes c the only connection of its client identifier. It closes the previous one and waits
// until that has ended. A connection or a session of another user is left alone: the error is
// bus.ErrForeignSession.
func (b *Broker) own(c *conn) error {
	if !b.bus.MayTakeOver(c.id, c.user) {
		return bus.ErrForeignSession
	}
	if err := b.succeed(c); err != nil {
		return err
	}
	defer b.stopWaiting(c)
	for {
		b.mu.Lock()
		old := b.owners[c.id]
		switch {
		case b.closing:
			b.mu.Unlock()
			return bus.ErrClosed
		case b.heirs[c.id] != c:
			b.mu.Unlock()
			return errSucceeded
		case old == nil:
			b.owners[c.id] = c
			c.owner = true
			b.mu.Unlock()
			return nil
		}
		b.mu.Unlock()
		if old.keepsOut(c) {
			return bus.ErrForeignSession
		}
		old.end(0x8E, takenOver)
		select {
		case <-old.gone:
		case <-c.closed:
			if b.waits(c) {
				return net.ErrClosed // the bus or the budget has ended it
			}
			return errSucceeded
		case <-time.After(closeTimeout):
			return fmt.Errorf("client %q: the previous connection did not end", c.id)
		}
	}
}

var errSucceeded = errors.New("a newer connection has the same client identifier")

// succeed makes c the one connection that waits for its client identifier. An older one that waits ends: if
// each had its turn, those of a client that connects in a loop would become more and more.
func (b *Broker) succeed(c *conn) error {
	b.mu.Lock()
	older := b.heirs[c.id]
	if older != nil && older.keepsOut(c) {
		b.mu.Unlock()
		return bus.ErrForeignSession
	}
	b.heirs[c.id] = c
	b.mu.Unlock()
	if older != nil {
		older.Close()
	}
	return nil
}

// keepsOut reports whether another connection may not have this one's client identifier: it belongs to
// the user. An anonymous connection belongs to nobody.
func (c *conn) keepsOut(other *conn) bool { return c.user != "" && c.user != other.user }

func (b *Broker) waits(c *conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.heirs[c.id] == c
}

func (b *Broker) stopWaiting(c *conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.heirs[c.id] == c {
		delete(b.heirs, c.id)
	}
}

// Reauthorize checks every connected client again and disconnects those that may no longer connect.
// judge returns the identity that replaces id, with which the client connected.
func (b *Broker) Reauthorize(judge func(id Identity, clientID string, local bool) (Identity, error)) {
	b.judged.Add(1)
	for _, c := range b.connections() {
		old := c.identity.Load()
		if old == nil {
			continue // its CONNECT is being checked; identify checks again if judged has changed
		}
		id, err := judge(*old, c.id, c.local)
		if err != nil {
			c.end(frame.CodeNotAuthorized, "the user may no longer connect")
			continue
		}
		c.identity.Store(&id)
		c.watchLogin()
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

// Delayed counts the events that waited because their client or its user was above a rate.
func (b *Broker) Delayed() uint64 { return b.count.delayed.Load() }

// Connections counts the open connections, by listener.
func (b *Broker) Connections() map[string]int {
	n := map[string]int{}
	for _, c := range b.connections() {
		n[c.listener]++
	}
	return n
}

// connected reports whether a client identifier has a connection, and whether that is on $bus/clients.
func (b *Broker) connected(id string) (connected, reported bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.owners[id]
	return c != nil, c != nil && c.reported.Load()
}

// Close disconnects all clients and returns when all connections have ended. When the context ends,
// it closes the sockets at once.
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
	conns := b.connections()
	for _, c := range conns {
		c.end(0x8B, busStops)
	}
	done := make(chan struct{})
	go func() {
		for _, c := range conns { // Serve of another transport is not one of the tasks
			<-c.gone
		}
		b.tasks.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		b.closeSockets()
		<-done
	}
	b.presence.close(ctx)
	return nil
}

// closeSockets ends every read and write at once, also those of connections that have ended and whose
// clients do not read their last bytes.
func (b *Broker) closeSockets() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.sockets {
		raw := c.raw
		// Closing TLS or a WebSocket sends a last message, which can block: close what is below.
		for {
			upper, ok := raw.(interface{ NetConn() net.Conn })
			if !ok {
				break
			}
			raw = upper.NetConn()
		}
		raw.Close()
	}
}
