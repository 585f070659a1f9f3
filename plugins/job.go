package plugins

// This file converts an action's arguments: the mapping evaluates them, the queue holds them as
// JSON, and the action gets them as the struct that it declares.

import (
	"bytes"
	"encoding"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/postbus/postbus/config/yamlnode"
	"github.com/postbus/postbus/plugins/expr"
	"github.com/postbus/postbus/plugins/payload"
)

// job is one event in an action's queue.
type job struct {
	At      time.Time      `json:"at"` // time of the event that caused the job
	Args    map[string]any `json:"args"`
	Secrets []sealedText   `json:"secrets,omitempty"`
	Event   []byte         `json:"event,omitempty"` // the fields that on_answer reads, see encodeFields
	Seq     uint64         `json:"seq,omitempty"`   // the event's sequence in the journal; 0: it is not there, or a timer made the job
	Item    int64          `json:"item,omitempty"`  // its element of "each"
}

const bytesKey = "$base64"

// encodeJob encodes a job. Bytes that are not text are preserved.
func encodeJob(o job) ([]byte, error) {
	o.Secrets = sealedIn(o.Args, nil)
	o.Args = wrap(o.Args).(map[string]any)
	return json.Marshal(o)
}

func wrap(v any) any {
	switch x := v.(type) {
	case []byte:
		if utf8.Valid(x) {
			return string(x)
		}
		return map[string]any{bytesKey: base64.StdEncoding.EncodeToString(x)}
	case map[string]any:
		m := make(map[string]any, len(x))
		for k, e := range x {
			m[k] = wrap(e)
		}
		return m
	case []any:
		l := make([]any, len(x))
		for i, e := range x {
			l[i] = wrap(e)
		}
		return l
	case json.Number:
	case time.Duration, fmt.Stringer:
		if _, ok := v.(time.Time); !ok {
			return expr.Text(v)
		}
	case float64:
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return expr.Text(v)
		}
	}
	return v
}

func unwrap(v any) any {
	switch x := v.(type) {
	case map[string]any:
		if s, ok := x[bytesKey].(string); ok && len(x) == 1 {
			if b, err := base64.StdEncoding.DecodeString(s); err == nil {
				return b
			}
		}
		for k, e := range x {
			x[k] = unwrap(e)
		}
	case []any:
		for i, e := range x {
			x[i] = unwrap(e)
		}
	}
	return v
}

// decodeJob decodes a job into a struct of the action's arguments. secret reads a secret.
func decodeJob(payload []byte, a *actionSpec, secret func(string) (string, error)) (job, reflect.Value, error) {
	v := reflect.New(reflect.TypeOf(a.kind.Args)).Elem()
	v.Set(reflect.ValueOf(a.kind.Args))
	var o job
	d := json.NewDecoder(bytes.NewReader(payload))
	d.UseNumber()
	if err := d.Decode(&o); err != nil {
		return o, v, fmt.Errorf("the queued job cannot be decoded: %w", err)
	}
	args, err := openJob(o, payload, a.urls, secret)
	if err != nil {
		return o, v, err
	}
	for _, f := range fieldsOf(v.Type()) {
		x, ok := args[f.key]
		x = unwrap(x)
		if !ok || x == nil {
			if f.need {
				return o, v, fmt.Errorf("%s is missing (nil)", f.key)
			}
			continue
		}
		if err := assign(v.Field(f.index), f, x); err != nil {
			return o, v, fmt.Errorf("%s: %w", f.key, err)
		}
		if spec, ok := a.urls[f.key]; ok {
			if err := spec.check(v.Field(f.index).String()); err != nil {
				return o, v, fmt.Errorf("%s: %w", f.key, err)
			}
		}
	}
	return o, v, nil
}

