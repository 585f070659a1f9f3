package mqtt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/postbus/postbus/plugins/kind"
	"github.com/postbus/postbus/plugins/kind/kindtest"
	"github.com/postbus/postbus/plugins/payload"
	"github.com/postbus/postbus/plugins/payload/decode"
)

// newBus makes a bus that offers events, and ends Consume after them with an error.
func newBus(end error, events ...map[string]any) *kindtest.Bus {
	b := kindtest.NewBus()
	b.Consuming.Err = end
	for _, e := range events {
		b.Offer(e)
	}
	return b
}

func TestFilters(t *testing.T) {
	for filter, want := range map[string]string{
		"home/+/doorbell": "", "#": "", "+": "", "+/#": "", "/": "", "a//b": "", "$bus/#": "", "$SYS/+/x": "", "ü": "", "$shared/x": "",
		"": "is empty", "a/#/b": "must be the last", "#/": "must be the last", "a#": "of their own", "a+/b": "of their own", "++": "of their own", "a\x00": "NUL", "a\xff": "UTF-8",
		"$share/g/a": "shares none", "$share": "shares none", strings.Repeat("a", 65536): "65536 bytes",
	} {
		errs := Options{Topics: []string{filter}}.Check()
		if want == "" && errs != nil || want != "" && (len(errs) != 1 || !strings.Contains(errs[0].Error(), want)) {
			t.Errorf("%.20q: %v", filter, errs)
		}
	}
	if errs := (Options{Topics: []string{"a", "b", "a"}}).Check(); len(errs) != 1 || errs[0].(*kind.OptionError).Key() != "topics[2]" {
		t.Error(errs)
	}
	if errs := defaults().Check(); len(errs) != 1 {
		t.Error(errs)
	}
}

func message(topic, payload string, retain bool) map[string]any {
	return map[string]any{"topic": topic, "payload": []byte(payload), "qos": 1, "retain": retain, "source": "client:door", "origin": map[string]any{"bus": "attic"}, "hops": 2, "time": time.Unix(7, 0), "seq": uint64(9), "redelivered": false}
}

func TestEvent(t *testing.T) {
	m := message("home/hall/doorbell", `{"pressed": true}`, true)
	at, got, ok := defaults().Read(m, "plugin:x")
	m["payload"].([]byte)[0] = 'x' // the memory is the bus's
	want := map[string]any{"topic": Levels{"home", "hall", "doorbell"}, "name": "home/hall/doorbell", "bytes": []byte(`{"pressed": true}`), "text": `{"pressed": true}`,
		"json": map[string]any{"pressed": true}, "qos": 1, "retain": true, "source": "client:door", "origin": map[string]any{"bus": "attic"}, "hops": 2, "seq": uint64(9), "time": time.Unix(7, 0), "redelivered": false, "stored": true}
	if !ok || !at.Equal(time.Unix(7, 0)) || !reflect.DeepEqual(got, want) {
		t.Errorf("%v %v", at, got)
	}
	if s := fmt.Sprint(got["topic"]); s != "home/hall/doorbell" {
		t.Errorf("%s", s)
	}
	for payload, want := range map[string]any{"": nil, "21.5": 21.5, " [1] ": []any{int64(1)}, "true": true, "null": nil, "hello": nil, "{": nil, "1 2": nil, "\xff": nil,
		`"` + strings.Repeat("x", decode.MaxSize) + `"`: nil} {
		if _, got, _ := defaults().Read(message("a", payload, false), ""); !reflect.DeepEqual(got["json"], want) {
			t.Errorf("%.20q: %v", payload, got["json"])
		}
	}
	o := defaults()
	o.Decode = "cbor"
	if _, f, _ := o.Read(message("a", "\xa1atgonline", false), ""); f["json"] != nil || !strings.Contains(f["decode_error"].(string), "this is not CBOR") {
		t.Errorf("%v", f)
	}
	if _, f, _ := o.Read(message("a", "\xa1at\x18\x64", false), ""); !reflect.DeepEqual(f["json"], map[string]any{"t": int64(100)}) || f["decode_error"] != nil {
		t.Errorf("%v", f)
	}
	got["decode_error"] = nil // only when it failed
	for i := range reflect.TypeFor[event]().NumField() {
		if _, ok := got[reflect.TypeFor[event]().Field(i).Tag.Get("key")]; !ok || len(got) != reflect.TypeFor[event]().NumField() {
			t.Errorf("fields and documentation differ: %v", got)
		}
	}
}

// An event is acknowledged when post calls done, not before; an error is passed to the bus.
func TestAcknowledges(t *testing.T) {
	b := newBus(nil, message("a", "1", false), message("b", "2", false), message("c", "3", false))
	b.Consuming.Grace = 0 // the third event is never done
	o := defaults()
	o.Topics = []string{"#"}
	ctx, cancel := context.WithCancel(t.Context())
	var dones []func(error)
	full := errors.New("the disk is full")
	err := New(o, b).Stream(ctx, func(_ context.Context, _ time.Time, f map[string]any, done func(error)) error {
		if dones = append(dones, done); len(dones) == 3 {
			for i, e := range b.Offered {
				if e.Result != kindtest.ErrPending {
					t.Errorf("event %d: %v", i, e.Result)
				}
			}
			dones[0](nil)
			dones[1](full)
			cancel()
		}
		return nil
	})
	if err != nil || b.Cursor != "source" || !reflect.DeepEqual(b.Filters, o.Topics) {
		t.Error(err, b.Cursor, b.Filters)
	}
	if b.Offered[0].Result != nil || b.Offered[1].Result != full || b.Offered[2].Result != kindtest.ErrPending {
		t.Errorf("%v, %v, %v", b.Offered[0].Result, b.Offered[1].Result, b.Offered[2].Result)
	}
}

