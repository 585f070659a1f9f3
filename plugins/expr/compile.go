package expr

// compile.go: syntax tree to closures.

import (
	"fmt"
	"maps"
	"slices"

	"github.com/expr-lang/expr/ast"
)

// compiler is the state of one compilation. It reports errors by a panic with *Error.
type compiler struct {
	*Program
	scope Scope
	nodes int
	depth int
	lets  []local
	loops []loop
}

type local struct {
	name string
	slot int
}

// loop is a predicate being compiled: #, #index and #acc are in three slots from slot on.
type loop struct {
	slot  int
	index *bool // set if the predicate reads #index
	acc   bool  // the loop has an accumulator
}

var topLevel = []string{"event", "last", "state", "now", "host", "env"}

// keyed are variables that a let may hide: they are younger than the language.
var keyed = []string{"own", "key", "sun", "time"}

func compile(src string, base int, s Scope) (p *Program, err error) {
	defer func() {
		switch x := recover().(type) {
		case nil:
			return
		case *Error:
			x.Offset += base
			err = x
		default:
			err = &Error{Offset: base, Length: len(src), Message: "can't be read"}
		}
		p = nil
	}()
	root, big := parse(src)
	c := &compiler{Program: &Program{src: src, base: base, big: big, tree: root, scope: s}, scope: s}
	c.root = c.compile(root)
	slices.Sort(c.uses.Fields)
	slices.Sort(c.uses.LastFields)
	slices.Sort(c.uses.Env)
	slices.Sort(c.uses.Named)
	return c.Program, nil
}

func (c *compiler) fail(n ast.Node, hint, format string, args ...any) {
	e := &Error{Message: fmt.Sprintf(format, args...), Hint: hint}
	e.Offset, e.Length = errorSpan(c.src, n)
	panic(e)
}

func (c *compiler) newSlots(n int) int {
	c.slots += n
	return c.slots - n
}

// compile returns the closure of n. The parser gives some nodes two parents (a < b < c is
// a < b && b < c), so that a tree can be exponential in its source: hence the count here.
func (c *compiler) compile(n ast.Node) fn {
	c.nodes++
	c.depth++
	if c.nodes > maxNodes || c.depth > maxDepth {
		panic(&Error{Length: len(c.src), Message: "the expression has too many parts", Hint: "simplify it"})
	}
	defer func() { c.depth-- }()
	switch n := n.(type) {
	case *ast.NilNode:
		return constant(nil)
	case *ast.BoolNode:
		return constant(n.Value)
	case *ast.IntegerNode:
		return constant(int64(n.Value))
	case *ast.FloatNode:
		return constant(n.Value)
	case *ast.StringNode:
		return constant(n.Value)
	case *ast.BytesNode:
		b := string(n.Value)
		return func(r *run) any { r.size(len(b)); return []byte(b) }
	case *ast.IdentifierNode:
		return c.identifier(n)
	case *ast.PointerNode:
		return c.pointer(n)
	case *ast.UnaryNode:
		return c.unary(n)
	case *ast.BinaryNode:
		return c.binary(n)
	case *ast.ChainNode:
		return c.compile(n.Node)
	case *ast.MemberNode:
		return c.member(n)
	case *ast.SliceNode:
		return c.slice(n)
	case *ast.ConditionalNode:
		cond, yes, no := c.compile(n.Cond), c.compile(n.Exp1), c.compile(n.Exp2)
		return func(r *run) any {
			r.step(1)
			if r.truth(n.Cond, cond(r)) {
				return yes(r)
			}
			return no(r)
		}
	case *ast.VariableDeclaratorNode:
		return c.let(n)
	case *ast.SequenceNode:
		all := c.each(n.Nodes)
		return func(r *run) (v any) {
			for _, f := range all {
				v = f(r)
			}
			return v
		}
	case *ast.ArrayNode:
		all := c.each(n.Nodes)
		return func(r *run) any {
			r.items(len(all))
			list := make([]any, len(all))
			for i, f := range all {
				list[i] = f(r)
			}
			return list
		}
	case *ast.MapNode:
		return c.mapping(n)
	case *ast.BuiltinNode:
		return c.call(n, n.Name, n.Arguments)
	case *ast.CallNode:
		switch callee := n.Callee.(type) {
		case *ast.IdentifierNode:
			return c.call(n, callee.Value, n.Arguments)
		case *ast.MemberNode:
			return c.method(n, callee)
		}
		c.fail(n, "", "only a function can be called")
	}
	c.fail(n, "", "not supported here")
	return nil
}

