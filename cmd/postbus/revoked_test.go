package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// revokedOf reads a file in a test. every is the time between two looks at it.
func revokedOf(t testing.TB, file string, log io.Writer, every time.Duration, by ...*x509.Certificate) *revoked {
	r := newRevoked(file, by, slog.New(slog.NewTextHandler(log, nil)))
	r.every = every
	return r
}

func stateOf(chain ...*x509.Certificate) tls.ConnectionState {
	return tls.ConnectionState{PeerCertificates: chain[:1], VerifiedChains: [][]*x509.Certificate{chain}}
}

// TestConnectionsOfRevokedCertificatesEnd: with the new list, like those of a removed user. Others stay.
func TestConnectionsOfRevokedCertificatesEnd(t *testing.T) {
	dir := t.TempDir()
	cert, _ := certificate(t, dir)
	ca, file := newAuthority(t, "devices"), filepath.Join(dir, "crl.pem")
	save(t, filepath.Join(dir, "ca.pem"), ca.pem())
	soon := time.Now().Add(time.Hour)
	save(t, file, ca.list(soon))
	text := `listen: {mqtt: ["tls://127.0.0.1:0"], http: "https://127.0.0.1:0", tls: {cert: cert.pem, key: key.pem, client_ca: ca.pem, client_crl: crl.pem}}
anonymous: off
users:
  - {name: good, certificates: ["CN=good"], subscribe: ["#"]}
  - {name: first, certificates: ["CN=first"], subscribe: ["#"]}
  - {name: second, certificates: ["CN=second"], subscribe: ["#"]}
`
	addresses, log := running(t, dir, text)
	lost := make(chan string, 10)
	names := []string{"good", "first", "second"}
	certs, clients := map[string]tls.Certificate{}, map[string]*http.Client{}
	ask := func(name string) int {
		t.Helper()
		resp, err := clients[name].Get(addresses[1] + "/api/v1/topics?filter=x")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body) // so that the connection is used again
		resp.Body.Close()
		return resp.StatusCode
	}
	for _, name := range names {
		conf := trust(t, cert)
		certs[name] = ca.client(name)
		conf.Certificates = []tls.Certificate{certs[name]}
		o := paho.NewClientOptions().AddBroker(strings.Replace(addresses[0], "tls://", "ssl://", 1)).SetClientID(name).SetTLSConfig(conf).SetAutoReconnect(false)
		c := paho.NewClient(o.SetConnectionLostHandler(func(paho.Client, error) { lost <- name }))
		if tok := c.Connect(); !tok.WaitTimeout(time.Minute) || tok.Error() != nil {
			t.Fatal(name, tok.Error())
		}
		t.Cleanup(func() { c.Disconnect(0) })
		clients[name] = &http.Client{Transport: &http.Transport{TLSClientConfig: conf}, Timeout: time.Minute}
		t.Cleanup(clients[name].CloseIdleConnections)
		if status := ask(name); status != http.StatusOK {
			t.Fatal(name, status)
		}
	}
	gone := func(name string) {
		t.Helper()
		select {
		case got := <-lost:
			if got != name {
				t.Fatalf("%s was disconnected, want %s", got, name)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s is still connected: %s", name, log)
		}
		// The open HTTP connection, without a handshake.
		if status := ask(name); status != http.StatusUnauthorized {
			t.Errorf("%s over HTTP: %d", name, status)
		}
	}
	// A reload of the config, and time alone, bring the list into force.
	save(t, file, ca.list(soon, certs["first"].Leaf.SerialNumber))
	save(t, filepath.Join(dir, "c.yaml"), []byte(text+"# changed\n"))
	gone("first")
	save(t, file, ca.list(soon, certs["first"].Leaf.SerialNumber, certs["second"].Leaf.SerialNumber))
	gone("second")
	if status := ask("good"); status != http.StatusOK || len(lost) > 0 {
		t.Errorf("the good one: %d", status)
	}
}

// TestTheListIsReadWithoutAHandshake: within recheckLists.
func TestTheListIsReadWithoutAHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, file := newAuthority(t, "devices"), filepath.Join(t.TempDir(), "crl.pem")
		bad := ca.client("bad").Leaf
		save(t, file, ca.list(time.Now().Add(time.Hour)))
		r := revokedOf(t, file, io.Discard, time.Hour, ca.cert)
		r.look()
		renewed := make(chan error, 10)
		r.renewed = func() { renewed <- r.check(bad) }
		ctx, cancel := context.WithCancel(t.Context())
		go r.watch(ctx)
		save(t, file, ca.list(time.Now().Add(time.Hour), bad.SerialNumber))
		time.Sleep(recheckLists + time.Second)
		synctest.Wait()
		if err := r.check(bad); err != errRevoked || len(renewed) != 1 || <-renewed != errRevoked {
			t.Errorf("%v, renewed %d times", err, len(renewed))
		}
		cancel()
	})
}

