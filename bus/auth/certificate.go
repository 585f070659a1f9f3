// This file is logins by certificate.

package auth

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Certificate is what a policy needs to know of a certificate that a client presented, and that was
// verified.
type Certificate struct {
	// Names are CN=name, SAN=dns:name, SAN=ip:address, SAN=email:address, SAN=uri:uri and
	// sha256:fingerprint, host names and the fingerprint in lower case.
	Names   []string
	Expires time.Time
	Leaf    *x509.Certificate
}

// NewCertificate returns the names of a verified certificate.
func NewCertificate(c *x509.Certificate) *Certificate {
	sum := sha256.Sum256(c.Raw)
	names := []string{"sha256:" + hex.EncodeToString(sum[:])}
	if c.Subject.CommonName != "" {
		names = append(names, "CN="+c.Subject.CommonName)
	}
	for _, s := range c.DNSNames {
		names = append(names, "SAN=dns:"+strings.ToLower(strings.TrimSuffix(s, ".")))
	}
	for _, ip := range c.IPAddresses {
		names = append(names, "SAN=ip:"+ip.String())
	}
	for _, s := range c.EmailAddresses {
		names = append(names, "SAN=email:"+s)
	}
	for _, u := range c.URIs {
		names = append(names, "SAN=uri:"+u.String())
	}
	return &Certificate{Names: names, Expires: c.NotAfter, Leaf: c}
}

// The errors of certificates.
var (
	ErrCertificateUsers   = errors.New("the certificate is that of several users")
	ErrCertificateExpired = errors.New("the certificate has expired")
	ErrCertificateChanged = errors.New("the certificate is no longer that of the user")
)

// Certificate returns the certificate of the login; nil: it was without one.
func (id *Identity) Certificate() *Certificate { return id.certificate }

// ByCertificate identifies a client by its certificate: nil if that is of no user or, for a client that
// sent a user name, not of that one only. Such a client logs in as one without a certificate. The login
// ends when the certificate expires.
func (p *Policy) ByCertificate(c *Certificate, user string) (*Identity, error) {
	var found []string
	for _, name := range c.Names {
		if u, ok := p.byName[name]; ok && !slices.Contains(found, u) {
			found = append(found, u)
		}
	}
	switch {
	case len(found) > 1 && user == "":
		slices.Sort(found)
		return nil, fmt.Errorf("%w: %s", ErrCertificateUsers, strings.Join(found, ", "))
	case len(found) != 1, user != "" && user != found[0]:
		return nil, nil
	case !time.Now().Before(c.Expires):
		return nil, ErrCertificateExpired
	}
	id := *p.users[found[0]].id // it shares the rules
	id.certificate, id.until = c, c.Expires
	return &id, nil
}
