// Package auth decides who may connect and what they may publish and read.
//
// It promises:
//
//   - A Policy never changes: a reload makes a new one and the broker swaps the pointer. The
//     Verifier outlives policies, so that a reload does not cost every device a password check.
//   - A user's rights are the union of its own rules and those of its groups. Deny takes
//     precedence. A wildcard at the first level does not match topics that begin with "$": a rule
//     must name $SYS/# or $bus/# to allow reading them, and no client can publish there.
//   - A variable's value never widens a rule: see topic.Template. Where it could, a rule that allows
//     is not granted, and a rule that denies applies to every value.
//   - An unknown user and a wrong password yield the same error after the same work, whatever the
//     number of the user's passwords is.
//   - A token replaces a user's password until the token or the password expires, or the password or
//     the user is removed.
//   - MayPublish and MayRead do not allocate and cost nanoseconds: they are called for every event
//     and every delivery.
//
// It knows neither the bus nor the config: package cmd/postbus translates.
package auth

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"github.com/postbus/postbus/bus/internal/remote"
	"github.com/postbus/postbus/bus/internal/turns"
)

// ErrRefused means that the user name or the password is wrong. The client does not learn which.
var ErrRefused = errors.New("the user name or the password is wrong")

// ErrAnonymous means that a client without a user name may not connect here.
var ErrAnonymous = errors.New("a user name and a password are needed")

// User is one account.
type User struct {
	Name     string // not empty, unique
	Password string // PHC string as from Hash; "": only Passwords
	// Passwords are further passwords. With Password there are at most MaxPasswords, none of them
	// twice. A user with none can't log in with a password.
	Passwords []NamedPassword
	Rules     Rules
	Groups    []string // names of groups whose rules the user has too
	Admin     bool
	Bridge    bool // the user is another broker
	// Certificates are names of certificates with which the user needs no password, as in
	// Certificate.Names. No other user has them.
	Certificates []string
	// ClientID is the client identifiers that the user may present; "": any. * stands for any
	// characters, also none, and ${user} for the name.
	ClientID string
}

// MaxPasswords is the maximum number of a user's passwords.
const MaxPasswords = 8

// NamedPassword is one of several passwords of a user, so that one that leaked can be removed alone.
type NamedPassword struct {
	Name    string // not empty, unique for the user
	Hash    string // PHC string as from Hash
	Expires time.Time
}

// ExpiredError is ErrRefused for a password that is right and has expired. Its text is the same: the
// client does not learn the difference.
type ExpiredError struct {
	User, Password string // Password is its name; "" for the one without
	At             time.Time
}

func (e *ExpiredError) Error() string { return ErrRefused.Error() }

// Unwrap returns ErrRefused.
func (e *ExpiredError) Unwrap() error { return ErrRefused }

// Group is rules that users share.
type Group struct {
	Name  string // not empty, unique
	Rules Rules
	Admin bool
}

// Options are the users and rules of a policy. The zero Options refuse every client.
type Options struct {
	Groups []Group
	Users  []User
	// Anonymous holds the rules for clients without a user name; nil refuses them.
	Anonymous *Rules
	// AnonymousRemote also accepts anonymous clients from outside loopback and unix sockets: only
	// if the operator asked for it.
	AnonymousRemote bool
	// AnonymousAdmin makes every anonymous client an administrator.
	AnonymousAdmin bool
	// Tokens checks passwords that are tokens; nil: there are none.
	Tokens *Tokens
	// OtherUsers means that there are users whom the policy does not have: see Grant. Then a client
	// with a name needs a password, also without Users.
	OtherUsers bool
}

// Policy is a set of users and rules. It is immutable and safe for concurrent use.
type Policy struct {
	verifier  *Verifier
	tokens    *Tokens
	groups    map[string]group
	users     map[string]account
	byName    map[string]string // users, by names of their certificates
	decoy     phc               // gives an unknown user the timing of a real one
	rounds    int               // hashes that a check of a wrong password computes, for every user
	anonymous *Identity
	remote    bool
	named     bool // a user name needs its password
}

type group struct {
	rules compiled
	admin bool
}

// account is a user.
type account struct {
	id          *Identity // of a login without a password
	credentials []credential
	key         string // of all hashes
}

// credential is one password of a user.
type credential struct {
	name    string
	phc     phc
	expires time.Time // zero: never
	id      *Identity // of a login with it
}

