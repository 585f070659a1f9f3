package expr

// value.go: a tree of YAML values with templates in it.

import (
	"fmt"
	"slices"
	"strings"
)

// Value is a tree of lists and maps whose leaves are constants and templates. The zero Value is
// nil.
type Value struct {
	kind  kind
	value any       // of a constant
	t     *Template // of a leaf
	keys  []string  // of a map, in the file's order
	names []string  // the keys as JSON, with the punctuation around them
	items []Value   // of a list or map
	json  string    // of a constant, if computed
	err   *Error    // why a constant cannot be JSON
	whole bool      // made by FromTemplate
}

type kind uint8

const (
	kindConst kind = iota
	kindTemplate
	kindMap
	kindList
)

// Const makes a constant: nil, bool, numbers, strings, and lists and maps ([]any, map[string]any)
// of them.
func Const(v any) Value {
	x := Value{value: v}
	s, err := constantJSON(func(w *writer) { w.json(v, 0) })
	if err != nil {
		x.err = &Error{Message: fmt.Sprint(err)}
	}
	x.json = s
	return x
}

func constantJSON(write func(*writer)) (s string, err error) {
	r := begin(&Vars{})
	defer r.guard(&err)
	w := r.writer(nil)
	write(w)
	return string(w.b), nil
}

// FromTemplate makes a string of the file.
func FromTemplate(t *Template) Value {
	x := Value{kind: kindTemplate, t: t}
	if t.Constant() {
		x = Const(t.literal())
	}
	x.whole = true
	return x
}

// Map makes a map in which values[i] belongs to keys[i]. It panics if their numbers differ.
func Map(keys []string, values []Value) Value {
	if len(keys) != len(values) {
		panic("expr: Map with as many keys as values only")
	}
	x := Value{kind: kindMap, keys: slices.Clone(keys), items: slices.Clone(values)}
	for i, k := range keys {
		name, _ := constantJSON(func(w *writer) { w.quoted(k) })
		if i > 0 {
			name = "," + name
		}
		x.names = append(x.names, name+":")
	}
	return x.settle()
}

// List makes a list.
func List(items []Value) Value {
	return Value{kind: kindList, items: slices.Clone(items)}.settle()
}

// settle turns a tree without templates into a constant.
func (x Value) settle() Value {
	if !x.Constant() {
		return x
	}
	v, err := x.Eval(&Vars{})
	if err != nil {
		return x // reported when the value is used
	}
	s, err := constantJSON(func(w *writer) { w.value(&x, 0) })
	if err != nil {
		return x
	}
	return Value{value: v, json: s}
}

// Constant reports whether the tree has no holes.
func (x Value) Constant() bool {
	if x.kind == kindTemplate {
		return x.t.Constant()
	}
	return !slices.ContainsFunc(x.items, func(y Value) bool { return !y.Constant() })
}

// Whole reports whether the value is a single string of the file, with or without holes. AppendText
// writes such a value as it is, without quotes.
func (x Value) Whole() bool { return x.whole }

// Source returns the expression of a value that is a single ${…}, on one line and cut for messages;
// otherwise it is empty.
func (x Value) Source() string {
	if x.kind != kindTemplate || !x.t.whole {
		return ""
	}
	return cut(strings.Join(strings.Fields(x.t.parts[0].hole.src), " "), 60)
}

// Uses returns what the templates read.
func (x Value) Uses() Uses {
	var u Uses
	if x.t != nil {
		u = x.t.Uses()
	}
	for _, y := range x.items {
		u.Merge(y.Uses())
	}
	return u
}

// Eval evaluates the tree within one budget: a map is a map[string]any, a list an []any. The result
// may share constants with x, so it must not be changed.
func (x Value) Eval(v *Vars) (result any, err error) {
	if x.kind == kindConst {
		return x.value, nil
	}
	r := begin(v)
	defer x.locate(&err)
	defer r.guard(&err)
	y := x.eval(r)
	r.checkResult(y)
	return y, nil
}

func (x Value) eval(r *run) any {
	switch x.kind {
	case kindTemplate:
		return x.t.eval(r)
	case kindMap:
		r.entries(len(x.keys))
		m := make(map[string]any, len(x.keys))
		for i, k := range x.keys {
			m[k] = x.items[i].eval(r)
		}
		return m
	case kindList:
		r.items(len(x.items))
		list := make([]any, len(x.items))
		for i, y := range x.items {
			list[i] = y.eval(r)
		}
		return list
	}
	return x.value
}

// AppendJSON appends the tree as JSON, keys in the order of the file. On an error b is unchanged.
func (x Value) AppendJSON(b []byte, v *Vars) (result []byte, err error) {
	if x.kind == kindConst && x.json != "" {
		return append(b, x.json...), nil
	}
	return x.append(b, v, false)
}

// AppendText appends the tree as a payload: a Whole value by the rules of Text, others as JSON. On
// an error b is unchanged.
func (x Value) AppendText(b []byte, v *Vars) (result []byte, err error) {
	if !x.whole {
		return x.AppendJSON(b, v)
	}
	if x.kind == kindConst {
		return append(b, x.value.(string)...), nil
	}
	return x.append(b, v, true)
}

func (x *Value) append(b []byte, v *Vars, text bool) (result []byte, err error) {
	r := begin(v)
	defer func() {
		if x.locate(&err); err != nil {
			result = b
		}
	}()
	defer r.guard(&err)
	w := writer{r: r, b: b, from: len(b)}
	if text {
		w.text(x.t.eval(r))
	} else {
		w.value(x, 0)
	}
	return w.b, nil
}

// locate completes an error with the path of the template that failed.
func (x *Value) locate(err *error) {
	if e, ok := (*err).(*Error); ok && e.prog != nil {
		e.Path, _ = x.path(e.prog)
	}
}

func (x *Value) path(p *Program) (string, bool) {
	if x.t != nil {
		return "", slices.ContainsFunc(x.t.parts, func(part part) bool { return part.hole == p })
	}
	for i := range x.items {
		if path, ok := x.items[i].path(p); ok {
			at := fmt.Sprintf("[%d]", i)
			if x.kind == kindMap {
				at = x.keys[i]
			}
			if path != "" && path[0] != '[' {
				at += "."
			}
			return at + path, true
		}
	}
	return "", false
}

func (w *writer) value(x *Value, depth int) {
	switch x.kind {
	case kindConst:
		if x.err != nil {
			panic(x.err)
		}
		if x.json == "" {
			w.raw("null") // the zero Value
		}
		w.raw(x.json)
	case kindTemplate:
		if x.t.whole {
			v := w.r.eval(x.t.parts[0].hole)
			w.json(v, depth)
			return
		}
		w.quoted(x.t.text(w.r))
	case kindMap:
		w.r.nested(depth)
		w.raw("{")
		for i := range x.items {
			w.raw(x.names[i])
			w.value(&x.items[i], depth+1)
		}
		w.raw("}")
	case kindList:
		w.open(depth)
		for i := range x.items {
			w.comma(i)
			w.value(&x.items[i], depth+1)
		}
		w.raw("]")
	}
}
