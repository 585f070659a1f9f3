package expr

// values.go: the kinds of values, and how they compare.

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/expr-lang/expr/ast"

	"github.com/postbus/postbus/config/yamlnode"
)

// stringer returns v if it is more than a plain value and has a text of its own.
func stringer(v any) (fmt.Stringer, bool) {
	switch v := v.(type) {
	case nil, string, bool, int, int64, float64, json.Number, []byte, []any, []string, map[string]any, time.Time:
		return nil, false
	case time.Duration:
		return plainDuration(v), true
	}
	s, ok := v.(fmt.Stringer)
	return s, ok
}

// plainDuration is a duration with the text that people write: 10m, not 10m0s.
type plainDuration time.Duration

func (d plainDuration) String() string { return yamlnode.FormatDuration(time.Duration(d)) }

// isText reports whether v is a text, bytes, or has a text (a topic's levels), but is not a time or
// number.
func isText(v any) bool {
	switch v.(type) {
	case string, []byte:
		return true
	case time.Duration, json.Number:
		return false
	}
	_, ok := stringer(v)
	return ok || v != nil && reflect.TypeOf(v).Kind() == reflect.String
}

// text returns v as a text, if it is one or has one. Numbers and the like fail.
func (r *run) text(n ast.Node, v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []byte:
		r.size(len(v))
		return string(v)
	case nil:
		r.missing(n)
	case time.Duration, json.Number:
	default:
		if s, ok := stringer(v); ok {
			text := s.String()
			r.size(len(text))
			return text
		}
		if x := reflect.ValueOf(v); x.Kind() == reflect.String {
			return x.String()
		}
	}
	r.fail(n, "string(…) makes a text", "%s is %s; want a text", r.label(n), r.describe(v))
	return ""
}

// describe says what v is, for messages: `5, a number`.
func (r *run) describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "nil"
	case bool:
		return fmt.Sprint(v)
	case string:
		return fmt.Sprintf("%q, a text", cut(v, 40))
	case []byte:
		return fmt.Sprintf("%q, bytes", cut(string(v[:min(len(v), 60)]), 40))
	case time.Time:
		return v.Format(time.RFC3339) + ", a time"
	case time.Duration:
		return v.String() + ", a duration"
	case map[string]any:
		return fmt.Sprintf("a map with %s", plural(len(v), "key"))
	}
	if isText(v) {
		return fmt.Sprintf("%q, a text", cut(Text(v), 40))
	}
	if _, ok := asNumber(v); ok {
		return cut(Text(v), 40) + ", a number"
	}
	if isList(v) {
		return fmt.Sprintf("a list with %s", plural(reflect.ValueOf(v).Len(), "element"))
	}
	return "neither text nor number"
}

// equal compares deeply. Numbers are equal by value, a text equals bytes and levels by their text.
func (r *run) equal(a, b any, depth int) bool {
	switch x := a.(type) {
	case nil:
		return b == nil
	case string:
		if y, ok := b.(string); ok {
			if len(x) != len(y) {
				return false
			}
			r.touch(len(x))
			return x == y
		}
	case bool:
		y, ok := b.(bool)
		return ok && x == y
	case time.Time:
		y, ok := b.(time.Time)
		return ok && x.Equal(y)
	case time.Duration:
		y, ok := b.(time.Duration)
		return ok && x == y
	case []byte:
		if y, ok := b.([]byte); ok {
			r.touch(min(len(x), len(y)))
			return bytes.Equal(x, y)
		}
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok || len(x) != len(y) {
			return false
		}
		r.nested(depth)
		for k, v := range x {
			r.step(2 + len(k)>>5)
			w, ok := y[k]
			if !ok || !r.equal(v, w, depth+1) {
				return false
			}
		}
		return true
	case []any:
		if y, ok := b.([]any); ok {
			return r.equalLists(x, y, depth)
		}
	}
	if b == nil {
		return false
	}
	if x, ok := asNumber(a); ok {
		if y, ok := asNumber(b); ok {
			return compareNumbers(x, y) == 0
		}
	}
	if isText(a) && isText(b) {
		s, t := r.text(nil, a), r.text(nil, b)
		r.touch(len(s))
		return s == t
	}
	if s, ok := stringer(a); ok {
		if y, ok := b.(string); ok {
			return s.String() == y
		}
	}
	if s, ok := stringer(b); ok {
		if x, ok := a.(string); ok {
			return s.String() == x
		}
	}
	if isList(a) && isList(b) {
		return r.equalLists(r.list(nil, a), r.list(nil, b), depth)
	}
	return false
}

func (r *run) equalLists(x, y []any, depth int) bool {
	if len(x) != len(y) {
		return false
	}
	r.nested(depth)
	for i := range x {
		r.step(1)
		if !r.equal(x[i], y[i], depth+1) {
			return false
		}
	}
	return true
}

func (r *run) nested(depth int) {
	if depth >= maxNested {
		r.limit("lists and maps are nested deeper than 1,000", "")
	}
}

// compare orders numbers, texts, times and durations.
func (r *run) compare(n *ast.BinaryNode, a, b any) int {
	if x, ok := asNumber(a); ok {
		if y, ok := asNumber(b); ok {
			return compareNumbers(x, y)
		}
	}
	if d, ok := r.order(a, b); ok {
		return d
	}
	if a == nil {
		r.missing(n.Left)
	}
	if b == nil {
		r.missing(n.Right)
	}
	hint := ""
	if isText(a) != isText(b) {
		hint = "float(…) makes a number of a text"
	}
	r.fail(n, hint, "%s is %s, can't compare it with %s", r.label(n.Left), r.describe(a), r.describe(b))
	return 0
}

// order compares values other than numbers.
func (r *run) order(a, b any) (int, bool) {
	switch x := a.(type) {
	case string:
		if y, ok := b.(string); ok {
			r.touch(min(len(x), len(y)))
			return strings.Compare(x, y), true
		}
	case time.Time:
		if y, ok := b.(time.Time); ok {
			return x.Compare(y), true
		}
		return 0, false
	case time.Duration:
		if y, ok := b.(time.Duration); ok {
			return cmp.Compare(x, y), true
		}
		return 0, false
	case bool:
		return 0, false
	}
	if isText(a) && isText(b) {
		x, y := r.text(nil, a), r.text(nil, b)
		r.touch(min(len(x), len(y)))
		return strings.Compare(x, y), true
	}
	return 0, false
}

func (r *run) in(n *ast.BinaryNode, x, where any) bool {
	switch w := where.(type) {
	case nil:
		return false
	case []any:
		for _, v := range w {
			r.step(1)
			if r.equal(v, x, 0) {
				return true
			}
		}
		return false
	case []string:
		for _, v := range w {
			r.step(1)
			if r.equal(v, x, 0) {
				return true
			}
		}
		return false
	case map[string]any:
		if x == nil {
			return false
		}
		key := r.text(n.Left, x)
		r.touch(len(key)) // to hash it
		_, ok := w[key]
		return ok
	}
	if isText(where) && !isList(where) {
		r.fail(n, "use contains: text contains part", "%s is a text; in is for lists and maps", r.label(n.Right))
	}
	for _, v := range r.list(n.Right, where) {
		r.step(1)
		if r.equal(v, x, 0) {
			return true
		}
	}
	return false
}
