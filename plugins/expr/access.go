package expr

// access.go: members, elements and parts of values. Any access to nil is nil.

import (
	"reflect"
	"slices"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
)

func (c *compiler) member(n *ast.MemberNode) fn {
	name, byName := n.Property.(*ast.StringNode)
	if id, ok := n.Node.(*ast.IdentifierNode); ok && !c.isLet(id.Value) {
		switch id.Value {
		case "event":
			if byName {
				return c.field(n, name)
			}
		case "last":
			if byName {
				return c.lastField(name)
			}
		case "env":
			if !byName {
				c.fail(id, "write env.NAME", "env is not a value")
			}
			return c.env(n, name)
		case "sun", "time":
			if !byName {
				c.clockAlone(id)
			}
			return c.clock(id, name)
		}
	}
	if id, ok := n.Node.(*ast.IdentifierNode); ok && byName && id.Value == "answer" && !c.isLet("answer") && c.scope.Answer != nil &&
		!slices.Contains(c.scope.Answer, name.Value) {
		hint := didYouMean(name.Value, c.scope.Answer, true)
		if hint == "" {
			hint = "it has " + list(c.scope.Answer)
		}
		c.fail(name, hint, "answer has no field %q", cut(name.Value, 40))
	}
	path := c.pathOf(n.Node)
	whole := slices.Contains(c.uses.Named, path)
	base := c.compile(n.Node)
	if byName {
		if c.memberOf(path, name) && !whole { // it is used for this name only
			c.uses.Named = slices.DeleteFunc(c.uses.Named, func(s string) bool { return s == path })
		}
		key, cost := name.Value, nameCost(name)
		c.nodes++
		return func(r *run) any {
			r.step(cost)
			v := base(r)
			if m, ok := v.(map[string]any); ok {
				return m[key]
			}
			return r.byName(n, v, key)
		}
	}
	index := c.compile(n.Property)
	return func(r *run) any {
		r.step(1)
		v := base(r)
		return r.element(n, v, index(r))
	}
}

// answer is a field of the event.
func (c *compiler) answer() fn {
	c.uses.Event = true
	if !slices.Contains(c.uses.Fields, "answer") {
		c.uses.Fields = append(c.uses.Fields, "answer")
	}
	return func(r *run) any { r.step(1); return r.v.Event["answer"] }
}

// pathOf returns the path of a further variable, or of a member of one, as "uses.mode"; "" for other nodes.
func (c *compiler) pathOf(n ast.Node) string {
	switch n := n.(type) {
	case *ast.IdentifierNode:
		if _, ok := c.scope.Named[n.Value]; ok && !c.isLet(n.Value) {
			return n.Value
		}
	case *ast.ChainNode:
		return c.pathOf(n.Node)
	case *ast.MemberNode:
		if name, ok := n.Property.(*ast.StringNode); ok {
			if base := c.pathOf(n.Node); base != "" {
				return base + "." + name.Value
			}
		}
	}
	return ""
}

// memberOf checks a name below the further variable of a path, and notes its use. It reports whether the names
// there are known.
func (c *compiler) memberOf(path string, name *ast.StringNode) bool {
	known, ok := c.scope.Members[path]
	if !ok {
		return false
	}
	if !slices.Contains(known, name.Value) {
		hint := didYouMean(name.Value, known, true)
		if hint == "" {
			hint = "it has " + list(known)
		}
		c.fail(name, hint, "%s has no %q", path, cut(name.Value, 40))
	}
	if used := path + "." + name.Value; !slices.Contains(c.uses.Named, used) {
		c.uses.Named = append(c.uses.Named, used)
	}
	return true
}

// nameCost is the cost of hashing a name.
func nameCost(name *ast.StringNode) int { return 1 + len(name.Value)>>5 }

func (c *compiler) isLet(name string) bool {
	return slices.ContainsFunc(c.lets, func(l local) bool { return l.name == name })
}

