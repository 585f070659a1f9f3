package expr

// loops.go: the list functions that take a predicate: all(list, # > 1).

import (
	"cmp"
	"slices"

	"github.com/expr-lang/expr/ast"
)

// predicates are the list functions that take a predicate, by name.
var predicates = map[string]*predicate{
	"all":           {run: func(r *run, l *iteration) any { return l.first(r, false) < 0 }},
	"none":          {run: func(r *run, l *iteration) any { return l.first(r, true) < 0 }},
	"any":           {run: func(r *run, l *iteration) any { return l.first(r, true) >= 0 }},
	"one":           {run: func(r *run, l *iteration) any { return l.count(r) == 1 }},
	"count":         {optional: true, run: func(r *run, l *iteration) any { return int64(l.count(r)) }},
	"find":          {run: func(r *run, l *iteration) any { return l.at(l.first(r, true)) }},
	"findIndex":     {run: func(r *run, l *iteration) any { return indexOrNil(l.first(r, true)) }},
	"findLast":      {run: func(r *run, l *iteration) any { return l.at(l.last(r)) }},
	"findLastIndex": {run: func(r *run, l *iteration) any { return indexOrNil(l.last(r)) }},
	"filter":        {run: filter},
	"map":           {run: mapList},
	"sum":           {optional: true, run: sum},
	"groupBy":       {run: groupBy},
	"sortBy":        {third: true, run: sortBy},
	"reduce":        {third: true, run: reduce},
}

type predicate struct {
	optional bool // the predicate may be omitted: the element itself is meant
	third    bool // there may be a third argument
	run      func(r *run, l *iteration) any
}

// iteration is one loop over a list.
type iteration struct {
	*predicateCall
	list  []any
	third any
	given bool // third
}

type predicateCall struct {
	node  ast.Node
	body  fn
	what  ast.Node // the predicate, for messages
	slot  int
	index bool
}

// each evaluates the predicate for element i.
func (l *iteration) each(r *run, i int) any {
	r.step(2)
	if l.body == nil {
		return l.list[i]
	}
	r.slots[l.slot] = l.list[i]
	if l.index {
		r.slots[l.slot+1] = int64(i)
	}
	return l.body(r)
}

func (l *iteration) test(r *run, i int) bool { return r.truth(l.what, l.each(r, i)) }

func (c *compiler) predicate(n ast.Node, name string, p *predicate, args []ast.Node) fn {
	if len(args) < 1 || len(args) < 2 && !p.optional || len(args) > 3 || len(args) == 3 && !p.third {
		c.fail(n, "write "+name+"(list, condition)", "%s() with %s", name, plural(len(args), "argument"))
	}
	list := c.compile(args[0])
	pc := &predicateCall{node: n, slot: c.newSlots(3), what: args[0]}
	third := constant(nil)
	if len(args) == 3 {
		third = c.compile(args[2])
	}
	if len(args) > 1 {
		body, ok := args[1].(*ast.PredicateNode)
		if !ok {
			c.fail(n, "write "+name+"(list, condition)", "%s() needs a condition", name)
		}
		c.loops = append(c.loops, loop{slot: pc.slot, index: &pc.index, acc: name == "reduce"})
		pc.body, pc.what = c.compile(body.Node), body.Node
		c.loops = c.loops[:len(c.loops)-1]
	}
	given := len(args) == 3
	return func(r *run) any {
		r.step(2)
		l := iteration{predicateCall: pc, list: r.list(args[0], list(r)), given: given}
		if given {
			l.third = third(r)
		}
		v := p.run(r, &l)
		clear(r.slots[pc.slot : pc.slot+3])
		return v
	}
}

// first returns the index of the first element whose predicate is want, or -1.
func (l *iteration) first(r *run, want bool) int {
	for i := range l.list {
		if l.test(r, i) == want {
			return i
		}
	}
	return -1
}

func (l *iteration) last(r *run) int {
	for i := range slices.Backward(l.list) {
		if l.test(r, i) {
			return i
		}
	}
	return -1
}

