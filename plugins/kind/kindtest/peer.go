package kindtest

// This file is the other end of a connection: a server for an action, a client for a source.

import (
	"bufio"
	"io"
	"net"
	"testing"
	"time"
)

// Listen starts a TCP server that ends with its test.
func Listen(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// Accept returns the next client of such a server. The client must connect, and send what the
// test reads, within Patience.
func Accept(t *testing.T, l net.Listener) (net.Conn, *bufio.Reader) {
	t.Helper()
	l.(*net.TCPListener).SetDeadline(time.Now().Add(Patience))
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetReadDeadline(time.Now().Add(Patience))
	return c, bufio.NewReader(c)
}

// Dial connects a client that ends with its test; the network is one of net.Dial's.
func Dial(t *testing.T, network, address string) net.Conn {
	t.Helper()
	c, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Send writes a text in one piece.
func Send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}