func (c *credential) live() bool { return c.expires.IsZero() || time.Now().Before(c.expires) }

// usable reports whether a password that a check found is still right. An index of -1 is none.
func (a *account) usable(index int) bool { return index >= 0 && a.credentials[index].live() }

// find returns the password with a fingerprint that has not expired.
func (a *account) find(print string) *credential {
	var found *credential
	for i := range a.credentials {
		c := &a.credentials[i]
		if subtle.ConstantTimeCompare([]byte(c.id.print), []byte(print)) == 1 && c.live() {
			found = c
		}
	}
	return found
}

// NewPolicy compiles the rules. Its errors name the user; it returns all of them, joined.
func NewPolicy(v *Verifier, o Options) (*Policy, error) {
	p := &Policy{verifier: v, tokens: o.Tokens, groups: make(map[string]group, len(o.Groups)), users: make(map[string]account, len(o.Users)), byName: map[string]string{}, remote: o.AnonymousRemote, named: len(o.Users) > 0 || o.OtherUsers}
	p.decoy, p.rounds = phc{memory: hashMemory, passes: hashPasses, threads: hashThreads, salt: make([]byte, saltSize), key: make([]byte, keySize)}, 1
	var errs []error
	for _, g := range o.Groups {
		rules, err := compile(g.Rules)
		if err != nil {
			errs = append(errs, fmt.Errorf("group %q: %w", g.Name, err))
		}
		if _, dup := p.groups[g.Name]; dup || g.Name == "" {
			errs = append(errs, fmt.Errorf("group %q: a name must be unique and not empty", g.Name))
		}
		p.groups[g.Name] = group{rules, g.Admin}
	}
	for _, u := range o.Users {
		a, err := p.account(u)
		if err != nil {
			errs = append(errs, fmt.Errorf("user %q: %w", u.Name, err))
			continue
		}
		if _, dup := p.users[u.Name]; dup || u.Name == "" {
			errs = append(errs, fmt.Errorf("user %q: a name must be unique and not empty", u.Name))
			continue
		}
		for _, name := range u.Certificates {
			if other, dup := p.byName[name]; dup {
				errs = append(errs, fmt.Errorf("user %q: the certificate %q is that of user %q", u.Name, name, other))
			}
			p.byName[name] = u.Name
		}
		if p.rounds = max(p.rounds, len(a.credentials)); len(p.users) == 0 && len(a.credentials) > 0 {
			// If the users' hashes have other costs than the default, they usually all have the
			// same costs.
			h := a.credentials[0].phc
			p.decoy.memory, p.decoy.passes, p.decoy.threads = h.memory, h.passes, h.threads
		}
		p.users[u.Name] = a
	}
	if o.Anonymous != nil {
		id, err := p.identity(Grant{Rules: *o.Anonymous, Admin: o.AnonymousAdmin})
		if err != nil {
			errs = append(errs, fmt.Errorf("anonymous: %w", err))
		}
		p.anonymous = id
	}
	// The key is random, so that no password can match it.
	if _, err := rand.Read(p.decoy.key); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return p, nil
}

func (p *Policy) account(u User) (account, error) {
	id, err := p.identity(Grant{User: u.Name, Groups: u.Groups, Rules: u.Rules, Admin: u.Admin, ClientID: u.ClientID})
	if err != nil {
		return account{}, err
	}
	id.bridge = u.Bridge
	a := account{id: id}
	list := u.Passwords
	if u.Password != "" {
		list = append([]NamedPassword{{Hash: u.Password}}, list...)
	}
	if len(list) > MaxPasswords {
		return account{}, fmt.Errorf("%d passwords, at most %d are allowed", len(list), MaxPasswords)
	}
	for i, w := range list {
		what := "password"
		if i > 0 || u.Password == "" {
			what = fmt.Sprintf("password %q", w.Name)
		}
		h, err := parsePHC(w.Hash)
		if err != nil {
			return account{}, fmt.Errorf("%s: %w", what, err)
		}
		for _, c := range a.credentials {
			if c.name == w.Name || c.id.print == fingerprint(w.Hash) {
				return account{}, fmt.Errorf("%s: the same name or hash twice", what)
			}
		}
		own := *id
		own.print, own.until = fingerprint(w.Hash), w.Expires
		a.credentials = append(a.credentials, credential{name: w.Name, phc: h, expires: w.Expires, id: &own})
		a.key += own.print
	}
	return a, nil
}

