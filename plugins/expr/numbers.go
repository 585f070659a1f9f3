package expr

// numbers.go: numbers, and how they compare. Integers are exact, whatever their size: an int64
// where it fits, otherwise a json.Number with all digits, as package payload decodes them.
// Fractions are float64.

import (
	"encoding/json"
	"math"
	"math/big"
	"reflect"
	"strings"
	"time"
)

// number is an integer, in i or in big where it doesn't fit, or a fraction.
type number struct {
	f   float64
	i   int64
	int bool // the value is i
	big *big.Int
}

const (
	maxDigits = 1000    // of an integer in arithmetic
	maxBits   = 4096    // of a result that stays exact
	maxExact  = 1 << 53 // float64 has all integers up to here
)

// whole reports whether x is an integer by its type: 3, but not 3.0.
func (x number) whole() bool { return x.int || x.big != nil }

func (x number) float() float64 {
	switch {
	case x.big != nil:
		f, _ := new(big.Float).SetInt(x.big).Float64()
		return f
	case x.int:
		return float64(x.i)
	}
	return x.f
}

// integer returns x, which must be an integer, as a new big.Int.
func (x number) integer() *big.Int {
	if x.big != nil {
		return new(big.Int).Set(x.big)
	}
	return big.NewInt(x.i)
}

func (x number) value() any {
	switch {
	case x.big != nil:
		return json.Number(x.big.String())
	case x.int:
		return x.i
	}
	return x.f
}

// exactly returns an integer of any size.
func exactly(b *big.Int) number {
	switch {
	case b.IsInt64():
		return number{i: b.Int64(), int: true}
	case b.BitLen() > maxBits:
		return number{f: number{big: b}.float()}
	}
	return number{big: b}
}

// digits converts a json.Number.
func digits(s json.Number) number {
	if text := string(s); len(text) <= maxDigits && !strings.ContainsAny(text, ".eE") {
		if b, ok := new(big.Int).SetString(text, 10); ok {
			return exactly(b)
		}
	}
	f, _ := s.Float64() // beyond the largest float64 it is infinite
	return number{f: f}
}

func asNumber(v any) (number, bool) {
	switch v := v.(type) {
	case int64:
		return number{i: v, int: true}, true
	case float64:
		return number{f: v}, true
	case int:
		return number{i: int64(v), int: true}, true
	case json.Number:
		return digits(v), true
	case nil, string, bool, []byte, time.Duration, time.Time, map[string]any, []any, []string:
		return number{}, false
	}
	switch x := reflect.ValueOf(v); x.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return number{i: x.Int(), int: true}, true
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		return exactly(new(big.Int).SetUint64(x.Uint())), true
	case reflect.Float32, reflect.Float64:
		return number{f: x.Float()}, true
	}
	return number{}, false
}

// Missing says in a few words why v is not a value that can be sent or used, and is empty when it
// is one. Absent fields, unreadable registers and failed sensors leave nil, NaN and infinities
// behind.
func Missing(v any) string {
	switch v.(type) {
	case nil:
		return "is missing (nil)"
	case json.Number: // it may be larger than any float64, but it is as it was sent
		return ""
	}
	if x, ok := asNumber(v); ok && !x.whole() && (math.IsNaN(x.f) || math.IsInf(x.f, 0)) {
		return "is " + Text(x.f) + ", which is not a number"
	}
	return ""
}

// unordered is the result of comparing NaN, which is neither less nor greater than anything.
const unordered = 2

// compareNumbers compares by value, exactly.
func compareNumbers(x, y number) int {
	switch {
	case x.int && y.int:
		switch {
		case x.i < y.i:
			return -1
		case x.i > y.i:
			return 1
		}
		return 0
	case x.whole() && y.whole():
		return x.integer().Cmp(y.integer())
	case x.whole() || y.whole():
		if f := x.f + y.f; math.IsNaN(f) { // the integer has 0 there
			return unordered
		} else if math.IsInf(f, 0) || math.Abs(x.float()) < maxExact && math.Abs(y.float()) < maxExact {
			break
		}
		return x.exact().Cmp(y.exact())
	}
	f, g := x.float(), y.float()
	switch {
	case f < g:
		return -1
	case f > g:
		return 1
	case f == g:
		return 0
	}
	return unordered
}

// exact returns x, which must be finite, with all its digits.
func (x number) exact() *big.Float {
	if x.whole() {
		return new(big.Float).SetInt(x.integer())
	}
	return big.NewFloat(x.f)
}

// Equal reports whether == holds between two values: numbers compare by value, text and bytes by
// their text, lists and maps by their contents.
func Equal(a, b any) (equal bool) {
	r := begin(&Vars{})
	var err error // past a bound they are not equal
	defer r.guard(&err)
	return r.equal(a, b, 0)
}
