// This file prepares filters for the hot path, where every event calls MayPublish and every
// delivery MayRead.

package auth

import (
	"fmt"
	"strings"
	"time"

	"github.com/postbus/postbus/bus/topic"
)

// Rules are an identity's rights, as topic filters. Deny takes precedence over both others. Empty
// lists allow nothing.
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

func newSet(filters []string) (set, error) {
	s := set{filters: append([]string(nil), filters...)}
	for _, f := range s.filters {
		if strings.HasPrefix(f, topic.SharePrefix) {
			return set{}, fmt.Errorf("a rule can't name a shared subscription: %q", f)
		}
		if err := topic.CheckFilter(f); err != nil {
			return set{}, err
		}
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
	return s, nil
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

// Identity is an authenticated client with its rights. It is immutable and safe for concurrent use;
// a reload makes new ones.
type Identity struct {
	Name      string // the user's; "" for anonymous
	Anonymous bool

	until time.Time // when its token expires; zero: it used a password
	print string    // fingerprint of the password hash

	bridge   bool
	clientID string // pattern; "": any

	publish, subscribe, deny set
}

func newIdentity(name string, r Rules) (*Identity, error) {
	id := &Identity{Name: name, Anonymous: name == ""}
	for _, l := range []struct {
		name    string
		filters []string
		set     *set
	}{{"publish", r.Publish, &id.publish}, {"subscribe", r.Subscribe, &id.subscribe}, {"deny", r.Deny, &id.deny}} {
		var err error
		if *l.set, err = newSet(l.filters); err != nil {
			return nil, fmt.Errorf("%s: %w", l.name, err)
		}
	}
	return id, nil
}

// Login returns the user's name, and when the login ends: with the token, or never (the zero time)
// if the client used a password.
func (id *Identity) Login() (user string, until time.Time) { return id.Name, id.until }

// Bridge reports whether the user is another broker, whose statements about an event's route
// through bridges are trusted.
func (id *Identity) Bridge() bool { return id.bridge }

// MayConnectAs returns an error when the identity may not use a client identifier.
func (id *Identity) MayConnectAs(clientID string) error {
	if id.clientID == "" || glob(id.clientID, clientID) {
		return nil
	}
	return fmt.Errorf("the user %q may use client identifiers such as %s only", id.Name, id.clientID)
}

// glob reports whether * in the pattern can stand for characters so that it is the text.
func glob(pattern, text string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == text
	}
	first, last := parts[0], parts[len(parts)-1]
	if !strings.HasPrefix(text, first) || !strings.HasSuffix(text[len(first):], last) {
		return false
	}
	text = text[len(first) : len(text)-len(last)]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(text, p)
		if i < 0 {
			return false
		}
		text = text[i+len(p):]
	}
	return true
}

// MayPublish reports whether the identity may publish to the topic name. No identity may publish to
// reserved topics. It does not allocate.
func (id *Identity) MayPublish(name string) bool {
	return id.publish.match(name) && !topic.Reserved(name) && !id.deny.match(name)
}

// MayRead reports whether an event with this topic name may be delivered to the identity. The bus
// calls it for each delivery, because MaySubscribe accepts filters that are wider than the rights.
// It does not allocate.
func (id *Identity) MayRead(topic string) bool {
	return id.subscribe.match(topic) && !id.deny.match(topic)
}

// MaySubscribe reports whether a subscription to the filter can ever deliver an event: the filter
// overlaps an allowed filter and no denied one covers it. So a client may subscribe to "#" and gets
// the events that it may read. Replay subscriptions are judged by their inner filter. A shared
// subscription needs more, because a member takes events from the others: an allowed filter covers
// its inner filter, and no denied one overlaps it. Invalid filters are refused.
func (id *Identity) MaySubscribe(filter string) bool {
	inner := topic.Inner(filter)
	if topic.Shared(filter) {
		return topic.CheckFilter(inner) == nil && id.subscribe.covers(inner) && !id.deny.overlaps(inner)
	}
	return topic.CheckFilter(inner) == nil && id.subscribe.overlaps(inner) && !id.deny.covers(inner)
}
