package plugins

// This file checks a complete plugin file and finds every mistake in it at once.

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/postbus/postbus/config/yamlnode"
	"github.com/postbus/postbus/plugins/expr"
	"github.com/postbus/postbus/plugins/kind"
)

// Checker turns files into specs. It needs no running bus.
type Checker struct {
	Catalog *Catalog
	Dir     string   // the plugins folder, absolute: relative paths in files are relative to it
	Host    string   // the value of ${host}
	Env     []string // names that ${env.NAME} may use
	// Location is the latitude and longitude of postbus.yaml, in degrees; nil: it has none.
	Location []float64
	// Secret returns an error if there is no such secret; nil: secrets are not checked, because the bus waits
	// for one.
	Secret func(name string) error
}

// IDForm is the form of a plugin's id, which is its file's name without .yaml.
var IDForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)

// nameForm is the form of a name that a file gives to a value.
var nameForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)

const idHint = "choose a name such as living-room.yaml: letters, digits, _ and -, at most 64"

// Hash identifies the content of a file.
func Hash(data []byte) string {
	h := sha256.Sum256(data)
	return hex.EncodeToString(h[:])
}

// Check checks one file. id is its name without .yaml, shown its name for people. Either the spec
// or the errors are nil. Check also runs the file's inline tests.
func (c *Checker) Check(id, shown string, data []byte) (*Spec, yamlnode.Errors) {
	s, errs, _ := c.check(id, shown, data)
	return s, errs
}

// check also returns the files of the tables, which decide the result as well.
func (c *Checker) check(id, shown string, data []byte) (*Spec, yamlnode.Errors, []tableFile) {
	if !IDForm.MatchString(id) {
		return nil, yamlnode.Errors{{File: shown, Reason: fmt.Sprintf("%q cannot be a plugin's id", id), Hint: idHint}}, nil
	}
	d, err := yamlnode.Parse(shown, data)
	if err != nil {
		list, _ := err.(yamlnode.Errors)
		return nil, list, nil
	}
	f := &fileReader{Checker: c, spec: &Spec{ID: id, File: shown, Hash: Hash(data)}, keys: map[string]int{}}
	f.file(d.Root())
	if list := d.Errors(); list != nil {
		return nil, list, f.seen
	}
	if len(f.contents) > 0 {
		f.spec.Hash = Hash([]byte(f.spec.Hash + "\n" + strings.Join(f.contents, "\n")))
	}
	for i := range f.spec.tests {
		f.spec.tests[i].check(f.spec)
	}
	if list := d.Errors(); list != nil {
		return nil, list, f.seen
	}
	return f.spec, nil, f.seen
}

// fileReader reads one file.
type fileReader struct {
	*Checker
	spec    *Spec
	scope   expr.Scope
	keys    map[string]int // the number of actions by kind
	filters []string       // the topics of all sources

	seen     []tableFile
	contents []string // hashes of the tables
}

var fileKeys = []string{"description", "source", "sources", "publish", "actions", "tests", "permissions", "per_limit", "per_idle", "state_limit", "uses", "tables"}

func (f *fileReader) file(n yamlnode.Node) {
	m, ok := n.Map(fileKeys...)
	if !ok {
		return
	}
	if m.Len() == 0 && n.IsNull() {
		n.Fail("postbus plugin new KIND prints an example file", "the file is empty")
		return
	}
	if d, ok := m.Get("description"); ok {
		f.spec.About, _ = d.Text()
	}
	if p, ok := m.Get("permissions"); ok {
		f.permissions(p)
	}
	f.limits(m)
	f.sources(n, m)
	f.mapRecorded()
	if v, ok := m.Get("uses"); ok {
		f.uses(v)
	}
	if v, ok := m.Get("tables"); ok {
		f.tables(v)
	}
	publish, has := m.Get("publish")
	actions, acts := m.Get("actions")
	f.rules(publish, "publish", f.publish)
	f.rules(actions, "actions", f.act)
	if !has && !acts && complete(n, m) && !f.passthrough() {
		n.FailKey("write publish: [{topic: home/x}], or actions:",
			"neither publish nor actions is present: the events have no destination")
	}
	f.allowed(m)
	if t, ok := m.Get("tests"); ok {
		f.tests(t)
	}
}

