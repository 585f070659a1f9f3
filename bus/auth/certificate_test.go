package auth

import (
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestCertificates(t *testing.T) {
	uri, _ := url.Parse("urn:device:7")
	raw := sha256.Sum256([]byte("der"))
	c := NewCertificate(&x509.Certificate{Raw: []byte("der"), Subject: pkix.Name{CommonName: "pi-kitchen"}, DNSNames: []string{"Pi.Example."},
		IPAddresses: []net.IP{net.ParseIP("10.0.0.1"), net.ParseIP("::1")}, EmailAddresses: []string{"a@b.example"}, URIs: []*url.URL{uri}, NotAfter: time.Now().Add(time.Hour)})
	all := []string{"CN=pi-kitchen", "SAN=dns:pi.example", "SAN=ip:10.0.0.1", "SAN=ip:::1", "SAN=email:a@b.example", "SAN=uri:urn:device:7", "sha256:" + hex.EncodeToString(raw[:])}
	for _, name := range all {
		p := policy(t, Options{Users: []User{{Name: "pi", Certificates: []string{"CN=other", name}, Rules: Rules{Publish: []string{"a/${user}/${client}"}}},
			{Name: "po", Certificates: []string{"CN=po"}, Password: cheap(t, "x")}}})
		for _, user := range []string{"", "pi"} {
			id, err := p.ByCertificate(c, user)
			if err != nil || id == nil || id.Name != "pi" || id.Anonymous || !id.As("c").MayPublish("a/pi/c") || !id.until.Equal(c.Expires) {
				t.Errorf("%s: %+v, %v", name, id, err)
			}
			// It stays valid for a policy that still has it, and for no other.
			if again, err := p.Renew(id, "c", true); err != nil || again.Name != "pi" || !again.MayPublish("a/pi/c") || !again.until.Equal(c.Expires) {
				t.Errorf("%s: renewed %v", name, err)
			}
			for why, users := range map[string][]User{"nobody": nil, "the user without it": {{Name: "pi", Password: cheap(t, "x")}}, "another user": {{Name: "pi"}, {Name: "po", Certificates: []string{name}}}} {
				if _, err := policy(t, Options{Users: users}).Renew(id, "c", true); !errors.Is(err, ErrCertificateChanged) {
					t.Errorf("%s, %s: renewed %v", name, why, err)
				}
			}
		}
		if id, err := p.ByCertificate(c, "po"); id != nil || err != nil {
			t.Errorf("%s: a user name that is not the certificate's: %v, %v", name, id, err)
		}
	}
	several := policy(t, Options{Users: []User{{Name: "b", Certificates: all[:1]}, {Name: "a", Certificates: all[1:2]}}})
	if _, err := several.ByCertificate(c, ""); !errors.Is(err, ErrCertificateUsers) || !strings.HasSuffix(err.Error(), ": a, b") {
		t.Error("a certificate of two users", err)
	}
	if id, err := several.ByCertificate(c, "a"); id != nil || err != nil {
		t.Error("one of them needs no password", id, err)
	}
	if id, err := policy(t, Options{Users: []User{{Name: "x", Certificates: []string{"CN=pi", "SAN=dns:example", "sha256:"}}}}).ByCertificate(c, ""); id != nil || err != nil {
		t.Error("a certificate of nobody", id, err)
	}
	if _, err := several.ByCertificate(&Certificate{Names: all[:1], Expires: time.Now()}, ""); !errors.Is(err, ErrCertificateExpired) {
		t.Error("an expired certificate", err)
	}
	if _, err := NewPolicy(NewVerifier(1), Options{Users: []User{{Name: "b", Certificates: all[:1]}, {Name: "a", Certificates: all[:1]}}}); err == nil || !strings.Contains(err.Error(), `that of user "b"`) {
		t.Error("one name of two users", err)
	}
}
