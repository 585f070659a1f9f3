package plugins

// This file reads options from YAML into the struct that a kind declares, by the tags of its
// fields:
//
//	key       name in the file            doc      one sentence for people
//	need      "yes": required             min, max bounds, in the text form of the type
//	oneof     "a|b": the allowed words    unit     "size": bytes, as 64MiB
//	secret    "yes": may be secret:name, path     "yes": relative to the plugins folder
//	          or contain ${secret.name}           or "apart": and not that folder itself
//	          "within": may contain it    url      its schemes, as "http|https"; it may contain ${secret.name}
//	levels    "yes": a topic, of an event
//	default   "location": without the key it is that of postbus.yaml
//	topic     "here" or "remote": an argument that is a topic of this bus or of another broker

import (
	"encoding"
	"encoding/json"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/postbus/postbus/config/yamlnode"
	"github.com/postbus/postbus/plugins/expr"
	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/payload"
)

// field is one key of a declared struct.
type field struct {
	key, doc           string
	index              int
	typ                reflect.Type
	need, secret, path bool
	apart              bool
	size, levels       bool
	within             bool // ${secret.name} may be a part of it
	location           bool // its default is that of postbus.yaml
	topic, url         string
	min, max           string
	oneOf              []string
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
	timeType     = reflect.TypeFor[time.Time]()
	keysType     = reflect.TypeFor[kind.Keys]()
)

// knownFields are the results of fieldsOf by type: reading tags for each job would take a third of its time.
var knownFields sync.Map

// fieldsOf lists the keys of a struct type. Nobody may change the list. It panics on invalid tags.
func fieldsOf(t reflect.Type) []field {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if known, ok := knownFields.Load(t); ok {
		return known.([]field)
	}
	fields := readFields(t)
	knownFields.Store(t, fields)
	return fields
}

func readFields(t reflect.Type) (out []field) {
	for i := range t.NumField() {
		f := t.Field(i)
		key := f.Tag.Get("key")
		if key == "" {
			continue
		}
		d := field{key: key, doc: f.Tag.Get("doc"), index: i, typ: f.Type, need: f.Tag.Get("need") == "yes", secret: f.Tag.Get("secret") == "yes", within: f.Tag.Get("secret") != "",
			path: f.Tag.Get("path") != "", apart: f.Tag.Get("path") == "apart", size: f.Tag.Get("unit") == "size", levels: f.Tag.Get("levels") == "yes", location: f.Tag.Get("default") == "location", topic: f.Tag.Get("topic"), url: f.Tag.Get("url"), min: f.Tag.Get("min"), max: f.Tag.Get("max")}
		if o := f.Tag.Get("oneof"); o != "" {
			d.oneOf = strings.Split(o, "|")
		}
		if d.doc == "" {
			panic(fmt.Sprintf("%s.%s has no doc tag", t, f.Name))
		}
		d.bounds() // panics if they are not readable
		out = append(out, d)
	}
	return out
}

// mayHide reports whether ${secret.name} may be a part of it.
func (f *field) mayHide() bool { return f.within || f.url != "" }

func isText(t reflect.Type) bool { return reflect.PointerTo(t).Implements(textType) && t != timeType }

// isParts reports whether a field of an event is a map whose keys are declared: a pointer to a struct, which is nil
// when there is nothing.
func isParts(t reflect.Type) bool {
	return t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct && t.Elem() != timeType && !isText(t)
}

// bounds are min and max as numbers: of bytes, of nanoseconds, or as written.
func (f *field) bounds() (low, high float64) {
	read := func(s string, otherwise float64) float64 {
		if s == "" {
			return otherwise
		}
		var v float64
		var err error
		switch {
		case f.typ == durationType:
			var d time.Duration
			d, err = yamlnode.ParseDuration(s)
			v = float64(d)
		case f.size:
			var n int64
			n, err = yamlnode.ParseSize(s)
			v = float64(n)
		default:
			v, err = strconv.ParseFloat(s, 64)
		}
		if err != nil {
			panic(fmt.Sprintf("%s: bound %q: %v", f.key, s, err))
		}
		return v
	}
	lowest := math.Inf(-1)
	if f.typ == durationType || f.size {
		lowest = 0
	}
	return read(f.min, lowest), read(f.max, math.Inf(1))
}

func clampInt(v float64) int64 {
	switch {
	case v >= math.MaxInt64:
		return math.MaxInt64
	case v <= math.MinInt64:
		return math.MinInt64
	}
	return int64(v)
}

// reader fills structs from YAML. It adds errors to the document.
type reader struct {
	dir      string             // the folder of relative paths
	location []float64          // of postbus.yaml; nil: it has none
	skip     []string           // keys of the top mapping that another reader reads
	later    []string           // options that are arguments here, because they differ from event to event
	urls     map[string]urlSpec // the options that are URLs; set by reader

	permissions permissions
}