// Authenticate identifies a client. local means that it connected over loopback or a unix socket;
// havePassword distinguishes an empty password from none. A client with neither name nor password
// is anonymous. A name always needs its password, unless there are no users at all: then a client
// with a name is anonymous too, because many devices send one by default. The password may be a
// token of that user or, without a name, of the user that it names. The error is ErrRefused,
// ErrAnonymous, ErrBusy or one of the tokens' errors. The call may take tens of milliseconds, longer
// for an address, with or without its port, from which wrong passwords come: see Verifier.
func (p *Policy) Authenticate(user, password string, havePassword, local bool, address string) (*Identity, error) {
	unnamed := user == "" && !havePassword
	switch {
	case p.anonymous != nil && (local || p.remote) && (unnamed || user != "" && !p.named):
		return p.anonymous, nil
	case unnamed:
		return nil, ErrAnonymous
	case havePassword && p.tokens != nil && LooksLikeToken(password):
		id, err := p.byToken(user, password)
		if user == "" || !errors.Is(err, ErrToken) {
			return id, err
		}
		return p.byPassword(user, password, address) // a password that only looks like a token
	case user == "" || !havePassword:
		return nil, ErrRefused // the client knows that it sent none: no secret to hide, no work needed
	}
	return p.byPassword(user, password, address)
}

func (p *Policy) byPassword(user, password, address string) (*Identity, error) {
	if len(password) > MaxPassword {
		return nil, ErrRefused
	}
	a, found := p.users[user]
	from := turns.Origin{Site: remote.Site(address), User: user}
	if !found {
		from.User = "" // names that do not exist share a queue: there is no end of them
	}
	i, err := p.verifier.verify(from, user, password, &a, p.rounds, p.decoy)
	switch {
	case err != nil:
		return nil, err
	case i < 0:
		return nil, ErrRefused
	case !a.usable(i):
		return nil, &ExpiredError{User: user, Password: a.credentials[i].name, At: a.credentials[i].expires}
	}
	return a.credentials[i].id, nil
}

// ErrPasswordChanged means that the password of a connected client is no longer valid.
var ErrPasswordChanged = errors.New("the password was changed, removed or has expired")

// Renew returns the identity of a client that is connected, after a reload: old is its identity under
// the previous policy. The error is why it may no longer connect.
func (p *Policy) Renew(old *Identity, client string, local bool) (*Identity, error) {
	if old.grant != nil {
		id, err := p.Grant(*old.grant)
		if err != nil {
			return nil, err
		}
		return id.As(client), nil
	}
	if old.Anonymous {
		if p.anonymous == nil || !local && !p.remote {
			return nil, ErrAnonymous
		}
		return p.anonymous.As(client), nil
	}
	if old.certificate != nil {
		id, err := p.ByCertificate(old.certificate, old.Name)
		switch {
		case err != nil:
			return nil, err
		case id == nil:
			return nil, ErrCertificateChanged
		}
		return id.As(client), nil
	}
	a, ok := p.users[old.Name]
	if !ok {
		return nil, ErrRefused
	}
	c := a.find(old.print)
	if c == nil {
		return nil, ErrPasswordChanged
	}
	return c.id.withToken(old.token).As(client), nil
}

// HasUser reports whether the policy has a user.
func (p *Policy) HasUser(name string) bool {
	_, ok := p.users[name]
	return ok
}

// Lookup returns a user's identity without a password, for a session whose client was authenticated
// before: after a reload it has the rights of the new policy. For rules with ${client}, see
// Identity.As. The empty name is anonymous. ok is false if the policy no longer has the user.
func (p *Policy) Lookup(user string) (id *Identity, ok bool) {
	if user == "" {
		return p.anonymous, p.anonymous != nil
	}
	a, ok := p.users[user]
	return a.id, ok
}

// LookupPassword returns the identity of a login with one of a user's passwords, without knowing it;
// the name is "" for the first that has not expired. ok is false if there is none.
func (p *Policy) LookupPassword(user, name string) (id *Identity, ok bool) {
	a := p.users[user]
	for i := range a.credentials {
		if c := &a.credentials[i]; c.live() && (name == "" || c.name == name) {
			return c.id, true
		}
	}
	return nil, false
}
