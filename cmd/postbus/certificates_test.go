package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
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
	"strings"
	"testing"
	"testing/synctest"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/postbus/postbus/bus/auth"
	"github.com/postbus/postbus/cmd/postbus/internal/programtest"
)

// authority signs certificates in a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	last int64 // serial number
}

func newAuthority(t *testing.T, name string) *authority {
	a := &authority{t: t}
	a.cert, a.key = a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign})
	return a
}

// sign signs a template, by default for an hour; the authority's own first.
func (a *authority) sign(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(time.Hour)
	}
	a.last++
	c.SerialNumber = big.NewInt(a.last)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return signed, key
}

// client is a certificate for TLS clients.
func (a *authority) client(name string, hosts ...string) tls.Certificate {
	c, key := a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: hosts, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: key, Leaf: c}
}

// list is the authority's list of revoked certificates, in PEM.
func (a *authority) list(until time.Time, serials ...*big.Int) []byte {
	a.t.Helper()
	a.last++
	l := &x509.RevocationList{Number: big.NewInt(a.last), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: until}
	for _, s := range serials {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: s, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, l, a.cert, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// save replaces a file in one step.
func save(t *testing.T, file string, text []byte) {
	t.Helper()
	if err := os.WriteFile(file+"~", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+"~", file); err != nil {
		t.Fatal(err)
	}
}

// TestUsersOfCertificates: a client with a user's certificate is that user, over MQTT, WebSocket and
// HTTP, without a password, and never another user.
func TestUsersOfCertificates(t *testing.T) {
	dir := t.TempDir()
	cert, _ := certificate(t, dir)
	ca := newAuthority(t, "devices")
	save(t, filepath.Join(dir, "ca.pem"), ca.pem())
	hash, err := auth.Hash("secret")
	if err != nil {
		t.Fatal(err)
	}
	kitchen, host, stranger := ca.client("pi-kitchen"), ca.client("x", "Pump.Example"), ca.client("stranger")
	address := programtest.FreePort(t)
	text := fmt.Sprintf(`listen: {mqtt: ["tls://127.0.0.1:0"], http: "https://%s", tls: {cert: cert.pem, key: key.pem, client_ca: ca.pem}}
anonymous: {publish: ["open"]}
users:
  - {name: kitchen, certificates: ["CN=pi-kitchen"], publish: ["of/${user}/${client}", "of/${user}"]}
  - {name: pump, certificates: ["SAN=dns:pump.example"], password: %q, publish: ["of/${user}/${client}", "of/${user}"]}
  - {name: root, password: %[2]q, publish: ["#"], subscribe: ["#"]}
`, address, hash)
	addresses, log := running(t, dir, text)
	trusted := trust(t, cert)
	with := func(c *tls.Certificate) *tls.Config {
		conf := trusted.Clone()
		if c != nil {
			conf.Certificates = []tls.Certificate{*c}
		}
		return conf
	}
	connect := func(url string, c *tls.Certificate, id, user, password string, lost func(paho.Client, error)) (paho.Client, error) {
		o := paho.NewClientOptions().AddBroker(url).SetClientID(id).SetUsername(user).SetPassword(password).SetAutoReconnect(false).
			SetTLSConfig(with(c)).SetConnectTimeout(time.Minute).SetConnectionLostHandler(lost)
		client := paho.NewClient(o)
		tok := client.Connect()
		tok.WaitTimeout(time.Minute)
		t.Cleanup(func() { client.Disconnect(0) })
		return client, tok.Error()
	}
	mqtt, socket := strings.Replace(addresses[0], "tls://", "ssl://", 1), "wss://"+address+"/mqtt"
	events := make(chan string, 10)
	root, err := connect(mqtt, &stranger, "root", "root", "secret", nil)
	if err != nil {
		t.Fatal(err)
	}
	if tok := root.SubscribeMultiple(map[string]byte{"of/#": 1, "open": 1}, func(_ paho.Client, m paho.Message) { events <- m.Topic() }); !tok.WaitTimeout(time.Minute) || tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	// who publishes to the topics of all users, and returns the topic that arrived: whose rights the
	// client has.
	who := func(c paho.Client) string {
		o := c.OptionsReader()
		id := o.ClientID()
		for _, topic := range []string{"of/kitchen/" + id, "of/pump/" + id, "open"} {
			c.Publish(topic, 1, false, "").WaitTimeout(time.Minute)
		}
		select {
		case topic := <-events:
			return topic
		case <-time.After(time.Minute):
			return "nothing"
		}
	}
	for i, c := range []struct {
		name, url      string
		cert           *tls.Certificate
		user, password string
		want           string // "": refused
	}{
		{"by its common name", mqtt, &kitchen, "", "", "of/kitchen/"},
		{"by its host name", mqtt, &host, "", "", "of/pump/"},
		{"and its user name", mqtt, &kitchen, "kitchen", "", "of/kitchen/"},
		{"and its user name with any password", mqtt, &kitchen, "kitchen", "x", "of/kitchen/"},
		{"and another user's name", mqtt, &kitchen, "pump", "", ""},
		{"and another user's name with a wrong password", mqtt, &kitchen, "pump", "wrong", ""},
		{"and another user's name and password", mqtt, &kitchen, "pump", "secret", "of/pump/"},
		{"of nobody", mqtt, &stranger, "", "", "open"},
		{"of nobody, with a password", mqtt, &stranger, "pump", "secret", "of/pump/"},
		{"of nobody, with a user that has no password", mqtt, &stranger, "kitchen", "x", ""},
		{"none", mqtt, nil, "pump", "secret", ""},
		{"over a WebSocket", socket, &kitchen, "", "", "of/kitchen/"},
		{"over a WebSocket, and another user's name", socket, &kitchen, "pump", "wrong", ""},
		{"of nobody, over a WebSocket", socket, &stranger, "", "", "open"},
		{"none, over a WebSocket", socket, nil, "", "", "open"},
		{"none, over a WebSocket, with a password", socket, nil, "pump", "secret", "of/pump/"},
	} {
		id := fmt.Sprint("c", i)
		client, err := connect(c.url, c.cert, id, c.user, c.password, nil)
		if (err == nil) != (c.want != "") {
			t.Errorf("%s: %v", c.name, err)
		}
		if err == nil {
			if want := c.want + map[bool]string{true: id}[strings.HasSuffix(c.want, "/")]; who(client) != want {
				t.Errorf("%s: it does not have the rights of %s", c.name, want)
			}
			client.Disconnect(0)
		}
	}
	for _, c := range []struct {
		name, user string
		cert       *tls.Certificate
		topic      string
		want       int
	}{
		{"its topic", "", &kitchen, "of/kitchen", 200},
		{"another's topic", "", &kitchen, "of/pump", 403},
		{"a rule with ${client}", "", &kitchen, "of/kitchen/kitchen", 403},
		{"another user with a wrong password", "pump:wrong", &kitchen, "of/pump", 401},
		{"another user with the password", "pump:secret", &kitchen, "of/pump", 200},
		{"of nobody", "", &stranger, "of/kitchen", 401},
		{"none", "", nil, "open", 200},
		{"none, another topic", "", nil, "of/kitchen", 401},
	} {
		r, _ := http.NewRequest(http.MethodPost, "https://"+address+"/api/v1/publish", strings.NewReader(`{"topic": "`+c.topic+`", "payload": "1"}`))
		r.Header.Set("Content-Type", "application/json")
		if name, password, ok := strings.Cut(c.user, ":"); ok {
			r.SetBasicAuth(name, password)
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: with(c.cert)}, Timeout: time.Minute}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(c.name, err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		client.CloseIdleConnections()
		if resp.StatusCode != c.want {
			t.Errorf("HTTP, %s: %d %s", c.name, resp.StatusCode, body)
		}
	}

	for range 3 { // what HTTP published
		select {
		case <-events:
		case <-time.After(time.Minute):
			t.Fatal("events of HTTP are missing")
		}
	}

	// When the certificate leaves the file, its client is disconnected; others stay.
	lost := make(chan string, 10)
	for name, c := range map[string]*tls.Certificate{"kitchen": &kitchen, "pump": &host} {
		if _, err := connect(mqtt, c, name, "", "", func(paho.Client, error) { lost <- name }); err != nil {
			t.Fatal(err)
		}
	}
	save(t, filepath.Join(dir, "c.yaml"), []byte(strings.Replace(text, "CN=pi-kitchen", "CN=other", 1)))
	log.waitFor(t, "config reloaded")
	select {
	case name := <-lost:
		if name != "kitchen" {
			t.Error(name, "was disconnected")
		}
	case <-time.After(time.Minute):
		t.Fatal("nobody was disconnected")
	}
	if c, err := connect(mqtt, &kitchen, "again", "", "", nil); err != nil || who(c) != "open" {
		t.Error("the certificate is still that of a user", err)
	}
	if len(lost) > 0 {
		t.Error("others were disconnected, too")
	}
}

// TestRevokedCertificates: a list of revoked certificates is in force a moment after it is saved, a bad
// one is not taken, and without any, clients with certificates are refused.
func TestRevokedCertificates(t *testing.T) {
	dir := t.TempDir()
	cert, _ := certificate(t, dir)
	ca, other := newAuthority(t, "devices"), newAuthority(t, "devices") // the same name, another key
	file := filepath.Join(dir, "crl.pem")
	save(t, filepath.Join(dir, "ca.pem"), ca.pem())
	good, bad := ca.client("good"), ca.client("bad")
	soon := time.Now().Add(time.Hour)
	addresses, log := running(t, dir, `listen: {mqtt: ["tls://127.0.0.1:0"], http: "https://127.0.0.1:0", tls: {cert: cert.pem, key: key.pem, client_ca: ca.pem, client_crl: crl.pem}}
anonymous: off
users: [{name: a, certificates: ["CN=good"]}, {name: b, certificates: ["CN=bad"]}]
`)
	trusted := trust(t, cert)
	log.waitFor(t, "no list of revoked certificates: clients with certificates are refused")
	// Resumed sessions are checked, too.
	sessions := map[*tls.Certificate]tls.ClientSessionCache{&good: tls.NewLRUClientSessionCache(0), &bad: tls.NewLRUClientSessionCache(0)}
	// in reports whether a client with a certificate gets in, over MQTT and over HTTP. While a list is
	// being read, one may come before it and the other after it.
	in := func(c *tls.Certificate) (got [2]bool) {
		t.Helper()
		conf := trusted.Clone()
		if c != nil {
			conf.Certificates, conf.ClientSessionCache = []tls.Certificate{*c}, sessions[c]
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: conf}, Timeout: time.Minute}
		defer client.CloseIdleConnections()
		if resp, err := client.Get(addresses[1] + "/api/v1/events?filter=x"); err == nil {
			resp.Body.Close()
			got[1] = true
		}
		if c == nil {
			return [2]bool{true, got[1]}
		}
		raw, err := tls.Dial("tcp", strings.TrimPrefix(addresses[0], "tls://"), conf)
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		_ = raw.SetDeadline(time.Now().Add(time.Minute))
		id := "go" // each user has one: the bus may not have noticed yet that the other's connection has ended
		if c == &bad {
			id = "ba"
		}
		_, _ = raw.Write([]byte("\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02" + id))
		answer := make([]byte, 4)
		if _, err := io.ReadFull(raw, answer); err == nil {
			got[0] = bytes.Equal(answer, []byte{0x20, 2, 0, 0})
		}
		return got
	}
	both := func(yes bool) [2]bool { return [2]bool{yes, yes} }
	want := func(what string, goodIn, badIn bool) {
		t.Helper()
		if g, b := in(&good), in(&bad); g != both(goodIn) || b != both(badIn) {
			t.Errorf("%s: over MQTT and HTTP a good certificate %v, the other %v", what, g, b)
		}
		if in(nil) != both(true) {
			t.Errorf("%s: a browser without a certificate is refused", what)
		}
	}
	want("no file", false, false)
	save(t, file, ca.list(soon))
	soonIn := func(c *tls.Certificate, yes bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); in(c) != both(yes); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("the new list is not in force: %s", log)
			}
		}
	}
	soonIn(&good, true)
	want("nothing is revoked", true, true)
	save(t, file, ca.list(soon, bad.Leaf.SerialNumber))
	soonIn(&bad, false)
	log.waitFor(t, "client refused: its certificate is revoked")
	want("one is revoked", true, false)
	der, _ := pem.Decode(ca.list(soon))
	for name, text := range map[string][]byte{
		"signed by another": other.list(soon),
		"expired":           ca.list(time.Now().Add(-time.Minute)),
		"not a list":        ca.pem(),
		"cut off":           pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der.Bytes[:60]}),
	} {
		before := strings.Count(log.String(), "list of revoked certificates not renewed")
		save(t, file, text)
		for end := time.Now().Add(time.Minute); strings.Count(log.String(), "list of revoked certificates not renewed") == before; time.Sleep(20 * time.Millisecond) {
			in(&good)
			if time.Now().After(end) {
				t.Fatalf("%s: nothing is logged: %s", name, log)
			}
		}
		want(name, true, false)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	log.waitFor(t, "signed the list of CN=devices")
	save(t, file, ca.list(soon))
	soonIn(&bad, true)
}

