// This file parses addresses: from the user's form to that of net.Listen.

package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// Listener is one MQTT listener: tcp://host:port, tls://host:port or unix:///path.
type Listener struct {
	Network string // for net.Listen: "tcp" or "unix"
	Address string // host:port, or the absolute path of the socket
	TLS     bool
}

// String is the listener as a URL, as in the config file.
func (l Listener) String() string {
	switch {
	case l.Network == "unix":
		return "unix://" + l.Address
	case l.TLS:
		return "tls://" + l.Address
	}
	return "tcp://" + l.Address
}

// Local reports whether only this machine can reach the listener.
func (l Listener) Local() bool { return l.Network == "unix" || LocalAddress(l.Address) }

// LocalAddress reports whether host:port is a loopback address. A host name other than "localhost"
// is not: it may resolve to any address.
func LocalAddress(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		return false
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// hinted is an error with a hint for its solution.
type hinted struct {
	error
	hint string
}

func hintOf(err error) string {
	var h hinted
	if errors.As(err, &h) {
		return h.hint
	}
	return ""
}

func hintf(hint, format string, args ...any) error {
	return hinted{fmt.Errorf(format, args...), hint}
}

// maxSocketPath is the maximum length of a unix socket path that every system accepts (macOS: 104
// with its final zero).
const maxSocketPath = 103

// ParseListener parses a listener URL. With port 0 the system chooses the port.
func ParseListener(s string) (Listener, error) {
	const forms = "write tcp://HOST:PORT, tls://HOST:PORT or unix:///PATH"
	scheme, tail, ok := strings.Cut(s, "://")
	if !ok {
		if _, err := ParseHostPort(s); err == nil {
			return Listener{}, hintf(fmt.Sprintf("write \"tcp://%s\"", s), "%q has no scheme", s)
		}
		return Listener{}, hintf(forms, "%q is not a listener URL", s)
	}
	switch scheme {
	case "unix":
		switch {
		case !strings.HasPrefix(tail, "/") || strings.HasSuffix(tail, "/"):
			return Listener{}, hintf("write unix:///run/postbus/mqtt.sock, with three slashes",
				"%q does not name an absolute path", s)
		case len(tail) > maxSocketPath:
			return Listener{}, hintf("use a shorter path",
				"the socket path has %d bytes, more than the %d that every system takes", len(tail), maxSocketPath)
		}
		return Listener{Network: "unix", Address: tail}, nil
	case "tcp", "tls":
		addr, err := ParseHostPort(strings.TrimSuffix(tail, "/"))
		if err != nil {
			return Listener{}, err
		}
		return Listener{Network: "tcp", Address: addr, TLS: scheme == "tls"}, nil
	case "mqtt":
		return Listener{}, hintf("write tcp://"+tail, "unknown scheme %q", scheme)
	case "mqtts", "ssl":
		return Listener{}, hintf("write tls://"+tail, "unknown scheme %q", scheme)
	case "ws", "wss", "http", "https":
		return Listener{}, hintf("MQTT over WebSocket is at /mqtt of listen.http; it needs no entry here",
			"unknown scheme %q", scheme)
	}
	return Listener{}, hintf(forms, "unknown scheme %q", scheme)
}

// ParseHTTP parses the address of HTTP: host:port or http://host:port, and https://host:port for
// TLS.
func ParseHTTP(s string) (address string, tls bool, err error) {
	scheme, tail, ok := strings.Cut(s, "://")
	switch {
	case !ok:
		address, err = ParseHostPort(s)
		return address, false, err
	case scheme != "http" && scheme != "https":
		return "", false, hintf("write HOST:PORT, or https://HOST:PORT", "unknown scheme %q", scheme)
	}
	tail = strings.TrimSuffix(tail, "/")
	if strings.ContainsAny(tail, "/?#@") {
		return "", false, hintf(fmt.Sprintf("write %s://HOST:PORT", scheme),
			"%q is more than a scheme, a host and a port", s)
	}
	address, err = ParseHostPort(tail)
	return address, scheme == "https", err
}

// ParseHostPort checks host:port and returns it in normal form. An empty host means every address
// of the machine.
func ParseHostPort(s string) (string, error) {
	if strings.Contains(s, "://") {
		return "", hintf("write only HOST:PORT", "%q is a URL, not an address", s)
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		if _, perr := strconv.ParseUint(s, 10, 16); perr == nil {
			return "", hintf(fmt.Sprintf("write \"127.0.0.1:%s\", or \":%s\" for every address of this machine", s, s),
				"%q has no host", s)
		}
		if _, perr := netip.ParseAddr(s); perr == nil && strings.Contains(s, ":") {
			return "", hintf(fmt.Sprintf("write an IPv6 address in brackets: [%s]:PORT", s), "%q has no port", s)
		}
		return "", hintf("write HOST:PORT, for example 127.0.0.1:1883", "%q is not HOST:PORT", s)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || port != strconv.FormatUint(n, 10) {
		return "", hintf("a port is a number from 1 to 65535, or 0 to let the system choose", "%q is not a port", port)
	}
	if host != "" && !validHost(host) {
		return "", hintf("write an IP address, a host name or nothing", "%q is not a host", host)
	}
	return net.JoinHostPort(host, port), nil
}

func validHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	if len(host) > 253 || strings.Contains(host, ":") || strings.HasPrefix(host, "-") {
		return false
	}
	for _, label := range strings.Split(strings.TrimSuffix(host, "."), ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			return false
		}
	}
	// 1.2.3 or 300.1.1.1 is a mistyped address rather than a name.
	return strings.Trim(host, "0123456789.") != ""
}

// checkOrigin checks a web origin, in the form in which browsers send it.
func checkOrigin(s string) error {
	const form = `write SCHEME://HOST or SCHEME://HOST:PORT, for example "https://dash.example.org"`
	if s == "*" || s == "null" {
		return hintf("name each web origin that may connect",
			"%q would let any web page open in any browser here connect", s)
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || !validHost(u.Hostname()) {
		return hintf(form, "%q is not a web origin", s)
	}
	if want := u.Scheme + "://" + u.Host; want != s {
		return hintf(fmt.Sprintf("write %q", want), "a web origin has no path, user or query: %q", s)
	}
	return nil
}