// limits reads the bounds of what the entries keep.
func (f *fileReader) limits(m yamlnode.Map) {
	s := f.spec
	s.perLimit, s.perIdle, s.stateLimit = defaultKeys, 7*24*time.Hour, defaultState
	if v, ok := m.Get("per_limit"); ok {
		if n, ok := v.Int(1, maxKeys); ok {
			s.perLimit = int(n)
		}
	}
	if v, ok := m.Get("per_idle"); ok {
		if d, ok := v.Duration(time.Second, maxWait); ok {
			s.perIdle = d
		}
	}
	if v, ok := m.Get("state_limit"); ok {
		if n, ok := v.Size(1<<20, 1<<30); ok {
			s.stateLimit = int(n)
		}
	}
}

func (f *fileReader) passthrough() bool {
	return slices.ContainsFunc(f.spec.sources, func(s *sourceSpec) bool { return s.kind.Passthrough })
}

func (f *fileReader) sources(n yamlnode.Node, m yamlnode.Map) {
	one, has := m.Get("source")
	many, more := m.Get("sources")
	var list []yamlnode.Node
	switch {
	case has && more:
		many.FailKey("move it into sources", "source and sources exclude each other")
		return
	case has && one.IsList():
		one.FailKey("write sources for a list", "want one source, got a list")
		return
	case has:
		list = []yamlnode.Node{one}
	case more:
		if list, _ = many.List(); len(list) == 0 && !many.Refused() {
			many.FailKey("", "the list is empty")
		}
	default:
		n.FailKey("write source: {timer: {every: 10s}}; the kinds: "+strings.Join(names(f.Catalog.sources),
			", "), "the file has no source")
	}
	for _, s := range list {
		f.source(s)
	}
	f.fields()
}

// source reads {kind: options}.
func (f *fileReader) source(n yamlnode.Node) {
	kinds := names(f.Catalog.sources)
	if n.IsScalar() {
		n.Fail("write it with its options, as in {timer: {every: 10s}}", "want a mapping with the kind of the source")
		return
	}
	m, ok := n.Map(append([]string{"record"}, kinds...)...)
	if !ok {
		return
	}
	record, records := m.Get("record")
	given := m.Len()
	if records {
		given--
	}
	if given != 1 {
		if given > 1 || complete(n, m) { // otherwise an unknown kind was already reported
			n.Fail("write several sources as items of sources", "a source has one kind, got %d", given)
		}
		return
	}
	name, o := m.Entry(0)
	if name == "record" {
		name, o = m.Entry(1)
	}
	k := f.Catalog.sources[name]
	v := reflect.New(reflect.TypeOf(k.Options)).Elem()
	v.Set(reflect.ValueOf(k.Options))
	where := map[string]yamlnode.Node{}
	r := reader{dir: f.Dir, location: f.Location, urls: map[string]urlSpec{}, permissions: f.spec.permissions}
	f.secretsExist(o)
	before := o.ErrorCount()
	r.fill(o, v, where, "")
	line, _ := o.Place()
	s := &sourceSpec{kind: k, options: v.Interface(), urls: r.urls, line: line}
	f.spec.sources = append(f.spec.sources, s)
	if o.ErrorCount() == before { // a mistake is reported once
		complain(s.options, o, where)
	}
	if c, ok := s.options.(kind.Claimer); ok {
		s.claims = c.Claims()
	}
	if w, ok := s.options.(kind.Warner); ok {
		for _, text := range w.Warnings() {
			f.spec.warnings = append(f.spec.warnings, fmt.Sprintf("%s:%d: %s", f.spec.File, line, text))
		}
	}
	f.accesses(s.options, s.urls)
	if r, ok := s.options.(kind.Commander); ok {
		f.spec.runs = append(f.spec.runs, r.Runs())
	}
	if t, ok := s.options.(kind.Filterer); ok {
		f.filters = append(f.filters, t.Filters()...)
		if k.Name == "mqtt" { // they are of this bus
			f.spec.reads = append(f.spec.reads, t.Filters()...)
		}
	}
	if records {
		f.recorded(record, s)
	}
	s.hash = Hash(fmt.Appendf(nil, "%s %#v %v %t", name, deep(v), s.urls, s.record))
}

