package broker

// This file is the connection that mochi is handed: a net.Conn whose two halves are input.go and
// output.go.

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/broker/frame"
)

// conn is one client's connection.
type conn struct {
	broker   *Broker
	raw      net.Conn
	remote   string
	listener string
	local    bool
	gone     chan struct{} // closed when nothing of it is left
	full     bool          // there is no room for it: its CONNECT is refused
	toldOnce sync.Once

	// The reading goroutine's.
	in        []byte // buffer
	r, w      int    // what is in it: in[r:w]
	small     []byte // in while little comes
	version   byte   // 0 before CONNECT
	connect   frame.Connect
	pub       frame.Publish
	aliases   map[uint16]string
	received  *idSet // QoS 2 publishes that wait for PUBREL; see restore
	acked     bool   // since the session was kicked last
	flood     flood
	goodbye   bool // DISCONNECT without will came
	deadline  time.Time
	keepAlive time.Duration
	rate      bucket
	restored  bool

	// Set during CONNECT.
	client        *mqtt.Client
	id            string
	idBytes       []byte
	user          string
	until         time.Time // when its login ends; zero: never
	owner         bool
	session       *bus.Session
	present       bool
	expiry        uint32
	goodbyeExpiry bool
	identity      atomic.Pointer[Identity]
	bridge        atomic.Bool  // the client is another broker; see bridge.go
	filters       []bus.Filter // of the SUBSCRIBE that mochi is processing
	sinceErr      error        // what is wrong with its user property since
	subackReason  string
	unsubscribed  []byte // reason codes of the UNSUBSCRIBE that mochi is processing

	qos2InFlight atomic.Int32 // QoS 2 deliveries in flight: the length of phases

	mu        sync.Mutex
	out       []byte
	marks     []mark
	flushing  bool
	welcomed  bool // CONNACK is queued: before it there is no DISCONNECT [MQTT-3.14.0-1]
	ending    bool // nothing more is queued; what is there goes out and the socket closes
	dead      bool // the socket is closed
	occupancy occupancy
	wantRoom  bool          // a delivery was refused for want of room
	hold      bool          // deliveries wait for SUBACK
	drained   chan struct{} // closed when there is room again; nil when nobody waits
	failed    error
	outAlias  map[string]uint16
	phases    map[uint16]phase // of QoS 2 deliveries in flight
	expires   *time.Timer      // ends the connection with the token that it came by; nil: there is none
	once      sync.Once
}

func newConn(b *Broker, raw net.Conn, listener string, local bool) *conn {
	c := &conn{broker: b, raw: raw, listener: listener, local: local, gone: make(chan struct{})}
	if a := raw.RemoteAddr(); a != nil {
		c.remote = a.String()
	}
	if t, ok := raw.(*net.TCPConn); ok {
		_ = t.SetNoDelay(true)
	}
	c.deadline = time.Now().Add(connectTimeout)
	_ = raw.SetReadDeadline(c.deadline)
	return c
}

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return c.raw.LocalAddr() }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return c.raw.RemoteAddr() }

// Read implements net.Conn. mochi never reads: run does.
func (c *conn) Read([]byte) (int, error) { return 0, io.EOF }

// SetDeadline implements net.Conn. mochi calls it; the deadlines are kept in input.go.
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

// end closes the connection from another goroutine, with a DISCONNECT for an MQTT 5 client.
func (c *conn) end(code byte, text string) {
	c.mu.Lock()
	if !c.ending && c.welcomed {
		c.disconnect(code, text)
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

// Close implements net.Conn: what is queued and durable still goes out, within a bound, and Read ends
// now. It does not block.
func (c *conn) Close() error {
	c.once.Do(func() {
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
