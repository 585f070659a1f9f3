package bus

import (
	"testing"

	"github.com/postbus/postbus/bus/topic"
)

// FuzzMatch holds the three ways to match against each other: one filter, the index, the retained
// set.
func FuzzMatch(f *testing.F) {
	f.Add("a/+/#", "a/b")
	f.Add("#", "$SYS/x")
	f.Add("/+//#", "/a//b/c")
	f.Fuzz(func(t *testing.T, filter, name string) {
		if topic.CheckFilter(filter) != nil || topic.CheckName(name) != nil {
			return
		}
		e := Event{Topic: name, Payload: []byte("x"), Retain: true}
		p := compile(filter)
		one := p.match([]byte(name))
		var x index
		s := &subscription{pattern: p}
		x.add(s)
		if got := len(x.match([]byte(name), nil)) == 1; got != one {
			t.Fatalf("filter %q, topic %q: matches %v, the index says %v", filter, name, one, got)
		}
		x.remove(s)
		if len(x.match([]byte(name), nil)) != 0 || len(x.root.children) != 0 {
			t.Fatalf("filter %q stays in the index", filter)
		}
		var r retainedSet
		r.set(e.Record(), inJournal, stamp{})
		if found, _, _ := r.next(&p, "", 10); (len(found) == 1) != one {
			t.Fatalf("filter %q, topic %q: matches %v, the retained set finds %v", filter, name, one, found)
		}
		e.Payload = nil
		r.set(e.Record(), inJournal, stamp{})
		if r.clients.count != 0 || r.clients.bytes != 0 || len(r.blocks) != 0 {
			t.Fatalf("topic %q stays in the retained set", name)
		}
	})
}
