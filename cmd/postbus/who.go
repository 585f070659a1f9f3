// This file is "check --who": what a user may do, and why.

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/postbus/postbus/bus/auth"
	"github.com/postbus/postbus/bus/topic"
)

// question is the flags of check --who.
type question struct {
	who, client, topic string
	hasTopic           bool
	json               bool
}

// answer is what check --who prints.
type answer struct {
	Who       string   `json:"who"`
	Anonymous bool     `json:"anonymous"`
	Local     bool     `json:"local,omitempty"` // only clients of this machine
	Admin     bool     `json:"admin"`
	Groups    []string `json:"groups"`
	Client    string   `json:"client,omitempty"`
	ClientIDs string   `json:"client_id,omitempty"`
	// Refused is why the user may not connect with that client identifier.
	Refused string      `json:"client_refused,omitempty"`
	Rules   []shownRule `json:"rules"`
	Topic   string      `json:"topic,omitempty"`
	May     []verdict   `json:"may,omitempty"`
}

type shownRule struct {
	Kind    auth.Kind `json:"kind"`
	Rule    string    `json:"rule"`
	Source  string    `json:"source"`
	Place   string    `json:"place"` // file:line
	Applies bool      `json:"applies"`
	Filters []string  `json:"filters"`
	Missing string    `json:"missing,omitempty"`
}

type verdict struct {
	Verb    auth.Verb  `json:"verb"`
	Allowed bool       `json:"allowed"`
	Rule    *shownRule `json:"rule"` // that decides
	Why     string     `json:"why"`
}

func (m *Main) checkWho(s *settings, q question) error {
	l, err := m.load(s)
	if err != nil {
		return err
	}
	if q.hasTopic {
		if err := topic.CheckSubscription(q.topic); err != nil {
			return usagef("--topic: %v", err)
		}
	}
	policy, err := newPolicy(auth.NewVerifier(1), nil, l.Config)
	if err != nil {
		return err
	}
	a, sources, err := m.asked(l, q)
	if err != nil {
		return err
	}
	user := q.who
	if a.Anonymous {
		user = ""
	}
	id, _ := policy.Lookup(user) // asked has found it
	id = id.As(q.client)
	a.Admin = id.Admin()
	if q.client != "" {
		if err := id.MayConnectAs(q.client); err != nil {
			a.Refused = err.Error()
		}
	}
	rules, err := auth.Explain(sources, user, q.client)
	if err != nil {
		return err
	}
	places, err := m.rulePlaces(l)
	if err != nil {
		return err
	}
	for _, r := range rules {
		a.Rules = append(a.Rules, shownRule{Kind: r.Kind, Rule: r.Text, Source: r.Source, Place: places(r), Applies: len(r.Filters) > 0,
			Filters: append([]string{}, r.Filters...), Missing: r.Missing})
	}
	if q.hasTopic {
		a.Topic = q.topic
		a.judge(id, rules)
	}
	if q.json {
		e := json.NewEncoder(m.Stdout)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		return e.Encode(a)
	}
	return a.print(m.Stdout)
}

// asked returns the user, and the rules that it has.
func (m *Main) asked(l *loaded, q question) (a answer, sources []auth.Source, err error) {
	a = answer{Who: q.who, Client: q.client, Groups: []string{}, Rules: []shownRule{}}
	o := policyOptions(l.Config)
	i := slices.IndexFunc(o.Users, func(u auth.User) bool { return u.Name == q.who })
	switch {
	case i >= 0:
		u := o.Users[i]
		a.Groups, a.ClientIDs = append(a.Groups, u.Groups...), u.ClientID
		sources = append(sources, auth.Source{Name: "user " + u.Name, Rules: u.Rules})
		for _, name := range u.Groups {
			g := o.Groups[slices.IndexFunc(o.Groups, func(g auth.Group) bool { return g.Name == name })]
			sources = append(sources, auth.Source{Name: "group " + name, Rules: g.Rules})
		}
		return a, sources, nil
	case q.who != "anonymous":
		return a, nil, noUser(q.who)
	case o.Anonymous == nil:
		return a, nil, withHint(errors.New("anonymous clients may not connect"), "anonymous is off in the config")
	}
	a.Anonymous, a.Local = true, !o.AnonymousRemote
	return a, []auth.Source{{Name: "anonymous", Rules: *o.Anonymous}}, nil
}

