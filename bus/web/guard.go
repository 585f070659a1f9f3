package web

// This file refuses other sites' web pages. The user's browser sends their requests and can reach
// this machine, so the address proves nothing: the Host and Origin headers do.
//
//   - Host must be an address on which the request arrived, localhost, or a name of this machine.
//     So a name that was pointed here (DNS rebinding) is refused.
//   - Over TLS it may be a name in the certificate: for any other name the browser has already
//     warned.
//   - A request with an Origin must come from here or from a configured origin.

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/postbus/postbus/bus/internal/remote"
)

func (s *Server) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secure(w.Header())
		if !s.hostAllowed(r) {
			fail(w, http.StatusMisdirectedRequest, "use the machine's address, or name the origin in listen.origins",
				"the host %q is not this bus", r.Host)
			return
		}
		origin := r.Header.Get("Origin")
		w.Header().Add("Vary", "Origin")
		switch {
		case origin == "":
			// A browser always sends Origin with requests that can change state; older ones send at
			// least Sec-Fetch-Site.
			// A hook may act on a GET, which any page can make a browser send.
			if site := r.Header.Get("Sec-Fetch-Site"); (site == "cross-site" || site == "same-site") &&
				(r.Method != http.MethodGet && r.Method != http.MethodHead || strings.HasPrefix(r.URL.Path, hookRoot)) {
				s.refuseOrigin(w, r, site)
				return
			}
		case sameOrigin(origin, r):
		case slices.Contains(*s.origins.Load(), origin):
			h := w.Header()
			h.Set("Access-Control-Allow-Origin", origin)
			h.Set("Access-Control-Expose-Headers", "ETag, Link")
			h.Set("Cross-Origin-Resource-Policy", "cross-origin")
			if r.Method == http.MethodOptions {
				h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, DELETE")
				h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, If-Match, If-None-Match")
				h.Set("Access-Control-Max-Age", "600")
				w.WriteHeader(http.StatusNoContent)
				return
			}
		default:
			s.refuseOrigin(w, r, origin)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) refuseOrigin(w http.ResponseWriter, r *http.Request, origin string) {
	s.quiet.Warn(s.log, remote.Site(r.RemoteAddr), "HTTP request of another web origin refused", "origin", origin, "remote", r.RemoteAddr, "path", r.URL.Path)
	fail(w, http.StatusForbidden, "add it to listen.origins", "the web origin %q is not allowed", origin)
}

// secure sets the headers of every answer, also of errors.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

func (s *Server) hostAllowed(r *http.Request) bool {
	host := hostOf(r.Host)
	if strings.EqualFold(host, "localhost") {
		return true
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		// Rebinding needs a name, because no name can be pointed at an address. Even so only this
		// machine's addresses are accepted.
		return ip.Unmap().IsLoopback() || ip.Unmap() == arrivedAt(r) || slices.Contains(s.o.Hosts, host)
	}
	for _, name := range s.o.Hosts {
		if name != "" && strings.EqualFold(host, name) {
			return true
		}
	}
	if r.TLS != nil && s.o.Named != nil && host != "" && s.o.Named(host) {
		return true
	}
	for _, o := range *s.origins.Load() {
		if u, err := url.Parse(o); err == nil && strings.EqualFold(u.Hostname(), host) {
			return true
		}
	}
	return false
}

// hostOf is a Host header without port, brackets and final dot.
func hostOf(h string) string {
	if host, _, err := net.SplitHostPort(h); err == nil {
		h = host
	}
	return strings.TrimSuffix(strings.Trim(h, "[]"), ".")
}

// arrivedAt is the address of this machine that the client connected to.
func arrivedAt(r *http.Request) netip.Addr {
	a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return netip.Addr{}
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

// sameOrigin reports whether a page of this server sent the request. A proxy may have added TLS,
// but none removes this server's TLS.
func sameOrigin(origin string, r *http.Request) bool {
	return strings.EqualFold(origin, "https://"+r.Host) || r.TLS == nil && strings.EqualFold(origin, "http://"+r.Host)
}
