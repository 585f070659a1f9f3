// Package auth decides who may connect and what they may publish and read.
//
// What it promises:
//
//   - A Policy never changes: a reload makes a new one and the broker swaps the pointer. The
//     Verifier outlives policies, so that a reload doesn't cost every device a password check.
//   - Deny wins. A wildcard at the first level doesn't reach topics that begin with "$":
//     $SYS/# and $bus/# must be named to be read, and no client can publish there.
//   - An unknown user and a wrong password give the same error after the same work.
//   - A token stands for its user's password until it expires, the password changes or the user goes.
//   - MayPublish and MayRead don't allocate and cost nanoseconds: they are asked for every
//     event and every delivery.
//
// It knows neither the bus nor the config: package cmd/postbus translates.
package auth

import (
	"crypto/rand"
	"errors"
	"fmt"
)

// ErrRefused means that the user name or the password is wrong; which of them, nobody is told.
var ErrRefused = errors.New("the user name or the password is wrong")

// ErrAnonymous means that a client without a user name is not let in here.
var ErrAnonymous = errors.New("a user name and a password are needed")

// User is one account.
type User struct {
	Name     string // not empty, unique
	Password string // PHC string as from Hash
	Rules    Rules
	Bridge   bool // the user is another broker
}

// Options is what a policy is made of. The zero Options let nobody in.
type Options struct {
	Users []User
	// Anonymous holds the rules for clients without a user name; nil refuses them.
	Anonymous *Rules
	// AnonymousRemote lets them in from beyond loopback and unix sockets too: only if the user
	// asked for it.
	AnonymousRemote bool
	// Tokens checks passwords that are tokens; nil: there are none.
	Tokens *Tokens
}

// Policy is a set of users and rules. It is immutable and safe for concurrent use.
type Policy struct {
	verifier  *Verifier
	tokens    *Tokens
	users     map[string]account
	decoy     account // takes the time of a real user for one that isn't there
	anonymous *Identity
	remote    bool
}

type account struct {
	id   *Identity
	hash string
	phc  phc
}

// NewPolicy compiles the rules. Its errors name the user; all of them are returned, joined.
func NewPolicy(v *Verifier, o Options) (*Policy, error) {
	p := &Policy{verifier: v, tokens: o.Tokens, users: make(map[string]account, len(o.Users)), remote: o.AnonymousRemote}
	p.decoy.phc = phc{memory: hashMemory, passes: hashPasses, threads: hashThreads, salt: make([]byte, saltSize), key: make([]byte, keySize)}
	var errs []error
	for i, u := range o.Users {
		h, err := parsePHC(u.Password)
		if err != nil {
			errs = append(errs, fmt.Errorf("user %q: password: %w", u.Name, err))
			continue
		}
		id, err := newIdentity(u.Name, u.Rules)
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
			// Users made with other costs are all made with the same, as a rule.
			p.decoy.phc.memory, p.decoy.phc.passes, p.decoy.phc.threads = h.memory, h.passes, h.threads
		}
	}
	if o.Anonymous != nil {
		id, err := newIdentity("", *o.Anonymous)
		if err != nil {
			errs = append(errs, fmt.Errorf("anonymous: %w", err))
		}
		p.anonymous = id
	}
	// Random, so that no password can fit it.
	if _, err := rand.Read(p.decoy.phc.key); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return p, nil
}

// Authenticate decides who a client is. local means that it came over loopback or a unix socket;
// havePassword tells an empty password from none. A client with neither name nor password is
// anonymous; a name always needs its password, unless the policy has no users: then a client that gives
// one, as many devices do out of the box, is anonymous too. The password may be a token, of that user or, without
// a name, of whom it says. The error is ErrRefused, ErrAnonymous, ErrBusy or one of the tokens' errors.
// It may take tens of milliseconds, longer if many clients log in at once.
func (p *Policy) Authenticate(user, password string, havePassword, local bool) (*Identity, error) {
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
		return p.byPassword(user, password) // that looks like a token of somebody else
	case user == "" || !havePassword:
		return nil, ErrRefused // plain to the client itself: nothing to hide, nothing to compute
	}
	return p.byPassword(user, password)
}

func (p *Policy) byPassword(user, password string) (*Identity, error) {
	if len(password) > MaxPassword {
		return nil, ErrRefused
	}
	a, found := p.users[user]
	if !found {
		a = p.decoy
	}
	ok, err := p.verifier.verify(user, password, a.hash, a.phc)
	switch {
	case err != nil:
		return nil, err
	case !ok || !found:
		return nil, ErrRefused
	}
	return a.id, nil
}

// Lookup returns a user's identity without a password, for a session whose client already
// proved who it is: after a reload its rights are those of the new policy. The empty name is
// anonymous. ok is false if the policy no longer has the user.
func (p *Policy) Lookup(user string) (id *Identity, ok bool) {
	if user == "" {
		return p.anonymous, p.anonymous != nil
	}
	a, ok := p.users[user]
	return a.id, ok
}
