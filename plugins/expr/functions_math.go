package expr

// functions_math.go: the functions of mathematics. A result that is no finite number is an error,
// as a division by zero is.

import "math"

var mathFunctions = map[string]*function{
	"sqrt":  real1(math.Sqrt),
	"sin":   real1(math.Sin),
	"cos":   real1(math.Cos),
	"tan":   real1(math.Tan),
	"asin":  real1(math.Asin),
	"acos":  real1(math.Acos),
	"atan":  real1(math.Atan),
	"log":   real1(math.Log),
	"log10": real1(math.Log10),
	"log2":  real1(math.Log2),
	"exp":   real1(math.Exp),
	"atan2": real2("y, x", math.Atan2),
	"pow":   real2("x, y", math.Pow),
	"sign": {1, 1, "x", func(r *run, c *call, a []any) any {
		switch x := r.number(c.args[0], a[0]); compareNumbers(x, number{int: true}) {
		case -1:
			return int64(-1)
		case 0:
			return int64(0)
		case 1:
			return int64(1)
		}
		r.fail(c.args[0], "", "%s is NaN, which is not a number", r.label(c.args[0]))
		return nil
	}},
}

func real1(f func(float64) float64) *function {
	return &function{1, 1, "x", func(r *run, c *call, a []any) any {
		x := r.number(c.args[0], a[0]).float()
		return r.finite(c, f(x), Text(x))
	}}
}

func real2(args string, f func(x, y float64) float64) *function {
	return &function{2, 2, args, func(r *run, c *call, a []any) any {
		x, y := r.number(c.args[0], a[0]).float(), r.number(c.args[1], a[1]).float()
		return r.finite(c, f(x, y), Text(x)+", "+Text(y))
	}}
}

// finite returns the result y of a function, or fails if it is not a number.
func (r *run) finite(c *call, y float64, args string) any {
	r.step(8)
	if math.IsNaN(y) || math.IsInf(y, 0) {
		r.fail(c.node, "", "%s(%s) is %s, which is not a number", c.name, args, Text(y))
	}
	return y
}
