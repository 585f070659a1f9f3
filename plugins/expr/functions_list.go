package expr

// functions_list.go: functions on lists and maps. Maps are iterated in the order of their keys.

import (
	"math"
	"math/bits"
	"reflect"
	"slices"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
)

var listFunctions = map[string]*function{
	"len":       {1, 1, "x", length},
	"first":     {1, 1, "list", end(0)},
	"last":      {1, 1, "list", end(-1)},
	"get":       {2, 2, "x, key", get},
	"take":      {2, 2, "list, count", take},
	"keys":      {1, 1, "map", func(r *run, c *call, a []any) any { return r.pairs(c, a[0], 'k') }},
	"values":    {1, 1, "map", func(r *run, c *call, a []any) any { return r.pairs(c, a[0], 'v') }},
	"toPairs":   {1, 1, "map", func(r *run, c *call, a []any) any { return r.pairs(c, a[0], 'p') }},
	"fromPairs": {1, 1, "list", fromPairs},
	"reverse":   {1, 1, "list", reverse},
	"uniq":      {1, 1, "list", uniq},
	"concat":    {1, -1, "list, list", concat},
	"flatten":   {1, 1, "list", flatten},
	"sort":      {1, 2, "list, order", sortList},
	"min":       {1, -1, "x, y", extreme(-1)},
	"max":       {1, -1, "x, y", extreme(1)},
	"mean":      {1, -1, "list", mean},
	"median":    {1, -1, "list", median},
}

// length counts characters, elements or keys; of bytes it counts bytes.
func length(r *run, c *call, a []any) any {
	switch v := a[0].(type) {
	case nil:
		r.missing(c.args[0])
	case string:
		r.touch(len(v))
		return int64(utf8.RuneCountInString(v))
	case []byte:
		return int64(len(v))
	}
	switch v := reflect.ValueOf(a[0]); v.Kind() {
	case reflect.Slice, reflect.Array, reflect.Map:
		return int64(v.Len())
	}
	if !isText(a[0]) {
		r.fail(c.args[0], "", "%s is %s and has no length", r.label(c.args[0]), r.describe(a[0]))
	}
	return int64(utf8.RuneCountInString(r.text(c.args[0], a[0])))
}

func end(i int) func(*run, *call, []any) any {
	return func(r *run, c *call, a []any) any {
		if a[0] == nil {
			return nil
		}
		list := r.list(c.args[0], a[0])
		switch {
		case len(list) == 0:
			return nil
		case i < 0:
			return list[len(list)-1]
		}
		return list[0]
	}
}

// get returns x[key], and nil where that would be an error.
func get(r *run, c *call, a []any) any {
	if a[0] == nil || a[1] == nil {
		return nil
	}
	n := &ast.MemberNode{Node: c.args[0], Property: c.args[1]}
	n.SetLocation(c.node.Location())
	if i, ok := whole(a[1]); ok {
		length := int64(-1)
		if v := reflect.ValueOf(a[0]); isList(a[0]) || v.Kind() == reflect.Slice {
			length = int64(v.Len())
		} else if s, ok := a[0].(string); ok {
			r.touch(len(s))
			length = int64(utf8.RuneCountInString(s))
		}
		if length >= 0 && (i >= length || i < -length) {
			return nil
		}
	}
	return r.element(n, a[0], a[1])
}

func take(r *run, c *call, a []any) any {
	n := r.integer(c.args[1], a[1])
	if n < 0 {
		r.fail(c.args[1], "", "take %d elements", n)
	}
	list := r.list(c.args[0], a[0])
	i := int(min(n, int64(len(list))))
	return list[:i:i]
}

// mapOf returns v as a map.
func (r *run) mapOf(n ast.Node, v any) map[string]any {
	m, ok := v.(map[string]any)
	if ok {
		return m
	}
	if v == nil {
		r.missing(n)
	}
	x := reflect.ValueOf(v)
	if x.Kind() != reflect.Map || x.Type().Key().Kind() != reflect.String {
		r.fail(n, "", "%s is %s; want a map", r.label(n), r.describe(v))
	}
	r.entries(x.Len())
	m = make(map[string]any, x.Len())
	for it := x.MapRange(); it.Next(); {
		m[it.Key().String()] = it.Value().Interface()
	}
	return m
}

// sortedKeys appends m's keys to keys in sorted order.
func (r *run) sortedKeys(keys []string, m map[string]any) []string {
	if len(m) > cap(keys) {
		r.items(len(m))
		keys = make([]string, 0, len(m))
	}
	size := 0
	for k := range m {
		keys = append(keys, k)
		size += len(k)
	}
	r.step(1 + (len(m)+size>>5)*bits.Len(uint(len(m)))>>1)
	slices.Sort(keys)
	return keys
}

func (r *run) pairs(c *call, v any, what byte) any {
	m := r.mapOf(c.args[0], v)
	keys := r.sortedKeys(nil, m)
	r.items(len(m))
	if what != 'v' {
		r.alloc(len(m) * 16) // the keys as interfaces
	}
	if what == 'p' {
		r.alloc(len(m) * 56)
	}
	list := make([]any, len(keys))
	for i, k := range keys {
		switch what {
		case 'k':
			list[i] = k
		case 'v':
			list[i] = m[k]
		case 'p':
			list[i] = []any{k, m[k]}
		}
	}
	return list
}

