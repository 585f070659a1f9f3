package hour

// This file is as much of MQTT 3.1.1 and 5 as the clients need, over TCP, TLS and WebSocket.

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/postbus/postbus/cmd/postbus/internal/programtest"
)

const (
	v4 byte = 4 // MQTT 3.1.1
	v5 byte = 5

	patience = 10 * time.Second // for an answer
	forever  = 0xFFFFFFFF       // the expiry of a session that never ends

	codeNotAuthorized = 0x87
)

// Packet types, with the flags that the specification demands.
const (
	connack  = 0x20
	puback   = 0x40
	pubrec   = 0x50
	pubrel   = 0x62
	pubcomp  = 0x70
	suback   = 0x90
	leave    = 0xE0
	subPack  = 0x82
	pubPack  = 0x30
	connPack = 0x10
)

var errMalformed = fmt.Errorf("the bus: %w", programtest.ErrMalformed)

// login is what a client says of itself, and how it reaches the bus.
type login struct {
	network        string // tcp, tls or ws
	address        string
	tls            *tls.Config
	version        byte
	client         string
	user, password string
	durable        bool
}

// link is one connection of a client.
type link struct {
	net.Conn
	in      *bufio.Reader
	version byte
	present bool // the bus had the client's session
	write   sync.Mutex
}

// refusal is a CONNACK that is none.
type refusal struct{ code byte }

func (r *refusal) Error() string { return fmt.Sprintf("the login is refused with 0x%02X", r.code) }

// properties are of MQTT 5; other versions have none.
func properties(version byte, p []byte) []byte {
	if version != v5 {
		return nil
	}
	return append(programtest.Size(len(p)), p...)
}

// frames presents the bytes of a WebSocket's messages as a net.Conn.
type frames struct {
	net.Conn
	ws  *websocket.Conn
	now io.Reader
}

