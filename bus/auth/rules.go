// This file prepares filters for the hot path, where every event calls MayPublish and every
// delivery MayRead.

package auth

import (
	"fmt"
	"strings"
	"time"

	"github.com/postbus/postbus/bus/topic"
)

// Rules are rights, as topic filters that may have variables: see topic.Template. Deny takes
// precedence over both others. Empty lists allow nothing.
type Rules struct {
	Publish   []string
	Subscribe []string
	Deny      []string
}

// set is a list of filters, sorted by the cost of a match.
type set struct {
	all      bool                // "#": every topic that does not begin with "$"
	exact    map[string]struct{} // no wildcard
	prefixes []string            // "a/b/#", without the "/#"
	patterns []string            // all others
	filters  []string            // all of them, as written
}

// newSet makes a set of valid filters.
func newSet(filters []string) set {
	s := set{filters: filters}
	for _, f := range filters {
		stem, tail := strings.CutSuffix(f, "/#")
		switch {
		case f == "#" || f == "+/#":
			s.all = true
		case !topic.HasWildcard(f):
			if s.exact == nil {
				s.exact = map[string]struct{}{}
			}
			s.exact[f] = struct{}{}
		case tail && !strings.Contains(stem, "+"):
			s.prefixes = append(s.prefixes, stem)
		default:
			s.patterns = append(s.patterns, f)
		}
	}
	return s
}

// match reports whether any filter matches the topic. It does not allocate.
func (s *set) match(name string) bool {
	if name == "" {
		return false
	}
	if s.all && name[0] != '$' {
		return true
	}
	if len(s.exact) > 0 {
		if _, ok := s.exact[name]; ok {
			return true
		}
	}
	for _, p := range s.prefixes {
		if strings.HasPrefix(name, p) && (len(name) == len(p) || name[len(p)] == '/') {
			return true
		}
	}
	for _, f := range s.patterns {
		if topic.Match(f, name) {
			return true
		}
	}
	return false
}

func (s *set) overlaps(filter string) bool {
	for _, f := range s.filters {
		if topic.Overlaps(f, filter) {
			return true
		}
	}
	return false
}

func (s *set) covers(filter string) bool {
	for _, f := range s.filters {
		if topic.Covers(f, filter) {
			return true
		}
	}
	return false
}

// rights are sets of filters without variables.
type rights struct{ publish, subscribe, deny set }

func (r *rights) empty() bool {
	return len(r.publish.filters) == 0 && len(r.subscribe.filters) == 0 && len(r.deny.filters) == 0
}

// Identity is an authenticated client with its rights. It is immutable and safe for concurrent use;
// a reload makes new ones.
type Identity struct {
	Name      string // the user's; "" for anonymous
	Anonymous bool

	until time.Time // when its login ends; zero: never
	token time.Time // when its token expires; zero: the login was without one
	print string    // fingerprint of the password hash; "": the login was without a password
	grant *Grant    // that made it; nil: it is a user of the policy, or anonymous

	certificate *Certificate // of the login; nil: it was without one

	admin    bool
	bridge   bool
	clientID pattern

	layers []*rights // their union; each is shared with other identities, where it can be
	plain  []*rights // layers without those of client
	client templates // the rules with ${client}
	vars   topic.Values
}

// withToken returns the identity of a login with a token that expires; zero: with the password
// itself. The login ends with its token or with its password, whichever expires first.
func (id *Identity) withToken(expires time.Time) *Identity {
	if expires.IsZero() {
		return id
	}
	own := *id // it shares the rules
	own.token = expires
	if own.until.IsZero() || expires.Before(own.until) {
		own.until = expires
	}
	return &own
}

// Login returns the user's name, and when the login ends: with its token or password, or never (the
// zero time).
func (id *Identity) Login() (user string, until time.Time) { return id.Name, id.until }

// Bridge reports whether the user is another broker, whose statements about an event's route
// through bridges are trusted.
func (id *Identity) Bridge() bool { return id.bridge }

// Admin reports whether the user may administer the bus: end others' sessions, for example. So may a user who
// has logged in and may publish everywhere.
func (id *Identity) Admin() bool {
	return id.admin || !id.Anonymous && id.MayPublish("#") // only "#", and filters that are as wide, match "#" as a topic name
}

// As returns the identity of a client with a client identifier, which rules with ${client} need. If
// the identity has no such rules, that is the identity itself.
func (id *Identity) As(client string) *Identity {
	if id.client.empty() {
		return id
	}
	own := *id
	own.layers = append(id.plain[:len(id.plain):len(id.plain)], id.client.expand(func(name string) string {
		if name == topic.VarClient {
			return client
		}
		return id.vars(name)
	}))
	return &own
}

// MayConnectAs returns an error when the identity may not use a client identifier.
func (id *Identity) MayConnectAs(clientID string) error {
	if len(id.clientID) == 0 || id.clientID.match(clientID) {
		return nil
	}
	return fmt.Errorf("the user %q may use client identifiers such as %s only", id.Name, strings.Join(id.clientID, "*"))
}

// pattern is the texts between the * of a pattern, each of which stands for any characters, also
// none. An empty pattern was not written: it has one text at least.
type pattern []string

// newPattern makes a pattern. A * in the user's name is an ordinary character.
func newPattern(text, user string) pattern {
	if text == "" {
		return nil
	}
	parts := strings.Split(text, "*")
	for i := range parts {
		parts[i] = strings.ReplaceAll(parts[i], "${user}", user)
	}
	return parts
}

func (p pattern) match(text string) bool {
	if len(p) == 1 {
		return p[0] == text
	}
	first, last := p[0], p[len(p)-1]
	if !strings.HasPrefix(text, first) || !strings.HasSuffix(text[len(first):], last) {
		return false
	}
	text = text[len(first) : len(text)-len(last)]
	for _, part := range p[1 : len(p)-1] {
		i := strings.Index(text, part)
		if i < 0 {
			return false
		}
		text = text[i+len(part):]
	}
	return true
}

// MayPublish reports whether the identity may publish to the topic name. No identity may publish to
// reserved topics. It does not allocate.
func (id *Identity) MayPublish(name string) bool {
	for _, r := range id.layers {
		if r.publish.match(name) {
			return !topic.Reserved(name) && !id.denies(name)
		}
	}
	return false
}

// MayRead reports whether an event with this topic name may be delivered to the identity. The bus
// calls it for each delivery, because MaySubscribe accepts filters that are wider than the rights.
// It does not allocate.
func (id *Identity) MayRead(name string) bool {
	for _, r := range id.layers {
		if r.subscribe.match(name) {
			return !id.denies(name)
		}
	}
	return false
}

func (id *Identity) denies(name string) bool {
	for _, r := range id.layers {
		if r.deny.match(name) {
			return true
		}
	}
	return false
}

// MaySubscribe reports whether a subscription to the filter can ever deliver an event: the filter
// overlaps an allowed filter and no denied one covers it. So a client may subscribe to "#" and gets
// the events that it may read. Replay subscriptions are judged by their inner filter. A shared
// subscription needs more, because a member takes events from the others: an allowed filter covers
// its inner filter, and no denied one overlaps it. Invalid filters are refused.
func (id *Identity) MaySubscribe(filter string) bool {
	inner := topic.Inner(filter)
	if topic.CheckFilter(inner) != nil {
		return false
	}
	allows, denies := (*set).overlaps, (*set).covers
	if topic.Shared(filter) {
		allows, denies = denies, allows
	}
	allowed := false
	for _, r := range id.layers {
		if denies(&r.deny, inner) {
			return false
		}
		allowed = allowed || allows(&r.subscribe, inner)
	}
	return allowed
}