func fromPairs(r *run, c *call, a []any) any {
	list := r.list(c.args[0], a[0])
	r.entries(len(list))
	m := make(map[string]any, len(list))
	for _, v := range list {
		r.step(1)
		if v == nil || !isList(v) {
			r.fail(c.node, "want [key, value]", "an element is %s", r.describe(v))
		}
		p := r.list(c.args[0], v)
		if len(p) != 2 {
			r.fail(c.node, "want [key, value]", "an element is %s", r.describe(v))
		}
		m[r.key(c.args[0], p[0])] = p[1]
	}
	return m
}

func reverse(r *run, c *call, a []any) any {
	list := r.list(c.args[0], a[0])
	r.items(len(list))
	out := slices.Clone(list)
	slices.Reverse(out)
	return out
}

// uniq keeps the first of equal elements. It looks up texts and numbers; it compares other elements
// with each other, and charges for every comparison.
func uniq(r *run, c *call, a []any) any {
	out, others, seen := []any{}, []any(nil), map[any]bool{}
next:
	for _, v := range r.list(c.args[0], a[0]) {
		r.step(2)
		switch key := r.scalar(v); {
		case key == nil:
			for _, w := range others {
				r.step(1)
				if r.equal(v, w, 0) {
					continue next
				}
			}
			others = r.push(others, v)
		case seen[key]:
			continue next
		default:
			r.entry()
			seen[key] = true
		}
		out = r.push(out, v)
	}
	return out
}

// scalar returns a map key that is the same for equal values, or nil if v has none.
func (r *run) scalar(v any) any {
	if x, ok := asNumber(v); ok {
		if i, ok := whole(v); ok {
			return i
		}
		if x.big != nil {
			return x.value() // as digits
		}
		if x.f != x.f {
			return nil
		}
		return x.f
	}
	if b, ok := v.(bool); ok {
		return b
	}
	if isText(v) && !isList(v) {
		s := r.text(nil, v)
		r.touch(len(s))
		return s
	}
	return nil
}

func concat(r *run, c *call, a []any) any {
	n := 0
	lists := make([][]any, len(a))
	for i := range a {
		lists[i] = r.list(c.args[i], a[i])
		n += len(lists[i])
		if n > MaxResult {
			break
		}
	}
	r.items(n)
	return slices.Concat(lists...)
}

func flatten(r *run, c *call, a []any) any {
	out := []any{}
	var add func(list []any, depth int)
	add = func(list []any, depth int) {
		r.nested(depth)
		for _, v := range list {
			r.step(1)
			if isList(v) && !isText(v) {
				add(r.list(c.args[0], v), depth+1)
			} else {
				out = r.push(out, v)
			}
		}
	}
	add(r.list(c.args[0], a[0]), 0)
	return out
}

func sortList(r *run, c *call, a []any) any {
	list := r.list(c.args[0], a[0])
	var order any
	if len(a) == 2 {
		order = a[1]
	}
	descending := r.descending(c.node, order, len(a) == 2)
	r.items(len(list))
	out := slices.Clone(list)
	slices.SortStableFunc(out, func(x, y any) int { return r.rank(c.args[0], x, y, descending) })
	return out
}

// leaves calls f for the arguments that aren't lists, and for the elements of those that are.
func (r *run) leaves(c *call, a []any, f func(n ast.Node, v any)) {
	var visit func(n ast.Node, list []any, depth int)
	visit = func(n ast.Node, list []any, depth int) {
		r.nested(depth)
		for _, v := range list {
			r.step(1)
			if isList(v) {
				visit(n, r.list(n, v), depth+1)
			} else {
				f(n, v)
			}
		}
	}
	for i, v := range a {
		if isList(v) {
			visit(c.args[i], r.list(c.args[i], v), 0)
		} else {
			f(c.args[i], v)
		}
	}
}

// extreme returns min or max of numbers, of times, or of durations; nil without any.
func extreme(sign int) func(*run, *call, []any) any {
	return func(r *run, c *call, a []any) any {
		var best any
		r.leaves(c, a, func(n ast.Node, v any) {
			if best == nil {
				if _, ok := asNumber(v); !ok && typeOf(v) != "time" && typeOf(v) != "duration" {
					r.number(n, v)
				}
				best = v
			} else if r.rank(n, v, best, false)*sign > 0 {
				best = v
			}
		})
		if x, ok := asNumber(best); ok {
			return x.value()
		}
		return best
	}
}

func mean(r *run, c *call, a []any) any {
	sum, n := 0.0, 0
	r.leaves(c, a, func(node ast.Node, v any) {
		sum += r.number(node, v).float()
		n++
	})
	if n == 0 {
		return 0.0
	}
	return sum / float64(n)
}

func median(r *run, c *call, a []any) any {
	var all []float64
	r.leaves(c, a, func(node ast.Node, v any) {
		r.alloc(40) // including what append copies
		all = append(all, r.number(node, v).float())
	})
	if len(all) == 0 {
		return 0.0
	}
	r.step(len(all) * int(1+math.Log2(float64(len(all)))))
	slices.Sort(all)
	if m := len(all) / 2; len(all)%2 == 0 {
		return (all[m-1] + all[m]) / 2
	}
	return all[len(all)/2]
}
