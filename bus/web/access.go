package web

// This file checks permissions: it applies the users and rules of MQTT to HTTP Basic
// authentication. A token replaces the password, as in MQTT, and may also be sent as
// "Authorization: Bearer".
//
//	publish to a topic     MayPublish(topic)
//	read events            MaySubscribe(filter), and MayRead(topic) of each
//	see the bus, sessions  MaySubscribe("$bus/#")
//	drop a session,        see the sessions, and be its user or an administrator
//	disconnect a client
//	ban                    see the sessions, and be an administrator
//	edit users and groups  the same, and have logged in
//
// An administrator is who says so by Admin.

import (
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/postbus/postbus/bus/admission"
	"github.com/postbus/postbus/bus/internal/remote"
)

// Identity is the set of a client's rights; see package auth.
type Identity interface {
	MayPublish(topic string) bool
	MaySubscribe(filter string) bool
	MayRead(topic string) bool
}

// Credentials are what is known of the client that sent a request.
type Credentials struct {
	User        string // empty without credentials
	Password    string
	HasPassword bool
	Local       bool   // over loopback
	Address     string // the remote one, with its port
	// Certificate is the verified certificate that the client presented; nil: none.
	Certificate *x509.Certificate
}

// Authenticate decides about a request. An error refuses it. If the Identity is a Login, its user
// replaces that of the credentials.
type Authenticate func(Credentials) (Identity, error)

// Login is an optional interface of an Identity. It returns the user, and when the login ends
// (zero: never).
type Login interface {
	Login() (user string, until time.Time)
}

// Admin is an optional interface of an Identity. It reports whether the user may administer the bus;
// without it, the user may not.
type Admin interface{ Admin() bool }

// mayAll reports whether a user may act on what belongs to others.
func mayAll(id Identity) bool {
	a, ok := id.(Admin)
	return ok && a.Admin()
}

// Administers reports whether a user may act on what belongs to others, and see it.
func Administers(id Identity) bool { return id.MaySubscribe(seeBus) && mayAll(id) }

// ErrBusy is an error of Authenticate, in the sense of errors.Is, after which the client should try
// again.
var ErrBusy = errors.New("too many logins at the same time, try again")

type everybody struct{}

func (everybody) MayPublish(topic string) bool { return !strings.HasPrefix(topic, "$") }
func (everybody) MaySubscribe(string) bool     { return true }
func (everybody) MayRead(string) bool          { return true }
func (everybody) Admin() bool                  { return true }

const seeBus = "$bus/#"

// forwarded are headers of a proxy: behind one, every request comes from loopback.
var forwarded = []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Server", "X-Forwarded-Port", "X-Forwarded-Ssl", "X-Real-Ip", "X-Client-Ip",
	"X-Cluster-Client-Ip", "X-Original-Forwarded-For", "X-Original-Host", "True-Client-Ip", "Cf-Connecting-Ip", "Cf-Ray", "Fastly-Client-Ip", "Via"}

// local reports whether the request comes from this machine itself. A proxy that sends none of
// these headers looks like a local program; docs/https.md describes the remedy.
func (s *Server) local(r *http.Request) bool {
	if !s.o.Local {
		return false
	}
	for _, h := range forwarded {
		if len(r.Header[h]) > 0 { // even an empty one: a proxy forwarded the request
			return false
		}
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// identify authenticates the client. If that fails, it answers the request and returns nil.
func (s *Server) identify(w http.ResponseWriter, r *http.Request) (id Identity, user string) {
	c := Credentials{Local: s.local(r), Address: r.RemoteAddr}
	c.User, c.Password, c.HasPassword = credentials(r)
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		c.Certificate = r.TLS.VerifiedChains[0][0]
	}
	user = c.User
	id, err := s.o.Authenticate(c)
	switch {
	case errors.Is(err, ErrBusy):
		failBusy(w, err)
		return nil, ""
	case err != nil:
		about := []any{"remote", r.RemoteAddr, "user", user, "path", r.URL.Path, "err", err}
		s.quiet.Warn(s.log, remote.Site(r.RemoteAddr), "HTTP request refused", about...)
		s.o.Audit.Refused(remote.Site(r.RemoteAddr), "login refused", about...)
		challenge(w, r)
		fail(w, http.StatusUnauthorized, "", "%v", err)
		return nil, ""
	}
	if p, ok := r.Context().Value(placeKey{}).(*admission.Place); ok {
		p.Release()
	}
	if l, ok := id.(Login); ok {
		user, _ = l.Login()
	}
	return id, user
}

// placeKey is the key of a connection's place among those that have not logged in, in the context of its
// requests. A connection leaves them with its first request that is authenticated, and until then any
// more of them end it, also between two requests.
type placeKey struct{}

// observer returns the identity and the user of a client that may see the bus. It answers the request of
// any other, and returns nil.
func (s *Server) observer(w http.ResponseWriter, r *http.Request, what string) (id Identity, user string) {
	id, user = s.identify(w, r)
	if id != nil && !id.MaySubscribe(seeBus) {
		s.forbid(w, r, user, "%s: only users who may subscribe to %s have access", what, seeBus)
		return nil, ""
	}
	return id, user
}

// seesBus reports whether the client may see the bus, and answers the request if it may not.
func (s *Server) seesBus(w http.ResponseWriter, r *http.Request, what string) bool {
	id, _ := s.observer(w, r, what)
	return id != nil
}

// credentials returns the request's user and password; a bearer token is a password without a name.
func credentials(r *http.Request) (user, password string, has bool) {
	if token, ok := bearer(r); ok {
		return "", token, true
	}
	return r.BasicAuth()
}

func bearer(r *http.Request) (token string, ok bool) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(token), strings.EqualFold(scheme, "Bearer")
}

// forbid answers a client that lacks a right. A client without credentials is asked for them, unless its
// certificate made it a user.
func (s *Server) forbid(w http.ResponseWriter, r *http.Request, user, format string, args ...any) {
	_, _, has := credentials(r)
	s.refuse(w, r, user, !has && user == "", "the rights of users and of anonymous are in the config file", format, args...)
}

// refuse answers a client that lacks a right, with 401 if it is asked for credentials and otherwise with 403.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, user string, ask bool, hint, format string, args ...any) {
	s.o.Audit.Refused(remote.Site(r.RemoteAddr), "request refused", "remote", r.RemoteAddr, "user", user, "method", r.Method, "path", r.URL.Path)
	status := http.StatusForbidden
	if ask {
		status = http.StatusUnauthorized
		challenge(w, r)
	}
	fail(w, status, hint, format, args...)
}

// failBusy answers that too many logins wait.
func failBusy(w http.ResponseWriter, err error) {
	w.Header().Set("Retry-After", "1")
	fail(w, http.StatusServiceUnavailable, "", "%v", err)
}

// did writes to both logs what a user has done over HTTP.
func (s *Server) did(r *http.Request, what string, args ...any) {
	args = append(args, "remote", r.RemoteAddr)
	s.log.Info(what+" over HTTP", args...)
	s.o.Audit.Done(what, args...)
}

// challenge requests credentials. A client that sent a token is not a browser, which would show a
// password dialog.
func challenge(w http.ResponseWriter, r *http.Request) {
	if _, ok := bearer(r); ok {
		w.Header().Set("WWW-Authenticate", `Bearer realm="postbus", error="invalid_token"`)
		return
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="postbus", charset="UTF-8"`)
}
