package expr

// operators.go: arithmetic and logic.

import (
	"math"
	"math/big"
	"strings"
	"time"

	"github.com/expr-lang/expr/ast"
)

func (c *compiler) unary(n *ast.UnaryNode) fn {
	x := c.compile(n.Node)
	switch n.Operator {
	case "!", "not":
		return func(r *run) any { r.step(1); return !r.truth(n.Node, x(r)) }
	case "-":
		return func(r *run) any {
			r.step(1)
			v := x(r)
			if d, ok := v.(time.Duration); ok {
				return -d
			}
			y := r.number(n.Node, v)
			switch {
			case y.int && y.i != math.MinInt64:
				return -y.i
			case y.whole():
				return exactly(y.integer().Neg(y.integer())).value()
			}
			return -y.f
		}
	}
	return func(r *run) any { r.step(1); return r.number(n.Node, x(r)).value() }
}

func (c *compiler) binary(n *ast.BinaryNode) fn {
	switch n.Operator {
	case "matches":
		return c.matches(n)
	case "in":
		c.weekday(n.Left, n.Right)
		if span, ok := n.Right.(*ast.BinaryNode); ok && span.Operator == ".." {
			return c.inRange(n, span)
		}
	}
	a, b := c.compile(n.Left), c.compile(n.Right)
	switch n.Operator {
	case "==", "!=":
		c.comparable(n, false)
	case "<", "<=", ">", ">=":
		c.comparable(n, true)
	}
	switch n.Operator {
	case "&&", "and":
		return func(r *run) any { r.step(1); return r.truth(n.Left, a(r)) && r.truth(n.Right, b(r)) }
	case "||", "or":
		return func(r *run) any { r.step(1); return r.truth(n.Left, a(r)) || r.truth(n.Right, b(r)) }
	case "??":
		return func(r *run) any {
			r.step(1)
			if v := a(r); v != nil {
				return v
			}
			return b(r)
		}
	case "==":
		return func(r *run) any { r.step(1); x := a(r); return r.equal(x, b(r), 0) }
	case "!=":
		return func(r *run) any { r.step(1); x := a(r); return !r.equal(x, b(r), 0) }
	case "<":
		return func(r *run) any { r.step(1); x := a(r); return r.compare(n, x, b(r)) < 0 }
	case "<=":
		return func(r *run) any { r.step(1); x := a(r); d := r.compare(n, x, b(r)); return d <= 0 }
	case ">":
		return func(r *run) any { r.step(1); x := a(r); d := r.compare(n, x, b(r)); return d > 0 && d != unordered }
	case ">=":
		return func(r *run) any { r.step(1); x := a(r); d := r.compare(n, x, b(r)); return d >= 0 && d != unordered }
	case "in":
		return func(r *run) any { r.step(1); x := a(r); return r.in(n, x, b(r)) }
	case "contains", "startsWith", "endsWith":
		test := map[string]func(s, part string) bool{
			"contains": strings.Contains, "startsWith": strings.HasPrefix, "endsWith": strings.HasSuffix,
		}[n.Operator]
		return func(r *run) any {
			r.step(1)
			x, y := a(r), b(r)
			if x == nil || y == nil {
				return false
			}
			if n.Operator == "contains" && isList(x) {
				if _, ok := stringer(x); !ok {
					r.fail(n, "use in: element in list", "%s is a list; contains is for texts", r.label(n.Left))
				}
			}
			s, part := r.text(n.Left, x), r.text(n.Right, y)
			r.touch(len(s) + len(part))
			return test(s, part)
		}
	case "..":
		return func(r *run) any { r.step(1); x := a(r); return r.span(n, x, b(r)) }
	case "+":
		return func(r *run) any { r.step(1); x := a(r); return r.add(n, x, b(r)) }
	case "-", "*", "/", "%", "**", "^":
		op := n.Operator[0]
		if n.Operator == "**" {
			op = '^'
		}
		return func(r *run) any { r.step(1); x := a(r); return r.arithmetic(n, op, x, b(r)) }
	}
	c.fail(n, "", "unknown operator %q", n.Operator)
	return nil
}

func (r *run) add(n *ast.BinaryNode, a, b any) any {
	if x, ok := asNumber(a); ok {
		if y, ok := asNumber(b); ok {
			return r.plus(x, y)
		}
	}
	if a == nil {
		r.missing(n.Left)
	}
	if b == nil {
		r.missing(n.Right)
	}
	switch a := a.(type) {
	case time.Time:
		if d, ok := b.(time.Duration); ok {
			return a.Add(d)
		}
	case time.Duration:
		switch b := b.(type) {
		case time.Time:
			return b.Add(a)
		case time.Duration:
			return a + b
		}
	}
	if isText(a) && isText(b) {
		s, t := r.text(n.Left, a), r.text(n.Right, b)
		r.size(len(s) + len(t))
		return s + t
	}
	if isList(a) && isList(b) {
		x, y := r.list(n.Left, a), r.list(n.Right, b)
		r.items(len(x) + len(y))
		return append(append(make([]any, 0, len(x)+len(y)), x...), y...)
	}
	hint := ""
	if isText(a) || isText(b) {
		hint = "string(…) makes a text, float(…) a number"
	}
	r.fail(n, hint, "can't add %s and %s", r.describe(a), r.describe(b))
	return nil
}

