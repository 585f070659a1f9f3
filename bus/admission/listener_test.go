package admission

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// queue is a listener whose connections the test makes. They come from addresses of the test's choice.
type queue struct {
	conns  chan net.Conn
	failed chan error
	closed chan struct{}
}

type from struct {
	net.Conn
	addr net.Addr
}

func (f from) RemoteAddr() net.Addr { return f.addr }

func (q *queue) dial(host string) net.Conn {
	here, there := net.Pipe()
	q.conns <- from{there, &net.TCPAddr{IP: net.ParseIP(host), Port: 1}}
	return here
}

func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case err := <-q.failed:
		return nil, err
	case <-q.closed:
		return nil, net.ErrClosed
	}
}

func (q *queue) Close() error   { close(q.closed); return nil }
func (q *queue) Addr() net.Addr { return &net.UnixAddr{} }

func certificate(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// serve accepts with TLS until the test ends. Each accepted connection is handed to the channel.
func serve(t *testing.T) (q *queue, b *Budget, got chan net.Conn) {
	t.Helper()
	q, b = &queue{conns: make(chan net.Conn), failed: make(chan error), closed: make(chan struct{})}, NewBudget(nil)
	l := Listen(q, b, Options{TLS: &tls.Config{Certificates: []tls.Certificate{certificate(t)}}})
	got, done := make(chan net.Conn, 100), make(chan struct{})
	go func() {
		defer close(done)
		for {
			switch c, err := l.Accept(); {
			case errors.Is(err, net.ErrClosed):
				return
			case err == nil:
				got <- c
			}
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		if b.bytes != 0 || len(b.addresses) != 0 {
			t.Errorf("%d bytes of %d addresses are still charged", b.bytes, len(b.addresses))
		}
	})
	return q, b, got
}

func (b *Budget) charged() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.bytes
}

// halfHello is a ClientHello of 64 kB without its last byte.
func halfHello() (b []byte) {
	for body := append([]byte{1, 0, 0xFF, 0xFC}, make([]byte, 0xFFFC-1)...); len(body) > 0; {
		n := min(len(body), 16<<10)
		b = append(append(b, 0x16, 3, 1, byte(n>>8), byte(n)), body[:n]...)
		body = body[n:]
	}
	return b
}

// TestHandshakesShareABudget: what handshakes make the bus keep is charged, and a flood of one address
// ends its own.
func TestHandshakesShareABudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, b, got := serve(t)
		slow := q.dial("192.0.2.1") // has begun its handshake before the flood
		honest := tls.Client(slow, &tls.Config{InsecureSkipVerify: true})
		var ended atomic.Int32
		const hostile = 200
		for range hostile {
			c := q.dial("2001:db8::1")
			go func() {
				_, _ = c.Write(halfHello()) // fails when it is ended meanwhile
				_, _ = c.Read(make([]byte, 1))
				ended.Add(1)
			}()
		}
		time.Sleep(time.Second) // of the bubble: the listener pauses while the budget is used up
		synctest.Wait()
		each := costOpen + costTLS + costRead*len(halfHello())
		if left := hostile - int(ended.Load()); left > budget/each || left < budget/each/2 {
			t.Errorf("%d of %d half handshakes of %d bytes are left", left, hostile, each)
		}
		if n := b.charged(); n > budget {
			t.Errorf("%d bytes are charged", n)
		}
		if err := honest.Handshake(); err != nil {
			t.Fatal("the honest client's handshake:", err)
		}
		c := <-got
		if err := Of(c).Charge(0); err != nil {
			t.Error(err)
		}
		defer c.Close()
	})
}

// TestAHandshakeEnds: after ten seconds, however it is slowed down.
func TestAHandshakeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, b, _ := serve(t)
		silent, drip, deaf := q.dial("192.0.2.1"), q.dial("192.0.2.2"), q.dial("192.0.2.3")
		began := time.Now()
		life := make(chan time.Duration, 2)
		go func() {
			_, _ = silent.Read(make([]byte, 1))
			life <- time.Since(began)
		}()
		go func() {
			for _, b := range halfHello() {
				if _, err := drip.Write([]byte{b}); err != nil {
					break
				}
				time.Sleep(time.Second / 2)
			}
			life <- time.Since(began)
		}()
		hello := make(chan []byte, 1)
		go func() {
			here, there := net.Pipe()
			go func() { _ = tls.Client(here, &tls.Config{InsecureSkipVerify: true}).Handshake() }()
			b := make([]byte, 4<<10)
			n, _ := there.Read(b)
			there.Close()
			hello <- b[:n]
		}()
		_, _ = deaf.Write(<-hello) // and it never reads the answer
		for range 2 {
			if d := <-life; d < handshakeTimeout || d > handshakeTimeout+time.Second {
				t.Errorf("a handshake lasted %s", d)
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := b.charged(); n != 0 {
			t.Errorf("%d bytes are charged: a handshake did not end", n)
		}
	})
}

