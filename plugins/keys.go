package plugins

// This file is what an entry keeps for each of its keys: the last event, timers, its own values. It is
// state of the bus: a key's state is a retained value below $plugin/<id>/keys/, which is written together
// with the outcome that changed it.

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/postbus/postbus/plugins/expr"
	"github.com/postbus/postbus/plugins/internal/clock"
	"github.com/postbus/postbus/plugins/internal/window"
)

const (
	defaultKeys  = 10_000   // per_limit
	maxKeys      = 100_000  // and its maximum
	maxKeyText   = 1 << 10  // bytes of a key
	maxKeyState  = 64 << 10 // bytes of a key's state
	defaultState = 64 << 20 // state_limit: bytes of all states of a plugin
	keyOverhead  = 400      // about the memory of a key beside its state
)

// keyState is what an entry keeps for one key.
type keyState struct {
	entry *ruleState
	rule  *rule
	key   string

	seq      uint64 // the event of the bus that was folded last, and its element of "each"
	item     int
	last     map[string]any // the fields that the entry uses of the last event with an outcome
	passed   any            // the last value of "changed" that passed
	passedAt time.Time      // zero: none passed
	own      map[string]any
	bucket   bucket // not stored: a rate restarts with the program
	timers   [timerSlots]timer
	window   *window.Window // nil: none

	touched    clock.Instant
	prev, next *keyState // in the order of use
	size       int       // bytes that count for the limit
	dirty      bool      // differs from what is stored
	stored     bool      // there is a stored value
	gone       bool
	name       string // of the topic where it is stored; empty until it is
	encoded    []byte // to be stored with the current event
	outcome    int    // the last outcome of the current event that belongs to it; -1: none
}

// keyTable holds all keys of a plugin, the longest idle one first.
type keyTable struct {
	oldest, newest *keyState
	count, bytes   int
	evicted        uint64 // forgotten because a limit was reached
}

func (t *keyTable) unlink(k *keyState) {
	if k.prev != nil {
		k.prev.next = k.next
	} else {
		t.oldest = k.next
	}
	if k.next != nil {
		k.next.prev = k.prev
	} else {
		t.newest = k.prev
	}
	k.prev, k.next = nil, nil
}

func (t *keyTable) link(k *keyState) {
	k.prev = t.newest
	if t.newest != nil {
		t.newest.next = k
	} else {
		t.oldest = k
	}
	t.newest = k
}

// use makes k the most recently used key.
func (t *keyTable) use(k *keyState, at clock.Instant) {
	k.touched = at
	if t.newest != k {
		t.unlink(k)
		t.link(k)
	}
}

func (t *keyTable) add(k *keyState) {
	t.link(k)
	t.count++
	t.bytes += k.size
}

func (t *keyTable) remove(k *keyState) {
	t.unlink(k)
	t.count--
	t.bytes -= k.size
	k.gone, k.encoded = true, nil
	delete(k.entry.keys, k.key)
}

func (t *keyTable) resize(k *keyState, size int) {
	t.bytes += size - k.size
	k.size = size
}

// pending reports whether a timer of the key is armed.
func (k *keyState) pending() bool {
	return slices.ContainsFunc(k.timers[:], func(t timer) bool { return t.place > 0 })
}

// topic is where the key's state is stored.
func (k *keyState) topic(id string) string {
	if k.name == "" {
		k.name = hashed(keysTopic(id)+k.rule.ident+"/", k.key)
	}
	return k.name
}

// hashed is the topic below a prefix where what belongs to a text is stored.
func hashed(prefix, text string) string {
	h := sha256.Sum256([]byte(text))
	return prefix + base64.RawURLEncoding.EncodeToString(h[:16])
}

// keysTopic is the prefix of the topics of a plugin's keys.
func keysTopic(id string) string { return "$plugin/" + id + "/keys/" }

// storedKey is a key's state as it is stored.
type storedKey struct {
	Entry    string         `cbor:"1,keyasint"` // content of the entry
	Key      string         `cbor:"2,keyasint"`
	Seq      uint64         `cbor:"3,keyasint,omitempty"`
	Item     int            `cbor:"4,keyasint,omitempty"`
	Last     map[string]any `cbor:"5,keyasint,omitempty"`
	Passed   any            `cbor:"6,keyasint,omitempty"`
	PassedAt int64          `cbor:"7,keyasint,omitempty"` // Unix nanoseconds
	Own      map[string]any `cbor:"8,keyasint,omitempty"`
	Timers   []storedTimer  `cbor:"9,keyasint,omitempty"`
	Window   *window.Window `cbor:"10,keyasint,omitempty"`
	Touched  *clock.Stored  `cbor:"11,keyasint,omitempty"` // by whose clock the times in Window are
}

type storedTimer struct {
	Slot  int            `cbor:"1,keyasint,omitempty"`
	Phase timerPhase     `cbor:"2,keyasint"`
	Event map[string]any `cbor:"3,keyasint,omitempty"`
	Item  any            `cbor:"4,keyasint,omitempty"`
	Index int            `cbor:"5,keyasint,omitempty"`
	Each  bool           `cbor:"6,keyasint,omitempty"`
	Since int64          `cbor:"7,keyasint,omitempty"` // Unix nanoseconds
	Due   clock.Stored   `cbor:"8,keyasint"`
	Hops  byte           `cbor:"9,keyasint,omitempty"`
	Cause uint64         `cbor:"10,keyasint,omitempty"`
}

// Tags of values that CBOR has no type for.
const (
	tagNumber   = 0x706f7301 // json.Number
	tagDuration = 0x706f7302
)

var encodeCBOR, decodeCBOR = codec()

