package expr

// render.go: values as text and as JSON, streamed into a buffer with bounds on size and depth.

import (
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/expr-lang/expr/ast"
)

// Text renders v as inside a text: numbers at their shortest (3 rather than 3.0 or 3e+06), a time
// as RFC 3339, bytes as text, a fmt.Stringer by its String, lists and maps as JSON. A result of
// more than 1 MiB is cut off. It is for messages to people: nil is empty and NaN is "NaN", which
// are errors in a template (see Missing).
func Text(v any) (s string) {
	switch v := v.(type) {
	case string:
		return v
	case nil:
		return ""
	}
	r := begin(&Vars{})
	w := r.writer(nil)
	w.lenient = true
	defer func() { s = string(w.b) }()
	var err error
	defer r.guard(&err)
	w.text(v)
	return
}

// format returns v, the value of n, as text. It fails for what Missing reports.
func (r *run) format(n ast.Node, v any) string {
	switch v := v.(type) {
	case string:
		return v
	case nil:
		r.missing(n)
	case bool:
		return strconv.FormatBool(v)
	}
	w := r.writer(r.buf[:0])
	w.text(v)
	r.buf = w.b
	r.size(len(w.b))
	return string(w.b)
}

// writer appends to b, at most MaxResult bytes.
type writer struct {
	r       *run
	b       []byte
	from    int
	lenient bool // text writes nil as nothing and NaN as "NaN"
}

func (r *run) writer(b []byte) *writer { return &writer{r: r, b: b, from: len(b)} }

// room makes room for n bytes and charges for them, or fails if they are too many.
func (w *writer) room(n int) {
	if len(w.b)-w.from+n > MaxResult {
		w.r.limit("result is larger than 1MiB", "")
	}
	w.r.step(n >> 5)
	if len(w.b)+n > cap(w.b) {
		grow := max(n, len(w.b), 64)
		w.r.alloc(grow + len(w.b) - w.from)
		w.b = slices.Grow(w.b, grow)
	}
}

func (w *writer) raw(s string) {
	w.room(len(s))
	w.b = append(w.b, s...)
}

func (w *writer) text(v any) {
	switch v := v.(type) {
	case nil:
		if !w.lenient {
			w.r.fail(nil, "", "a value is missing (nil)")
		}
	case string:
		w.raw(v)
	case []byte:
		w.room(len(v))
		w.b = append(w.b, v...)
	case float64:
		if w.lenient && (math.IsNaN(v) || math.IsInf(v, 0)) {
			w.b = strconv.AppendFloat(w.b, v, 'g', -1, 64)
		} else {
			w.float(v)
		}
	case bool, int64, int, json.Number, map[string]any, []any, []string:
		w.json(v, 0)
	case time.Time:
		w.room(40)
		w.b = v.AppendFormat(w.b, time.RFC3339Nano)
	default:
		if s, ok := stringer(v); ok {
			w.raw(s.String())
		} else if x := reflect.ValueOf(v); x.Kind() == reflect.String {
			w.raw(x.String())
		} else {
			w.json(v, 0)
		}
	}
}

func (w *writer) json(v any, depth int) {
	switch v := v.(type) {
	case nil:
		w.raw("null")
	case string:
		w.quoted(v)
	case bool:
		w.b = strconv.AppendBool(w.b, v)
	case int64:
		w.room(20)
		w.b = strconv.AppendInt(w.b, v, 10)
	case int:
		w.room(20)
		w.b = strconv.AppendInt(w.b, int64(v), 10)
	case float64:
		w.float(v)
	case json.Number:
		w.raw(string(v))
	case map[string]any:
		w.object(v, depth)
	case []any:
		w.open(depth)
		w.r.step((len(v) + 3) >> 2)
		for i, x := range v {
			w.comma(i)
			w.json(x, depth+1)
		}
		w.raw("]")
	case []string:
		w.open(depth)
		w.r.step((len(v) + 3) >> 2)
		for i, s := range v {
			w.comma(i)
			w.quoted(s)
		}
		w.raw("]")
	case []byte:
		w.r.alloc(len(v))
		w.quoted(string(v))
	case time.Time:
		w.room(42)
		w.b = append(w.b, '"')
		w.b = v.AppendFormat(w.b, time.RFC3339Nano)
		w.b = append(w.b, '"')
	default:
		w.other(v, depth)
	}
}

func (w *writer) open(depth int) {
	w.r.nested(depth)
	w.raw("[")
}

func (w *writer) comma(i int) {
	if i > 0 {
		w.raw(",")
	}
}