// TestClose ends the handshakes and the complete connections that nobody has accepted, and waits for them.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := &queue{conns: make(chan net.Conn), closed: make(chan struct{})}
		b := NewBudget(nil)
		l := Listen(q, b, Options{TLS: &tls.Config{Certificates: []tls.Certificate{certificate(t)}}})
		first := make(chan net.Conn, 1)
		go func() {
			c, _ := l.Accept()
			first <- c
		}()
		for i := range 3 {
			c := q.dial("192.0.2.1")
			if i < 2 {
				if err := tls.Client(c, &tls.Config{InsecureSkipVerify: true}).Handshake(); err != nil {
					t.Fatal(err)
				}
			}
			go func() { _, _ = io.Copy(io.Discard, c) }()
		}
		synctest.Wait()
		began := time.Now()
		if err := l.Close(); err != nil || time.Since(began) > 0 {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		if want := costOpen + costTLS; b.charged() != want {
			t.Errorf("%d bytes are charged, want %d for the connection that was accepted", b.charged(), want)
		}
		if err := (<-first).(*tls.Conn).NetConn().Close(); err != nil || b.charged() != 0 {
			t.Errorf("%v, %d bytes are charged", err, b.charged())
		}
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
}

// TestErrorsOfAccept reach the caller, which decides when it accepts again.
func TestErrorsOfAccept(t *testing.T) {
	q := &queue{conns: make(chan net.Conn), failed: make(chan error), closed: make(chan struct{})}
	l := Listen(q, NewBudget(nil), Options{TLS: &tls.Config{}})
	defer l.Close()
	want := errors.New("too many open files")
	for range 2 {
		go func() { q.failed <- want }()
		if _, err := l.Accept(); !errors.Is(err, want) {
			t.Error(err)
		}
	}
}

// TestHTTPWithoutTLS tells the client what is wrong.
func TestHTTPWithoutTLS(t *testing.T) {
	q, _, _ := serve(t)
	c := q.dial("192.0.2.1")
	go func() { _, _ = io.WriteString(c, "GET / HTTP/1.1\r\n\r\n") }()
	text, _ := io.ReadAll(c)
	if !strings.Contains(string(text), "400 Bad Request") || !strings.Contains(string(text), "Client sent an HTTP request to an HTTPS server.") {
		t.Errorf("%q", text)
	}
}

// TestPlaces: a connection leaves the budget with its login, and the way in which it is ended changes hands.
func TestPlaces(t *testing.T) {
	q := &queue{conns: make(chan net.Conn), closed: make(chan struct{})}
	b := NewBudget(nil)
	l := Listen(q, b, Options{})
	defer l.Close()
	accept := func(host string) net.Conn {
		t.Helper()
		var c net.Conn
		done := make(chan struct{})
		go func() { defer close(done); c, _ = l.Accept() }()
		q.dial(host)
		<-done
		return c
	}
	in, out := accept("192.0.2.1"), accept("192.0.2.1")
	Of(in).Release()
	if err := Of(in).Charge(2 * budget); err != nil || b.charged() != costOpen {
		t.Errorf("a client that has logged in is charged: %v, %d bytes", err, b.charged())
	}
	ended := false
	if !Of(out).OnEvict(func() { ended = true }) {
		t.Error("it was ended before")
	}
	if err := Of(out).Charge(2 * budget); !errors.Is(err, ErrBudget) || !ended || b.charged() != 0 {
		t.Errorf("%v, ended %v, %d bytes", err, ended, b.charged())
	}
	if Of(out).OnEvict(nil) {
		t.Error("it was not ended")
	}
	var none *Place
	if none.Release(); none.Charge(1) != nil || !none.OnEvict(nil) || Of(&net.TCPConn{}) != nil {
		t.Error("a connection without a place")
	}
}
