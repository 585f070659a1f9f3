package broker

// This file is the connection that mochi receives: a net.Conn whose two halves are input.go and
// output.go.

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/admission"
	"github.com/postbus/postbus/bus/broker/frame"
	"github.com/postbus/postbus/bus/internal/remote"
	"github.com/postbus/postbus/bus/journal"
)

// conn is one client's connection.
type conn struct {
	broker      *Broker
	raw         net.Conn
	remote      string
	listener    string
	local       bool
	gone        chan struct{} // closed when the connection has ended completely
	closed      chan struct{} // closed by Close
	excess      string        // the limit of connections that it exceeds, so that its CONNECT is refused; empty: none
	releaseOnce sync.Once
	address     string // that is charged for it
	place       *admission.Place

	// The following fields belong to the reading goroutine.
	in        []byte // buffer
	r, w      int    // unread bytes of the buffer: in[r:w]
	small     []byte // the buffer in use while little data arrives
	version   byte   // 0 before CONNECT
	connect   frame.Connect
	pub       frame.Publish
	record    journal.Record // of pub
	aliases   map[uint16]string
	received  *idSet // QoS 2 publishes that wait for PUBREL; see restore
	acked     bool   // an acknowledgement arrived since the last Session.Kick
	flood     flood
	goodbye   bool   // the client sent DISCONNECT without will
	farewell  string // the client's DISCONNECT in words; empty: there was none
	deadline  time.Time
	keepAlive time.Duration
	rate      meter
	metered   bool         // the last event was counted by the meters
	userRate  *sharedMeter // of its user; nil: the user is anonymous, or no limit is set
	restored  bool

	// Set during CONNECT.
	reported      atomic.Bool // on $bus/clients as online
	since         time.Time   // of the connection
	client        *mqtt.Client
	id            string
	idBytes       []byte
	user          string
	owner         bool
	session       *bus.Session
	present       bool
	expiry        uint32
	goodbyeExpiry bool
	transient     bool // the identifier is random
	identity      atomic.Pointer[Identity]
	bridge        atomic.Bool  // the client is another broker; see bridge.go
	filters       []bus.Filter // of the SUBSCRIBE that mochi is processing
	sinceErr      error        // the error of the SUBSCRIBE's user property since
	subackReason  string
	unsubscribed  []byte // reason codes of the UNSUBSCRIBE that mochi is processing

	eventsIn, bytesIn atomic.Uint64

	qos2InFlight atomic.Int32 // QoS 2 deliveries in flight: the length of phases

	mu        sync.Mutex
	out       []byte
	marks     []mark
	flushing  bool
	welcomed  bool // CONNACK is queued; a DISCONNECT must not precede it [MQTT-3.14.0-1]
	ending    bool // nothing more is queued; the queued bytes are sent and the socket closes
	dead      bool // the socket is closed
	occupancy occupancy
	wantRoom  bool          // a delivery was refused because the buffer was full
	hold      bool          // deliveries wait for SUBACK
	drained   chan struct{} // closed when there is room again; nil when no goroutine waits
	failed    error
	eventsOut uint64
	bytesOut  uint64
	endedBy   string // why the bus ended the connection
	outAlias  map[string]uint16
	phases    map[uint16]phase // of QoS 2 deliveries in flight
	expires   *time.Timer      // ends the connection when its login ends; nil: it does not
	once      sync.Once
}

func newConn(b *Broker, raw net.Conn, listener string, local bool) *conn {
	c := &conn{broker: b, raw: raw, listener: listener, local: local, gone: make(chan struct{}), closed: make(chan struct{})}
	if a := raw.RemoteAddr(); a != nil {
		c.remote = a.String()
		c.address = remote.Site(c.remote)
	}
	if t, ok := raw.(*net.TCPConn); ok {
		_ = t.SetNoDelay(true)
	}
	c.deadline = time.Now().Add(connectTimeout)
	_ = raw.SetReadDeadline(c.deadline)
	return c
}

// takePlace has the connection in the budget of those that have not logged in. Its listener may have put
// it there.
func (c *conn) takePlace() {
	end := func() {
		c.broker.count.refused.Add(1)
		c.Close() // does not block
	}
	if c.place = admission.Of(c.raw); c.place == nil {
		c.place = c.broker.budget.Add(c.remote, end)
	} else if !c.place.OnEvict(end) {
		c.Close()
	}
}

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return c.raw.LocalAddr() }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return c.raw.RemoteAddr() }

// Read implements net.Conn. mochi never reads: run does.
func (c *conn) Read([]byte) (int, error) { return 0, io.EOF }

// SetDeadline implements net.Conn and ignores mochi's call: input.go sets the deadlines.
func (c *conn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn like SetDeadline.
func (c *conn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn like SetDeadline.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

func (c *conn) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed
}

// end closes the connection from another goroutine. An MQTT 5 client gets a DISCONNECT.
func (c *conn) end(code byte, text string) {
	c.mu.Lock()
	if !c.ending {
		c.endedBy = text
		if c.welcomed {
			c.disconnect(code, text)
		}
	}
	c.mu.Unlock()
	c.Close()
}

// disconnect queues a DISCONNECT, which only MQTT 5 has. The caller holds mu.
func (c *conn) disconnect(code byte, text string) {
	before := len(c.out)
	c.out = frame.AppendDisconnect(c.out, c.connect.Version, code, text)
	if m := int(c.connect.MaximumPacketSize); m > 0 && len(c.out)-before > m { // [MQTT-3.14.2-3]
		c.out = frame.AppendDisconnect(c.out[:before], c.connect.Version, code, "")
	}
	c.startFlush()
}

// Close implements net.Conn. Queued bytes that are durable are still sent, within a time limit.
// Read ends now. Close does not block.
func (c *conn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.mu.Lock()
		c.ending = true
		if c.expires != nil {
			c.expires.Stop()
		}
		_ = c.raw.SetReadDeadline(time.Unix(1, 0))               // before linger sets its own
		_ = c.raw.SetWriteDeadline(time.Now().Add(closeTimeout)) // also for a write that is blocked now
		c.startFlush()
		c.mu.Unlock()
	})
	return nil
}
