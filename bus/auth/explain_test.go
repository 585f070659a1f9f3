package auth

import (
	"slices"
	"testing"

	"github.com/postbus/postbus/bus/topic"
)

// TestExplain: the rule that decides agrees with what the identity may do.
func TestExplain(t *testing.T) {
	family := Rules{Publish: []string{"home/#", "dev/${client}/#", "$bus/x"}, Subscribe: []string{"home/#", "$bus/#"}, Deny: []string{"home/${client}/pin"}}
	own := Rules{Publish: []string{"out/${user}", "in/${claims.sub}", "+/state"}, Subscribe: []string{"a/+/c", "#"}, Deny: []string{"x/#", "${user}/secret", "a/b/#"}}
	p := policy(t, Options{Groups: []Group{{Name: "family", Rules: family}}, Users: []User{{Name: "pi", Password: cheap(t, "x"), Rules: own, Groups: []string{"family"}},
		{Name: "a/b", Password: cheap(t, "x"), Rules: own, Groups: []string{"family"}}}})
	for _, user := range []string{"pi", "a/b"} {
		for _, client := range []string{"", "c1", "+", "$SYS"} {
			id, _ := p.Lookup(user)
			id = id.As(client)
			rules, err := Explain([]Source{{"user", own}, {"group", family}}, user, client)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"home/x", "home/c1/pin", "home/+/pin", "home/#", "dev/c1/a", "dev/+/a", "dev/$SYS/a", "out/pi", "out/a/b", "in/", "in/x", "x/y", "x/state", "pi/secret", "a/b/secret",
				"a/b/c", "a/d/c", "a/+/c", "a/b/#", "#", "+/+", "$bus/x", "$bus/#", "$SYS/x", "$share/g/home/#", "$share/g/home/x", "$share/g/a/d/c", "$share/g/a/b/c", "$replay/1m/x/y", "$replay/1m/home/x"} {
				for verb, may := range map[Verb]bool{ToPublish: id.MayPublish(name), ToRead: id.MayRead(name), ToSubscribe: id.MaySubscribe(name)} {
					if verb != ToSubscribe && topic.CheckName(name) != nil {
						continue
					}
					r, reserved := Decides(rules, verb, name)
					if got := r != nil && r.Kind != Deny; got != may || reserved && got {
						t.Errorf("%s as %q, %s %s: %v, but %+v decides", user, client, verb, name, may, r)
					}
				}
			}
		}
	}
	rules, _ := Explain([]Source{{"user", own}, {"group", family}}, "pi", "")
	i := slices.IndexFunc(rules, func(r Rule) bool { return r.Text == "home/${client}/pin" })
	if r := rules[i]; r.Missing != "client" || !slices.Equal(r.Filters, []string{"home/+/pin"}) || r.Source != "group" || r.Kind != Deny || r.Index != 0 {
		t.Errorf("%+v", r)
	}
	i = slices.IndexFunc(rules, func(r Rule) bool { return r.Text == "in/${claims.sub}" })
	if r := rules[i]; r.Missing != "claims.sub" || r.Filters != nil || r.Index != 1 {
		t.Errorf("%+v", r)
	}
}
