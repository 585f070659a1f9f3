package attack

// This file is the attacks on TLS: on listeners that ask every client for a certificate, over MQTT and HTTPS.

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// identities are the certificates of an attack.
type identities struct {
	dir                  string // with ca.pem, cert.pem and key.pem of the broker
	ca                   *x509.CertPool
	honest, stolen, many tls.Certificate // stolen is mallory's; many has 100 certificates
	huge, large          tls.Certificate // of 1 MB, and of as much as TLS libraries accept
}

func newIdentities(t *testing.T) *identities {
	t.Helper()
	i := &identities{dir: t.TempDir(), ca: x509.NewCertPool()}
	if err := os.Chmod(i.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	last := int64(0)
	sign := func(name string, parent *tls.Certificate, usage x509.ExtKeyUsage, extra int) tls.Certificate {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		last++
		c := &x509.Certificate{SerialNumber: big.NewInt(last), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{usage}}
		if extra > 0 {
			c.Subject.Organization = []string{fmt.Sprintf("%0*d", extra, 0)}
		}
		by, signer := c, key
		if parent == nil {
			c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
		} else {
			by, signer = parent.Leaf, parent.PrivateKey.(*ecdsa.PrivateKey)
		}
		der, err := x509.CreateCertificate(rand.Reader, c, by, &key.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
	}
	save := func(name, kind string, der []byte) {
		if err := os.WriteFile(filepath.Join(i.dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ca := sign("authority", nil, x509.ExtKeyUsageClientAuth, 0)
	i.ca.AddCert(ca.Leaf)
	save("ca.pem", "CERTIFICATE", ca.Leaf.Raw)
	ca.Leaf.ExtKeyUsage = nil
	server := sign("127.0.0.1", &ca, x509.ExtKeyUsageServerAuth, 0)
	save("cert.pem", "CERTIFICATE", server.Leaf.Raw)
	key, err := x509.MarshalPKCS8PrivateKey(server.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	save("key.pem", "PRIVATE KEY", key)
	i.honest, i.stolen = sign("honest", &ca, x509.ExtKeyUsageClientAuth, 0), sign(mallory, &ca, x509.ExtKeyUsageClientAuth, 0)
	other := sign("another authority", nil, x509.ExtKeyUsageClientAuth, 0)
	i.huge, i.large = sign("huge", &other, x509.ExtKeyUsageClientAuth, 1<<20), sign("large", &other, x509.ExtKeyUsageClientAuth, 250<<10)
	i.many = sign("many", &other, x509.ExtKeyUsageClientAuth, 0)
	for range 99 {
		i.many.Certificate = append(i.many.Certificate, sign("link", &other, x509.ExtKeyUsageClientAuth, 0).Certificate[0])
	}
	return i
}

// client is TLS for a client with a certificate. Each of its handshakes is a full one.
func (i *identities) client(c *tls.Certificate) *tls.Config {
	return &tls.Config{RootCAs: i.ca, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c, nil }}
}

// helloOf is the first record of a client: its ClientHello.
func helloOf(conf *tls.Config) []byte {
	here, there := net.Pipe()
	defer there.Close()
	go func() {
		_ = tls.Client(here, conf).Handshake()
		here.Close()
	}()
	b := make([]byte, 16<<10)
	n, _ := there.Read(b)
	return b[:n]
}

// bigHello is the beginning of a ClientHello that says it has 64 kB, of which the last byte is missing.
func bigHello() (b []byte) {
	body := append([]byte{1, 0, 0xFF, 0xFC}, make([]byte, 0xFFFC-1)...)
	for len(body) > 0 {
		n := min(len(body), 16<<10)
		b = append(append(b, 0x16, 3, 1, byte(n>>8), byte(n)), body[:n]...)
		body = body[n:]
	}
	return b
}

// hold keeps n connections open, half of them to each listener, and opens those again that end.
func hold(ctx context.Context, t target, n int, f func(c net.Conn) error) {
	many(ctx, n, func(i int) error {
		c, err := net.DialTimeout("tcp", []string{t.mqtt, t.http}[i%t.listeners()], patience)
		if err != nil {
			return err
		}
		defer c.Close()
		defer context.AfterFunc(ctx, func() { c.Close() })()
		if err := f(c); err != nil {
			return err
		}
		_, err = c.Read(make([]byte, 1))
		return err
	})
}

// listeners is 2 with HTTPS, else 1.
func (t target) listeners() int {
	if t.http == "" {
		return 1
	}
	return 2
}

// shake makes handshakes as fast as they go, from n connections at a time. At most 200 of them are in a
// handshake: the honest client is in this process, and would wait for the attackers' own computations.
func shake(ctx context.Context, t target, n int, conf *tls.Config, then func(c *tls.Conn) error) {
	turns := make(chan struct{}, 200)
	many(ctx, n, func(i int) error {
		turns <- struct{}{}
		leave := sync.OnceFunc(func() { <-turns })
		defer leave()
		c, err := net.DialTimeout("tcp", []string{t.mqtt, t.http}[i%t.listeners()], patience)
		if err != nil {
			return err
		}
		defer c.Close()
		defer context.AfterFunc(ctx, func() { c.Close() })()
		_ = c.SetDeadline(time.Now().Add(patience))
		conf := conf.Clone()
		conf.ServerName = "127.0.0.1"
		secure := tls.Client(c, conf)
		if err := secure.Handshake(); err != nil {
			return err
		}
		leave()
		return then(secure)
	})
}

const crowd = 3000 // connections at a time

var tlsAttacks = []attack{
	{"TLS: connections that send nothing", "", func(ctx context.Context, t target) {
		hold(ctx, t, crowd, func(net.Conn) error { return nil })
	}},
	{"TLS: ClientHellos of 64 kB without the last byte", "", func(ctx context.Context, t target) {
		hello := bigHello()
		hold(ctx, t, crowd, func(c net.Conn) error {
			_, err := c.Write(hello)
			return err
		})
	}},
	{"TLS: a byte of a ClientHello a second", "", func(ctx context.Context, t target) {
		hello := helloOf(&tls.Config{InsecureSkipVerify: true})
		hold(ctx, t, crowd, func(c net.Conn) error {
			for _, b := range hello {
				if _, err := c.Write([]byte{b}); err != nil {
					return err
				}
				_ = c.SetReadDeadline(time.Now().Add(time.Second))
				if _, err := c.Read(make([]byte, 1)); err != nil && !os.IsTimeout(err) {
					return err
				}
			}
			return nil
		})
	}},
	{"TLS: handshakes, no answer to the broker's part", "", func(ctx context.Context, t target) {
		hello := helloOf(&tls.Config{InsecureSkipVerify: true})
		hold(ctx, t, crowd, func(c net.Conn) error {
			if _, err := c.Write(hello); err != nil {
				return err
			}
			for n := 0; n < 2; n++ {
				if _, err := c.Read(make([]byte, 4<<10)); err != nil {
					return err
				}
			}
			return nil
		})
	}},
	{"TLS: full handshakes, 200 at a time", "", func(ctx context.Context, t target) {
		shake(ctx, t, 200, t.who.client(&t.who.stolen), func(c *tls.Conn) error { return nil })
	}},
	{"TLS: sessions without a login", "", func(ctx context.Context, t target) {
		shake(ctx, t, crowd, t.who.client(&t.who.stolen), func(c *tls.Conn) error {
			_, err := c.Read(make([]byte, 1))
			return err
		})
	}},
	{"TLS: HTTP requests, then nothing", "postbus", func(ctx context.Context, t target) {
		shake(ctx, target{mqtt: t.http}, crowd, t.who.client(&t.who.stolen), func(c *tls.Conn) error {
			if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"); err != nil {
				return err
			}
			_ = c.SetDeadline(time.Time{})
			_, err := io.Copy(io.Discard, c)
			return err
		})
	}},
	{"TLS: certificates of 1 MB, of 250 kB, chains of 100", "", func(ctx context.Context, t target) {
		for _, c := range []*tls.Certificate{&t.who.huge, &t.who.large} {
			go shake(ctx, t, 30, t.who.client(c), func(c *tls.Conn) error {
				_, err := c.Read(make([]byte, 1))
				return err
			})
		}
		shake(ctx, t, 30, t.who.client(&t.who.many), func(c *tls.Conn) error {
			_, err := c.Read(make([]byte, 1))
			return err
		})
	}},
	{"TLS: bytes that aren't TLS", "", func(ctx context.Context, t target) {
		hello := helloOf(&tls.Config{InsecureSkipVerify: true})
		hold(ctx, t, 20, func(c net.Conn) error {
			junk := make([]byte, 3000)
			_, _ = rand.Read(junk)
			switch junk[0] % 4 {
			case 0:
				copy(junk, []byte{0x16, 3, 3, 0x40, 0}) // a record of a handshake
			case 1:
				copy(junk, []byte{0x17, 3, 3, 0x10, 0}) // of data
			case 2:
				junk = append(append([]byte(nil), hello...), junk...)
			}
			if _, err := c.Write(junk); err != nil {
				return err
			}
			_ = c.SetDeadline(time.Now().Add(100 * time.Millisecond))
			_, _ = io.Copy(io.Discard, c)
			return fmt.Errorf("done")
		})
	}},
}