// accesses records what options access.
func (f *fileReader) accesses(options any, urls map[string]urlSpec) {
	if a, ok := options.(kind.Accessor); ok {
		f.spec.access = append(f.spec.access, a.Access()...)
	}
	for _, key := range slices.Sorted(maps.Keys(urls)) {
		u := urls[key]
		if a := u.access(); a != "" {
			f.spec.access = append(f.spec.access, a)
		}
	}
}

// fields makes the scope: the fields that event may have, of all sources together.
func (f *fileReader) fields() {
	f.scope = expr.Scope{Env: f.Env, Types: map[string]expr.Type{}}
	f.spec.types = map[string]reflect.Type{}
	f.site()
	for _, s := range f.spec.sources {
		if s.kind.Event == nil {
			f.scope.Open = true
			continue
		}
		t := reflect.TypeOf(s.kind.Event)
		for _, d := range fieldsOf(t) {
			f.spec.types[d.key] = d.typ
			if d.key == "*" {
				f.scope.Open = true
				continue
			}
			f.scope.Fields = append(f.scope.Fields, d.key)
			t := typeOfField(d)
			if t == expr.TypeLevels && !slices.ContainsFunc(f.spec.reads, func(filter string) bool { return strings.ContainsAny(filter, "/#") }) {
				t = expr.TypeText // of one level
			}
			if other, known := f.scope.Types[d.key]; known && other != t {
				t = "" // another source declares another type
			}
			f.scope.Types[d.key] = t
		}
	}
	if len(f.spec.sources) == 0 {
		f.scope.Open = true
	}
}

// typeOfField returns the type that a declaration gives a field's values; they may be nil as well.
func typeOfField(d field) expr.Type {
	switch t := d.typ; {
	case d.levels:
		return expr.TypeLevels
	case t == timeType:
		return expr.TypeTime
	case t == durationType:
		return expr.TypeDuration
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8, t.Kind() == reflect.String && !isText(t):
		return expr.TypeText
	case t.Kind() == reflect.Slice && t.PkgPath() != "" && t.Elem().Kind() == reflect.String:
		return expr.TypeLevels
	case t.Kind() == reflect.Bool:
		return expr.TypeBool
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Float64:
		return expr.TypeNumber
	case t.Kind() == reflect.Map, isParts(t):
		return expr.TypeMap
	}
	return ""
}

func (f *fileReader) rules(n yamlnode.Node, name string, read func(yamlnode.Node, *rule)) {
	if n.Raw() == nil {
		return
	}
	if n.IsMap() {
		n.FailKey("begin each entry with a dash: - topic: …", "%s is a list of entries, got a mapping", name)
		return
	}
	list, _ := n.List()
	same := map[string]int{} // entries with one destination
	for i, e := range list {
		r := &rule{label: fmt.Sprintf("%s[%d]", name, i), qos: 1}
		r.line, _ = e.Place()
		scope := f.scope
		read(e, r)
		f.scope = scope
		what := r.destination()
		r.resolve(what, same[what])
		same[what]++
		f.spec.rules = append(f.spec.rules, r)
		f.warnOfTopics(r)
	}
}

// warnOfTopics warns of an entry that was one for all topics in earlier versions.
func (f *fileReader) warnOfTopics(r *rule) {
	if r.perKind != perTopic || r.perSaid || r.changed != nil || r.wait.kind != waitNone || len(r.setOwn) > 0 || r.keepLast {
		return
	}
	for _, c := range []struct {
		used bool
		key  string
	}{{r.usesLast, "last"}, {r.rate != nil, "rate"}} {
		if c.used {
			f.spec.warnings = append(f.spec.warnings, fmt.Sprintf("%s:%d: %s: %s is per topic, and was one for all topics in earlier versions; write per: topic or per: all",
				f.spec.File, r.line, r.label, c.key))
		}
	}
}

var publishKeys = slices.Concat([]string{"when", "topic", "payload", "qos", "retain", "expiry", "rate", "set", "home_assistant"}, timingKeys)