func TestPostRefuses(t *testing.T) {
	b := newBus(errors.New("the end"), message("a", "1", false), message("b", "2", false))
	refused := errors.New("being stopped")
	n := 0
	err := New(defaults(), b).Stream(t.Context(), func(context.Context, time.Time, map[string]any, func(error)) error { n++; return refused })
	if err != refused || n != 1 || b.Offered[0].Result != refused || b.Offered[1].Result != refused {
		t.Error(err, n, b.Offered[0].Result, b.Offered[1].Result)
	}
}

func TestConsumeFails(t *testing.T) {
	closed := errors.New("the bus is closed")
	if err := New(defaults(), newBus(closed)).Stream(t.Context(), nil); err != closed {
		t.Error(err)
	}
}

func TestRetained(t *testing.T) {
	for _, c := range []struct {
		retained bool
		want     string
	}{{true, "[old live published]"}, {false, "[live published]"}} {
		published := message("published", "", true)
		published["retained"] = false // published just now, with RETAIN
		b := newBus(errors.New("the end"), message("old", "", true), message("live", "", false), published)
		o := defaults()
		o.Retained = c.retained
		var got []string
		_ = New(o, b).Stream(t.Context(), func(_ context.Context, _ time.Time, f map[string]any, done func(error)) error {
			got = append(got, f["name"].(string))
			done(nil)
			return nil
		})
		if fmt.Sprint(got) != c.want || b.Acknowledged() != 3 {
			t.Errorf("%v: %v, %d acknowledged", c.retained, got, b.Acknowledged())
		}
	}
}

// TestOwn checks that topics: [home/#] and topic: home/x don't make a loop that writes to the disk
// forever.
func TestOwn(t *testing.T) {
	for _, c := range []struct {
		own  bool
		want string
	}{{false, "[mine_stored other]"}, {true, "[mine_stored mine other]"}} {
		mine, stored := message("mine", "", false), message("mine_stored", "", true)
		mine["source"], stored["source"] = "plugin:test", "plugin:test"
		b := newBus(errors.New("the end"), stored, mine, message("other", "", false))
		o := defaults()
		o.Own = c.own
		var got []string
		_ = New(o, b).Stream(t.Context(), func(_ context.Context, _ time.Time, f map[string]any, done func(error)) error {
			got = append(got, f["name"].(string))
			done(nil)
			return nil
		})
		if fmt.Sprint(got) != c.want || b.Acknowledged() != 3 {
			t.Errorf("%v: %v, %d acknowledged", c.own, got, b.Acknowledged())
		}
	}
}

func TestAction(t *testing.T) {
	for _, c := range []struct {
		args Args
		want kindtest.Publication
		err  string // of a permanent error
	}{
		{Args{Topic: "a/b", Payload: "x"}, kindtest.Publication{Topic: "a/b", Payload: "x", QoS: 1}, ""},
		{Args{Topic: "a", Payload: 21.5, QoS: "0", Retain: true}, kindtest.Publication{Topic: "a", Payload: "21.5", Retain: true}, ""},
		{Args{Topic: "a", Payload: true, QoS: "2"}, kindtest.Publication{Topic: "a", Payload: "true", QoS: 2}, ""},
		{Args{Topic: "a"}, kindtest.Publication{Topic: "a", QoS: 1}, ""},
		{Args{Topic: "a", Payload: map[string]any{"b": []any{1, "x"}}}, kindtest.Publication{Topic: "a", Payload: `{"b":[1,"x"]}`, QoS: 1}, ""},
		{Args{Topic: "a", Payload: []byte("\xff")}, kindtest.Publication{Topic: "a", Payload: "\xff", QoS: 1}, ""},
		{Args{Topic: "a", Payload: Levels{"x", "y"}}, kindtest.Publication{Topic: "a", Payload: "x/y", QoS: 1}, ""},
		{Args{Topic: ""}, kindtest.Publication{}, "topic: it is empty"},
		{Args{Topic: "a/+"}, kindtest.Publication{}, `topic: "a/+" holds a wildcard`},
		{Args{Topic: "a\x00"}, kindtest.Publication{}, `topic: "a\x00" holds`},
		{Args{Topic: "a", Payload: make(chan int)}, kindtest.Publication{}, "payload: json"},
	} {
		b := kindtest.NewBus()
		err := NewAction(actionDefaults(), b).Do(t.Context(), c.args)
		if c.err != "" && (!kind.IsPermanent(err) || !strings.HasPrefix(err.Error(), c.err) || b.Published != nil) ||
			c.err == "" && (err != nil || len(b.Published) != 1 || b.Published[0] != c.want) {
			t.Errorf("%v: %v, %v", c.args, b.Published, err)
		}
	}
	b := kindtest.NewBus()
	b.PublishError = errors.New("the disk is full")
	if err := NewAction(actionDefaults(), b).Do(t.Context(), Args{Topic: "a"}); err != b.PublishError {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(` {"a": 1}`))
	f.Add([]byte("\xff\xfe0\x00 \x00")) // UTF-16
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, f, _ := defaults().Read(message("a", string(b), false), ""); f["json"] != nil && !json.Valid(payload.Decode(b)) {
			t.Errorf("%v", f["json"])
		}
	})
}
