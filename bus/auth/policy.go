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
//   - An unknown user and a wrong password yield the same error after the same work.
//   - A token replaces its user's password until it expires, the password changes or the user is
//     removed.
//   - MayPublish and MayRead do not allocate and cost nanoseconds: they are called for every event
//     and every delivery.
//
// It knows neither the bus nor the config: package cmd/postbus translates.
package auth

import (
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/postbus/postbus/bus/internal/remote"
)

// ErrRefused means that the user name or the password is wrong. The client does not learn which.
var ErrRefused = errors.New("the user name or the password is wrong")

// ErrAnonymous means that a client without a user name may not connect here.
var ErrAnonymous = errors.New("a user name and a password are needed")

// User is one account.
type User struct {
	Name     string // not empty, unique
	Password string // PHC string as from Hash
	Rules    Rules
	Groups   []string // names of groups whose rules the user has too
	Admin    bool
	Bridge   bool // the user is another broker
	// ClientID is the client identifiers that the user may present; "": any. * stands for any
	// characters, also none, and ${user} for the name.
	ClientID string
}

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
}

// Policy is a set of users and rules. It is immutable and safe for concurrent use.
type Policy struct {
	verifier  *Verifier
	tokens    *Tokens
	groups    map[string]group
	users     map[string]account
	decoy     account // gives an unknown user the timing of a real one
	anonymous *Identity
	remote    bool
}

type group struct {
	rules compiled
	admin bool
}

type account struct {
	id   *Identity
	hash string
	phc  phc
}

// NewPolicy compiles the rules. Its errors name the user; it returns all of them, joined.
func NewPolicy(v *Verifier, o Options) (*Policy, error) {
	p := &Policy{verifier: v, tokens: o.Tokens, groups: make(map[string]group, len(o.Groups)), users: make(map[string]account, len(o.Users)), remote: o.AnonymousRemote}
	p.decoy.phc = phc{memory: hashMemory, passes: hashPasses, threads: hashThreads, salt: make([]byte, saltSize), key: make([]byte, keySize)}
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
	for i, u := range o.Users {
		h, err := parsePHC(u.Password)
		if err != nil {
			errs = append(errs, fmt.Errorf("user %q: password: %w", u.Name, err))
			continue
		}
		id, err := p.identity(Grant{User: u.Name, Groups: u.Groups, Rules: u.Rules, Admin: u.Admin, ClientID: u.ClientID})
		if err != nil {
			errs = append(errs, fmt.Errorf("user %q: %w", u.Name, err))
			continue
		}
		if _, dup := p.users[u.Name]; dup || u.Name == "" {
			errs = append(errs, fmt.Errorf("user %q: a name must be unique and not empty", u.Name))
			continue
		}
		id.print, id.bridge = fingerprint(u.Password), u.Bridge
		p.users[u.Name] = account{id: id, hash: u.Password, phc: h}
		if i == 0 {
			// If the users' hashes have other costs than the default, they usually all have the
			// same costs.
			p.decoy.phc.memory, p.decoy.phc.passes, p.decoy.phc.threads = h.memory, h.passes, h.threads
		}
	}
	if o.Anonymous != nil {
		id, err := p.identity(Grant{Rules: *o.Anonymous, Admin: o.AnonymousAdmin})
		if err != nil {
			errs = append(errs, fmt.Errorf("anonymous: %w", err))
		}
		p.anonymous = id
	}
	// The key is random, so that no password can match it.
	if _, err := rand.Read(p.decoy.phc.key); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return p, nil
}

// Authenticate identifies a client. local means that it connected over loopback or a unix socket;
// havePassword distinguishes an empty password from none. A client with neither name nor password
// is anonymous. A name always needs its password, unless the policy has no users: then a client
// with a name is anonymous too, because many devices send one by default. The password may be a
// token of that user or, without a name, of the user that it names. The error is ErrRefused,
// ErrAnonymous, ErrBusy or one of the tokens' errors. The call may take tens of milliseconds, longer
// for an address, with or without its port, from which wrong passwords come: see Verifier.
func (p *Policy) Authenticate(user, password string, havePassword, local bool, address string) (*Identity, error) {
	unnamed := user == "" && !havePassword
	switch {
	case p.anonymous != nil && (local || p.remote) && (unnamed || user != "" && len(p.users) == 0):
		return p.anonymous, nil
	case unnamed:
		return nil, ErrAnonymous
	case havePassword && p.tokens != nil && looksLikeToken(password):
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
	from := origin{site: remote.Site(address), user: user}
	if !found {
		a = p.decoy
		from.user = "" // names that do not exist share a queue: there is no end of them
	}
	ok, err := p.verifier.verify(from, user, password, a.hash, a.phc)
	switch {
	case err != nil:
		return nil, err
	case !ok || !found:
		return nil, ErrRefused
	}
	return a.id, nil
}

// ErrPasswordChanged means that the password of a connected client no longer exists.
var ErrPasswordChanged = errors.New("the password was changed")

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
	a, ok := p.users[old.Name]
	switch {
	case !ok:
		return nil, ErrRefused
	case a.id.print != old.print:
		return nil, ErrPasswordChanged
	}
	id := a.id.As(client)
	if !old.until.IsZero() {
		limited := *id
		limited.until = old.until
		id = &limited
	}
	return id, nil
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