// rulePlaces returns a function that says where a rule is.
func (m *Main) rulePlaces(l *loaded) (func(auth.Rule) string, error) {
	if !l.there {
		return func(auth.Rule) string { return "default" }, nil
	}
	f, err := openUserFile(l.file)
	if err != nil {
		return nil, err
	}
	return func(r auth.Rule) string {
		if r.Source == "anonymous" {
			if variable := "POSTBUS_ANONYMOUS_" + strings.ToUpper(string(r.Kind)); m.getenv(variable) != "" {
				return variable
			}
		}
		switch line, ok := f.RuleLine(r.Source, string(r.Kind), r.Index); {
		case !ok:
			return "default"
		case line == 0:
			return m.shown(l.file)
		default:
			return fmt.Sprintf("%s:%d", m.shown(l.file), line)
		}
	}, nil
}

// judge adds the verdicts about the topic. A filter can only be subscribed to.
func (a *answer) judge(id *auth.Identity, rules []auth.Rule) {
	verbs := []auth.Verb{auth.ToSubscribe}
	if topic.CheckName(a.Topic) == nil {
		verbs = []auth.Verb{auth.ToPublish, auth.ToRead, auth.ToSubscribe}
	}
	for _, verb := range verbs {
		v := verdict{Verb: verb}
		switch verb {
		case auth.ToPublish:
			v.Allowed = id.MayPublish(a.Topic)
		case auth.ToRead:
			v.Allowed = id.MayRead(a.Topic)
		case auth.ToSubscribe:
			v.Allowed = id.MaySubscribe(a.Topic)
		}
		r, reserved := auth.Decides(rules, verb, a.Topic)
		switch {
		case reserved:
			v.Why = "only the bus publishes to this topic"
		case r == nil:
			v.Why = "no rule allows it"
		default:
			for i := range rules {
				if &rules[i] == r {
					v.Rule = &a.Rules[i]
				}
			}
			v.Why = "allowed by"
			if r.Kind == auth.Deny {
				v.Why = "denied by"
			}
			v.Why += fmt.Sprintf(" %s of %s at %s", r.Text, r.Source, v.Rule.Place)
		}
		a.May = append(a.May, v)
	}
}

func (a *answer) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	head := "user " + a.Who
	if a.Anonymous {
		head = "anonymous clients"
		if a.Local {
			head += " of this machine"
		}
	}
	if len(a.Groups) > 0 {
		head += ", in " + strings.Join(a.Groups, ", ")
	}
	if a.Admin {
		head += ", administrator"
	}
	if a.Client != "" {
		head += ", as client " + a.Client
	}
	fmt.Fprintln(w, oneLine(head))
	switch {
	case a.Refused != "":
		fmt.Fprintf(w, "  may not connect: %s\n", oneLine(a.Refused))
	case a.ClientIDs != "":
		fmt.Fprintf(w, "  client identifiers: %s\n", oneLine(a.ClientIDs))
	}
	for _, l := range []struct {
		kind  auth.Kind
		title string
	}{{auth.Publish, "may publish to"}, {auth.Subscribe, "may read"}, {auth.Deny, "may neither publish to nor read"}} {
		title := l.title
		for _, r := range a.Rules {
			if r.Kind != l.kind {
				continue
			}
			if title != "" {
				fmt.Fprintf(w, "  %s\n", title)
				title = ""
			}
			fmt.Fprintf(w, "    %s\t%s\t%s", oneLine(r.Rule), oneLine(r.Source), oneLine(r.Place))
			if text := r.meaning(); text != "" {
				fmt.Fprintf(w, "\t%s", oneLine(text))
			}
			fmt.Fprintln(w)
		}
	}
	if len(a.Rules) == 0 {
		fmt.Fprintln(w, "  no rules: it may do nothing")
	}
	if a.Topic != "" {
		fmt.Fprintf(w, "%s\n", oneLine(a.Topic))
		for _, v := range a.May {
			fmt.Fprintf(w, "  %s\t%s\t%s\n", v.Verb, map[bool]string{true: "yes", false: "no"}[v.Allowed], oneLine(v.Why))
		}
	}
	return w.Flush()
}

// meaning says what a rule with variables becomes.
func (r *shownRule) meaning() string {
	filters := strings.Join(r.Filters, " and ")
	switch {
	case r.Missing == "":
		if filters == r.Rule {
			return ""
		}
		return "= " + filters
	case r.Applies:
		return fmt.Sprintf("= %s: %s", filters, r.lack())
	}
	return "not granted: " + r.lack()
}

func (r *shownRule) lack() string {
	text := fmt.Sprintf("${%s} has no value that fits into a level", r.Missing)
	if r.Missing == topic.VarClient {
		text += "; over HTTP it never has one, for MQTT give --client"
	}
	return text
}