func (w *writer) object(m map[string]any, depth int) {
	w.r.nested(depth)
	if len(m) == 0 {
		w.raw("{}")
		return
	}
	w.raw("{")
	var small [16]string
	for i, k := range w.r.sortedKeys(small[:0], m) {
		w.comma(i)
		w.quoted(k)
		w.raw(":")
		w.json(m[k], depth+1)
	}
	w.raw("}")
}

// other writes values of less usual types.
func (w *writer) other(v any, depth int) {
	if s, ok := stringer(v); ok {
		w.quoted(s.String())
		return
	}
	x := reflect.ValueOf(v)
	switch x.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		w.room(20)
		w.b = strconv.AppendInt(w.b, x.Int(), 10)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		w.room(20)
		w.b = strconv.AppendUint(w.b, x.Uint(), 10)
	case reflect.Float32:
		f, _ := strconv.ParseFloat(strconv.FormatFloat(x.Float(), 'g', -1, 32), 64)
		w.float(f)
	case reflect.Float64:
		w.float(x.Float())
	case reflect.Bool:
		w.b = strconv.AppendBool(w.b, x.Bool())
	case reflect.String:
		w.quoted(x.String())
	case reflect.Slice, reflect.Array:
		w.open(depth)
		w.r.step(x.Len())
		for i := range x.Len() {
			w.comma(i)
			w.json(x.Index(i).Interface(), depth+1)
		}
		w.raw("]")
	case reflect.Map:
		w.object(w.r.mapOf(nil, v), depth)
	default:
		w.r.fail(nil, "", "a value can't be written as JSON: it is %s", w.r.describe(v))
	}
}

func (w *writer) float(f float64) {
	w.room(24)
	if math.IsNaN(f) || math.IsInf(f, 0) {
		w.r.fail(nil, "", "%v can't be written as a number", f)
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	w.b = strconv.AppendFloat(w.b, f, format, -1, 64)
	if n := len(w.b); format == 'e' && n >= 4 && w.b[n-4] == 'e' && w.b[n-3] == '-' && w.b[n-2] == '0' {
		w.b[n-2] = w.b[n-1] // e-09 becomes e-9
		w.b = w.b[:n-1]
	}
}

const hexDigits = "0123456789abcdef"

// quoted writes a JSON string. Invalid UTF-8 becomes U+FFFD.
func (w *writer) quoted(s string) {
	w.room(len(s) + 2)
	w.b = append(w.b, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			x, size := utf8.DecodeRuneInString(s[i:])
			if x != utf8.RuneError || size > 1 {
				i += size
				continue
			}
			w.b = append(w.b, s[from:i]...)
			w.b = append(w.b, `\ufffd`...)
		} else {
			w.b = append(w.b, s[from:i]...)
			switch c {
			case '"', '\\':
				w.b = append(w.b, '\\', c)
			case '\n':
				w.b = append(w.b, '\\', 'n')
			case '\r':
				w.b = append(w.b, '\\', 'r')
			case '\t':
				w.b = append(w.b, '\\', 't')
			default:
				w.b = append(w.b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			}
		}
		i++
		from = i
		w.room(6)
	}
	w.b = append(w.b, s[from:]...)
	w.b = append(w.b, '"')
}

// checkResult fails if the result v would be larger than MaxResult when it is written out. A list
// made here may contain another list many times, and a caller that writes the result shouldn't have
// to know.
func (r *run) checkResult(v any) {
	switch v.(type) {
	case nil, bool, string, float64, int64, int, time.Time, time.Duration:
		if s, ok := v.(string); ok && len(s) > MaxResult {
			r.limit("result is larger than 1MiB", "")
		}
		return
	}
	size := 0
	r.measure(v, 0, &size)
}

func (r *run) measure(v any, depth int, size *int) {
	*size++
	switch v := v.(type) {
	case string:
		*size += len(v)
	case json.Number:
		*size += len(v)
	case []byte:
		*size += len(v)
	case map[string]any:
		r.nested(depth)
		r.step((len(v) + 1) >> 1)
		for k, x := range v {
			*size += len(k) + 3
			r.measure(x, depth+1, size)
		}
	case []any:
		r.nested(depth)
		r.step(1 + len(v)>>3)
		*size++
		for _, x := range v {
			r.measure(x, depth+1, size)
		}
	case []string:
		r.step(1 + len(v)>>3)
		for _, s := range v {
			*size += len(s) + 3
		}
	case Sealed:
		r.measure([]string(v), depth, size)
	}
	if *size > MaxResult {
		r.limit("result is larger than 1MiB", "")
	}
}
