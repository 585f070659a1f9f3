// This file checks the certificates of users. Each entry gets one spelling, in which package auth
// compares it with a certificate.

package config

import (
	"encoding/hex"
	"net/mail"
	"net/netip"
	"net/url"
	"strings"
	"unicode"

	"github.com/postbus/postbus/config/yamlnode"
)

// parseCertificate returns the entry as CN=name, SAN=kind:name or sha256:hex.
func parseCertificate(s string) (string, error) {
	const hint = `write "CN=NAME", "SAN=dns:NAME", "SAN=ip:ADDRESS", "SAN=email:ADDRESS", "SAN=uri:URI" or "sha256:FINGERPRINT"`
	bad := func(what string) (string, error) { return "", hintf(hint, "%q: %s", s, what) }
	if len(s) > 1024 || strings.ContainsFunc(s, unicode.IsControl) {
		return "", hintf(hint, "%.60q: want at most 1024 bytes of printable text", s)
	}
	if name, ok := strings.CutPrefix(s, "CN="); ok {
		if name == "" {
			return bad("the common name is empty")
		}
		return s, nil
	}
	if digits, ok := strings.CutPrefix(s, "sha256:"); ok {
		digits = strings.ToLower(strings.ReplaceAll(digits, ":", ""))
		if b, err := hex.DecodeString(digits); err != nil || len(b) != 32 {
			return "", hintf("openssl x509 -in FILE -noout -fingerprint -sha256 prints it", "%q: a SHA-256 fingerprint has 64 hexadecimal digits", s)
		}
		return "sha256:" + digits, nil
	}
	san, ok := strings.CutPrefix(s, "SAN=")
	kind, name, found := strings.Cut(san, ":")
	if !ok || !found {
		return bad("unknown form of a certificate")
	}
	switch kind {
	case "dns":
		if !validHost(name) {
			return bad("not a host name")
		}
		name = strings.ToLower(strings.TrimSuffix(name, "."))
	case "ip":
		ip, err := netip.ParseAddr(name)
		if err != nil {
			return bad("not an IP address")
		}
		name = ip.Unmap().String()
	case "email":
		if a, err := mail.ParseAddress(name); err != nil || a.Address != name {
			return bad("not a mail address")
		}
	case "uri":
		if u, err := url.Parse(name); err != nil || u.Scheme == "" {
			return bad("not a URI")
		}
	default:
		return bad("unknown kind of a subject alternative name")
	}
	return "SAN=" + kind + ":" + name, nil
}

// certificates reads a user's list.
func (l *loader) certificates(n yamlnode.Node, user string) (list []string, ok bool) {
	_, ok = l.texts(n, func(s string) error {
		entry, err := parseCertificate(s)
		if err != nil {
			return err
		}
		switch other, dup := l.certificateOf[entry]; {
		case dup && other == user:
			return hintf("remove one of the two", "the certificate %q twice", s)
		case dup:
			return hintf("a certificate is that of one user: remove one of the two", "the certificate %q is that of user %q, too", s, other)
		}
		l.certificateOf[entry] = user
		list = append(list, entry)
		return nil
	})
	return list, ok
}
