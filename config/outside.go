// This file is the keys of users whom others know: jwt and auth_hook.

package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/postbus/postbus/config/yamlnode"
)

// JWT is an issuer whose JSON Web Tokens are accepted as logins, and what their users may do.
type JWT struct {
	Issuer    string // the claim iss
	Audience  string // one of the claim aud
	Keys      string // of a JWKS: a URL, or a file
	User      string // the user's name, with variables ${claims.NAME}
	Publish   []string
	Subscribe []string
	Deny      []string
	Groups    []string // names of groups, none of them twice
	ClientID  string   // as of a User

	keysAt *yamlnode.Error // at the value of Keys
}

// AuthHook is the service that is asked about users whom the config does not have.
type AuthHook struct {
	URL      string        // "": there is none
	Timeout  time.Duration // 10ms to 30s
	Cache    time.Duration // how long an answer counts, 0 to 1h
	Secret   string        // that the service gets with each request; "": none
	Insecure bool          // the URL may be http on a network
}

const (
	maxIssuers = 16
	maxSecret  = 4096 // bytes
)

// KeysError returns an error about the content of j.Keys, with its position in the config.
func (j *JWT) KeysError(err error) yamlnode.Errors {
	e := yamlnode.Error{Key: "jwt.keys"}
	if j.keysAt != nil {
		e = *j.keysAt
	}
	e.Reason, e.Hint = err.Error(), `want a file with a JWKS, as in {"keys": [{"kty": "RSA", …}]}, that postbus may read, or its https URL`
	return yamlnode.Errors{&e}
}

var claimVariable = regexp.MustCompile(`\$\{claims\.([A-Za-z0-9_.-]+)\}`)

// UserName returns the name of a token's user. The error says why the claims give none.
func (j *JWT) UserName(claims map[string]string) (string, error) {
	missing := ""
	name := claimVariable.ReplaceAllStringFunc(j.User, func(variable string) string {
		claim := claimVariable.FindStringSubmatch(variable)[1]
		if claims[claim] == "" {
			missing = claim
		}
		return claims[claim]
	})
	if missing != "" {
		return "", fmt.Errorf("it has no claim %s, of which the user name is made", missing)
	}
	return name, CheckUserName(name)
}

// CheckUserName reports why a text can't be the name of a user.
func CheckUserName(name string) error { return checkName("user", name) }

// withoutPlaces returns what can differ between two configs.
func withoutPlaces(list []JWT) []JWT {
	var plain []JWT
	for _, j := range list {
		j.keysAt = nil
		plain = append(plain, j)
	}
	return plain
}

func (l *loader) jwts(n yamlnode.Node) {
	items, ok := n.List()
	if !ok {
		l.userTrouble = true
	}
	if len(items) > maxIssuers {
		n.Fail("", "want at most %d issuers, got %d", maxIssuers, len(items))
		items = items[:maxIssuers]
	}
	type pair struct{ issuer, audience string }
	seen := map[pair]bool{}
	for _, item := range items {
		j, ok := l.jwt(item)
		if ok && seen[pair{j.Issuer, j.Audience}] {
			l.at(item.Path()+".audience").Fail("write one entry for each issuer and audience", "duplicate issuer %q with the audience %q", j.Issuer, j.Audience)
			ok = false
		}
		if !ok {
			l.userTrouble = true
			continue
		}
		seen[pair{j.Issuer, j.Audience}] = true
		l.c.JWT = append(l.c.JWT, j)
	}
}

