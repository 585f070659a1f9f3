// This file checks the URLs of a hub's servers.

package config

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// hubPorts are the default ports of NATS, by scheme.
var hubPorts = map[string]string{"nats": "4222", "tls": "4222", "ws": "80", "wss": "443"}

// parseHub checks the URL of a NATS server, and adds the port if there is none.
func parseHub(s string) (string, error) {
	const forms = "write tls://HOST:4222, or wss://HOST through a web proxy"
	scheme, tail, ok := strings.Cut(s, "://")
	if !ok {
		if addr, err := hubAddress("tls", s); err == nil {
			return "", hintf(fmt.Sprintf("write \"tls://%s\"", addr), "%q has no scheme", s)
		}
		return "", hintf(forms, "%q is not the URL of a NATS server", s)
	}
	if better := map[string]string{"tcp": "nats", "ssl": "tls", "natss": "tls", "http": "ws", "https": "wss"}[scheme]; better != "" {
		return "", hintf("write "+better+"://…", "unknown scheme %q", scheme)
	}
	if strings.HasPrefix(scheme, "mqtt") {
		return "", hintf("a hub is a NATS server: docs/fleet.md; an MQTT broker is reached by a bridge", "unknown scheme %q", scheme)
	}
	if hubPorts[scheme] == "" {
		return "", hintf(forms, "unknown scheme %q", scheme)
	}
	tail = strings.TrimSuffix(tail, "/")
	switch {
	case strings.Contains(tail, "@"): // not shown: it may hold a password
		return "", hintf(`write creds: "secret:NAME" or nkey: "secret:NAME", and remove the part before the @`,
			"a user name or a token in the URL is not used")
	case strings.ContainsAny(tail, "/?#"):
		return "", hintf(fmt.Sprintf("write %s://HOST:PORT", scheme), "%q is more than a scheme, a host and a port", s)
	}
	addr, err := hubAddress(scheme, tail)
	if err != nil {
		return "", err
	}
	return scheme + "://" + addr, nil
}

// hubAddress checks host or host:port.
func hubAddress(scheme, s string) (string, error) {
	const hint = "write HOST or HOST:PORT, with a port from 1 to 65535"
	if _, err := netip.ParseAddr(s); err == nil && strings.Contains(s, ":") {
		return "", hintf(fmt.Sprintf("write %s://[%s]", scheme, s), "the IPv6 address %q has no brackets", s)
	}
	inner, bracketed := strings.CutPrefix(s, "[")
	inner, closed := strings.CutSuffix(inner, "]")
	switch {
	case bracketed && closed:
		s = net.JoinHostPort(inner, hubPorts[scheme])
	case !strings.Contains(s, ":"):
		s += ":" + hubPorts[scheme]
	}
	addr, err := ParseHostPort(s)
	if err != nil {
		return "", hintf(hint, "%w", err)
	}
	switch host, port, _ := net.SplitHostPort(addr); {
	case host == "":
		return "", hintf(hint, "the URL has no host")
	case port == "0":
		return "", hintf(hint, "0 is not the port of a server")
	}
	return addr, nil
}

// hubLocal reports whether a URL of parseHub leads to this machine.
func hubLocal(url string) bool {
	_, addr, _ := strings.Cut(url, "://")
	return LocalAddress(addr)
}