func constant(v any) fn { return func(*run) any { return v } }

func (c *compiler) each(nodes []ast.Node) []fn {
	all := make([]fn, len(nodes))
	for i, n := range nodes {
		all[i] = c.compile(n)
	}
	return all
}

func (c *compiler) identifier(n *ast.IdentifierNode) fn {
	for _, l := range slices.Backward(c.lets) {
		if l.name == n.Value {
			return func(r *run) any { r.step(1); return r.slots[l.slot] }
		}
	}
	switch n.Value {
	case "event":
		c.uses.Event, c.uses.Whole = true, true
		return func(r *run) any { r.step(1); return orNil(r.v.Event) }
	case "last":
		c.uses.Last, c.uses.LastWhole = true, true
		return func(r *run) any { r.step(1); return orNil(r.v.Last) }
	case "state":
		c.uses.State = true
		return func(r *run) any { r.step(1); return orNil(r.v.State) }
	case "own":
		c.uses.Own = true
		return func(r *run) any { r.step(1); return orNil(r.v.Own) }
	case "key":
		c.uses.Key = true
		return func(r *run) any { r.step(1); return r.v.Key }
	case "now":
		c.uses.Now = true
		return func(r *run) any { r.step(1); return r.v.Now }
	case "host":
		c.uses.Host = true
		return func(r *run) any { r.step(1); return r.v.Host }
	case "env":
		c.fail(n, "write env.NAME", "env is not a value")
	case "sun", "time":
		c.clockAlone(n)
	case "answer":
		if c.scope.Answer != nil {
			return c.answer()
		}
	case "secret":
		if _, ok := c.scope.Named[n.Value]; ok {
			break
		}
		if c.scope.Secrets {
			c.fail(n, `write it by itself, as "Bearer ${secret.name}"`, "an expression cannot read a secret")
		}
		c.fail(n, "${secret.name} is for texts that an action sends, and for some options", "a secret cannot be used here")
	}
	if _, ok := c.scope.Named[n.Value]; ok {
		if !slices.Contains(c.uses.Named, n.Value) {
			c.uses.Named = append(c.uses.Named, n.Value)
		}
		return func(r *run) any {
			r.step(1)
			if v, ok := r.v.Named[n.Value]; ok {
				return v
			}
			return r.v.Shared[n.Value]
		}
	}
	if x, ok := c.big[n.Value]; ok {
		return constant(x.value())
	}
	names := slices.Concat(topLevel, keyed, slices.Sorted(maps.Keys(c.scope.Named)))
	for _, l := range c.lets {
		names = append(names, l.name)
	}
	if functions[n.Value] != nil || predicates[n.Value] != nil {
		c.fail(n, "write "+n.Value+"(…)", "%s is a function", n.Value)
	}
	if where, ok := c.scope.Absent[n.Value]; ok {
		c.fail(n, where, "there is no %s here", n.Value)
	}
	hint := didYouMean(n.Value, append(names, "nil", "true", "false"), false)
	if hint == "" && slices.Contains(c.scope.Fields, n.Value) {
		hint = "did you mean event." + n.Value + "?"
	}
	if hint == "" {
		hint = "there are event, last, state, own, key, now, host, env, sun and time"
	}
	c.fail(n, hint, "unknown name %q", cut(n.Value, 40))
	return nil
}

// orNil returns an untyped nil for a nil map, because a nil map in an interface is not nil.
func orNil(m map[string]any) any {
	if m == nil {
		return nil
	}
	return m
}