// TestListsChangeWhileClientsCome: a certificate that every list revokes gets in at no moment, and one that
// none revokes always does.
func TestListsChangeWhileClientsCome(t *testing.T) {
	ca, other, file := newAuthority(t, "devices"), newAuthority(t, "devices"), filepath.Join(t.TempDir(), "crl.pem")
	good, bad, unused := ca.client("good").Leaf, ca.client("bad").Leaf, ca.client("unused").Leaf
	soon := time.Now().Add(time.Hour)
	save(t, file, ca.list(soon, bad.SerialNumber))
	r := revokedOf(t, file, io.Discard, 0, ca.cert)
	r.look()
	stop := make(chan struct{})
	var clients sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	clients.Go(func() { r.watch(ctx) })
	for c, want := range map[*x509.Certificate]error{good: nil, bad: errRevoked} {
		for range 4 {
			clients.Go(func() {
				for {
					if err := r.verify(stateOf(c, ca.cert)); err != want {
						t.Errorf("%s: %v", c.Subject, err)
						return
					}
					select {
					case <-stop:
						return
					default:
					}
				}
			})
		}
	}
	versions := [][]byte{ca.list(soon, bad.SerialNumber, unused.SerialNumber), ca.list(soon, bad.SerialNumber), other.list(soon), []byte("half a"), ca.list(time.Now().Add(-time.Minute))}
	for n := range 200 {
		save(t, file, versions[n%len(versions)])
	}
	close(stop)
	cancel()
	clients.Wait()
}

// TestWrongCertificatesOfClients: none of them completes a request, over MQTT and HTTPS.
func TestWrongCertificatesOfClients(t *testing.T) {
	dir := t.TempDir()
	cert, _ := certificate(t, dir)
	ca, namesake := newAuthority(t, "devices"), newAuthority(t, "devices")
	save(t, filepath.Join(dir, "ca.pem"), ca.pem())
	save(t, filepath.Join(dir, "crl.pem"), ca.list(time.Now().Add(time.Hour)))
	addresses, log := running(t, dir, `listen: {mqtt: ["tls://127.0.0.1:0"], http: "https://127.0.0.1:0", tls: {cert: cert.pem, key: key.pem, client_ca: ca.pem, client_crl: crl.pem}}
users: [{name: a, certificates: ["CN=a"], subscribe: ["#"]}]
`)
	build := func(by *authority, usage x509.ExtKeyUsage, change func(c *x509.Certificate)) tls.Certificate {
		c := &x509.Certificate{Subject: pkix.Name{CommonName: "a"}, ExtKeyUsage: []x509.ExtKeyUsage{usage}}
		if change != nil {
			change(c)
		}
		signed, key := by.sign(c)
		return tls.Certificate{Certificate: [][]byte{signed.Raw}, PrivateKey: key, Leaf: signed}
	}
	middle, middleKey := ca.sign(&x509.Certificate{Subject: pkix.Name{CommonName: "no authority"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	belowClient := build(&authority{t: t, cert: middle, key: middleKey}, x509.ExtKeyUsageClientAuth, nil)
	belowClient.Certificate = append(belowClient.Certificate, middle.Raw)
	stolen := ca.client("a")
	stolen.PrivateKey = ca.client("b").PrivateKey
	for _, c := range []struct {
		name string
		cert tls.Certificate
		in   bool
	}{
		{"the user's", ca.client("a"), true},
		{"signed by itself", build(&authority{t: t}, x509.ExtKeyUsageClientAuth, nil), false},
		{"of another authority with the same name", namesake.client("a"), false},
		{"expired", build(ca, x509.ExtKeyUsageClientAuth, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), false},
		{"not valid yet", build(ca, x509.ExtKeyUsageClientAuth, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(30 * time.Minute) }), false},
		{"for servers", build(ca, x509.ExtKeyUsageServerAuth, nil), false},
		{"signed with a client's certificate", belowClient, false},
		{"with a critical extension that nobody knows", build(ca, x509.ExtKeyUsageClientAuth, func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
		}), false},
		{"without its key", stolen, false},
	} {
		conf := trust(t, cert)
		// Whatever the authorities are that the bus names.
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c.cert, nil }
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: conf}, Timeout: time.Minute}
		resp, err := client.Get(addresses[1] + "/api/v1/topics?filter=x")
		if err == nil {
			resp.Body.Close()
		}
		if in := err == nil && resp.StatusCode == http.StatusOK; in != c.in || err == nil && !in {
			t.Errorf("%s over HTTP: %v", c.name, err)
		}
		client.CloseIdleConnections()
		raw, err := tls.Dial("tcp", strings.TrimPrefix(addresses[0], "tls://"), conf)
		if err == nil { // in TLS 1.3 the client learns it afterwards
			_ = raw.SetDeadline(time.Now().Add(time.Minute))
			_, _ = raw.Write([]byte("\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02id"))
			answer := []byte{0, 0, 0, 0}
			_, err = io.ReadFull(raw, answer)
			raw.Close()
			if err == nil && !bytes.Equal(answer, []byte{0x20, 2, 0, 0}) {
				err = fmt.Errorf("CONNACK %x", answer)
			}
		}
		if (err == nil) != c.in {
			t.Errorf("%s over MQTT: %v %s", c.name, err, log)
		}
	}
}