func (r *run) arithmetic(n *ast.BinaryNode, op byte, a, b any) any {
	if v, ok := r.times(op, n, a, b); ok {
		return v
	}
	x, y := r.number(n.Left, a), r.number(n.Right, b)
	switch op {
	case '-':
		if x.int && y.int {
			if d := x.i - y.i; (d < x.i) == (y.i > 0) {
				return d
			}
		}
		if x.whole() && y.whole() {
			return r.exactly((*big.Int).Sub, x, y)
		}
		return x.float() - y.float()
	case '*':
		if x.int && y.int {
			if x.i == 0 || y.i == 0 {
				return int64(0)
			}
			p := x.i * y.i
			if p/y.i == x.i && !(x.i == -1 && y.i == math.MinInt64) && !(y.i == -1 && x.i == math.MinInt64) {
				return p
			}
		}
		if x.whole() && y.whole() {
			return r.exactly((*big.Int).Mul, x, y)
		}
		return x.float() * y.float()
	case '/':
		if y.float() == 0 {
			r.fail(n, "", "division by zero: %s is 0", r.label(n.Right))
		}
		if x.whole() && y.whole() && math.Abs(x.float()) > maxExact {
			if q, remainder := new(big.Int).QuoRem(x.integer(), y.integer(), new(big.Int)); remainder.Sign() == 0 {
				return r.exactly(nil, exactly(q), number{})
			}
		}
		return x.float() / y.float()
	case '%':
		if y.float() == 0 {
			r.fail(n, "", "division by zero: %s is 0", r.label(n.Right))
		}
		if x.int && y.int {
			if y.i == -1 {
				return int64(0)
			}
			return x.i % y.i
		}
		if x.whole() && y.whole() {
			return r.exactly((*big.Int).Rem, x, y)
		}
		return math.Mod(x.float(), y.float())
	}
	return math.Pow(x.float(), y.float())
}

func (r *run) plus(x, y number) any {
	if x.int && y.int {
		if s := x.i + y.i; (s > x.i) == (y.i > 0) {
			return s
		}
	}
	if x.whole() && y.whole() {
		return r.exactly((*big.Int).Add, x, y)
	}
	return x.float() + y.float()
}

// exactly returns the result of an operation on integers that don't fit into int64.
func (r *run) exactly(op func(z, x, y *big.Int) *big.Int, x, y number) any {
	r.alloc(maxBits / 8)
	if op != nil {
		x = exactly(op(new(big.Int), x.integer(), y.integer()))
	}
	return x.value()
}

// times is the arithmetic of times and durations.
func (r *run) times(op byte, n *ast.BinaryNode, a, b any) (any, bool) {
	switch a := a.(type) {
	case time.Time:
		switch b := b.(type) {
		case time.Time:
			if op == '-' {
				return a.Sub(b), true
			}
		case time.Duration:
			if op == '-' {
				return a.Add(-b), true
			}
		}
	case time.Duration:
		if b, ok := b.(time.Duration); ok {
			switch {
			case op == '-':
				return a - b, true
			case op == '/' && b != 0:
				return float64(a) / float64(b), true
			}
			return nil, false
		}
		if y, ok := asNumber(b); ok {
			switch {
			case op == '*':
				return scaled(a, y.float()), true
			case op == '/' && y.float() != 0:
				return scaled(a, 1/y.float()), true
			}
		}
	default:
		if d, ok := b.(time.Duration); ok && op == '*' {
			if x, ok := asNumber(a); ok {
				return scaled(d, x.float()), true
			}
		}
	}
	return nil, false
}

// scaled multiplies. A result that doesn't fit becomes the longest duration.
func scaled(d time.Duration, by float64) time.Duration {
	x := float64(d) * by
	switch {
	case x >= math.MaxInt64:
		return math.MaxInt64
	case x <= math.MinInt64:
		return math.MinInt64
	case x != x:
		return 0
	}
	return time.Duration(x)
}

// span returns the list of integers a..b.
func (r *run) span(n *ast.BinaryNode, a, b any) any {
	from, to := r.integer(n.Left, a), r.integer(n.Right, b)
	if to < from {
		return []any{}
	}
	count := uint64(to) - uint64(from)
	if count >= MaxResult {
		r.limit("result is larger than 1MiB", "")
	}
	r.items(int(count) + 1)
	r.alloc(int(count) * 8)
	list := make([]any, count+1)
	for i := range list {
		list[i] = from + int64(i)
	}
	return list
}

func (c *compiler) inRange(n, span *ast.BinaryNode) fn {
	x, a, b := c.compile(n.Left), c.compile(span.Left), c.compile(span.Right)
	return func(r *run) any {
		r.step(1)
		v := x(r)
		from, to := r.integer(span.Left, a(r)), r.integer(span.Right, b(r))
		i, ok := whole(v)
		return ok && from <= i && i <= to
	}
}

// number returns v as a number, or fails.
func (r *run) number(n ast.Node, v any) number {
	x, ok := asNumber(v)
	if !ok {
		if v == nil {
			r.missing(n)
		}
		hint := ""
		if isText(v) {
			hint = "float(…) makes a number of a text"
		}
		r.fail(n, hint, "%s is %s; want a number", r.label(n), r.describe(v))
	}
	return x
}

// integer returns v as an integer, or fails.
func (r *run) integer(n ast.Node, v any) int64 {
	i, ok := whole(v)
	if !ok {
		if v == nil {
			r.missing(n)
		}
		r.fail(n, "", "%s is %s; want a whole number", r.label(n), r.describe(v))
	}
	return i
}

// whole returns v as an integer if it is one, also when it is a float.
func whole(v any) (int64, bool) {
	x, ok := asNumber(v)
	if !ok {
		return 0, false
	}
	if x.int {
		return x.i, true
	}
	if x.big != nil || x.f != math.Trunc(x.f) || math.Abs(x.f) >= 1<<63 {
		return 0, false
	}
	return int64(x.f), true
}