func (c *compiler) pointer(n *ast.PointerNode) fn {
	if len(c.loops) == 0 {
		c.fail(n, "", "# is allowed only in the condition of a list function")
	}
	l := c.loops[len(c.loops)-1]
	slot := l.slot
	switch n.Name {
	case "":
	case "index":
		slot++
		*l.index = true
	case "acc":
		if !l.acc {
			c.fail(n, "", "#acc is allowed only in reduce")
		}
		slot += 2
	default:
		c.fail(n, "there are #, #index and #acc", "unknown name %q", "#"+cut(n.Name, 40))
	}
	return func(r *run) any { r.step(1); return r.slots[slot] }
}

func (c *compiler) let(n *ast.VariableDeclaratorNode) fn {
	if slices.Contains(topLevel, n.Name) || slices.ContainsFunc(c.lets, func(l local) bool { return l.name == n.Name }) {
		c.fail(n, "choose another name", "%q is a variable already", n.Name)
	}
	if functions[n.Name] != nil || predicates[n.Name] != nil {
		c.fail(n, "choose another name", "%q is a function", n.Name)
	}
	value := c.compile(n.Value)
	slot := c.newSlots(1)
	c.lets = append(c.lets, local{n.Name, slot})
	body := c.compile(n.Expr)
	c.lets = c.lets[:len(c.lets)-1]
	return func(r *run) any {
		r.step(1)
		r.slots[slot] = value(r)
		return body(r)
	}
}

func (c *compiler) mapping(n *ast.MapNode) fn {
	keys, values := make([]fn, len(n.Pairs)), make([]fn, len(n.Pairs))
	nodes := make([]ast.Node, len(n.Pairs))
	for i, p := range n.Pairs {
		pair := p.(*ast.PairNode)
		nodes[i] = pair.Key
		keys[i], values[i] = c.compile(pair.Key), c.compile(pair.Value)
	}
	return func(r *run) any {
		r.entries(len(keys))
		m := make(map[string]any, len(keys))
		for i := range keys {
			m[r.key(nodes[i], keys[i](r))] = values[i](r)
		}
		return m
	}
}

// truth returns v as a condition's value.
func (r *run) truth(n ast.Node, v any) bool {
	b, ok := v.(bool)
	if !ok {
		if v == nil {
			r.missing(n)
		}
		r.fail(n, "want true or false", "%s is %s", r.label(n), r.describe(v))
	}
	return b
}

// missing fails because n is nil.
func (r *run) missing(n ast.Node) {
	if _, ok := n.(*ast.NilNode); ok {
		r.fail(n, "", "nil can't be used here")
	}
	r.fail(n, "", "%s is missing (nil)", r.label(n))
}

// call compiles a call of a builtin or of a list function with a predicate, and reports unknown
// names.
func (c *compiler) call(n ast.Node, name string, args []ast.Node) fn {
	if p := predicates[name]; p != nil {
		return c.predicate(n, name, p, args)
	}
	f := functions[name]
	if f == nil {
		if why, ok := refused[name]; ok {
			c.fail(n, why, "there is no function %s()", name)
		}
		names := make([]string, 0, len(functions)+len(predicates))
		for name := range functions {
			names = append(names, name)
		}
		for name := range predicates {
			names = append(names, name)
		}
		slices.Sort(names)
		c.fail(n, didYouMean(name, names, false), "unknown function %q", cut(name, 40))
	}
	if len(args) < f.min || f.max >= 0 && len(args) > f.max {
		c.fail(n, f.usage(name), "%s() with %s", name, plural(len(args), "argument"))
	}
	call := &call{node: n, name: name, args: args}
	if f.call == nil {
		return c.special(call)
	}
	compiled := c.each(args)
	return func(r *run) any {
		r.step(2)
		base := len(r.args)
		for _, a := range compiled {
			v := a(r)
			r.args = append(r.args, v)
		}
		v := f.call(r, call, r.args[base:])
		clear(r.args[base:])
		r.args = r.args[:base]
		return v
	}
}

func plural(n int, what string) string {
	switch n {
	case 0:
		return "no " + what
	case 1:
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