// longList is a list with n entries, which begin at the serial number 2 to the power of 100.
func (a *authority) longList(n int) []byte {
	first := new(big.Int).Lsh(big.NewInt(1), 100)
	numbers := make([]*big.Int, n)
	for i := range numbers {
		numbers[i] = new(big.Int).Add(first, big.NewInt(int64(i)))
	}
	return a.list(time.Now().Add(time.Hour), numbers...)
}

// TestALongList costs little memory for each entry: crypto/x509 alone allocates more than 400 bytes.
func TestALongList(t *testing.T) {
	const n = 20_000
	ca, file := newAuthority(t, "devices"), filepath.Join(t.TempDir(), "crl.pem")
	good := ca.client("good").Leaf
	save(t, file, ca.longList(n))
	r := revokedOf(t, file, io.Discard, time.Hour, ca.cert)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r.look()
	runtime.ReadMemStats(&after)
	l := r.current.Load()
	if l == nil || len(l.serials) != n {
		t.Fatalf("%+v", l)
	}
	st, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	// The file and its DER are there once each.
	if each := (int64(after.TotalAlloc-before.TotalAlloc) - 2*st.Size()) / n; each > 200 {
		t.Errorf("%d bytes are allocated for an entry", each)
	}
	last := &x509.Certificate{RawIssuer: ca.cert.RawSubject, SerialNumber: new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), 100), big.NewInt(n-1))}
	if r.check(last) != errRevoked || r.check(good) != nil {
		t.Error("the wrong certificates are revoked")
	}
}

// BenchmarkAMillionRevoked reads a list of a million entries.
func BenchmarkAMillionRevoked(b *testing.B) {
	t := &testing.T{}
	ca, file := newAuthority(t, "devices"), filepath.Join(b.TempDir(), "crl.pem")
	if err := os.WriteFile(file, ca.longList(1_000_000), 0o600); err != nil {
		b.Fatal(err)
	}
	runtime.GC()
	b.ReportAllocs()
	for b.Loop() {
		r := revokedOf(b, file, io.Discard, time.Hour, ca.cert)
		r.look()
		if l := r.current.Load(); l == nil || len(l.serials) != 1_000_000 {
			b.Fatal(l)
		}
	}
}

// FuzzRevoked compares lists with crypto/x509, and checks that only what the authority signed revokes a
// certificate.
func FuzzRevoked(f *testing.F) {
	t := &testing.T{}
	ca, other := newAuthority(t, "devices"), newAuthority(t, "devices")
	soon := time.Now().Add(time.Hour)
	signed := map[[16]byte]bool{}
	for n := range int64(4) {
		key, _ := serialKey(nil, ca.cert.RawSubject, big.NewInt(n+100))
		signed[key] = true
	}
	for _, text := range [][]byte{ca.list(soon), ca.list(soon, big.NewInt(100)), ca.list(soon, big.NewInt(101), big.NewInt(102), big.NewInt(103)), other.list(soon, big.NewInt(1)), ca.list(time.Now().Add(-time.Minute)), ca.pem()} {
		block, _ := pem.Decode(text)
		f.Add(text)
		f.Add(block.Bytes)
		f.Add(append(slices.Clone(text), text...))
		f.Add(block.Bytes[:len(block.Bytes)/2])
	}
	file := filepath.Join(f.TempDir(), "crl")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		r := revokedOf(t, file, io.Discard, time.Hour, ca.cert)
		if l, err := r.read(); err == nil {
			for _, key := range l.serials {
				if !signed[key] {
					t.Error("the list revokes what the authority did not")
				}
			}
			if !slices.IsSortedFunc(l.serials, compareKeys) || !l.until.IsZero() && !time.Now().Before(l.until) {
				t.Errorf("%+v", l)
			}
		}
		want, err := x509.ParseRevocationList(data)
		if err != nil {
			_, _, _ = parseList(data)
			return
		}
		got, entries, err := parseList(data)
		if err != nil {
			return // to refuse more than crypto/x509 does is safe: the list before stays in use
		}
		keys, err := appendSerials(nil, got.RawIssuer, entries)
		if err != nil {
			return
		}
		if !bytes.Equal(got.RawTBSRevocationList, want.RawTBSRevocationList) || !bytes.Equal(got.RawIssuer, want.RawIssuer) || !bytes.Equal(got.Signature, want.Signature) || !got.NextUpdate.Equal(want.NextUpdate) {
			t.Errorf("%+v, want %+v", got, want)
		}
		var all serials
		for _, e := range want.RevokedCertificateEntries {
			key, _ := serialKey(nil, want.RawIssuer, e.SerialNumber)
			all = append(all, key)
		}
		if !slices.Equal(keys, all) {
			t.Errorf("%d entries, want %d", len(keys), len(all))
		}
	})
}
