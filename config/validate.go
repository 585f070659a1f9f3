// This file checks combinations of keys.

package config

import (
	"fmt"
	"net"
	"strings"

	"github.com/postbus/postbus/config/yamlnode"
)

// at returns the value at a path. If the file does not contain it (a default is at fault), at
// returns its nearest parent.
func (l *loader) at(path string) yamlnode.Node {
	for p := path; p != ""; {
		if n, ok := l.where[p]; ok {
			return n
		}
		i := strings.LastIndexAny(p, ".[")
		p = p[:max(i, 0)]
	}
	return l.where[""]
}

func (l *loader) has(path string) bool { _, ok := l.where[path]; return ok }

func (l *loader) check() {
	l.checkAddresses()
	l.checkTLS()
	l.checkHook()
	l.checkExposure()
	l.checkFleet()
	if a := l.c.Anonymous; a.Off && !l.c.HasLogins() && !l.userTrouble {
		l.at("anonymous").Fail("add users (postbus user add NAME), or remove anonymous",
			"no client could log in: anonymous is off and there are no users")
	}
}

// checkAddresses refuses two listeners on one address: the second could not bind.
func (l *loader) checkAddresses() {
	seen := map[string]string{}
	clash := func(address, path string) {
		if _, port, err := net.SplitHostPort(address); err == nil && port == "0" {
			return
		}
		if first, dup := seen[address]; dup {
			at := path
			if !l.has(at) {
				at = first // the other is a default: report the error at the value in the file
			}
			l.at(at).Fail("remove one of the two, or choose another port",
				"the address %s is used by both %s and %s", address, first, path)
			return
		}
		seen[address] = path
	}
	for i, m := range l.c.Listen.MQTT {
		clash(m.Address, fmt.Sprintf("listen.mqtt[%d]", i))
	}
	if l.c.Listen.HTTP != "" {
		clash(l.c.Listen.HTTP, "listen.http")
	}
}

func (l *loader) checkTLS() {
	t := l.c.Listen.TLS
	cert, key := t.Cert != "" || l.has("listen.tls.cert"), t.Key != "" || l.has("listen.tls.key")
	const hint = "write listen: tls: {cert: FILE, key: FILE}"
	switch {
	case cert && !key:
		l.at("listen.tls.cert").Fail(hint, "a certificate needs its key: listen.tls.key is missing")
		return
	case key && !cert:
		l.at("listen.tls.key").Fail(hint, "a key needs its certificate: listen.tls.cert is missing")
		return
	case !cert && t.ClientCA != "":
		l.at("listen.tls.client_ca").Fail(hint,
			"client certificates need TLS: listen.tls.cert and listen.tls.key are missing")
		return
	case t.ClientCA == "" && t.ClientCRL != "":
		l.at("listen.tls.client_crl").Fail("write the certificate of the authority to listen: tls: {client_ca: FILE}",
			"a list of revoked certificates needs the authority that signed it: listen.tls.client_ca is missing")
	}
	if l.certificatesAt != "" && t.ClientCA == "" && !l.has("listen.tls.client_ca") {
		l.at(l.certificatesAt).Fail("write listen: tls: {cert: FILE, key: FILE, client_ca: FILE}",
			"certificates of users need the authority that signs them: listen.tls.client_ca is missing")
	}
	for i, m := range l.c.Listen.MQTT {
		if m.TLS && !cert {
			l.at(fmt.Sprintf("listen.mqtt[%d]", i)).Fail(hint, "%s needs a certificate and a key", m)
		}
	}
	if l.c.Listen.HTTPS && !cert {
		l.at("listen.http").Fail(hint, "%s needs a certificate and a key", l.c.Listen.HTTPURL())
	}
}

// checkExposure keeps a fresh bus private.
func (l *loader) checkExposure() {
	if l.c.HasLogins() || l.c.Anonymous.Explicit || l.userTrouble {
		return
	}
	const hint = `add users (postbus user add NAME); or write anonymous: {publish: ["#"], subscribe: ["#"]} to allow every client; or listen on 127.0.0.1`
	exposed := func(path, address string) {
		l.at(path).Fail(hint, "%s is open to the network, but there are no users and anonymous is not set: any client could read and publish everything", address)
	}
	for i, m := range l.c.Listen.MQTT {
		if !m.Local() {
			exposed(fmt.Sprintf("listen.mqtt[%d]", i), m.String())
		}
	}
	if h := l.c.Listen.HTTP; h != "" && !LocalAddress(h) {
		exposed("listen.http", h)
	}
}
