package expr

// functions.go: the table of functions, and the functions on numbers and bits. The table refused
// lists the library's builtins that are missing, and why.

import (
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"math/big"
	"strconv"
	"strings"

	"github.com/expr-lang/expr/ast"
)

// function is a builtin. (*compiler).special compiles those without call.
type function struct {
	min, max int // arguments; max -1: any number
	args     string
	call     func(r *run, c *call, a []any) any
}

func (f *function) usage(name string) string { return "write " + name + "(" + f.args + ")" }

// call is a function call in the source.
type call struct {
	node ast.Node
	name string
	args []ast.Node
}

// refused says what to write in place of a missing builtin.
var refused = map[string]string{
	"now":     "now is a variable: write now",
	"env":     "write env.NAME",
	"sprintf": "write format(text, …)",
	"println": "",
	"if":      "write condition ? a : b",
}

var functions = merged(numberFunctions, mathFunctions, textFunctions, listFunctions, timeFunctions)

func merged(tables ...map[string]*function) map[string]*function {
	all := map[string]*function{}
	for _, t := range tables {
		maps.Copy(all, t)
	}
	return all
}

var numberFunctions = map[string]*function{
	"abs": {1, 1, "x", func(r *run, c *call, a []any) any {
		if d, ok := duration(a[0]); ok {
			return d.Abs()
		}
		x := r.number(c.args[0], a[0])
		switch {
		case x.int && x.i != math.MinInt64:
			return max(x.i, -x.i)
		case x.whole():
			return exactly(x.integer().Abs(x.integer())).value()
		}
		return math.Abs(x.f)
	}},
	"ceil":  {1, 1, "x", rounding(math.Ceil)},
	"floor": {1, 1, "x", rounding(math.Floor)},
	"round": {1, 2, "x, digits", round},
	"int":   {1, 1, "x", toInt},
	"float": {1, 1, "x", toFloat},
	"string": {1, 1, "x", func(r *run, c *call, a []any) any {
		return r.format(c.args[0], a[0])
	}},
	"bool": {1, 1, "x", toBool},
	"type": {1, 1, "x", func(r *run, c *call, a []any) any { return typeOf(a[0]) }},
	"clamp": {3, 3, "x, low, high", func(r *run, c *call, a []any) any {
		x, low, high := r.number(c.args[0], a[0]), r.number(c.args[1], a[1]), r.number(c.args[2], a[2])
		if compareNumbers(low, high) > 0 {
			r.fail(c.node, "", "clamp from %s down to %s", Text(low.value()), Text(high.value()))
		}
		if compareNumbers(x, low) < 0 {
			return low.value()
		}
		if compareNumbers(x, high) == 1 {
			return high.value()
		}
		return x.value()
	}},
	"scale": {5, 5, "x, inLow, inHigh, outLow, outHigh", scale},

	"bitand":  bitwise(func(x, y int64) int64 { return x & y }),
	"bitor":   bitwise(func(x, y int64) int64 { return x | y }),
	"bitxor":  bitwise(func(x, y int64) int64 { return x ^ y }),
	"bitnand": bitwise(func(x, y int64) int64 { return x &^ y }),
	"bitshl":  shift(func(x int64, n uint) int64 { return x << n }),
	"bitshr":  shift(func(x int64, n uint) int64 { return x >> n }),
	"bitushr": shift(func(x int64, n uint) int64 { return int64(uint64(x) >> n) }),
	"bitnot": {1, 1, "x", func(r *run, c *call, a []any) any {
		return ^r.integer(c.args[0], a[0])
	}},
	"hex": {1, 1, "bytes", func(r *run, c *call, a []any) any {
		if x, ok := whole(a[0]); ok {
			return strconv.FormatInt(x, 16)
		}
		if x, ok := asNumber(a[0]); ok && x.big != nil {
			return x.big.Text(16)
		}
		s := r.text(c.args[0], a[0])
		r.size(2 * len(s))
		r.step(len(s) >> 3)
		return hex.EncodeToString([]byte(s))
	}},
}

func rounding(f func(float64) float64) func(*run, *call, []any) any {
	return func(r *run, c *call, a []any) any {
		x := r.number(c.args[0], a[0])
		if x.whole() {
			return x.value()
		}
		return integral(f(x.f))
	}
}

// integral converts a float without a fraction to an integer if it fits: round(20.5) is 21 and not
// 21.0.
func integral(f float64) any {
	if math.Abs(f) < 1<<53 {
		return int64(f)
	}
	return f
}

