// This file is the logins of users whom the config does not have: with JSON Web Tokens of other
// issuers, and with the answers of a hook.

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/postbus/postbus/bus/auth"
	"github.com/postbus/postbus/bus/auth/hook"
	"github.com/postbus/postbus/bus/auth/issuer"
	"github.com/postbus/postbus/bus/broker"
	"github.com/postbus/postbus/bus/topic"
	"github.com/postbus/postbus/bus/web"
	"github.com/postbus/postbus/config"
	"github.com/postbus/postbus/config/atomicfile"
)

const keySetsDir = "jwks" // in the data folder: copies of issuers' keys

// outside is what the config says about such logins. It never changes; a reload makes another.
type outside struct {
	jwt     []config.JWT
	issuers *issuer.Issuers // of jwt, in the same order
	ask     config.AuthHook
	hook    *hook.Hook // nil: there is none
}

// source is the Source of an auth.Grant, which the journal keeps with a last will.
type source struct {
	Issuer   string `json:"issuer,omitempty"` // of a token
	Audience string `json:"audience,omitempty"`
	Hook     string `json:"hook,omitempty"` // its URL without the query, which may hold a secret
}

func fromHook(h config.AuthHook) source {
	place, _, _ := strings.Cut(h.URL, "?")
	return source{Hook: place}
}

func (s source) json() json.RawMessage {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // it is text
	}
	return text
}

// tryAgain is an error that does not depend on the password.
type tryAgain struct{ error }

// Is makes the broker and the web server tell the client so.
func (e tryAgain) Is(target error) bool { return target == broker.ErrBusy || target == web.ErrBusy }

// Unwrap implements errors.
func (e tryAgain) Unwrap() error { return e.error }

func newSources(c *config.Config, log *slog.Logger) *issuer.Sources {
	return issuer.NewSources(issuer.SourcesOptions{Dir: filepath.Join(c.DataDir, keySetsDir), Logger: log,
		Write: func(file string, data []byte) error { return atomicfile.Write(file, data, 0o600) }})
}

func entriesOf(list []config.JWT) []issuer.Entry {
	var entries []issuer.Entry
	for _, j := range list {
		entries = append(entries, issuer.Entry{Issuer: j.Issuer, Audience: j.Audience, Keys: j.Keys})
	}
	return entries
}

// checkKeySets reports files of keys that are not usable.
func checkKeySets(l *loaded) error { return l.keysError(issuer.Check(entriesOf(l.JWT))) }

// keysError returns an error about keys with its position in the config.
func (l *loaded) keysError(err error) error {
	var k *issuer.KeysError
	if !errors.As(err, &k) {
		return err
	}
	return &configError{where: "the config", list: l.JWT[k.Entry].KeysError(k.Err)}
}

// newOutside prepares the logins that the config describes. The hook of old stays in use if its keys in
// the config are the same. The error concerns a file of keys; then nothing has changed.
func (a *access) newOutside(l *loaded, old *outside) (*outside, error) {
	o := &outside{jwt: l.JWT, ask: l.AuthHook}
	var err error
	if o.issuers, err = a.sources.Open(entriesOf(l.JWT)); err != nil {
		return nil, l.keysError(err)
	}
	switch {
	case o.ask.URL == "":
	case old != nil && old.ask == o.ask:
		o.hook = old.hook
	default:
		o.hook = hook.New(hook.Options{URL: o.ask.URL, Timeout: o.ask.Timeout, Cache: o.ask.Cache, Secret: o.ask.Secret, Logger: a.log})
	}
	return o, nil
}

// swap puts new logins in the place of the old ones, and ends what those no longer need.
func (a *access) swap(o *outside) {
	old := a.outside.Swap(o)
	a.sources.Keep(o.issuers)
	if old != nil && old.hook != nil && old.hook != o.hook {
		old.hook.Close()
	}
}

// discard ends what newOutside prepared and swap did not use.
func (a *access) discard(o *outside) {
	now := a.outside.Load()
	a.sources.Keep(now.issuers)
	if o.hook != nil && o.hook != now.hook {
		o.hook.Close()
	}
}

// close ends everything that logins wait for.
func (a *access) close() {
	a.verifier.Close()
	a.sources.Close()
	if o := a.outside.Load(); o.hook != nil {
		o.hook.Close()
	}
}

