package auth

import (
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/bus/topic"
)

func TestRulesRefuse(t *testing.T) {
	for _, bad := range []string{"", "a#", "#/a", "a\x00", "\xff", "$share/g/a"} {
		if _, err := compile(Rules{Publish: []string{bad}}); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// FuzzRules compares a set of filters, which is sorted for speed, with the filter itself.
func FuzzRules(f *testing.F) {
	f.Add("a/+/#", "a/b/c")
	f.Add("$SYS/#", "$SYS")
	f.Add("+//", "//")
	f.Fuzz(func(t *testing.T, filter, name string) {
		if topic.CheckFilter(filter) != nil || topic.CheckName(name) != nil {
			return
		}
		s := newSet([]string{filter})
		if want := topic.Match(filter, name); s.match(name) != want {
			t.Fatalf("%q on %q: want %v", filter, name, want)
		}
	})
}

func TestGroups(t *testing.T) {
	p := policy(t, Options{
		Groups: []Group{
			{Name: "family", Rules: Rules{Publish: []string{"home/#"}, Subscribe: []string{"home/#"}}},
			{Name: "guests", Rules: Rules{Subscribe: []string{"home/door"}, Deny: []string{"home/safe/#"}}},
			{Name: "ops", Admin: true},
		},
		Users: []User{
			{Name: "ann", Password: cheap(t, "x"), Groups: []string{"family", "guests"}, Rules: Rules{Publish: []string{"out"}}},
			{Name: "bob", Password: cheap(t, "x"), Groups: []string{"guests"}, Rules: Rules{Publish: []string{"home/safe/1", "home/x"}}},
			{Name: "root", Password: cheap(t, "x"), Groups: []string{"guests", "ops"}},
			{Name: "boss", Password: cheap(t, "x"), Admin: true},
		},
		Anonymous: &Rules{},
	})
	for user, c := range map[string]struct {
		publish, read, subscribe string // topics and filters that are allowed
		not                      string // a topic that may neither be published nor read, and a shared filter that is refused
		admin                    bool
	}{
		"ann":  {"out home/x home", "home/x home/door", "home/# # $share/g/home/door", "home/safe/1 other $share/g/home/#", false},
		"bob":  {"home/x", "home/door", "home/door #", "home/safe/1 home/y $share/g/home/x", false},
		"root": {"", "home/door", "home/+", "home/safe/1", true},
		"boss": {"", "", "", "home/x", true},
		"":     {"", "", "", "home/x", false},
	} {
		id, ok := p.Lookup(user)
		if !ok {
			t.Fatal(user)
		}
		for _, name := range strings.Fields(c.publish) {
			if !id.MayPublish(name) {
				t.Errorf("%s may not publish to %s", user, name)
			}
		}
		for _, name := range strings.Fields(c.read) {
			if !id.MayRead(name) {
				t.Errorf("%s may not read %s", user, name)
			}
		}
		for _, f := range strings.Fields(c.subscribe) {
			if !id.MaySubscribe(f) {
				t.Errorf("%s may not subscribe to %s", user, f)
			}
		}
		for _, f := range strings.Fields(c.not) {
			if id.MayPublish(f) || id.MayRead(f) || id.MaySubscribe(f) {
				t.Errorf("%s has rights on %s", user, f)
			}
		}
		if id.Admin() != c.admin {
			t.Errorf("%s is an administrator: %v", user, id.Admin())
		}
	}
	a, _ := p.Lookup("ann")
	b, _ := p.Lookup("bob")
	if a.layers[2] != b.layers[1] {
		t.Error("two users do not share the rules of their group")
	}
}

func TestGroupMistakes(t *testing.T) {
	_, err := NewPolicy(NewVerifier(1), Options{
		Groups: []Group{{Name: "a"}, {Name: "a"}, {Name: "b", Rules: Rules{Deny: []string{"x/${nobody}"}}}, {}},
		Users: []User{
			{Name: "u", Password: cheap(t, "x"), Groups: []string{"c"}},
			{Name: "v", Password: cheap(t, "x"), Groups: []string{"a", "a"}},
		},
	})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{`group "a": a name`, `group "b": deny: unknown variable "${nobody}"`, `group "": a name`, `user "u": unknown group "c"`, `user "v": group "a" twice`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in:\n%v", want, err)
		}
	}
}

// TestVariables: what a client may choose never widens its rights.
func TestVariables(t *testing.T) {
	p := policy(t, Options{
		Groups: []Group{{Name: "devices", Rules: Rules{Publish: []string{"dev/${client}/#", "by/${user}/#"}, Subscribe: []string{"cmd/${client}"}}}},
		Users: []User{
			{Name: "pi", Password: cheap(t, "x"), Groups: []string{"devices"}, Rules: Rules{Publish: []string{"${user}/x-${client}", "all/#", "in/${claims.sub}"}, Deny: []string{"all/${client}/pin", "all/${claims.sub}/x"}}},
			{Name: "a/b", Password: cheap(t, "x"), Rules: Rules{Publish: []string{"by/${user}/#", "#"}, Deny: []string{"by/${user}/secret"}}},
			{Name: "$SYS", Password: cheap(t, "x"), Rules: Rules{Subscribe: []string{"${user}/#", "x/${user}", "$SYS/a/+", "$SYS/uptime"}, Deny: []string{"${user}/uptime"}}},
			{Name: "still", Password: cheap(t, "x"), Rules: Rules{Publish: []string{"by/${user}"}}},
		},
		Anonymous: &Rules{Publish: []string{"dev/${client}", "by/${user}/x", "#"}, Deny: []string{"by/${user}/#"}},
	})
	for _, c := range []struct {
		user, client string
		yes, no      string // topics to publish to
	}{
		{"pi", "c1", "dev/c1/a dev/c1 by/pi/a pi/x-c1 all/c2/pin all/c1", "dev/c2/a by/po/a pi/x-c2 pi/x- all/c1/pin in/ all/any/x"},
		{"pi", "", "by/pi/a all/c1", "dev//a dev pi/x- all/c1/pin all//pin"},
		{"pi", "+", "by/pi/a", "dev/+/a dev/c1/a pi/x-+ pi/x-c1 all/c1/pin"},
		{"pi", "#", "by/pi/a", "dev/c1/a dev/# pi/x-c1 all/c1/pin"},
		{"pi", "a/b", "by/pi/a", "dev/a/b/c dev/a/b pi/x-a/b all/c1/pin all/a/b/pin"},
		{"pi", "a\x00b", "by/pi/a", "dev/a\x00b/c all/c1/pin"},
		{"pi", "\xff", "by/pi/a", "dev/\xff/c all/c1/pin"},
		{"pi", strings.Repeat("x", topic.MaxLen), "by/pi/a", "all/c1/pin"},
		{"a/b", "c", "x by/c", "by/a/b/secret by/other/secret"},
		{"still", "c", "by/still", "by/c"},
		{"", "c", "dev/c x", "by/c/x by/anybody/x by//x"},
		{"", "", "x by", "by/x"},
	} {
		id, _ := p.Lookup(c.user)
		id = id.As(c.client)
		for _, name := range strings.Fields(c.yes) {
			if !id.MayPublish(name) {
				t.Errorf("%q as %.20q may not publish to %q", c.user, c.client, name)
			}
		}
		for _, name := range strings.Fields(c.no) {
			if id.MayPublish(name) {
				t.Errorf("%q as %.20q may publish to %q", c.user, c.client, name)
			}
		}
	}
	pi, _ := p.Lookup("pi")
	if c1 := pi.As("c1"); !c1.MaySubscribe("cmd/c1") || c1.MaySubscribe("cmd/c2") || !c1.MayRead("cmd/c1") || c1.MayRead("cmd/c2") {
		t.Error("a client has other rights to read")
	}
	if pi.MaySubscribe("cmd/+") || pi.MaySubscribe("#") {
		t.Error("without a client identifier, a rule with ${client} allows")
	}
	if pi.layers[1] != pi.As("c1").layers[1] {
		t.Error("two clients do not share the rules without ${client}")
	}
	if sys, _ := p.Lookup("$SYS"); sys.MayRead("$SYS/uptime") || sys.MayRead("$SYS/x") || !sys.MayRead("$SYS/a/b") || !sys.MayRead("x/$SYS") {
		t.Error("a user name that begins with $ reaches reserved topics, or escapes a rule that denies")
	}
	if still, _ := p.Lookup("still"); still != still.As("c") {
		t.Error("an identity was made for rules without ${client}")
	}
}

// FuzzVariables: whatever the value is, a rule that allows matches nothing that it does not match with
// + in its place, and a rule that denies matches all that the value itself would match.
func FuzzVariables(f *testing.F) {
	f.Add("home/${client}/#", "+", "home/x/y")
	f.Add("${client}/#", "$SYS", "$SYS/uptime")
	f.Add("a/x${client}-${user}", "/", "a/x/-me")
	f.Add("${claims.a}/${client}", "$bus/#", "$bus/x/y")
	f.Fuzz(func(t *testing.T, rule, value, name string) {
		c, err := compile(Rules{Publish: []string{rule}, Deny: []string{rule}})
		if err != nil || c.static != nil || topic.CheckName(name) != nil {
			return
		}
		values := func(string) string { return value }
		r := c.vars.expand(values)
		level := regexp.MustCompile(`[^/]*\$\{[^/}]*\}[^/]*`)
		if r.publish.match(name) && !topic.Match(level.ReplaceAllString(rule, "+"), name) {
			t.Fatalf("%q with %q allows %q", rule, value, name)
		}
		literal := regexp.MustCompile(`\$\{[^/}]*\}`).ReplaceAllLiteralString(rule, value)
		if topic.CheckFilter(literal) == nil && !topic.Shared(literal) && topic.Match(literal, name) && !r.deny.match(name) {
			t.Fatalf("%q with %q does not deny %q", rule, value, name)
		}
		if len(r.publish.filters) == 0 && topic.Match(level.ReplaceAllString(rule, "+"), name) && !r.deny.match(name) {
			t.Fatalf("%q with %q, which it refuses, does not deny %q", rule, value, name)
		}
	})
}

func TestGrant(t *testing.T) {
	p := policy(t, Options{Groups: []Group{
		{Name: "staff", Rules: Rules{Publish: []string{"user/${claims.sub}/#"}, Subscribe: []string{"news"}}},
		{Name: "ops", Admin: true, Rules: Rules{Deny: []string{"user/${claims.tenant}/x"}}}}})
	until := time.Now().Add(time.Hour)
	id, err := p.Grant(Grant{User: "ann@example.org", Groups: []string{"staff", "ops"}, Rules: Rules{Publish: []string{"c/${client}"}},
		Vars: map[string]string{"claims.sub": "42"}, ClientID: "${user}-*", Until: until})
	if err != nil {
		t.Fatal(err)
	}
	if user, ends := id.Login(); user != "ann@example.org" || !ends.Equal(until) || id.Anonymous || !id.Admin() || id.Bridge() {
		t.Errorf("%+v", id)
	}
	if id = id.As("c1"); !id.MayPublish("user/42/a") || id.MayPublish("user/43/a") || id.MayPublish("user/42/x") || !id.MayPublish("c/c1") || !id.MayRead("news") {
		t.Error("wrong rights")
	}
	if id.MayConnectAs("ann@example.org-1") != nil || id.MayConnectAs("x") == nil {
		t.Error("wrong client identifiers")
	}
	if star, err := p.Grant(Grant{User: "*", ClientID: "${user}-1"}); err != nil || star.MayConnectAs("x-1") == nil || star.MayConnectAs("*-1") != nil {
		t.Error("a * in a name stands for any characters", err)
	}
	stored, err := ParseGrant(id.StoredLogin())
	if again, gerr := p.Grant(stored); err != nil || gerr != nil || !again.MayPublish("user/42/a") || again.Name != id.Name || !again.Admin() {
		t.Error("no second identity from a stored login", err, gerr)
	}
	g, ok := id.Granted()
	if again, err := p.Grant(g); !ok || err != nil || !again.As("c1").MayPublish("user/42/a") {
		t.Error("no second identity from one", err)
	}
	for want, g := range map[string]Grant{
		"needs a user name":              {},
		`unknown group "x"`:              {User: "u", Groups: []string{"x"}},
		`group "ops" twice`:              {User: "u", Groups: []string{"ops", "ops"}},
		"publish: topic filter is empty": {User: "u", Rules: Rules{Publish: []string{""}}},
		`variable "user"`:                {User: "u", Vars: map[string]string{"user": "root"}},
	} {
		if _, err := p.Grant(g); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := p.Grant(Grant{User: "u", Groups: []string{"x"}}); !errors.Is(err, ErrUnknownGroup) || p.HasGroup("x") || !p.HasGroup("ops") {
		t.Error(err)
	}
}
