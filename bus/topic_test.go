package bus

import (
	"strings"
	"testing"
)

func TestFilters(t *testing.T) {
	for _, c := range []struct {
		filter, topic string
		want          bool
	}{
		{"#", "a/b", true}, {"#", "$SYS/a", false}, {"+/a", "$SYS/a", false}, {"$SYS/#", "$SYS/a", true},
		{"a/#", "a", true}, {"a/#", "a/b/c", true}, {"a/#", "ab", false}, {"+", "a", true}, {"+", "/a", false},
		{"/+", "/a", true}, {"+/+", "/a", true}, {"a/+", "a", false}, {"a/+", "a/", true}, {"a/+/#", "a/b", true},
		{"a/+/#", "a", false}, {"+/#", "a", true}, {"a//b", "a//b", true}, {"a/+/b", "a//b", true}, {"a/b", "a/b", true}, {"a/b", "A/b", false},
	} {
		if got := Match(c.filter, c.topic); got != c.want {
			t.Errorf("[MQTT-4.7.1] %q matches %q: %v", c.filter, c.topic, got)
		}
	}
	for _, bad := range []string{"", "a#", "a/#/b", "a+", "a/b+", "#/a", "$share", "$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a", "a\x00"} {
		if CheckFilter(bad) == nil {
			t.Errorf("filter %q is taken", bad)
		}
	}
	for _, bad := range []string{"", "a/+", "a/#", "a\x00b", "\xff", strings.Repeat("a", 65536)} {
		if CheckTopic(bad) == nil {
			t.Errorf("topic %.20q is taken", bad)
		}
	}
}

// FuzzMatch holds the three ways to match against each other: one filter, the index, the retained set.
func FuzzMatch(f *testing.F) {
	f.Add("a/+/#", "a/b")
	f.Add("#", "$SYS/x")
	f.Add("/+//#", "/a//b/c")
	f.Fuzz(func(t *testing.T, filter, topic string) {
		if CheckFilter(filter) != nil || CheckTopic(topic) != nil || strings.HasPrefix(filter, "$share/") {
			return
		}
		e := Event{Topic: topic, Payload: []byte("x"), Retain: true}
		p := compile(filter)
		one := p.match([]byte(topic))
		var x index
		s := &subscription{pattern: p}
		x.add(s)
		if got := len(x.match([]byte(topic), nil)) == 1; got != one {
			t.Fatalf("filter %q, topic %q: matches %v, the index says %v", filter, topic, one, got)
		}
		x.remove(s)
		if len(x.match([]byte(topic), nil)) != 0 || len(x.root.children) != 0 {
			t.Fatalf("filter %q stays in the index", filter)
		}
		var r retainedSet
		r.set(e.Record(), inJournal)
		if found, _, _ := r.next(&p, "", 10); (len(found) == 1) != one {
			t.Fatalf("filter %q, topic %q: matches %v, the retained set finds %v", filter, topic, one, found)
		}
		e.Payload = nil
		r.set(e.Record(), inJournal)
		if r.count != 0 || r.bytes != 0 || len(r.blocks) != 0 {
			t.Fatalf("topic %q stays in the retained set", topic)
		}
	})
}