func codec() (cbor.EncMode, cbor.DecMode) {
	tags := cbor.NewTagSet()
	both := cbor.TagOptions{EncTag: cbor.EncTagRequired, DecTag: cbor.DecTagRequired}
	err := tags.Add(both, reflect.TypeFor[json.Number](), tagNumber)
	if err == nil {
		err = tags.Add(both, reflect.TypeFor[time.Duration](), tagDuration)
	}
	if err != nil {
		panic(err) // never: the numbers are free
	}
	enc, err := cbor.EncOptions{Time: cbor.TimeRFC3339Nano, TimeTag: cbor.EncTagRequired}.EncModeWithSharedTags(tags)
	if err != nil {
		panic(err)
	}
	dec, err := cbor.DecOptions{DefaultMapType: reflect.TypeFor[map[string]any](), IntDec: cbor.IntDecConvertSignedOrFail, TimeTag: cbor.DecTagOptional, UTF8: cbor.UTF8DecodeInvalid,
		MaxNestedLevels: 1000, MaxArrayElements: 1 << 20, MaxMapPairs: 1 << 20}.DecModeWithSharedTags(tags)
	if err != nil {
		panic(err)
	}
	return enc, dec
}

// plainValue returns v with the types that are stored. Others become text.
func plainValue(v any) any {
	switch x := v.(type) {
	case nil, bool, string, []byte, int, int64, uint64, float64, json.Number, time.Time, time.Duration:
		if n, ok := v.(uint64); ok && n > 1<<63-1 {
			return json.Number(expr.Text(n))
		}
		return v
	case map[string]any:
		m := make(map[string]any, len(x))
		for k, e := range x {
			m[k] = plainValue(e)
		}
		return m
	case []any:
		l := make([]any, len(x))
		for i, e := range x {
			l[i] = plainValue(e)
		}
		return l
	case fmt.Stringer:
		return x.String()
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32:
		return r.Int()
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return int64(r.Uint()) //nolint:gosec // of at most 32 bits, but for Uint, which no source emits so large
	case reflect.Float32:
		return r.Float()
	case reflect.Slice:
		l := make([]any, r.Len())
		for i := range l {
			l[i] = plainValue(r.Index(i).Interface())
		}
		return l
	}
	return expr.Text(v)
}

// selected returns the fields of an event that an entry uses later.
func selected(event map[string]any, fields []string, whole bool) map[string]any {
	if whole {
		return event
	}
	out := make(map[string]any, len(fields))
	for _, f := range fields {
		if v, ok := event[f]; ok {
			out[f] = v
		}
	}
	return out
}

// encode encodes the state. The error is for the file's author.
func (k *keyState) encode(boot string) ([]byte, error) {
	s := storedKey{Entry: k.rule.content, Key: k.key, Seq: k.seq, Item: k.item, Passed: plainValue(k.passed), PassedAt: unixNano(k.passedAt)}
	if k.last != nil {
		s.Last = plainValue(k.last).(map[string]any)
	}
	if k.own != nil {
		s.Own = plainValue(k.own).(map[string]any)
	}
	for i := range k.timers {
		t := &k.timers[i]
		if t.phase == timerIdle {
			continue
		}
		st := storedTimer{Slot: i, Phase: t.phase, Item: plainValue(t.item), Index: t.index, Each: t.each, Since: unixNano(t.since), Due: t.due.Store(boot), Hops: t.from.hops, Cause: t.from.cause}
		if t.event != nil {
			st.Event = plainValue(t.event).(map[string]any)
		}
		s.Timers = append(s.Timers, st)
	}
	if !k.window.Empty() {
		at := k.touched.Store(boot)
		s.Window, s.Touched = k.window, &at
	}
	b, err := encodeCBOR.Marshal(&s)
	if err != nil {
		return nil, fmt.Errorf("what the entry keeps for the key %q cannot be stored: %w", clip(k.key, 60), err)
	}
	if len(b) > maxKeyState {
		return nil, fmt.Errorf("what the entry keeps for the key %q takes %d bytes, at most %d are allowed; use fewer or smaller fields of the event",
			clip(k.key, 60), len(b), maxKeyState)
	}
	return b, nil
}

// decodeKey reads a stored state. types are the types that the sources give their fields.
func decodeKey(b []byte, types map[string]reflect.Type, now clock.Instant, boot string) (*keyState, string, error) {
	var s storedKey
	if err := decodeCBOR.Unmarshal(b, &s); err != nil {
		return nil, "", fmt.Errorf("a stored key cannot be read: %w", err)
	}
	k := &keyState{key: s.Key, seq: s.Seq, item: s.Item, last: typed(s.Last, types), passed: s.Passed, passedAt: fromUnixNano(s.PassedAt), own: s.Own, stored: true}
	for _, st := range s.Timers {
		if st.Slot < 0 || st.Slot >= timerSlots {
			return nil, "", fmt.Errorf("a stored key has a timer %d", st.Slot)
		}
		k.timers[st.Slot] = timer{phase: st.Phase, event: typed(st.Event, types), item: st.Item, index: st.Index, each: st.Each, since: fromUnixNano(st.Since),
			due: st.Due.Restore(now, boot), from: origin{hops: st.Hops, cause: st.Cause}}
	}
	if !s.Window.Empty() && s.Touched != nil {
		k.window = s.Window
		k.window.Shift(s.Touched.Restore(now, boot).Up - s.Touched.Up)
	}
	k.size = len(b) + len(k.key) + keyOverhead
	return k, s.Entry, nil
}

func unixNano(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromUnixNano(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n)
}

// typed gives the fields of a stored event the types that their source gives them. The levels of a topic are
// stored as text, see plainValue.
func typed(m map[string]any, types map[string]reflect.Type) map[string]any {
	for name, x := range m {
		m[name] = asDeclared(types[name], x)
	}
	return m
}