// fill reads the keys of n into v, a struct that holds the defaults. where gets each value's node
// by key, for errors that are found later.
func (r *reader) fill(n yamlnode.Node, v reflect.Value, where map[string]yamlnode.Node, prefix string) {
	fields := fieldsOf(v.Type())
	known := make([]string, 0, len(fields)+len(r.skip))
	for _, f := range fields {
		known = append(known, f.key)
	}
	if prefix == "" {
		known = append(known, r.skip...)
	}
	if len(known) == 0 {
		if !n.IsNull() && !(n.IsMap() && len(n.Raw().Content) == 0) {
			n.Fail("write {}", "there are no options")
		}
		return
	}
	m, ok := n.Map(known...)
	if !ok {
		return
	}
	for _, f := range fields {
		at, there := m.Get(f.key)
		if prefix == "" && slices.Contains(r.later, f.key) {
			continue
		}
		if !there {
			if f.need && v.Field(f.index).IsZero() && (n.IsNull() || complete(n, m)) {
				n.FailKey("it is required: "+f.doc, "%q is missing", f.key)
			}
			if f.location && r.location != nil {
				v.Field(f.index).Set(reflect.ValueOf(r.location))
			}
			continue
		}
		where[prefix+f.key] = at
		r.value(at, f, v.Field(f.index), where, prefix+f.key)
	}
}

// value reads one value.
func (r *reader) value(n yamlnode.Node, f field, v reflect.Value, where map[string]yamlnode.Node, path string) {
	low, high := f.bounds()
	switch t := v.Type(); {
	case isText(t):
		r.unmarshal(n, v)
	case t == keysType:
		if !n.IsMap() {
			return // the argument of this key reports it
		}
		if m, ok := n.Map(); ok {
			keys := make(kind.Keys, m.Len())
			for i := range keys {
				keys[i], _ = m.Entry(i)
			}
			v.Set(reflect.ValueOf(keys))
		}
	case t == durationType:
		if d, ok := n.Duration(time.Duration(clampInt(low)), time.Duration(clampInt(high))); ok {
			v.SetInt(int64(d))
		}
	case f.size:
		if s, ok := n.Size(clampInt(low), clampInt(high)); ok {
			v.SetInt(s)
		}
	case t.Kind() == reflect.String:
		r.text(n, f, v)
	case t.Kind() == reflect.Bool:
		if b, ok := n.Bool(); ok {
			v.SetBool(b)
		}
	case t.Kind() == reflect.Int || t.Kind() == reflect.Int64:
		if i, ok := n.Int(clampInt(low), clampInt(high)); ok {
			v.SetInt(i)
		}
	case t.Kind() == reflect.Float64:
		if x, ok := n.Float(max(low, -math.MaxFloat64), min(high, math.MaxFloat64)); ok {
			v.SetFloat(x)
		}
	case t.Kind() == reflect.Pointer:
		p := reflect.New(t.Elem())
		if !v.IsNil() {
			p.Elem().Set(v.Elem())
		}
		r.fill(n, p.Elem(), where, path+".")
		v.Set(p)
	case t.Kind() == reflect.Struct:
		r.fill(n, v, where, path+".")
	case t.Kind() == reflect.Slice:
		r.list(n, f, v, where, path)
	case t.Kind() == reflect.Map:
		r.mapping(n, f, v, where, path)
	case t.Kind() == reflect.Interface:
		if x, ok := plain(n); ok && x != nil {
			v.Set(reflect.ValueOf(x))
		}
	default:
		panic(fmt.Sprintf("%s: no option can be a %s", path, t))
	}
}

func (r *reader) unmarshal(n yamlnode.Node, v reflect.Value) {
	if !n.IsScalar() || n.Refused() {
		n.Text() // reports the error
		return
	}
	if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(n.Raw().Value)); err != nil {
		n.Fail(hintOf(err), "%v", err)
	}
}

func (r *reader) text(n yamlnode.Node, f field, v reflect.Value) {
	if len(f.oneOf) > 0 {
		if s, ok := n.OneOf(f.oneOf...); ok {
			v.SetString(s)
		}
		return
	}
	s, ok := n.Text()
	switch {
	case !ok:
		return
	case f.need && s == "":
		n.Fail("write "+f.doc, "the text is empty")
		return
	case f.secret && strings.HasPrefix(s, secretPrefix):
		if err := checkSecretName(strings.TrimPrefix(s, secretPrefix)); err != nil {
			n.Fail("", "%v", err)
		}
	case lostSecret(n, s):
		return
	case len(expr.Seal(s)) > 1 && !f.mayHide():
		n.FailWithin(strings.Index(s, "${"), "${secret.name} is for texts that are sent", "%s cannot contain a secret", f.key)
		return
	case f.url != "":
		sealed := expr.Seal(s)
		parts := make([]expr.Part, len(sealed))
		for i, text := range sealed {
			if parts[i].Hole = i%2 == 1; !parts[i].Hole {
				parts[i].Text = text
			}
		}
		r.urlText(n, f, s, parts)
	case f.path && s != "" && !filepath.IsAbs(s):
		s = filepath.Join(r.dir, s)
	}
	if f.apart && s != "" && filepath.Clean(s) == filepath.Clean(r.dir) {
		n.Fail("write a folder in it, as ./data, or another one", "%s cannot be the plugins folder itself, because its files are plugins", f.key)
		return
	}
	v.SetString(s)
}

