package expr

// static.go: what is known of a value without an event. Only what is wrong for every event is an
// error.

import (
	"strings"

	"github.com/expr-lang/expr/ast"
)

// Type is what is known of a field's values. The zero Type is any.
type Type string

// The types that are distinguished.
const (
	TypeText     Type = "a text"
	TypeLevels   Type = "a text with all levels of a topic" // it contains /
	TypeNumber   Type = "a number"
	TypeBool     Type = "true or false"
	TypeTime     Type = "a time"
	TypeDuration Type = "a duration"
	TypeMap      Type = "a map"
)

// typeOf returns the type of n, or "".
func (c *compiler) typeOf(n ast.Node) Type {
	switch n := n.(type) {
	case *ast.IntegerNode, *ast.FloatNode:
		return TypeNumber
	case *ast.StringNode:
		return TypeText
	case *ast.UnaryNode:
		if n.Operator == "-" && c.typeOf(n.Node) == TypeNumber {
			return TypeNumber
		}
	case *ast.IdentifierNode:
		if c.isLet(n.Value) {
			return ""
		}
		if _, ok := c.big[n.Value]; ok {
			return TypeNumber
		}
		if t, ok := c.scope.Named[n.Value]; ok {
			return t
		}
		return map[string]Type{"event": TypeMap, "last": TypeMap, "state": TypeMap, "own": TypeMap, "key": TypeText, "now": TypeTime, "host": TypeText}[n.Value]
	case *ast.ChainNode:
		return c.typeOf(n.Node)
	case *ast.MemberNode:
		name, ok := n.Property.(*ast.StringNode)
		if id, is := n.Node.(*ast.IdentifierNode); ok && is && (id.Value == "event" || id.Value == "last") && !c.isLet(id.Value) {
			return c.scope.Types[name.Value]
		}
		return clockTypes[c.clockMember(n)]
	}
	return ""
}

// comparable fails when the two sides of a comparison are known to be incomparable: by < and the
// like when ordered is set, by == otherwise.
func (c *compiler) comparable(n *ast.BinaryNode, ordered bool) {
	c.weekday(n.Left, n.Right)
	c.weekday(n.Right, n.Left)
	if ordered && (c.clockMember(n.Left) == "time.weekday" || c.clockMember(n.Right) == "time.weekday") {
		c.fail(n, `write time.weekday in ["sat", "sun"]`, "days of the week have no order")
	}
	for _, side := range [][2]ast.Node{{n.Left, n.Right}, {n.Right, n.Left}} {
		id, ok := side[0].(*ast.IdentifierNode)
		if !ok || c.typeOf(id) != TypeMap {
			continue
		}
		other := side[1]
		_, isMember := other.(*ast.MemberNode)
		if t := c.typeOf(other); t != TypeMap && (t != "" || isMember) {
			hint := "write a field of it: " + id.Value + ".value"
			if m, ok := other.(*ast.MemberNode); ok {
				if name, ok := m.Property.(*ast.StringNode); ok {
					hint = "write " + id.Value + "." + name.Value
				}
			}
			what := "the whole event"
			switch id.Value {
			case "state":
				what = "all of the plugin's state"
			case "own":
				what = "all that the entry keeps for a key"
			case "last":
				what = "the whole last event"
			}
			c.fail(id, hint, "%s is %s, not one of its fields", id.Value, what)
		}
	}
	a, b := plainText(c.typeOf(n.Left)), plainText(c.typeOf(n.Right))
	if a == "" || b == "" || a == b {
		return
	}
	hint := ""
	switch {
	case a == TypeText && b == TypeNumber:
		hint = "float(…) makes a number of a text"
	case a == TypeNumber && b == TypeText:
		hint = "write the number without quotes; float(…) makes a number of a text"
	case a == TypeTime || b == TypeTime:
		hint = "date(…) makes a time of a text"
	case a == TypeDuration || b == TypeDuration:
		hint = `duration("10s") is one`
	}
	if ordered {
		c.fail(n, hint, "%s is never compared with %s", a, b)
	}
	c.fail(n, hint, "%s never equals %s", a, b)
}

func plainText(t Type) Type {
	if t == TypeLevels {
		return TypeText
	}
	return t
}

// Slash returns an error where a hole yields a / for every possible event, or nearly: a text with
// one, or all levels of a topic. Otherwise it is nil.
func (t *Template) Slash() error {
	for _, p := range t.parts {
		if p.hole == nil {
			continue
		}
		c := &compiler{Program: p.hole, scope: p.hole.scope}
		if n := c.slash(p.hole.tree); n != nil {
			e := &Error{Message: quote(p.hole.src, n) + " holds a /"}
			e.Offset, e.Length = errorSpan(p.hole.src, n)
			e.Offset += p.hole.base
			return e
		}
	}
	return nil
}

// slash returns the part of n that puts a / into its value.
func (c *compiler) slash(n ast.Node) ast.Node {
	first := func(nodes ...ast.Node) ast.Node {
		for _, n := range nodes {
			if found := c.slash(n); found != nil {
				return found
			}
		}
		return nil
	}
	switch n := n.(type) {
	case *ast.StringNode:
		if strings.Contains(n.Value, "/") {
			return n
		}
	case *ast.BinaryNode:
		if n.Operator == "+" || n.Operator == "??" {
			return first(n.Left, n.Right)
		}
	case *ast.ConditionalNode:
		return first(n.Exp1, n.Exp2)
	case *ast.ChainNode:
		return c.slash(n.Node)
	case *ast.MemberNode:
		if c.typeOf(n) == TypeLevels {
			return n
		}
	}
	return nil
}
