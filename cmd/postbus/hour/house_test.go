package hour

// This file is what the operator has: the config, the users with their passwords, the certificates and the list
// of those that are revoked, and the plugin.

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postbus/postbus/bus/auth"
)

const aLittle = "1MiB" // of the disk stays free

const judge = "judge" // the user of the test itself

// user is an entry of the config.
type user struct {
	name               string
	passwords          []string // the newest first; a certificate if there is none
	hash               string
	publish, subscribe []string
	deny               []string
	admin, removed     bool
}

// house is the folder with all that.
type house struct {
	dir    string
	places map[string]string
	data   string

	mu     sync.Mutex
	users  []*user
	free   string // limits.disk_free
	ca     *x509.Certificate
	caKey  *ecdsa.PrivateKey
	roots  *x509.CertPool
	client map[string]*tls.Certificate // by user
	serial int64
}

func newHouse(dir, data string, places map[string]string) (*house, error) {
	h := &house{dir: dir, places: places, data: data, free: aLittle, client: map[string]*tls.Certificate{}}
	if err := os.MkdirAll(h.plugins(), 0o700); err != nil {
		return nil, err
	}
	if err := h.authority(); err != nil {
		return nil, err
	}
	events := []string{"ev/#", "work/#"}
	everything := []string{"ev/#", "work/#", "copy/#", "mark/#"}
	for _, u := range []*user{
		{name: judge, passwords: []string{"judge"}, publish: []string{"#"}, subscribe: []string{"#", "$bus/#", "$SYS/#"}, admin: true},
		{name: "senders", passwords: []string{"senders"}, publish: append(events, "visit/#"), subscribe: everything},
		{name: "narrowed", passwords: []string{"narrowed"}, publish: events},
		{name: "readers", passwords: []string{"readers"}, subscribe: everything},
		{name: "hidden", passwords: []string{"hidden"}, subscribe: everything},
		{name: "renamed", passwords: []string{"renamed"}, publish: events, subscribe: everything},
		{name: "removed", passwords: []string{"removed"}, publish: events, subscribe: everything},
		{name: "device", publish: events, subscribe: everything},
		{name: "stolen", publish: events, subscribe: everything},
	} {
		h.users = append(h.users, u)
		if u.passwords != nil {
			if err := h.setPassword(u, u.passwords[0]); err != nil {
				return nil, err
			}
			continue
		}
		cert, err := h.sign(u.name, x509.ExtKeyUsageClientAuth)
		if err != nil {
			return nil, err
		}
		h.client[u.name] = cert
	}
	return h, errors.Join(h.renew(), h.revoke(), h.write(), h.plugin(pluginText))
}

func (h *house) config() string  { return filepath.Join(h.dir, "postbus.yaml") }
func (h *house) plugins() string { return filepath.Join(h.dir, "plugins.d") }
func (h *house) journal() string { return filepath.Join(h.data, "journal") }

// replace writes a file as an editor does: as a whole.
func replace(file string, text []byte) error {
	if err := os.WriteFile(file+"~", text, 0o600); err != nil {
		return err
	}
	return os.Rename(file+"~", file)
}

// write writes the config.
func (h *house) write() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "profile: pi\ndata_dir: %q\nplugins_dir: plugins.d\nanonymous: off\nretention: {age: 5m, size: 24MiB}\nlimits: {disk_free: %s}\n", h.data, h.free)
	fmt.Fprintf(&b, "listen:\n  mqtt: [\"tcp://%s\", \"tls://%s\"]\n  http: %q\n", h.places["tcp"], h.places["tls"], h.places["ws"])
	b.WriteString("  tls: {cert: server.pem, key: server.key, client_ca: ca.pem, client_crl: revoked.pem}\nusers:\n")
	for _, u := range h.users {
		if u.removed {
			continue
		}
		fmt.Fprintf(&b, "  - name: %s\n    admin: %t\n    publish: [%s]\n    subscribe: [%s]\n    deny: [%s]\n", u.name, u.admin, quoted(u.publish), quoted(u.subscribe), quoted(u.deny))
		if u.passwords == nil {
			fmt.Fprintf(&b, "    certificates: [\"CN=%s\"]\n", u.name)
		} else {
			fmt.Fprintf(&b, "    password: %q\n", u.hash)
		}
	}
	return replace(h.config(), []byte(b.String()))
}

// keepFree changes limits.disk_free.
func (h *house) keepFree(size string) error {
	h.mu.Lock()
	h.free = size
	h.mu.Unlock()
	return h.write()
}

func quoted(list []string) string {
	var q []string
	for _, s := range list {
		q = append(q, fmt.Sprintf("%q", s))
	}
	return strings.Join(q, ", ")
}

// change edits a user and saves the config, which the bus then reloads.
func (h *house) change(name string, edit func(u *user)) error {
	h.mu.Lock()
	edit(h.users[slices.IndexFunc(h.users, func(u *user) bool { return u.name == name })])
	h.mu.Unlock()
	return h.write()
}

func (h *house) setPassword(u *user, password string) (err error) {
	u.passwords = []string{password}
	u.hash, err = auth.Hash(password)
	return err
}

func (h *house) password(name string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, u := range h.users {
		if u.name == name {
			return u.passwords[0]
		}
	}
	return ""
}

func (h *house) clientTLS(name string) *tls.Config {
	return &tls.Config{RootCAs: h.roots, ServerName: "localhost", Certificates: []tls.Certificate{*h.client[name]}}
}

func (h *house) authority() (err error) {
	if h.caKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "the house"}, NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &h.caKey.PublicKey, h.caKey)
	if err != nil {
		return err
	}
	if h.ca, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	h.roots = x509.NewCertPool()
	h.roots.AddCert(h.ca)
	h.serial = 1
	return replace(filepath.Join(h.dir, "ca.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func (h *house) sign(name string, usage x509.ExtKeyUsage) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	h.serial++
	template := &x509.Certificate{SerialNumber: big.NewInt(h.serial), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(12 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage}}
	der, err := x509.CreateCertificate(rand.Reader, template, h.ca, &key.PublicKey, h.caKey)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}

// renew makes a new certificate of the server, whose serial is then h.serial.
func (h *house) renew() error {
	cert, err := h.sign("localhost", x509.ExtKeyUsageServerAuth)
	if err != nil {
		return err
	}
	key, err := x509.MarshalECPrivateKey(cert.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		return err
	}
	return errors.Join(
		replace(filepath.Join(h.dir, "server.key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: key})),
		replace(filepath.Join(h.dir, "server.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})))
}

// revoke writes a list with the certificates of these users.
func (h *house) revoke(users ...string) error {
	h.serial++
	list := &x509.RevocationList{Number: big.NewInt(h.serial), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(12 * time.Hour)}
	for _, u := range users {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: h.client[u].Leaf.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, h.ca, h.caKey)
	if err != nil {
		return err
	}
	return replace(filepath.Join(h.dir, "revoked.pem"), pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
}

// pluginText copies the events of a zone.
const pluginText = `source: {mqtt: {topics: ["ev/0/+"], retained: false}}
publish:
  - topic: "copy/${event.topic[2]}"
    payload: "${event.text}"
    qos: 1
`

func (h *house) pluginFile() string { return filepath.Join(h.plugins(), "copy.yaml") }

func (h *house) plugin(text string) error { return replace(h.pluginFile(), []byte(text)) }