// TestAListOfRevokedCertificatesExpires: the last good list stays in force.
func TestAListOfRevokedCertificatesExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, file := newAuthority(t, "devices"), filepath.Join(t.TempDir(), "crl.pem")
		good, bad := ca.client("good").Leaf, ca.client("bad").Leaf
		save(t, file, ca.list(time.Now().Add(time.Hour), bad.SerialNumber))
		log := &syncBuffer{}
		r := newRevoked(file, []*x509.Certificate{ca.cert}, slog.New(slog.NewTextHandler(log, nil)))
		r.look()
		for range 2 {
			for c, want := range map[*x509.Certificate]error{good: nil, bad: errRevoked} {
				if err := r.verify(tls.ConnectionState{PeerCertificates: []*x509.Certificate{c}, VerifiedChains: [][]*x509.Certificate{{c, ca.cert}}}); err != want {
					t.Errorf("%s: %v", c.Subject, err)
				}
			}
			if err := r.verify(tls.ConnectionState{PeerCertificates: []*x509.Certificate{good}}); err != errNoVerified {
				t.Error(err)
			}
			time.Sleep(2 * time.Hour)
		}
		if n := strings.Count(log.String(), "it stays in use until there is a new one"); n != 1 {
			t.Errorf("logged %d times: %s", n, log)
		}
	})
}
