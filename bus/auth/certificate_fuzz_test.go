package auth

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"math/big"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// FuzzCertificate: whatever a certificate says of itself, its client becomes a user only if a name of
// the right kind is one of the user's, and then with the name and the rules of the config. Nothing of the
// certificate gets into a rule.
func FuzzCertificate(f *testing.F) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	build := func(cn, dns, email, uri string, ip []byte) []byte {
		c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: cn}, NotAfter: time.Now().Add(24 * time.Hour)}
		if dns != "" {
			c.DNSNames = []string{dns}
		}
		if email != "" {
			c.EmailAddresses = []string{email}
		}
		if u, err := url.Parse(uri); err == nil && uri != "" {
			c.URIs = []*url.URL{u}
		}
		if len(ip) == 4 || len(ip) == 16 {
			c.IPAddresses = []net.IP{ip}
		}
		der, _ := x509.CreateCertificate(rand.Reader, c, c, public, private)
		return der
	}
	const pinned = "5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9"
	p, err := NewPolicy(NewVerifier(1), Options{Users: []User{
		{Name: "pump", Certificates: []string{"CN=pump", "SAN=dns:pump.example", "SAN=uri:urn:pump", "sha256:" + pinned}, Rules: Rules{Publish: []string{"of/${user}/${client}"}, Subscribe: []string{"of/${user}/#"}}},
		{Name: "lamp", Certificates: []string{"CN=lamp", "SAN=ip:10.0.0.1", "SAN=email:lamp@example"}, Rules: Rules{Publish: []string{"of/${user}/${client}"}, Subscribe: []string{"of/${user}/#"}}},
	}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("pump", "", "", "", []byte(nil), []byte(nil))
	f.Add("PUMP", "Pump.Example.", "lamp@example", "urn:pump", []byte{10, 0, 0, 1}, []byte(nil))
	f.Add("SAN=dns:pump.example", "CN=pump", "sha256:"+pinned, "CN=pump", []byte{10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, []byte(nil))
	f.Add("+", "*.example", "#", "$SYS", []byte(nil), []byte(nil))
	f.Add("pump\x00", "pump.example\x00.evil", "lamp@example\n", "urn:pump#x", []byte(nil), []byte(nil))
	f.Add("", "", "", "", []byte(nil), build("lamp", "", "", "", nil))
	f.Fuzz(func(t *testing.T, cn, dns, email, uri string, ip, raw []byte) {
		if len(raw) == 0 {
			raw = build(cn, dns, email, uri, ip)
		}
		c, err := x509.ParseCertificate(raw)
		if err != nil {
			return
		}
		sum := sha256.Sum256(c.Raw)
		host := func(s string) bool {
			return slices.ContainsFunc(c.DNSNames, func(n string) bool { return strings.EqualFold(strings.TrimSuffix(n, "."), s) })
		}
		is := map[string]bool{
			"pump": c.Subject.CommonName == "pump" || host("pump.example") || hex.EncodeToString(sum[:]) == pinned ||
				slices.ContainsFunc(c.URIs, func(u *url.URL) bool { return u.String() == "urn:pump" }),
			"lamp": c.Subject.CommonName == "lamp" || slices.Contains(c.EmailAddresses, "lamp@example") || slices.ContainsFunc(c.IPAddresses, net.IPv4(10, 0, 0, 1).Equal),
		}
		own := NewCertificate(c)
		for _, user := range []string{"", "pump", "lamp", cn} {
			id, err := p.ByCertificate(own, user)
			if err != nil || id == nil {
				if err == nil && user == "" && is["pump"] != is["lamp"] {
					t.Error("a user's certificate is nobody's")
				}
				continue
			}
			if !is[id.Name] || user == "" && is["pump"] && is["lamp"] || user != "" && user != id.Name || id.Anonymous || id.Admin() {
				t.Fatalf("%q became %+v", own.Names, id)
			}
			id = id.As("c")
			for _, other := range []string{"pump", "lamp", "+", "#", cn, dns} {
				if topic := "of/" + other + "/c"; other != id.Name && (id.MayPublish(topic) || id.MayRead(topic)) {
					t.Errorf("%s may use %q", id.Name, topic)
				}
			}
			if !id.MayPublish("of/" + id.Name + "/c") {
				t.Errorf("%s has no rights", id.Name)
			}
		}
	})
}