func (f *frames) Read(p []byte) (int, error) {
	for {
		if f.now == nil {
			_, r, err := f.ws.NextReader()
			if err != nil {
				return 0, err
			}
			f.now = r
		}
		n, err := f.now.Read(p)
		if errors.Is(err, io.EOF) {
			f.now, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (f *frames) Write(p []byte) (int, error) {
	return len(p), f.ws.WriteMessage(websocket.BinaryMessage, p)
}

func dial(ctx context.Context, l login) (net.Conn, error) {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	switch l.network {
	case "tls":
		return (&tls.Dialer{Config: l.tls}).DialContext(ctx, "tcp", l.address)
	case "ws":
		d := websocket.Dialer{Subprotocols: []string{"mqtt"}}
		ws, resp, err := d.DialContext(ctx, "ws://"+l.address+"/mqtt", http.Header{})
		if err != nil {
			return nil, err
		}
		resp.Body.Close()
		return &frames{Conn: ws.NetConn(), ws: ws}, nil
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", l.address)
}

// connect logs in. The error is a refusal when the bus answered so.
func connect(ctx context.Context, l login) (*link, error) {
	nc, err := dial(ctx, l)
	if err != nil {
		return nil, err
	}
	c := &link{Conn: nc, in: bufio.NewReader(nc), version: l.version}
	if err := c.login(l); err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

func (c *link) login(l login) error {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	var flags byte
	var props []byte
	if !l.durable {
		flags |= 0x02
	} else if l.version == v5 {
		props = binary.BigEndian.AppendUint32([]byte{0x11}, forever)
	}
	payload := programtest.Text(l.client)
	if l.user != "" {
		flags |= 0xC0
		payload = append(append(payload, programtest.Text(l.user)...), programtest.Text(l.password)...)
	}
	err := c.send(programtest.Packet(connPack, programtest.Text("MQTT"), []byte{l.version, flags, 0, 0}, properties(l.version, props), payload))
	if err != nil {
		return err
	}
	first, body, err := c.read()
	switch {
	case err != nil:
		return err
	case first != connack || len(body) < 2:
		return errMalformed
	case body[1] != 0:
		return &refusal{body[1]}
	}
	c.present = body[0]&1 != 0
	return c.SetDeadline(time.Time{})
}

func (c *link) send(b []byte) error {
	c.write.Lock()
	defer c.write.Unlock()
	if err := c.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := c.Write(b)
	return err
}

func (c *link) read() (first byte, body []byte, err error) { return programtest.ReadPacket(c.in) }

// subscribe asks for filters, with the bus's metadata of events where the version has it, and waits for the answer.
func (c *link) subscribe(qos byte, filters []string) error {
	var list []byte
	for _, f := range filters {
		list = append(append(list, programtest.Text(f)...), qos)
	}
	meta := append(append([]byte{0x26}, programtest.Text("meta")...), programtest.Text("yes")...)
	if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if err := c.send(programtest.Packet(subPack, []byte{0, 1}, properties(c.version, meta), list)); err != nil {
		return err
	}
	first, body, err := c.read()
	if err != nil {
		return err
	}
	if first != suback || len(body) < 2+len(filters) {
		return errMalformed
	}
	for _, code := range body[len(body)-len(filters):] {
		if code >= 0x80 {
			return fmt.Errorf("SUBSCRIBE of %q is answered with 0x%02X", filters, code)
		}
	}
	return c.SetReadDeadline(time.Time{})
}

// ack sends a packet that has an identifier only.
func (c *link) ack(first byte, id uint16) error {
	return c.send(programtest.Packet(first, binary.BigEndian.AppendUint16(nil, id)))
}

// publish encodes an event; lifetime is its message expiry in seconds, 0 for none.
func publish(version byte, topic string, payload []byte, qos byte, id uint16, dup bool, lifetime uint32) []byte {
	first := pubPack | qos<<1
	if dup {
		first |= 0x08
	}
	var number, props []byte
	if qos > 0 {
		number = binary.BigEndian.AppendUint16(nil, id)
	}
	if lifetime > 0 {
		props = binary.BigEndian.AppendUint32([]byte{0x02}, lifetime)
	}
	return programtest.Packet(first, programtest.Text(topic), number, properties(version, props), payload)
}

// answer is the identifier and the reason code of PUBACK, PUBREC, PUBREL or PUBCOMP.
func answer(body []byte) (id uint16, code byte, err error) {
	if len(body) < 2 {
		return 0, 0, errMalformed
	}
	if len(body) > 2 {
		code = body[2]
	}
	return binary.BigEndian.Uint16(body), code, nil
}

// delivery is a PUBLISH that a client received.
type delivery struct {
	topic   string
	payload []byte
	qos     byte
	dup     bool
	id      uint16
	seq     uint64 // 0: not told
	gap     uint64
}

func parse(version, first byte, body []byte) (d delivery, err error) {
	cut := func(n int) (b []byte) {
		if n > len(body) {
			err, n = errMalformed, len(body)
		}
		b, body = body[:n], body[n:]
		return b
	}
	word := func() int {
		if b := cut(2); len(b) == 2 {
			return int(binary.BigEndian.Uint16(b))
		}
		return 0
	}
	d.qos, d.dup = first>>1&3, first&0x08 != 0
	d.topic = string(cut(word()))
	if d.qos > 0 {
		d.id = uint16(word())
	}
	if version == v5 {
		length, n := binary.Uvarint(body)
		if n <= 0 || int(length) > len(body)-n {
			return d, errMalformed
		}
		rest := body[n+int(length):]
		for body = body[n : n+int(length)]; len(body) > 0 && err == nil; {
			switch kind := cut(1)[0]; kind {
			case 0x01:
				cut(1)
			case 0x02:
				cut(4)
			case 0x23:
				cut(2)
			case 0x03, 0x08, 0x09:
				cut(word())
			case 0x26:
				key, value := string(cut(word())), string(cut(word()))
				switch key {
				case "seq":
					d.seq, err = strconv.ParseUint(value, 10, 64)
				case "gap":
					d.gap, err = strconv.ParseUint(value, 10, 64)
				}
			default:
				return d, fmt.Errorf("%w: property 0x%02X", errMalformed, kind)
			}
		}
		body = rest
	}
	d.payload = body
	return d, err
}