func (l *loader) jwt(n yamlnode.Node) (j JWT, ok bool) {
	m, ok := n.Map("issuer", "audience", "keys", "user", "groups", "publish", "subscribe", "deny", "client_id")
	if !ok {
		return j, false
	}
	j.User = "${claims.sub}"
	for _, t := range []struct {
		name, missing string // missing is the hint, if it is required
		check         func(string) error
		to            *string
	}{
		{"issuer", "write the claim iss of its tokens, exactly", checkClaim, &j.Issuer},
		{"audience", "write what the claim aud of tokens for this bus has; without it, a token for another service would be accepted", checkClaim, &j.Audience},
		{"user", "", checkUserTemplate, &j.User},
		{"client_id", "", checkClientID, &j.ClientID},
	} {
		v, has := m.Get(t.name)
		if !has {
			if t.missing != "" {
				n.Fail(t.missing, "the issuer has no %q", t.name)
				ok = false
			}
			continue
		}
		l.where[v.Path()] = v
		s, good := v.Text()
		if good {
			if err := t.check(s); err != nil {
				v.Fail(hintOf(err), "%v", err)
				good = false
			}
		}
		*t.to, ok = s, ok && good
	}
	if v, has := m.Get("keys"); !has {
		n.Fail("write the URL of its JWKS, which its documentation names, or a file", `the issuer has no "keys"`)
		ok = false
	} else {
		var good bool
		j.Keys, good = l.keySet(v)
		j.keysAt = v.Error()
		ok = ok && good
	}
	if v, has := m.Get("groups"); has {
		var good bool
		j.Groups, good = l.memberships(v)
		ok = ok && good
	}
	return j, l.rules(m, &j.Publish, &j.Subscribe, &j.Deny) && ok
}

// keySet reads a URL or a file.
func (l *loader) keySet(n yamlnode.Node) (string, bool) {
	s, ok := n.Text()
	if !ok || !strings.Contains(s, "://") {
		return l.file(n)
	}
	if err := checkServiceURL(s, false); err != nil {
		n.Fail(hintOf(err), "%v", err)
		return "", false
	}
	return s, true
}

func (l *loader) hookURL(n yamlnode.Node) {
	s, ok := n.Text()
	if ok && s == "" {
		n.Fail("write https://HOST/PATH, or remove auth_hook", "the URL is empty")
	}
	if !ok || s == "" {
		l.userTrouble = true
	}
	l.c.AuthHook.URL = s // checkHook checks it
}

func (l *loader) hookSecret(n yamlnode.Node) {
	s, ok := n.Text()
	switch {
	case !ok:
	case len(s) > maxSecret, strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f }): // it goes into a header
		n.Fail("", "want at most %d bytes of ASCII without spaces", maxSecret)
	default:
		l.c.AuthHook.Secret = s
	}
}

// checkHook checks the keys of auth_hook together.
func (l *loader) checkHook() {
	h := &l.c.AuthHook
	if h.URL == "" {
		if l.has("auth_hook") && !l.has("auth_hook.url") {
			l.at("auth_hook").Fail("write auth_hook: {url: https://HOST/PATH}", "the service that is asked about logins has no url")
			l.userTrouble = true
		}
		return
	}
	if err := checkServiceURL(h.URL, h.Insecure); err != nil {
		l.at("auth_hook.url").Fail(hintOf(err), "%v", err)
		l.userTrouble = true
	}
}

// checkServiceURL checks the URL of a service that decides about logins. What it says must not be
// forged, and passwords must not be read, on their way.
func checkServiceURL(s string, insecure bool) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "" || u.Fragment != "" || !validHost(u.Hostname()):
		return hintf("write https://HOST/PATH", "not a URL of a service")
	case u.User != nil:
		return hintf("remove the part before the @", "a user name in the URL is not used")
	case u.Scheme == "https", u.Scheme == "http" && (insecure || loopback(u.Hostname())):
		return nil
	case u.Scheme == "http":
		return hintf("write https://…, or an address of this machine", "over http, others on the network could read or forge logins")
	}
	return hintf("write https://HOST/PATH", "unknown scheme %q", u.Scheme)
}

func loopback(host string) bool { return LocalAddress(net.JoinHostPort(host, "0")) }

// checkClaim checks a value that a claim must have.
func checkClaim(s string) error {
	switch {
	case s == "":
		return errors.New("it can't be empty")
	case len(s) > 1024 || strings.ContainsFunc(s, unicode.IsControl):
		return errors.New("want at most 1024 bytes of printable text")
	}
	return nil
}

// checkUserTemplate checks how a user name is made of claims.
func checkUserTemplate(s string) error {
	const hint = `write a claim, as in "${claims.sub}", with text around it if need be`
	plain := claimVariable.ReplaceAllString(s, "x")
	if strings.Contains(plain, "$") {
		return hintf(hint, "%q: ${claims.NAME} is the only variable here", s)
	}
	if err := CheckUserName(plain); err != nil {
		return hintf(hint, "%v", err)
	}
	return nil
}