func (c *compiler) field(n *ast.MemberNode, name *ast.StringNode) fn {
	key := name.Value
	c.nodes++
	c.uses.Event = true
	if !slices.Contains(c.uses.Fields, key) {
		c.uses.Fields = append(c.uses.Fields, key)
	}
	if !c.scope.Open && len(c.scope.Fields) > 0 && !slices.Contains(c.scope.Fields, key) {
		hint := didYouMean(key, c.scope.Fields, true)
		if hint == "" {
			hint = "it has " + list(c.scope.Fields)
		}
		c.fail(name, hint, "event has no field %q", cut(key, 40))
	}
	cost := nameCost(name)
	return func(r *run) any { r.step(cost); return r.v.Event[key] }
}

// lastField is a field of last. It need not be one that event has now.
func (c *compiler) lastField(name *ast.StringNode) fn {
	key, cost := name.Value, nameCost(name)
	c.nodes++
	c.uses.Last = true
	if !slices.Contains(c.uses.LastFields, key) {
		c.uses.LastFields = append(c.uses.LastFields, key)
	}
	return func(r *run) any { r.step(cost); return r.v.Last[key] }
}

func (c *compiler) env(n *ast.MemberNode, name *ast.StringNode) fn {
	key := name.Value
	c.nodes++
	if !slices.Contains(c.scope.Env, key) {
		hint := didYouMean(key, c.scope.Env, true)
		if hint == "" {
			hint = "allow it in the configuration"
		}
		c.fail(name, hint, "env.%s is not allowed", cut(key, 40))
	}
	if !slices.Contains(c.uses.Env, key) {
		c.uses.Env = append(c.uses.Env, key)
	}
	cost := nameCost(name)
	return func(r *run) any {
		r.step(cost)
		if s, ok := r.v.Env[key]; ok {
			return s
		}
		return nil
	}
}

func (r *run) byName(n *ast.MemberNode, v any, key string) any {
	switch v := v.(type) {
	case nil:
		return nil
	case map[string]any:
		return v[key]
	case map[string]string:
		if s, ok := v[key]; ok {
			return s
		}
		return nil
	case Lookup:
		r.touch(len(key))
		return v.Lookup(key)
	}
	if m := reflect.ValueOf(v); m.Kind() == reflect.Map && m.Type().Key().Kind() == reflect.String {
		if x := m.MapIndex(reflect.ValueOf(key).Convert(m.Type().Key())); x.IsValid() {
			return x.Interface()
		}
		return nil
	}
	if methodFor(v, key) != nil {
		r.fail(n, "write "+key+"()", "%s is %s; %s is a method", r.label(n.Node), r.describe(v), cut(key, 40))
	}
	hint := ""
	if _, ok := r.bytesOf(v); ok {
		hint = "fromJSON(…) reads JSON"
	}
	r.fail(n, hint, "%s is %s and has no field %q", r.label(n.Node), r.describe(v), cut(key, 40))
	return nil
}

// bytesOf reports whether v is a text or bytes, and returns its length.
func (r *run) bytesOf(v any) (int, bool) {
	switch v := v.(type) {
	case string:
		return len(v), true
	case []byte:
		return len(v), true
	}
	return 0, false
}

// element returns v[i].
func (r *run) element(n *ast.MemberNode, v, i any) any {
	switch v := v.(type) {
	case nil:
		return nil
	case map[string]any:
		if i == nil {
			return nil
		}
		key := r.text(n.Property, i)
		r.touch(len(key)) // to hash it
		return v[key]
	case []any:
		return v[r.index(n, i, len(v))]
	case []string:
		return v[r.index(n, i, len(v))]
	case []byte:
		return int64(v[r.index(n, i, len(v))])
	case string:
		r.touch(len(v))
		at := r.index(n, i, utf8.RuneCountInString(v))
		for _, c := range v {
			if at == 0 {
				return string(c)
			}
			at--
		}
	}
	switch x := reflect.ValueOf(v); x.Kind() {
	case reflect.Slice, reflect.Array:
		return x.Index(r.index(n, i, x.Len())).Interface()
	case reflect.Map:
		key := r.text(n.Property, i)
		r.touch(len(key))
		return r.byName(n, v, key)
	}
	if key, ok := i.(string); ok {
		return r.byName(n, v, key)
	}
	r.fail(n, "", "%s is %s and has no elements", r.label(n.Node), r.describe(v))
	return nil
}

