package fleet

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// text shows layouts as FROM-UNTIL:BUS:FILTERS, with a * for each time that the journal lost events.
func (l layouts) text() string {
	var list []string
	for _, a := range l {
		var filters []string
		for _, s := range a.Share {
			filters = append(filters, s.Filter)
		}
		list = append(list, fmt.Sprintf("%d-%d:%s:%s%s", a.From, a.until, a.Bus, strings.Join(filters, ","), strings.Repeat("*", a.Again)))
	}
	return strings.Join(list, " ")
}

func TestLayoutsWith(t *testing.T) {
	home, cmd := []Share{{Filter: "home/#"}}, []Share{{Filter: "cmd/#", Lane: 2}}
	for _, c := range []struct {
		name  string
		steps func(l layouts) layouts
		want  string
	}{
		{"the first", func(l layouts) layouts { l, _ = l.with("attic", home, 1, 1); return l }, "1-0:attic:home/#"},
		{"the same", func(l layouts) layouts {
			l, _ = l.with("attic", home, 1, 1)
			next, changed := l.with("attic", home, 50, 1)
			if changed {
				t.Error("the same layout is a change")
			}
			return next
		}, "1-0:attic:home/#"},
		{"another filter", func(l layouts) layouts {
			l, _ = l.with("attic", home, 1, 1)
			next, changed := l.with("attic", cmd, 50, 1)
			if !changed {
				t.Error("another filter is no change")
			}
			return next
		}, "1-50:attic:home/# 50-0:attic:cmd/#"},
		{"another lane", func(l layouts) layouts {
			l, _ = l.with("attic", []Share{{Filter: "cmd/#"}}, 1, 1)
			l, _ = l.with("attic", cmd, 50, 1)
			return l
		}, "1-50:attic:cmd/# 50-0:attic:cmd/#"},
		{"another name", func(l layouts) layouts {
			l, _ = l.with("attic", home, 1, 1)
			l, _ = l.with("loft", home, 50, 1)
			return l
		}, "1-50:attic:home/# 50-0:loft:home/#"},
		{"nothing shared, then another name", func(l layouts) layouts {
			l, _ = l.with("attic", home, 1, 1)
			l, _ = l.with("attic", nil, 50, 1)
			next, changed := l.with("loft", nil, 60, 1)
			if changed {
				t.Error("the name of a bus that shares nothing is a change")
			}
			return next
		}, "1-50:attic:home/# 50-0:attic:"},
		{"back again", func(l layouts) layouts {
			l, _ = l.with("attic", home, 1, 1)
			l, _ = l.with("attic", cmd, 50, 1)
			l, _ = l.with("attic", home, 60, 1)
			return l
		}, "1-50:attic:home/# 50-60:attic:cmd/# 60-0:attic:home/#"},
		{"one that never began", func(l layouts) layouts {
			l, _ = l.with("attic", home, 1, 1)
			l, _ = l.with("attic", cmd, 50, 1)
			l, _ = l.with("loft", home, 50, 1)
			return l
		}, "1-50:attic:home/# 50-0:loft:home/#"},
		{"one whose events are not in the journal any more", func(l layouts) layouts {
			l, _ = l.with("attic", home, 1, 1)
			l, _ = l.with("attic", cmd, 50, 1)
			l, _ = l.with("attic", home, 60, 50)
			return l
		}, "50-60:attic:cmd/# 60-0:attic:home/#"},
		{"one whose last event is in the journal", func(l layouts) layouts {
			l, _ = l.with("attic", home, 1, 1)
			l, _ = l.with("attic", cmd, 50, 1)
			l, _ = l.with("attic", home, 60, 49)
			return l
		}, "1-50:attic:home/# 50-60:attic:cmd/# 60-0:attic:home/#"},
	} {
		if got := c.steps(nil).text(); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// TestLayoutsAgain: numbers that are given again are in lanes of their own.
func TestLayoutsAgain(t *testing.T) {
	l, _ := layouts(nil).with("attic", []Share{{Filter: "home/#"}}, 1, 1)
	l, _ = l.with("attic", []Share{{Filter: "cmd/#"}}, 50, 1)
	first := l[1].id
	l = l.again(70, 1)
	if got, want := l.text(), "1-50:attic:home/# 50-70:attic:cmd/# 70-0:attic:cmd/#*"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	// From the same number on, also when a layout begins there already.
	ids := map[string]bool{first: true, l[2].id: true}
	for range 3 {
		l = l.again(50, 1)
		if id := l[1].id; ids[id] {
			t.Errorf("%s has the lanes of an earlier one", l.text())
		} else {
			ids[id] = true
		}
	}
	if got, want := l.text(), "1-50:attic:home/# 50-0:attic:cmd/#****"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	// Before the layout began, where others were: all of them are over.
	if got, want := l.again(20, 1).text(), "1-20:attic:home/# 20-0:attic:cmd/#*****"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestLayoutsStay: the names of lanes are those after a restart.
func TestLayoutsStay(t *testing.T) {
	l, _ := layouts(nil).with("attic", []Share{{Filter: "home/#"}, {Filter: "cmd/+/x", Lane: 2}}, 3, 1)
	l, _ = l.with("loft", []Share{{Filter: "home/ü\"/#"}}, 50, 1)
	l = l.again(70, 1)
	b, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeLayouts(b)
	if err != nil {
		t.Fatal(err)
	}
	if got.text() != l.text() || len(got) != 3 {
		t.Errorf("%s became %s", l.text(), got.text())
	}
	for i := range l {
		if got[i].id != l[i].id || len(got[i].patterns) != len(l[i].Share) {
			t.Errorf("layout %d: %s became %s", i, l[i].id, got[i].id)
		}
	}
	// The names that buses in use have on their hubs.
	if got, want := l[0].lane(1, "cmd/a b/x"), "8c039d459f-1.cmd.a=20b"; got != want {
		t.Errorf("the lane is %s, want %s: buses in use would send everything again", got, want)
	}
	if l, err := decodeLayouts(nil); len(l) != 0 || err != nil {
		t.Errorf("nothing is %s, %v", l.text(), err)
	}
	if _, err := decodeLayouts([]byte(`{"from":1}`)); err == nil {
		t.Error("an object is layouts")
	}
}

func TestLayoutsAreBounded(t *testing.T) {
	var l layouts
	for i := range maxLayouts + 10 {
		l, _ = l.with("attic", []Share{{Filter: fmt.Sprint("home/", i)}}, uint64(10*i+1), 1)
	}
	if len(l) != maxLayouts || l[0].From != 101 || l[0].until != 111 || l[len(l)-1].until != 0 {
		t.Errorf("%d layouts, from %d", len(l), l[0].From)
	}
}

// TestShareOf: an event belongs to the first filter that matches it.
func TestShareOf(t *testing.T) {
	l, _ := layouts(nil).with("attic", []Share{{Filter: "home/alarm/#"}, {Filter: "home/+/temp", Lane: 2}, {Filter: "home/#"}}, 1, 1)
	newest := l[0]
	for name, want := range map[string]int{"home/alarm": 0, "home/alarm/temp": 0, "home/attic/temp": 1, "home/attic/lamp": 2, "home": 2, "shed/lamp": -1, "$bus/lost": -1} {
		if got := newest.shareOf([]byte(name)); got != want {
			t.Errorf("%s is of share %d, want %d", name, got, want)
		}
	}
	lanes := map[string]bool{}
	for _, name := range []string{newest.lane(0, "home/alarm/temp"), newest.lane(1, "home/attic/temp"), newest.lane(1, "home/shed/temp"), newest.lane(2, "home/attic/lamp")} {
		lanes[name] = true
	}
	if len(lanes) != 4 || newest.lane(0, "home/alarm/a") != newest.lane(0, "home/alarm/b") {
		t.Errorf("the lanes are %v", lanes)
	}
}