func (l *iteration) at(i int) any {
	if i < 0 {
		return nil
	}
	return l.list[i]
}

// indexOrNil returns an index, or nil for -1, as the library does.
func indexOrNil(i int) any {
	if i < 0 {
		return nil
	}
	return int64(i)
}

func (l *iteration) count(r *run) int {
	n := 0
	for i := range l.list {
		if l.test(r, i) {
			n++
		}
	}
	return n
}

func filter(r *run, l *iteration) any {
	kept := []any{}
	for i, v := range l.list {
		if l.test(r, i) {
			kept = r.push(kept, v)
		}
	}
	return kept
}

// push appends, and charges for what append allocates.
func (r *run) push(list []any, v any) []any {
	if len(list) == cap(list) {
		r.items(max(8, 2*len(list)))
		list = slices.Grow(list, max(8, len(list)))
	}
	return append(list, v)
}

func mapList(r *run, l *iteration) any {
	r.items(len(l.list))
	out := make([]any, len(l.list))
	for i := range l.list {
		out[i] = l.each(r, i)
	}
	return out
}

func sum(r *run, l *iteration) any {
	total := any(int64(0))
	for i := range l.list {
		x := r.number(l.what, l.each(r, i))
		t, _ := asNumber(total)
		total = r.plus(t, x)
	}
	return total
}

// groupBy's keys are texts, as are the keys of every map here.
func groupBy(r *run, l *iteration) any {
	groups := map[string]any{}
	for i, v := range l.list {
		key := r.key(l.what, l.each(r, i))
		group, ok := groups[key].([]any)
		if !ok {
			r.entry()
		}
		groups[key] = r.push(group, v)
	}
	return groups
}

// key returns any plain value as a map's key.
func (r *run) key(n ast.Node, v any) string {
	if isList(v) && !isText(v) {
		r.fail(n, "", "%s is a list; want a text or number", r.label(n))
	}
	if _, ok := v.(map[string]any); ok {
		r.fail(n, "", "%s is a map; want a text or number", r.label(n))
	}
	s := r.format(n, v)
	r.touch(len(s))
	return s
}

type pair struct{ key, value any }

func sortBy(r *run, l *iteration) any {
	r.items(4 * len(l.list))
	pairs := make([]pair, len(l.list))
	for i, v := range l.list {
		pairs[i] = pair{l.each(r, i), v}
	}
	descending := r.descending(l.node, l.third, l.given)
	slices.SortStableFunc(pairs, func(a, b pair) int {
		return r.rank(l.what, a.key, b.key, descending)
	})
	out := make([]any, len(pairs))
	for i, p := range pairs {
		out[i] = p.value
	}
	return out
}

func (r *run) descending(n ast.Node, order any, given bool) bool {
	switch {
	case !given || order == "asc":
		return false
	case order == "desc":
		return true
	}
	r.fail(n, `want "asc" or "desc"`, "unknown order %s", r.describe(order))
	return false
}

// rank compares for sorting: a total order, NaN first.
func (r *run) rank(n ast.Node, a, b any, descending bool) int {
	r.step(4)
	d, ok := r.order(a, b)
	if x, isNumber := asNumber(a); isNumber {
		if y, isNumber := asNumber(b); isNumber {
			d, ok = compareNumbers(x, y), true
			if d == unordered {
				d = cmp.Compare(x.float(), y.float())
			}
		}
	}
	if !ok {
		if a == nil || b == nil {
			r.missing(n)
		}
		r.fail(n, "", "can't order %s and %s", r.describe(a), r.describe(b))
	}
	if descending {
		return -d
	}
	return d
}

func reduce(r *run, l *iteration) any {
	acc, from := l.third, 0
	if !l.given {
		if len(l.list) == 0 {
			r.fail(l.node, "give it a first value: reduce(list, #acc + #, 0)", "reduce of an empty list")
		}
		acc, from = l.list[0], 1
	}
	for i := from; i < len(l.list); i++ {
		r.slots[l.slot+2] = acc
		acc = l.each(r, i)
	}
	return acc
}