// index returns i as an index into length elements; -1 is the last.
func (r *run) index(n *ast.MemberNode, i any, length int) int {
	if i == nil {
		r.missing(n.Property)
	}
	x, ok := whole(i)
	if !ok {
		r.fail(n.Property, "want the number of an element", "%s is %s", r.label(n.Property), r.describe(i))
	}
	at := x
	if at < 0 {
		at += int64(length)
	}
	if at < 0 || at >= int64(length) {
		r.fail(n, "", "%s has no element %d", r.label(n.Node), x)
	}
	return int(at)
}

func (c *compiler) slice(n *ast.SliceNode) fn {
	base := c.compile(n.Node)
	from, to := constant(nil), constant(nil)
	if n.From != nil {
		from = c.compile(n.From)
	}
	if n.To != nil {
		to = c.compile(n.To)
	}
	return func(r *run) any {
		r.step(1)
		v := base(r)
		a, b := from(r), to(r)
		bounds := func(length int) (int, int) {
			i, j := r.bound(n.From, a, 0, length), r.bound(n.To, b, length, length)
			return min(i, j), j
		}
		switch v := v.(type) {
		case nil:
			return nil
		case string:
			r.touch(len(v))
			i, j := bounds(utf8.RuneCountInString(v))
			return v[runeOffset(v, i):runeOffset(v, j)]
		case []byte:
			i, j := bounds(len(v))
			return v[i:j:j]
		case []string:
			i, j := bounds(len(v))
			return v[i:j:j]
		case []any:
			i, j := bounds(len(v))
			return v[i:j:j]
		}
		if !isList(v) {
			r.fail(n, "", "%s is %s and has no parts", r.label(n.Node), r.describe(v))
		}
		list := r.list(n.Node, v)
		i, j := bounds(len(list))
		return list[i:j:j]
	}
}

func (r *run) bound(n ast.Node, v any, otherwise, length int) int {
	if v == nil {
		if n != nil {
			r.missing(n)
		}
		return otherwise
	}
	x, ok := whole(v)
	if !ok {
		r.fail(n, "want a whole number", "%s is %s", r.label(n), r.describe(v))
	}
	if x < 0 {
		x += int64(length)
	}
	return int(min(max(x, 0), int64(length)))
}

func runeOffset(s string, n int) int {
	for i := range s {
		if n == 0 {
			return i
		}
		n--
	}
	return len(s)
}

func isList(v any) bool {
	switch v.(type) {
	case []any, []string:
		return true
	case nil, string, []byte, map[string]any:
		return false
	}
	k := reflect.TypeOf(v).Kind()
	return k == reflect.Slice || k == reflect.Array
}

// list returns v as a list of any, which must not be changed.
func (r *run) list(n ast.Node, v any) []any {
	switch v := v.(type) {
	case nil:
		r.missing(n)
	case []any:
		return v
	case []string:
		r.items(2 * len(v))
		list := make([]any, len(v))
		for i, s := range v {
			list[i] = s
		}
		return list
	case map[string]any:
		r.fail(n, "use keys(…), values(…) or toPairs(…)", "%s is a map; want a list", r.label(n))
	case string, []byte:
		r.fail(n, "", "%s is %s; want a list", r.label(n), r.describe(v))
	}
	x := reflect.ValueOf(v)
	if x.Kind() != reflect.Slice && x.Kind() != reflect.Array {
		r.fail(n, "", "%s is %s; want a list", r.label(n), r.describe(v))
	}
	r.items(2 * x.Len())
	r.step(x.Len())
	list := make([]any, x.Len())
	for i := range list {
		list[i] = x.Index(i).Interface()
	}
	return list
}

func list(names []string) string {
	s := ""
	for i, name := range names {
		if i == 8 {
			return s + ", …"
		}
		if i > 0 {
			s += ", "
		}
		s += cut(name, 40)
	}
	return s
}
