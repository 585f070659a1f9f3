// Package programtest is what tests of the whole program share: ports, and the bytes of MQTT packets. It is
// for tests only.
package programtest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
)

// FreePort returns an address of loopback whose port nobody uses now.
func FreePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Text returns a UTF-8 string of a packet, with its length.
func Text(s string) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...) }

// Size returns a variable byte integer.
func Size(n int) (b []byte) {
	for {
		d := byte(n % 128)
		if n /= 128; n == 0 {
			return append(b, d)
		}
		b = append(b, d|128)
	}
}

// Packet returns a packet with its first byte and the parts of its body.
func Packet(first byte, parts ...[]byte) []byte {
	var body []byte
	for _, p := range parts {
		body = append(body, p...)
	}
	return append(append([]byte{first}, Size(len(body))...), body...)
}

// ErrMalformed is the error of a packet that breaks the form of MQTT.
var ErrMalformed = errors.New("malformed packet")

// ReadPacket returns the first byte and the body of the next packet.
func ReadPacket(in *bufio.Reader) (first byte, body []byte, err error) {
	if first, err = in.ReadByte(); err != nil {
		return 0, nil, err
	}
	n, shift := 0, 0
	for {
		b, err := in.ReadByte()
		if err != nil {
			return 0, nil, err
		}
		n |= int(b&127) << shift
		if shift += 7; b < 128 {
			break
		}
		if shift > 21 {
			return 0, nil, ErrMalformed
		}
	}
	body = make([]byte, n)
	_, err = io.ReadFull(in, body)
	return first, body, err
}
