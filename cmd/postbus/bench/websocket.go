package bench

// This file is MQTT over WebSocket: a net.Conn whose bytes travel in binary frames. The handshake
// is gorilla's. The frames are our own, because gorilla's reads cannot continue after a deadline.

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

const (
	opBinary = 0x2
	opClose  = 0x8
	opPing   = 0x9
	opPong   = 0xA
)

// socket is the client's end of a WebSocket. Its buffer is several times as large as one read,
// because the end of the buffer makes a short read, and reads are paced.
type socket struct {
	net.Conn
	in   *bufio.Reader
	left uint64 // bytes left of the current frame

	mu  sync.Mutex // one frame at a time
	out []byte
}

// dialWebSocket opens ws://host:port/path with the subprotocol mqtt.
func dialWebSocket(ctx context.Context, url string) (net.Conn, error) {
	d := websocket.Dialer{Subprotocols: []string{"mqtt"}, HandshakeTimeout: connectLimit, WriteBufferSize: 1024, ReadBufferSize: 1024}
	ws, answer, err := d.DialContext(ctx, url, http.Header{})
	if err != nil {
		if answer != nil {
			return nil, fmt.Errorf("%w: HTTP status %s", err, answer.Status)
		}
		return nil, err
	}
	nc := ws.NetConn() // a broker sends nothing before CONNECT, so gorilla has read nothing ahead
	if err := nc.SetDeadline(time.Time{}); err != nil {
		nc.Close()
		return nil, err
	}
	return &socket{Conn: nc, in: bufio.NewReaderSize(nc, 4*bufferSize)}, nil
}

// Read returns bytes of binary frames, of several if they have arrived. It may be called again
// after a deadline.
func (s *socket) Read(p []byte) (n int, err error) {
	for n < len(p) && (n == 0 || s.in.Buffered() > 0) {
		if s.left == 0 {
			if n > 0 && !s.begun() {
				break
			}
			if err = s.header(); err != nil {
				break
			}
			continue
		}
		var got int
		got, err = s.in.Read(p[n:min(len(p), n+int(min(s.left, maxPacket)))])
		n, s.left = n+got, s.left-uint64(got)
		if err != nil {
			break
		}
	}
	if n > 0 {
		return n, nil // the next read returns the error again
	}
	return 0, err
}

// begun reports whether the header of the next frame is buffered.
func (s *socket) begun() bool {
	h, _ := s.in.Peek(min(s.in.Buffered(), 10))
	switch {
	case len(h) < 2:
		return false
	case h[1] == 127:
		return len(h) == 10
	case h[1] == 126:
		return len(h) >= 4
	}
	return h[0]&0xF < opClose || len(h) >= 2+int(h[1])
}

// header reads the header of a frame, and the whole of one that has no bytes for Read.
func (s *socket) header() error {
	h, err := s.in.Peek(2)
	if err != nil {
		return err
	}
	op, n, size := h[0]&0xF, uint64(h[1]), 2 // h[1] has no mask bit, because servers send none
	switch n {
	case 126:
		size = 4
	case 127:
		size = 10
	}
	if h, err = s.in.Peek(size); err != nil {
		return err
	}
	switch size {
	case 4:
		n = uint64(binary.BigEndian.Uint16(h[2:]))
	case 10:
		n = binary.BigEndian.Uint64(h[2:])
	}
	if op < opClose {
		_, _ = s.in.Discard(size) // it is buffered
		s.left = n
		return nil
	}
	if n > 125 {
		return fmt.Errorf("%w: a control frame of %d bytes", errMalformed, n)
	}
	if h, err = s.in.Peek(size + int(n)); err != nil {
		return err
	}
	body := append([]byte(nil), h[size:]...)
	_, _ = s.in.Discard(len(h))
	switch op {
	case opPing:
		return s.frame(opPong, body)
	case opClose:
		return io.EOF
	}
	return nil
}

// Write sends p as one binary frame.
func (s *socket) Write(p []byte) (int, error) {
	if err := s.frame(opBinary, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// frame writes a frame whose mask is zero: the broker's work is the same, and the generator's is
// less.
func (s *socket) frame(op byte, p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := append(s.out[:0], 0x80|op)
	switch n := len(p); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	b = append(append(b, 0, 0, 0, 0), p...)
	s.out = b
	_, err := s.Conn.Write(b)
	return err
}