// assign stores an expression's value in a declared field.
func assign(v reflect.Value, f field, x any) error {
	switch t := v.Type(); {
	case isText(t):
		return v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(expr.Text(x)))
	case t == durationType:
		d, err := yamlnode.ParseDuration(expr.Text(x))
		if err != nil {
			return err
		}
		v.SetInt(int64(d))
		return within(f, float64(d))
	case t.Kind() == reflect.String:
		s := expr.Text(plainNumber(x))
		if len(f.oneOf) > 0 && !slices.Contains(f.oneOf, s) {
			return fmt.Errorf("want %s, got %q", strings.Join(f.oneOf, " or "), s)
		}
		if f.need && s == "" {
			return fmt.Errorf("the text is empty")
		}
		v.SetString(s)
	case t.Kind() == reflect.Bool:
		b, ok := x.(bool)
		if !ok {
			return fmt.Errorf("want true or false, got %s", kindOf(x))
		}
		v.SetBool(b)
	case t.Kind() == reflect.Int, t.Kind() == reflect.Int64, t.Kind() == reflect.Float64:
		return assignNumber(v, f, x)
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8:
		v.SetBytes([]byte(expr.Text(plainNumber(x))))
	case t.Kind() == reflect.Slice:
		list, ok := x.([]any)
		if !ok {
			return fmt.Errorf("want a list, got %s", kindOf(x))
		}
		out := reflect.MakeSlice(t, len(list), len(list))
		for i, e := range list {
			if err := assign(out.Index(i), f, e); err != nil {
				return fmt.Errorf("[%d]: %w", i, err)
			}
		}
		v.Set(out)
	case t.Kind() == reflect.Map:
		m, ok := x.(map[string]any)
		if !ok {
			return fmt.Errorf("want a mapping, got %s", kindOf(x))
		}
		out := reflect.MakeMap(t)
		for k, e := range m {
			item := reflect.New(t.Elem()).Elem()
			if err := assign(item, f, e); err != nil {
				return fmt.Errorf("%s: %w", k, err)
			}
			out.SetMapIndex(reflect.ValueOf(k), item)
		}
		v.Set(out)
	case t.Kind() == reflect.Interface:
		if p := plainNumber(x); p != nil {
			v.Set(reflect.ValueOf(p))
		}
	case t.Kind() == reflect.Struct:
		m, ok := x.(map[string]any)
		if !ok {
			return fmt.Errorf("want a mapping, got %s", kindOf(x))
		}
		for _, inner := range fieldsOf(t) {
			if e, ok := m[inner.key]; ok && e != nil {
				if err := assign(v.Field(inner.index), inner, e); err != nil {
					return fmt.Errorf("%s: %w", inner.key, err)
				}
			}
		}
	case t.Kind() == reflect.Pointer:
		p := reflect.New(t.Elem())
		if err := assign(p.Elem(), f, x); err != nil {
			return err
		}
		v.Set(p)
	}
	return nil
}

func assignNumber(v reflect.Value, f field, x any) error {
	x = plainNumber(x)
	var n float64
	var whole int64
	exact := true
	switch i := x.(type) {
	case int64:
		n, whole = float64(i), i
	case float64:
		n, whole = i, int64(i)
		exact = i == math.Trunc(i) && math.Abs(i) <= 1<<53
	case json.Number: // larger than int64
		n, _ = i.Float64()
		exact = false
	default:
		return fmt.Errorf("want a number, got %s", kindOf(x))
	}
	if err := within(f, n); err != nil {
		return err
	}
	switch {
	case v.Kind() == reflect.Float64 && math.IsInf(n, 0):
		return fmt.Errorf("%v is too large", x)
	case v.Kind() == reflect.Float64:
		v.SetFloat(n)
	case !exact:
		return fmt.Errorf("want a whole number, got %v", x)
	default:
		v.SetInt(whole)
	}
	return nil
}

// plainNumber converts the numbers of JSON, at any depth, to int64 if they are whole, otherwise to
// float64.
func plainNumber(x any) any {
	switch v := x.(type) {
	case json.Number:
		return payload.Number(string(v))
	case map[string]any:
		for k, e := range v {
			v[k] = plainNumber(e)
		}
	case []any:
		for i, e := range v {
			v[i] = plainNumber(e)
		}
	}
	return x
}

func within(f field, n float64) error {
	if low, high := f.bounds(); n < low || n > high {
		return fmt.Errorf("want %s to %s, got %s", f.min, f.max, expr.Text(n))
	}
	return nil
}

func kindOf(x any) string {
	switch x.(type) {
	case nil:
		return "nothing"
	case bool:
		return "a true/false value"
	case json.Number, int, int64, float64:
		return "a number"
	case map[string]any:
		return "a mapping"
	case []any:
		return "a list"
	}
	return "text"
}
