package payload

// This file decodes JSON and keeps integers exact. 64-bit identifiers and counters are common, and
// a float64 keeps only 53 bits of them.

import (
	"bytes"
	"encoding/json"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// JSON returns the value of b when it is one JSON value in text as Text reads it; otherwise ok is
// false.
func JSON(b []byte) (v any, ok bool) {
	b = bytes.Trim(Decode(b), " \t\r\n")
	if len(b) == 0 || strings.IndexByte(`{["-0123456789tfn`, b[0]) < 0 || !json.Valid(b) {
		return nil, false
	}
	return Value(string(b), free{}), true
}

// Budget is charged for each value before Value makes it. It aborts decoding by a panic.
type Budget interface {
	Charge(steps, bytes int)
	Nested(depth int)
}

type free struct{}

func (free) Charge(int, int) {}
func (free) Nested(int)      {} // json.Valid bounds the nesting

// Value decodes s, which has to be valid JSON: nil, bool, int64, float64, json.Number, string,
// []any, map[string]any.
func Value(s string, b Budget) any {
	d := decoder{b: b, s: s}
	return d.value(0)
}

type decoder struct {
	b Budget
	s string
	i int
}

func (d *decoder) space() byte {
	for d.s[d.i] == ' ' || d.s[d.i] == '\t' || d.s[d.i] == '\n' || d.s[d.i] == '\r' {
		d.i++
	}
	return d.s[d.i]
}

func (d *decoder) value(depth int) any {
	d.b.Nested(depth)
	d.b.Charge(1, 0)
	switch d.space() {
	case '{':
		return d.object(depth)
	case '[':
		return d.list(depth)
	case '"':
		return d.text()
	case 't':
		d.i += len("true")
		return true
	case 'f':
		d.i += len("false")
		return false
	case 'n':
		d.i += len("null")
		return nil
	}
	from := d.i
	for d.i < len(d.s) && strings.IndexByte("+-.0123456789eE", d.s[d.i]) >= 0 {
		d.i++
	}
	d.b.Charge((d.i-from)>>4, 8)
	return Number(d.s[from:d.i])
}

func (d *decoder) list(depth int) any {
	d.i++
	list := []any{}
	for d.space() != ']' {
		v := d.value(depth + 1)
		if len(list) == cap(list) {
			d.b.Charge(0, 16*max(4, len(list)))
		}
		list = append(list, v)
		if d.space() == ',' {
			d.i++
		}
	}
	d.i++
	return list
}

func (d *decoder) object(depth int) any {
	d.i++
	m := map[string]any{}
	d.b.Charge(0, 64)
	for d.space() != '}' {
		key := d.text()
		d.space()
		d.i++ // the colon
		if len(m) == 0 {
			d.b.Charge(0, 250)
		}
		d.b.Charge(1, 100)
		m[key] = d.value(depth + 1)
		if d.space() == ',' {
			d.i++
		}
	}
	d.i++
	return m
}

func (d *decoder) text() string {
	d.space()
	from, plain := d.i, true
	for d.i++; d.s[d.i] != '"'; d.i++ {
		if d.s[d.i] == '\\' {
			d.i++
			plain = false
		}
		if d.s[d.i] >= 0x80 {
			plain = false // may not be UTF-8
		}
	}
	d.i++
	d.b.Charge(0, 16+d.i-from)
	if plain {
		return d.s[from+1 : d.i-1]
	}
	d.b.Charge(8+(d.i-from)>>3, 256+d.i-from)
	var s string
	if json.Unmarshal([]byte(d.s[from:d.i]), &s) != nil {
		return d.s[from+1 : d.i-1]
	}
	return s
}

// exactDigits is how many digits every float64 keeps.
const exactDigits = 15

// maxDigits bounds the numbers whose value is computed beyond a float64.
const maxDigits = 1000

// Number decodes a number of JSON: int64 if it is an integer and fits, however it is written;
// json.Number if it is an integer that a float64 would round, or if it is larger than any float64;
// otherwise float64.
func Number(s string) any {
	if !strings.ContainsAny(s, ".eE") {
		if i, err := strconv.ParseInt(s, 10, 64); err == nil {
			return i
		}
		return json.Number(s)
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return json.Number(s)
	}
	if math.Abs(f) < 1<<53 || len(s) <= exactDigits || len(s) > maxDigits {
		return f
	}
	exact, ok := new(big.Rat).SetString(s) // its exponent is at most that of a float64
	if !ok || !exact.IsInt() || new(big.Rat).SetFloat64(f).Cmp(exact) == 0 {
		return f
	}
	if exact.Num().IsInt64() {
		return exact.Num().Int64()
	}
	return json.Number(exact.Num().String())
}