// authenticate decides about a login. protocol is for the hook.
func (a *access) authenticate(c broker.Credentials, protocol string) (*auth.Identity, error) {
	if err := a.revoked.check(c.Certificate); err != nil {
		return nil, err
	}
	p, o := a.policy.Load(), a.outside.Load()
	id, err := o.authenticate(p, c, protocol)
	if errors.Is(err, auth.ErrBusy) || errors.Is(err, hook.ErrUnavailable) || errors.Is(err, issuer.ErrKeys) {
		err = tryAgain{err}
	}
	if err != nil {
		return nil, a.plain(err)
	}
	return id, nil
}

// authenticate tries the client's certificate first: one of the user whose name the client sent, or of any
// user if it sent neither a name nor a password.
func (o *outside) authenticate(p *auth.Policy, c broker.Credentials, protocol string) (*auth.Identity, error) {
	if c.Certificate != nil && (c.User != "" || !c.HasPassword) {
		if id, err := p.ByCertificate(auth.NewCertificate(c.Certificate), c.User); id != nil || err != nil {
			return id, err
		}
	}
	if c.HasPassword && len(o.jwt) > 0 {
		l, err := o.issuers.Verify(c.Password)
		if !errors.Is(err, issuer.ErrOther) {
			if err != nil {
				return nil, err
			}
			return o.byJWT(p, c.User, &o.jwt[l.Entry], l.Claims, l.Until)
		}
	}
	if c.HasPassword && c.User != "" && o.hook != nil && !p.HasUser(c.User) && !auth.LooksLikeToken(c.Password) {
		return o.byHook(p, c, protocol)
	}
	return p.Authenticate(c.User, c.Password, c.HasPassword, c.Local, c.Address)
}

// byJWT returns the identity of a token that was accepted. user is what the client calls itself; "":
// nothing.
func (o *outside) byJWT(p *auth.Policy, user string, j *config.JWT, claims map[string]string, until time.Time) (*auth.Identity, error) {
	name, err := j.UserName(claims)
	switch {
	case err != nil:
		return nil, fmt.Errorf("the token of issuer %s: %w", j.Issuer, err)
	case user != "" && user != name:
		return nil, auth.ErrTokenUser
	case p.HasUser(name): // else anybody whom the issuer gives that name would have its sessions
		return nil, fmt.Errorf("the token of issuer %s is for the user name %q, which is a user of the config", j.Issuer, name)
	}
	vars := make(map[string]string, len(claims))
	for claim, value := range claims {
		vars[topic.VarClaims+claim] = value
	}
	return p.Grant(auth.Grant{User: name, Groups: j.Groups, Rules: auth.Rules{Publish: j.Publish, Subscribe: j.Subscribe, Deny: j.Deny}, Vars: vars,
		ClientID: j.ClientID, Until: until, Source: source{Issuer: j.Issuer, Audience: j.Audience}.json()})
}

// byHook returns the identity of a user whom the hook allows.
func (o *outside) byHook(p *auth.Policy, c broker.Credentials, protocol string) (*auth.Identity, error) {
	answer, err := o.hook.Ask(hook.Request{User: c.User, Password: c.Password, Client: c.ClientID, Address: c.Address, Protocol: protocol})
	if err != nil {
		return nil, err
	}
	name := c.User
	if answer.User != "" {
		name = answer.User
	}
	if err = config.CheckUserName(name); err == nil && p.HasUser(name) {
		err = fmt.Errorf("%q is a user of the config", name)
	}
	var id *auth.Identity
	if err == nil {
		id, err = p.Grant(auth.Grant{User: name, Groups: answer.Groups, Rules: auth.Rules{Publish: answer.Publish, Subscribe: answer.Subscribe, Deny: answer.Deny},
			Until: answer.Until, Source: fromHook(o.ask).json()})
	}
	if err != nil {
		return nil, fmt.Errorf("the answer of auth_hook is not usable: %w", err)
	}
	return id, nil
}

var errNoLonger = errors.New("the config no longer accepts this kind of login")

// renew returns the identity that a granted one becomes after a reload. It has the same name, which the
// client's session has too.
func (o *outside) renew(p *auth.Policy, g auth.Grant) (*auth.Identity, error) {
	var from source
	if err := json.Unmarshal(g.Source, &from); err != nil {
		return nil, err
	}
	switch {
	case from.Issuer != "":
		for n := range o.jwt {
			if j := &o.jwt[n]; j.Issuer == from.Issuer && j.Audience == from.Audience {
				claims := make(map[string]string, len(g.Vars))
				for name, value := range g.Vars {
					claims[strings.TrimPrefix(name, topic.VarClaims)] = value
				}
				return o.byJWT(p, g.User, j, claims, g.Until)
			}
		}
	case from.Hook != "" && from == fromHook(o.ask) && !p.HasUser(g.User):
		return p.Grant(g)
	}
	return nil, errNoLonger
}
