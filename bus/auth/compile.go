// This file compiles rules: once for each policy as far as they have no variables, and the others
// for each identity.

package auth

import (
	"fmt"
	"strings"

	"github.com/postbus/postbus/bus/topic"
)

// compiled is rules that were parsed.
type compiled struct {
	static *rights // the rules without variables; nil: there are none
	vars   templates
}

// templates is rules with variables.
type templates struct{ publish, subscribe, deny []topic.Template }

func (t *templates) empty() bool { return len(t.publish)+len(t.subscribe)+len(t.deny) == 0 }

func compile(r Rules) (compiled, error) {
	var c compiled
	var static rights
	for _, l := range []struct {
		name    string
		filters []string
		set     *set
		vars    *[]topic.Template
	}{{"publish", r.Publish, &static.publish, &c.vars.publish}, {"subscribe", r.Subscribe, &static.subscribe, &c.vars.subscribe}, {"deny", r.Deny, &static.deny, &c.vars.deny}} {
		var plain []string
		for _, f := range l.filters {
			t, err := parseRule(f)
			if err != nil {
				return compiled{}, fmt.Errorf("%s: %w", l.name, err)
			}
			if t.Plain() {
				plain = append(plain, f)
			} else {
				*l.vars = append(*l.vars, t)
			}
		}
		*l.set = newSet(plain)
	}
	if !static.empty() {
		c.static = &static
	}
	return c, nil
}

func parseRule(f string) (topic.Template, error) {
	if strings.HasPrefix(f, topic.SharePrefix) {
		return topic.Template{}, fmt.Errorf("a rule can't name a shared subscription: %q", f)
	}
	return topic.ParseTemplate(f)
}

// expand makes rights of templates. A rule that allows is left out if a variable has no value that
// fits into a level, and a rule that denies is widened: see topic.Template.
func (t *templates) expand(value topic.Values) *rights {
	allow := func(list []topic.Template) set {
		var filters []string
		for i := range list {
			if f, bad := list[i].Expand(value); bad == "" {
				filters = append(filters, f)
			}
		}
		return newSet(filters)
	}
	var deny []string
	for i := range t.deny {
		deny = append(deny, t.deny[i].Widen(value)...)
	}
	return &rights{publish: allow(t.publish), subscribe: allow(t.subscribe), deny: newSet(deny)}
}

// split separates the templates that need a client identifier.
func (t *templates) split() (now, later templates) {
	for _, l := range []struct {
		from       []topic.Template
		now, later *[]topic.Template
	}{{t.publish, &now.publish, &later.publish}, {t.subscribe, &now.subscribe, &later.subscribe}, {t.deny, &now.deny, &later.deny}} {
		for _, x := range l.from {
			if x.Uses(topic.VarClient) {
				*l.later = append(*l.later, x)
			} else {
				*l.now = append(*l.now, x)
			}
		}
	}
	return now, later
}

// give gives the identity the rights of all rules. Until As it has no client identifier: the rules
// that need one do not allow anything, and deny for every client.
func (id *Identity) give(vars topic.Values, rules ...compiled) {
	id.vars = vars
	var all templates
	for _, c := range rules {
		if c.static != nil {
			id.plain = append(id.plain, c.static)
		}
		all.publish = append(all.publish, c.vars.publish...)
		all.subscribe = append(all.subscribe, c.vars.subscribe...)
		all.deny = append(all.deny, c.vars.deny...)
	}
	now, later := all.split()
	if !now.empty() {
		id.plain = append(id.plain, now.expand(vars))
	}
	id.client, id.layers = later, id.plain
	if !later.empty() {
		id.layers = id.As("").layers
	}
}