func (r *reader) list(n yamlnode.Node, f field, v reflect.Value, where map[string]yamlnode.Node, path string) {
	items, ok := n.List()
	if !ok {
		return
	}
	if f.need && len(items) == 0 {
		n.Fail("write "+f.doc, "the list is empty")
	}
	list := reflect.MakeSlice(v.Type(), len(items), len(items))
	each := f
	each.typ, each.need = v.Type().Elem(), false
	for i, item := range items {
		at := path + "[" + strconv.Itoa(i) + "]"
		where[at] = item
		r.value(item, each, list.Index(i), where, at)
	}
	v.Set(list)
}

func (r *reader) mapping(n yamlnode.Node, f field, v reflect.Value, where map[string]yamlnode.Node, path string) {
	m, ok := n.Map()
	if !ok {
		return
	}
	out := reflect.MakeMap(v.Type())
	each := f
	each.typ, each.need = v.Type().Elem(), false
	for i := range m.Len() {
		name, item := m.Entry(i)
		at := path + "." + name
		where[at] = item
		x := reflect.New(v.Type().Elem()).Elem()
		r.value(item, each, x, where, at)
		out.SetMapIndex(reflect.ValueOf(name).Convert(v.Type().Key()), x)
	}
	v.Set(out)
}

// wholeNumber matches a whole number in the form of JSON.
var wholeNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)

// plain converts a YAML value to a Go value: text, float64, int64 or json.Number, bool, nil, []any,
// map[string]any.
func plain(n yamlnode.Node) (any, bool) {
	switch {
	case n.Refused():
		return nil, false
	case n.IsNull():
		return nil, true
	case n.IsMap():
		m, ok := n.Map()
		out := map[string]any{}
		for i := range m.Len() {
			name, item := m.Entry(i)
			x, good := plain(item)
			out[name], ok = x, ok && good
		}
		return out, ok
	case n.IsList():
		items, ok := n.List()
		out := make([]any, len(items))
		for i, item := range items {
			x, good := plain(item)
			out[i], ok = x, ok && good
		}
		return out, ok
	}
	switch n.Raw().Tag {
	case "!!bool":
		b, ok := n.Bool()
		return b, ok
	case "!!int", "!!float":
		if digits := strings.TrimPrefix(strings.ReplaceAll(n.Raw().Value, "_", ""), "+"); wholeNumber.MatchString(digits) {
			if v, beyond := payload.Number(digits).(json.Number); beyond {
				return v, true
			}
		}
		if n.Raw().Tag == "!!int" {
			i, ok := n.Int(math.MinInt64, math.MaxInt64)
			return i, ok
		}
		x, ok := n.Float(-math.MaxFloat64, math.MaxFloat64)
		return x, ok
	}
	return n.Raw().Value, true
}

// complain reports the errors of the options' own check at their positions.
func complain(v any, at yamlnode.Node, where map[string]yamlnode.Node) {
	if c, ok := v.(kind.Checker); ok {
		place(c.Check(), at, where)
	}
}

// place reports errors at the positions of their keys.
func place(errs []error, at yamlnode.Node, where map[string]yamlnode.Node) {
	for _, err := range errs {
		n := at
		if k, ok := err.(interface{ Key() string }); ok {
			for key := k.Key(); key != ""; {
				if found, ok := where[key]; ok {
					n = found
					break
				}
				key = key[:max(strings.LastIndexByte(key, '.'), 0)]
			}
		}
		n.Fail(hintOf(err), "%v", err)
	}
}

func hintOf(err error) string {
	if h, ok := err.(interface{ Hint() string }); ok {
		return h.Hint()
	}
	return ""
}

// keysOf lists the keys of a declared struct; nil has none.
func keysOf(s any) []string {
	if s == nil {
		return nil
	}
	var keys []string
	for _, f := range fieldsOf(reflect.TypeOf(s)) {
		keys = append(keys, f.key)
	}
	return slices.Clip(keys)
}

func fieldValue(p any) reflect.Value { return reflect.ValueOf(p).Elem() }
