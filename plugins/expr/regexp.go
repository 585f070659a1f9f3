package expr

// regexp.go: matches. Go's regular expressions take time in proportion to text and pattern, so
// patterns are constant, small, and compiled once.

import (
	"regexp"
	"regexp/syntax"

	"github.com/expr-lang/expr/ast"
)

const (
	maxPattern      = 1_000 // bytes
	maxInstructions = 1_000 // of its compiled program
)

func (c *compiler) matches(n *ast.BinaryNode) fn {
	text := c.compile(n.Left)
	p, ok := n.Right.(*ast.StringNode)
	if !ok {
		c.fail(n.Right, "write the pattern as a text; contains, startsWith and in take any value",
			"the pattern of matches is not constant")
	}
	c.nodes++
	if len(p.Value) > maxPattern {
		c.fail(p, "", "the pattern is longer than 1,000 bytes")
	}
	tree, err := syntax.Parse(p.Value, syntax.Perl)
	if err != nil {
		reason := "it can't be read"
		if e, ok := err.(*syntax.Error); ok {
			reason = e.Code.String()
			if e.Expr != "" {
				reason += ": " + cut(e.Expr, 40)
			}
		}
		c.fail(p, "", "not a pattern: %s", reason)
	}
	instructions := weight(tree)
	if instructions > maxInstructions {
		c.fail(p, "repeat less: {n,m} counts its part m times", "the pattern is too large")
	}
	re, err := regexp.Compile(p.Value)
	if err != nil {
		c.fail(p, "", "not a pattern")
	}
	return func(r *run) any {
		r.step(2)
		v := text(r)
		if v == nil {
			return false
		}
		s := r.text(n.Left, v)
		cost := int64(len(s)) * int64(instructions) / 16
		if prefix, complete := re.LiteralPrefix(); complete && prefix != "" {
			cost = int64(len(s)) / 32
		}
		r.step(int(min(cost, 2*MaxSteps)))
		return re.MatchString(s)
	}
}

// weight estimates the instructions of a pattern's program before it is compiled.
func weight(t *syntax.Regexp) int {
	sum := 1 + len(t.Rune)/16
	if t.Op == syntax.OpLiteral {
		sum = 1 + len(t.Rune)
	}
	for _, sub := range t.Sub {
		sum += weight(sub)
	}
	if t.Op == syntax.OpRepeat {
		n := t.Max
		if n < 0 {
			n = t.Min + 1
		}
		sum = min(sum*max(n, 1), 1<<20)
	}
	return min(sum, 1<<20)
}