func round(r *run, c *call, a []any) any {
	x := r.number(c.args[0], a[0])
	if len(a) == 1 {
		if x.whole() {
			return x.value()
		}
		return integral(math.Round(x.f))
	}
	digits := r.integer(c.args[1], a[1])
	if digits < 0 || digits > 15 {
		r.fail(c.args[1], "want 0 to 15", "%d digits", digits)
	}
	if x.whole() {
		return x.value()
	}
	if digits == 0 {
		return integral(math.Round(x.f))
	}
	p := math.Pow10(int(digits))
	y := math.Round(x.f*p) / p
	if math.IsInf(y, 0) || math.IsNaN(y) {
		return x.f // so large that it has no digits to round
	}
	return y
}

func toInt(r *run, c *call, a []any) any {
	if x, ok := asNumber(a[0]); ok {
		if x.whole() {
			return x.value()
		}
		if math.IsNaN(x.f) || x.f >= 1<<63 || x.f < -1<<63 {
			r.fail(c.args[0], "", "%s is %s, too large for an integer", r.label(c.args[0]), Text(x.f))
		}
		return int64(x.f)
	}
	if d, ok := duration(a[0]); ok {
		return int64(d)
	}
	if b, ok := a[0].(bool); ok {
		if b {
			return int64(1)
		}
		return int64(0)
	}
	s := strings.TrimSpace(r.text(c.args[0], a[0]))
	if len(s) <= 64 {
		if i, err := strconv.ParseInt(s, 10, 64); err == nil {
			return i
		}
		if b, ok := new(big.Int).SetString(s, 10); ok {
			return exactly(b).value()
		}
		if f, err := strconv.ParseFloat(s, 64); err == nil && f == math.Trunc(f) && math.Abs(f) < 1<<53 {
			return int64(f)
		}
	}
	r.fail(c.args[0], "", "%s is %q, not a whole number", r.label(c.args[0]), cut(s, 40))
	return nil
}

func toFloat(r *run, c *call, a []any) any {
	if x, ok := asNumber(a[0]); ok {
		return x.float()
	}
	s := strings.TrimSpace(r.text(c.args[0], a[0]))
	if len(s) <= 400 {
		if f, err := strconv.ParseFloat(s, 64); err == nil && !math.IsNaN(f) && !math.IsInf(f, 0) {
			return f
		}
	}
	r.fail(c.args[0], "", "%s is %q, not a number", r.label(c.args[0]), cut(s, 40))
	return nil
}

func toBool(r *run, c *call, a []any) any {
	if b, ok := a[0].(bool); ok {
		return b
	}
	if x, ok := asNumber(a[0]); ok {
		return x.float() != 0
	}
	s := strings.TrimSpace(r.text(c.args[0], a[0]))
	if len(s) <= 5 {
		switch strings.ToLower(s) {
		case "true", "on", "yes", "1":
			return true
		case "false", "off", "no", "0", "":
			return false
		}
	}
	r.fail(c.args[0], "", "%s is %q, neither true nor false", r.label(c.args[0]), cut(s, 40))
	return nil
}

func typeOf(v any) string {
	switch v.(type) {
	case nil:
		return "nil"
	case bool:
		return "bool"
	case []byte:
		return "bytes"
	case map[string]any:
		return "map"
	}
	if _, ok := duration(v); ok {
		return "duration"
	}
	if _, ok := instant(v); ok {
		return "time"
	}
	if x, ok := asNumber(v); ok {
		if x.whole() {
			return "int"
		}
		return "float"
	}
	if isList(v) {
		return "array"
	}
	if isText(v) {
		return "string"
	}
	return "unknown"
}

// scale maps x linearly from one range to another. x may be outside the range.
func scale(r *run, c *call, a []any) any {
	var x [5]float64
	for i := range x {
		x[i] = r.number(c.args[i], a[i]).float()
	}
	if x[1] == x[2] {
		r.fail(c.args[1], "", "scale from an empty range: %s to %s", Text(x[1]), Text(x[2]))
	}
	return x[3] + (x[0]-x[1])/(x[2]-x[1])*(x[4]-x[3])
}

func bitwise(f func(x, y int64) int64) *function {
	return &function{2, 2, "x, y", func(r *run, c *call, a []any) any {
		return f(r.integer(c.args[0], a[0]), r.integer(c.args[1], a[1]))
	}}
}

func shift(f func(x int64, n uint) int64) *function {
	return &function{2, 2, "x, n", func(r *run, c *call, a []any) any {
		n := r.integer(c.args[1], a[1])
		if n < 0 {
			r.fail(c.args[1], "", "shift by %d", n)
		}
		return f(r.integer(c.args[0], a[0]), uint(min(n, 64)))
	}}
}

// constantText returns argument i, which must be a text literal.
func (c *compiler) constantText(call *call, i int, why string) string {
	s, ok := call.args[i].(*ast.StringNode)
	if !ok {
		c.fail(call.args[i], fmt.Sprintf(`write it as a text: %s("…")`, call.name), "%s", why)
	}
	c.nodes++
	return s.Value
}
