// This file explains rights to an operator: what each rule means for a client, and which rule decides
// about a topic.

package auth

import (
	"fmt"

	"github.com/postbus/postbus/bus/topic"
)

// Source is rules with the name of their place: of a user, or of one of its groups.
type Source struct {
	Name  string
	Rules Rules
}

// Kind is what a rule is about.
type Kind string

// The kinds.
const (
	Publish   Kind = "publish"
	Subscribe Kind = "subscribe"
	Deny      Kind = "deny"
)

// Rule is one rule, and its meaning for a client.
type Rule struct {
	Source string
	Kind   Kind
	Index  int    // in the list of its source
	Text   string // as written
	// Filters are those that apply. A rule that allows and has none is not granted.
	Filters []string
	// Missing is the variable that has no value which fits into a level; "": each has. Then a rule
	// that allows is not granted, and a rule that denies is widened.
	Missing string
}

// Explain returns the rules of a client. The client identifier is "" for none.
func Explain(sources []Source, user, client string) ([]Rule, error) {
	values := func(name string) string {
		return map[string]string{topic.VarUser: user, topic.VarClient: client}[name]
	}
	var rules []Rule
	for _, s := range sources {
		for _, l := range []struct {
			kind Kind
			list []string
		}{{Publish, s.Rules.Publish}, {Subscribe, s.Rules.Subscribe}, {Deny, s.Rules.Deny}} {
			for i, text := range l.list {
				t, err := parseRule(text)
				if err != nil {
					return nil, fmt.Errorf("%s: %s: %w", s.Name, l.kind, err)
				}
				r := Rule{Source: s.Name, Kind: l.kind, Index: i, Text: text}
				filter, bad := t.Expand(values)
				switch r.Missing = bad; {
				case bad == "":
					r.Filters = []string{filter}
				case l.kind == Deny:
					r.Filters = t.Widen(values)
				}
				rules = append(rules, r)
			}
		}
	}
	return rules, nil
}

// Decides returns the rule that decides whether an identity with these rules may publish to a topic,
// read it, or subscribe to it, which may be a filter; nil: none allows it. For a reserved topic, to
// which nobody may publish, reserved is true.
func Decides(rules []Rule, verb Verb, name string) (rule *Rule, reserved bool) {
	allowed, match := Subscribe, topic.Match
	denied := match
	switch verb {
	case ToPublish:
		if topic.Reserved(name) {
			return nil, true
		}
		allowed = Publish
	case ToSubscribe:
		match, denied = topic.Overlaps, topic.Covers
		if topic.Shared(name) {
			match, denied = denied, match
		}
		name = topic.Inner(name)
	}
	find := func(kind Kind, match func(filter, name string) bool) *Rule {
		for i := range rules {
			for _, f := range rules[i].Filters {
				if rules[i].Kind == kind && match(f, name) {
					return &rules[i]
				}
			}
		}
		return nil
	}
	if r := find(Deny, denied); r != nil {
		return r, false
	}
	return find(allowed, match), false
}

// Verb is what a client does with a topic.
type Verb string

// The verbs.
const (
	ToPublish   Verb = "publish"
	ToRead      Verb = "read"
	ToSubscribe Verb = "subscribe"
)
