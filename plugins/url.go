package plugins

// This file is a URL in a plugin file: an option, or an argument with ${…}. Its host is written in the file,
// or the hosts are listed in permissions.host, so that an event cannot choose where data goes.

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/postbus/postbus/config/yamlnode"
	"github.com/postbus/postbus/plugins/expr"
)

// urlSpec is what is checked of a URL after its holes have been filled in.
type urlSpec struct {
	schemes []string
	origin  string   // scheme and host:port, as in the file; "" if they are filled in
	hosts   []string // then: permissions.host
	empty   int      // empty levels of the path in the file's text
	holes   bool
}

// urlText reads a URL of the given parts. It never quotes it, because it may contain a password.
func (r *reader) urlText(n yamlnode.Node, f field, text string, parts []expr.Part) {
	spec := urlSpec{schemes: strings.Split(f.url, "|")}
	filled := func(hole string) (string, *url.URL, error) {
		var b strings.Builder
		for _, p := range parts {
			if b.WriteString(p.Text); p.Hole {
				spec.holes = true
				b.WriteString(hole)
			}
		}
		u, err := url.Parse(b.String())
		return b.String(), u, err
	}
	strict, u, err := filled("%00") // no host contains it
	if spec.holes && (err != nil || strings.HasPrefix(strict, "%00")) {
		_, _, asPort := filled("1")
		_, _, asText := filled("x")
		if asPort == nil || asText == nil { // the holes are the reason
			hosts, listed := r.permissions.by["host"]
			if !listed {
				n.FailWithin(max(strings.Index(text, "${"), 0), `write the host outside of ${…}, or list the hosts in permissions: {host: ["api.example.com:443"]}`,
					"the host is filled in, so that the file does not say where data goes")
				return
			}
			spec.hosts = hosts
			r.urls[f.key] = spec
			return
		}
	}
	if err == nil {
		err = spec.wrong(u)
	} else {
		err = errors.New("this is not a URL")
	}
	if err != nil {
		n.Fail("as "+spec.schemes[len(spec.schemes)-1]+"://api.example.com/v1/status", "%v", err)
		return
	}
	spec.origin, spec.empty = originOf(u), emptyLevels(u.EscapedPath())
	r.urls[f.key] = spec
}

// wrong returns what is wrong with a URL, whatever its host.
func (s *urlSpec) wrong(u *url.URL) error {
	switch {
	case !slices.Contains(s.schemes, u.Scheme):
		return fmt.Errorf("the URL does not begin with %s://", strings.Join(s.schemes, ":// or "))
	case u.Hostname() == "":
		return errors.New("the URL has no host")
	case u.Fragment != "":
		return errors.New("the URL has a fragment (#), which is not sent to the server")
	}
	if p := u.Port(); p != "" {
		if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
			return errors.New("the URL's port is not a number from 1 to 65535")
		}
	}
	return nil
}

// check checks a URL that is filled in.
func (s *urlSpec) check(text string) error {
	if !s.holes {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil {
		return errors.New("the filled-in URL is not a URL")
	}
	if err := s.wrong(u); err != nil {
		return err
	}
	for level := range strings.SplitSeq(u.Path, "/") {
		if level == "." || level == ".." {
			return fmt.Errorf("a level of the URL's path is %q", level)
		}
	}
	switch {
	case s.origin == "" && !allows("host", s.hosts, hostPort(u)):
		return fmt.Errorf("the host %q is not listed in permissions.host", hostPort(u))
	case s.origin != "" && s.origin != originOf(u):
		return errors.New("a filled-in value changes the URL's host")
	case s.origin != "" && emptyLevels(u.EscapedPath()) != s.empty:
		return errors.New("a filled-in level of the URL's path is empty")
	}
	return nil
}

// access is the host that is accessed, for permissions; "" if it is filled in.
func (s *urlSpec) access() string {
	_, host, _ := strings.Cut(s.origin, "://")
	if host == "" {
		return ""
	}
	return "host:" + host
}

func originOf(u *url.URL) string { return u.Scheme + "://" + hostPort(u) }

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "ws": "80", "wss": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// escapeURL converts a value for its place in a URL, of which before is the part to the left: it stays within
// its level of the path, its parameter, or the user. A URL or host that is filled in as a whole is not
// converted; check refuses one that is not allowed.
func escapeURL(before, value string) string {
	_, rest, ok := strings.Cut(before, "://")
	switch {
	case !ok:
		return value
	case strings.Contains(rest, "?"):
	case strings.Contains(rest, "/"):
		return url.PathEscape(value)
	case !strings.ContainsAny(value, "/?#@% \\"): // a part of the host, or the user
		return value
	}
	return strings.ReplaceAll(url.QueryEscape(value), "+", "%20")
}

// escapeSecret likewise converts a secret, which may hold several levels of the path: the user wrote it.
func escapeSecret(before, value string) string {
	s := escapeURL(before, value)
	if _, rest, ok := strings.Cut(before, "://"); ok && strings.Contains(rest, "/") && !strings.Contains(rest, "?") {
		s = strings.ReplaceAll(s, "%2F", "/")
	}
	return s
}