func (f *fileReader) publish(n yamlnode.Node, r *rule) {
	m, ok := n.Map(publishKeys...)
	if !ok {
		return
	}
	f.common(n, m, r)
	topic, has := m.Get("topic")
	_, remembers := m.Get("set")
	if _, own := m.Get("set_own"); own {
		remembers = true
	}
	switch {
	case has:
		r.topic = f.topic(topic, false)
	case !remembers && complete(n, m):
		n.FailKey("write topic: home/x", "the entry has no topic")
	}
	for _, key := range []string{"payload", "qos", "retain", "expiry", "home_assistant"} {
		if v, ok := m.Get(key); ok && !has && remembers {
			v.FailKey("add the topic, or remove this", "%s needs a topic", key)
		}
	}
	if v, ok := m.Get("payload"); ok {
		if body, ok := valueOf(v, f.scope); ok {
			r.body, r.tree = &body, v.IsMap() || v.IsList()
		}
	}
	if v, ok := m.Get("qos"); ok {
		q, _ := v.Int(0, 2)
		r.qos = byte(q)
	}
	if v, ok := m.Get("retain"); ok {
		r.retain, _ = v.Bool()
	}
	if v, ok := m.Get("expiry"); ok {
		r.expiry, _ = v.Duration(time.Second, 10*365*24*time.Hour)
	}
	if v, ok := m.Get("home_assistant"); ok {
		body, _ := m.Get("payload")
		r.ha = readHomeAssistant(v, r, body, f.spec.reads)
	}
}

// complete reports whether every key of n is known. If not, a key that seems to be missing is
// misspelt.
func complete(n yamlnode.Node, m yamlnode.Map) bool { return m.Len() == len(n.Raw().Content)/2 }

// common reads the keys that "publish" and "actions" share, and sets the scope of the others.
func (f *fileReader) common(n yamlnode.Node, m yamlnode.Map, r *rule) {
	event, outcome := f.entryScopes(m)
	if v, ok := m.Get("when"); ok {
		r.when = expression(v, "when", event)
	}
	if v, ok := m.Get("rate"); ok {
		if s, ok := v.Text(); ok {
			var err error
			if r.rate, err = parseRate(s); err != nil {
				v.Fail(rateForm, "%v", err)
			}
		}
	}
	f.timing(n, m, r, event, outcome)
	f.scope = outcome
	if v, ok := m.Get("set"); ok {
		r.set = settings(v, outcome)
	}
	if v, ok := m.Get("set_own"); ok {
		r.setOwn = settings(v, outcome)
	}
}

// fixedKey refuses a key with ${…}, which would not be evaluated.
func fixedKey(item yamlnode.Node, name string) bool {
	if !strings.Contains(name, "${") {
		return false
	}
	item.FailKey("a mapping whose names differ is an expression: \"${ {(event.name): event.value} }\"",
		"the key %q cannot contain an expression, only values can", name)
	return true
}

// allowed checks that the file's own permissions cover everything that it accesses.
func (f *fileReader) allowed(m yamlnode.Map) {
	n, ok := m.Get("permissions")
	if !ok {
		return
	}
	for _, a := range f.spec.access {
		category, what, _ := strings.Cut(a, ":")
		if patterns, ok := f.spec.permissions.by[category]; ok && !allows(category, patterns, what) {
			n.Fail("add it there, or remove it from the file",
				"%s %q is not listed in permissions.%s", category, what, category)
		}
	}
	if patterns, ok := f.spec.permissions.by["subscribe"]; ok {
		reads := slices.Clone(f.spec.reads)
		for _, u := range f.spec.uses {
			reads = append(reads, u.filter)
		}
		for _, r := range reads {
			if !allows("subscribe", patterns, r) {
				n.Fail("add it there, or remove it from the file",
					"the topics %q are not listed in permissions.subscribe", r)
			}
		}
	}
}

// deep makes a value whose %#v shows the targets of pointers.
func deep(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return deep(v.Elem())
	case reflect.Struct:
		if len(fieldsOf(v.Type())) == 0 {
			return fmt.Sprintf("%#v", v.Interface())
		}
		m := map[string]any{}
		for _, f := range fieldsOf(v.Type()) {
			m[f.key] = deep(v.Field(f.index))
		}
		return m
	case reflect.Slice:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = deep(v.Index(i))
		}
		return list
	}
	return v.Interface()
}
