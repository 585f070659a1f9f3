package admission

import (
	"crypto/tls"
	"io"
	"net"
	"slices"
	"testing"
	"time"
)

// FuzzHandshake: any bytes end in a closed connection or a handshake, cost no more than the budget, and
// leave nothing charged. A header of the PROXY protocol is such bytes: postbus doesn't speak it, so that
// nobody can claim an address by it.
func FuzzHandshake(f *testing.F) {
	here, there := net.Pipe()
	go func() { _ = tls.Client(here, &tls.Config{InsecureSkipVerify: true}).Handshake() }()
	hello := make([]byte, 4<<10)
	n, _ := there.Read(hello)
	there.Close()
	hello = hello[:n]
	for _, first := range []string{"", "PROXY TCP4 127.0.0.1 127.0.0.1 1 8883\r\n", "PROXY UNKNOWN\r\n", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\x7f\x00\x00\x01\x7f\x00\x00\x01\x00\x01\x22\xb3", "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x40\x00"} {
		f.Add([]byte(first))
		f.Add(slices.Concat([]byte(first), hello))
	}
	f.Add(slices.Concat(hello, []byte("\x14\x03\x03\x00\x01\x01\x17\x03\x03\x00\x10"), hello))
	f.Add(slices.Concat(hello[:40], hello))
	conf := &tls.Config{Certificates: []tls.Certificate{certificate(f)}}
	f.Fuzz(func(t *testing.T, data []byte) {
		q, b := &queue{conns: make(chan net.Conn), closed: make(chan struct{})}, NewBudget(nil)
		l := Listen(q, b, Options{TLS: conf})
		complete := make(chan bool, 1)
		go func() {
			c, err := l.Accept()
			if err == nil {
				c.(*tls.Conn).NetConn().Close()
			}
			complete <- err == nil
		}()
		c := q.dial("192.0.2.1")
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		go func() { _, _ = io.Copy(io.Discard, c) }()
		_, _ = c.Write(data)
		if n := b.charged(); n > budget {
			t.Errorf("%d bytes are charged", n)
		}
		c.Close()
		l.Close()
		if <-complete {
			t.Error("a handshake is complete without a key exchange")
		}
		if n := b.charged(); n != 0 {
			t.Errorf("%d bytes are still charged", n)
		}
	})
}
