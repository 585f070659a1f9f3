package expr

// explain.go: why a condition was false.

import (
	"strconv"
	"strings"

	"github.com/expr-lang/expr/ast"
)

// MaxExplain is the maximum length of Explain's result, in bytes.
const MaxExplain = 200

// cause is a part of a condition that an explanation can name when it is false.
type cause struct {
	node        ast.Node
	op          string // && and || have left and right causes
	left, right *cause
	value       fn // of the whole part
	a, b        fn // of a comparison's sides; nil if the side is a constant
	compared    *ast.BinaryNode
}

// causeOf compiles the parts of a condition again, each by itself. They reuse the slots of the
// program, because both never run at the same time.
func (p *Program) causeOf() (why *cause, slots int) {
	defer func() {
		if recover() != nil {
			why = nil // cannot happen: the whole was compiled before
		}
	}()
	c := &compiler{Program: &Program{src: p.src, base: p.base, big: p.big}, scope: p.scope}
	c.nodes = -2 * maxNodes // each part may be compiled three times
	return c.cause(p.tree), c.slots
}

func (c *compiler) cause(n ast.Node) *cause {
	w := &cause{node: n}
	b, ok := n.(*ast.BinaryNode)
	if !ok {
		w.value = c.compile(n)
		return w
	}
	switch b.Operator {
	case "&&", "and", "||", "or":
		l, right := c.cause(b.Left), c.cause(b.Right)
		w.left, w.right, w.op = l, right, "&&"
		w.value = func(r *run) any { return r.truth(b.Left, l.value(r)) && r.truth(b.Right, right.value(r)) }
		if b.Operator == "||" || b.Operator == "or" {
			w.op = "||"
			w.value = func(r *run) any { return r.truth(b.Left, l.value(r)) || r.truth(b.Right, right.value(r)) }
		}
		return w
	case "==", "!=", "<", "<=", ">", ">=", "in", "matches", "contains", "startsWith", "endsWith":
		w.compared = b
		if !c.literal(b.Left) {
			w.a = c.compile(b.Left)
		}
		if !c.literal(b.Right) {
			w.b = c.compile(b.Right)
		}
	}
	w.value = c.compile(n)
	return w
}

func (c *compiler) literal(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.NilNode, *ast.IntegerNode, *ast.FloatNode, *ast.StringNode, *ast.BoolNode, *ast.BytesNode:
		return true
	case *ast.IdentifierNode:
		_, ok := c.big[n.Value]
		return ok
	case *ast.UnaryNode:
		return n.Operator != "!" && n.Operator != "not" && c.literal(n.Node)
	case *ast.ArrayNode:
		for _, x := range n.Nodes {
			if !c.literal(x) {
				return false
			}
		}
		return true
	case *ast.BinaryNode:
		return n.Operator == ".." && c.literal(n.Left) && c.literal(n.Right)
	}
	return false
}

// Explain says why the condition is not true: `event.temp=18.2 > 20 is false`. It names the part
// that decides the condition. It never fails, and its result is at most MaxExplain bytes long.
func (p *Program) Explain(v *Vars) (s string) {
	var err error
	func() {
		r := begin(v)
		defer r.guard(&err)
		p.once.Do(func() { p.why, p.whySlots = p.causeOf() })
		r.reserve(p.whySlots)
		r.prog = p
		s = r.explain(p.why)
	}()
	if err != nil {
		s = err.Error()
	}
	return cut(strings.ToValidUTF8(s, "�"), MaxExplain)
}

func (r *run) explain(w *cause) string {
	switch w.op {
	case "&&":
		if v, ok := w.left.value(r).(bool); !ok || !v {
			return r.explain(w.left)
		}
		return r.explain(w.right)
	case "||":
		if v, ok := w.left.value(r).(bool); !ok || v {
			return r.explain(w.left)
		}
		left := r.explain(w.left)
		return cut(left, MaxExplain/2-3) + ", " + r.explain(w.right)
	}
	v := w.value(r)
	is := " is " + cut(r.shown(v), 60)
	if w.compared == nil {
		return r.label(w.node) + is
	}
	left, right := r.label(w.compared.Left), r.label(w.compared.Right)
	if w.a != nil {
		left = cut(left, 60) + "=" + cut(r.shown(w.a(r)), 40)
	}
	if w.b != nil {
		right = cut(right, 60) + "=" + cut(r.shown(w.b(r)), 40)
	}
	return cut(left, 90) + " " + w.compared.Operator + " " + cut(right, 90) + is
}

// shown formats v for an explanation.
func (r *run) shown(v any) string {
	switch v := v.(type) {
	case nil:
		return "nil"
	case string:
		return strconv.Quote(cut(v, 40))
	case []byte:
		return strconv.Quote(cut(string(v[:min(len(v), 60)]), 40))
	case map[string]any, []any:
		return r.describe(v)
	}
	if isText(v) {
		return strconv.Quote(cut(Text(v), 40))
	}
	return Text(v)
}
