// Package remote names the other side of a connection: what a client's address is charged to where
// clients share something (tries of a password, connections, memory before a login), and services in
// the log.
package remote

import (
	"errors"
	"net"
	"net/url"
	"strings"
)

// Site returns the part of an address that one owner has: the IP address without the port, and of
// IPv6 the /64 network, because its owner has all of its addresses. An address of another form, such
// as that of a unix socket, is its own site. It imports the standard library only.
func Site(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	ip := net.ParseIP(host)
	switch {
	case ip == nil:
		return host
	case ip.To4() != nil:
		return ip.To4().String()
	}
	return ip.Mask(net.CIDRMask(64, 128)).String() + "/64"
}

// WithoutQuery is a service's URL for the log: a query may hold a secret.
func WithoutQuery(location string) string {
	before, _, _ := strings.Cut(location, "?")
	return before
}

// WithoutURL returns the cause of an error of net/http, whose text has the URL.
func WithoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
