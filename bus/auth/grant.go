// This file makes identities of users that are not in the policy: another service has authenticated
// them.

package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postbus/postbus/bus/topic"
)

// Grant is what an identity may do, and for how long.
type Grant struct {
	User string // not empty; it owns the sessions of its clients, like a user of the policy with that name
	// Groups are groups of the policy, none of them twice.
	Groups []string
	// Rules are further rights. They are parsed for each Grant: rules that many users share belong
	// in a group, which is compiled once.
	Rules Rules
	// Vars are the values of variables ${claims.NAME}, by names such as "claims.sub". The policy
	// gives ${user} and ${client} their values.
	Vars map[string]string
	// Admin also makes a user an administrator that is in no group of administrators.
	Admin bool
	// ClientID is the client identifiers that the user may present, as User.ClientID.
	ClientID string
	// Until is when the login ends; zero: never.
	Until time.Time
	// Source is for the caller: what authenticated the user.
	Source json.RawMessage
}

// StoredLogin returns the grant that made the identity, for ParseGrant; nil for a user of the policy and
// for anonymous.
func (id *Identity) StoredLogin() []byte {
	if id.grant == nil {
		return nil
	}
	text, err := json.Marshal(id.grant)
	if err != nil {
		panic(err) // Source is JSON, and everything else is text
	}
	return text
}

// ParseGrant reads what StoredLogin returned.
func ParseGrant(stored []byte) (g Grant, err error) {
	err = json.Unmarshal(stored, &g)
	return g, err
}

// ErrUnknownGroup is wrapped by the error about a group that the policy does not have.
var ErrUnknownGroup = errors.New("unknown group")

// Grant makes an identity. Its errors concern g; a value in g.Vars that would widen a rule is none,
// see topic.Template. The caller may keep g and must not change it.
func (p *Policy) Grant(g Grant) (*Identity, error) {
	if g.User == "" {
		return nil, errors.New("an identity needs a user name")
	}
	for name := range g.Vars {
		if !strings.HasPrefix(name, topic.VarClaims) {
			return nil, fmt.Errorf("variable %q: a name must begin with %s", name, topic.VarClaims)
		}
	}
	id, err := p.identity(g)
	if err != nil {
		return nil, fmt.Errorf("user %q: %w", g.User, err)
	}
	id.grant, id.until = &g, g.Until
	return id, nil
}

// Granted returns the grant that made the identity; false for a user of the policy and for anonymous.
// After a reload the new policy's Grant makes a new identity of it.
func (id *Identity) Granted() (Grant, bool) {
	if id.grant == nil {
		return Grant{}, false
	}
	return *id.grant, true
}

// HasGroup reports whether the policy has a group.
func (p *Policy) HasGroup(name string) bool {
	_, ok := p.groups[name]
	return ok
}

func (p *Policy) identity(g Grant) (*Identity, error) {
	own, err := compile(g.Rules)
	if err != nil {
		return nil, err
	}
	id := &Identity{Name: g.User, Anonymous: g.User == "", admin: g.Admin, clientID: newPattern(g.ClientID, g.User)}
	rules := []compiled{own}
	for i, name := range g.Groups {
		group, ok := p.groups[name]
		switch {
		case !ok:
			return nil, fmt.Errorf("%w %q", ErrUnknownGroup, name)
		case slices.Contains(g.Groups[:i], name):
			return nil, fmt.Errorf("group %q twice", name)
		}
		rules = append(rules, group.rules)
		id.admin = id.admin || group.admin
	}
	id.give(func(name string) string {
		if name == topic.VarUser {
			return g.User
		}
		return g.Vars[name]
	}, rules...)
	return id, nil
}
