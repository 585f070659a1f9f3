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
)

// fakeEnv replays its events until they are acknowledged.
type fakeEnv struct {
	name    string
	filters []string
	events  []map[string]any
	acked   []error
	fail    error
	got     []string // published
}

func (e *fakeEnv) Consume(ctx context.Context, name string, filters []string, each func(map[string]any, func(error))) error {
	e.name, e.filters, e.acked = name, filters, make([]error, len(e.events))
	for i, m := range e.events {
		e.acked[i] = errors.New("pending")
		each(m, func(err error) { e.acked[i] = err })
	}
	if e.fail != nil {
		return e.fail
	}
	<-ctx.Done()
	return ctx.Err()
}

func (e *fakeEnv) Source() string { return "plugin:me" }

func (e *fakeEnv) Publish(_ context.Context, topic string, payload []byte, qos int, retain bool) error {
	e.got = append(e.got, fmt.Sprintf("%s %s %d %v", topic, payload, qos, retain))
	return e.fail
}

func TestFilters(t *testing.T) {
	for filter, want := range map[string]string{
		"home/+/doorbell": "", "#": "", "+": "", "+/#": "", "/": "", "a//b": "", "$bus/#": "", "$SYS/+/x": "", "ü": "", "$shared/x": "",
		"": "is empty", "a/#/b": "must be the last", "#/": "must be the last", "a#": "of their own", "a+/b": "of their own", "++": "of their own", "a\x00": "NUL", "a\xff": "UTF-8",
		"$share/g/a": "to itself", "$share": "to itself", strings.Repeat("a", 65536): "65536 bytes",
	} {
		errs := Options{Topics: []string{filter}}.Check()
		if want == "" && errs != nil || want != "" && (len(errs) != 1 || !strings.Contains(errs[0].Error(), want)) {
			t.Errorf("%.20q: %v", filter, errs)
		}
	}
	if errs := (Options{Topics: []string{"a", "b", "a"}}).Check(); len(errs) != 1 || errs[0].(*kind.OptionError).Key() != "topics[2]" {
		t.Error(errs)
	}
	if errs := Defaults().Check(); len(errs) != 1 {
		t.Error(errs)
	}
}

func message(topic, payload string, retain bool) map[string]any {
	return map[string]any{"topic": topic, "payload": []byte(payload), "qos": 1, "retain": retain, "source": "client:door", "hops": 2, "time": time.Unix(7, 0), "seq": uint64(9), "redelivered": false}
}

func TestEvent(t *testing.T) {
	m := message("home/hall/doorbell", `{"pressed": true}`, true)
	at, got := event(m)
	m["payload"].([]byte)[0] = 'x' // the memory is the bus's
	want := map[string]any{"topic": Levels{"home", "hall", "doorbell"}, "name": "home/hall/doorbell", "bytes": []byte(`{"pressed": true}`), "text": `{"pressed": true}`,
		"json": map[string]any{"pressed": true}, "qos": 1, "retain": true, "source": "client:door", "hops": 2, "seq": uint64(9), "time": time.Unix(7, 0), "redelivered": false}
	if !at.Equal(time.Unix(7, 0)) || !reflect.DeepEqual(got, want) {
		t.Errorf("%v %v", at, got)
	}
	if s := fmt.Sprint(got["topic"]); s != "home/hall/doorbell" {
		t.Errorf("%s", s)
	}
	for payload, want := range map[string]any{"": nil, "21.5": 21.5, " [1] ": []any{int64(1)}, "true": true, "null": nil, "hello": nil, "{": nil, "1 2": nil, "\xff": nil,
		`"` + strings.Repeat("x", maxJSON) + `"`: nil} {
		if got := parse([]byte(payload)); !reflect.DeepEqual(got, want) {
			t.Errorf("%.20q: %v", payload, got)
		}
	}
	for i := range reflect.TypeFor[Event]().NumField() {
		if _, ok := got[reflect.TypeFor[Event]().Field(i).Tag.Get("key")]; !ok || len(got) != reflect.TypeFor[Event]().NumField() {
			t.Errorf("fields and documentation differ: %v", got)
		}
	}
}

// An event is acknowledged when post calls done, not before; an error is passed to the bus.
func TestAcknowledges(t *testing.T) {
	env := &fakeEnv{events: []map[string]any{message("a", "1", false), message("b", "2", false), message("c", "3", false)}}
	o := Defaults()
	o.Topics = []string{"#"}
	ctx, cancel := context.WithCancel(t.Context())
	var dones []func(error)
	lost := errors.New("the disk is full")
	err := New(o, env).Stream(ctx, func(_ context.Context, _ time.Time, f map[string]any, done func(error)) error {
		if dones = append(dones, done); len(dones) == 3 {
			for i, e := range env.acked {
				if e == nil {
					t.Errorf("event %d was acknowledged too soon", i)
				}
			}
			dones[0](nil)
			dones[1](lost)
			cancel()
		}
		return nil
	})
	if err != nil || env.name != "source" || !reflect.DeepEqual(env.filters, o.Topics) {
		t.Error(err, env.name, env.filters)
	}
	if env.acked[0] != nil || env.acked[1] != lost || env.acked[2] == nil {
		t.Error(env.acked)
	}
}

func TestPostRefuses(t *testing.T) {
	env := &fakeEnv{events: []map[string]any{message("a", "1", false), message("b", "2", false)}}
	refused := errors.New("being stopped")
	n := 0
	err := New(Defaults(), env).Stream(t.Context(), func(context.Context, time.Time, map[string]any, func(error)) error { n++; return refused })
	if err != refused || n != 1 || env.acked[0] != refused || env.acked[1] != refused {
		t.Error(err, n, env.acked)
	}
}

func TestConsumeFails(t *testing.T) {
	env := &fakeEnv{fail: errors.New("the bus is closed")}
	if err := New(Defaults(), env).Stream(t.Context(), nil); err != env.fail {
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
		env := &fakeEnv{events: []map[string]any{message("old", "", true), message("live", "", false), published}, fail: errors.New("end")}
		o := Defaults()
		o.Retained = c.retained
		var got []string
		_ = New(o, env).Stream(t.Context(), func(_ context.Context, _ time.Time, f map[string]any, done func(error)) error {
			got = append(got, f["name"].(string))
			done(nil)
			return nil
		})
		if fmt.Sprint(got) != c.want || env.acked[0] != nil {
			t.Errorf("%v: %v, %v", c.retained, got, env.acked)
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
		mine["source"], stored["source"] = "plugin:me", "plugin:me"
		env := &fakeEnv{events: []map[string]any{stored, mine, message("other", "", false)}, fail: errors.New("end")}
		o := Defaults()
		o.Own = c.own
		var got []string
		_ = New(o, env).Stream(t.Context(), func(_ context.Context, _ time.Time, f map[string]any, done func(error)) error {
			got = append(got, f["name"].(string))
			done(nil)
			return nil
		})
		if fmt.Sprint(got) != c.want || env.acked[1] != nil {
			t.Errorf("%v: %v, %v", c.own, got, env.acked)
		}
	}
}

func TestAction(t *testing.T) {
	for _, c := range []struct {
		args Args
		want string // a leading "!": a permanent error
	}{
		{Args{Topic: "a/b", Payload: "x"}, "a/b x 1 false"},
		{Args{Topic: "a", Payload: 21.5, QoS: "0", Retain: true}, "a 21.5 0 true"},
		{Args{Topic: "a", Payload: true, QoS: "2"}, "a true 2 false"},
		{Args{Topic: "a"}, "a  1 false"},
		{Args{Topic: "a", Payload: map[string]any{"b": []any{1, "x"}}}, `a {"b":[1,"x"]} 1 false`},
		{Args{Topic: "a", Payload: []byte("\xff")}, "a \xff 1 false"},
		{Args{Topic: "a", Payload: Levels{"x", "y"}}, "a x/y 1 false"},
		{Args{Topic: ""}, "!topic: it is empty"}, {Args{Topic: "a/+"}, "!topic: \"a/+\" holds a wildcard"}, {Args{Topic: "a\x00"}, "!topic: \"a\\x00\" holds"},
		{Args{Topic: "a", Payload: make(chan int)}, "!payload: json"},
	} {
		env := &fakeEnv{}
		err := NewAction(ActionDefaults(), env).Do(t.Context(), c.args)
		want, bad := strings.CutPrefix(c.want, "!")
		var p interface{ Permanent() bool }
		if bad && (!errors.As(err, &p) || !p.Permanent() || !strings.HasPrefix(err.Error(), want)) || !bad && (err != nil || env.got[0] != want) {
			t.Errorf("%v: %v, %v", c.args, env.got, err)
		}
	}
	env := &fakeEnv{fail: errors.New("the disk is full")}
	if err := NewAction(ActionDefaults(), env).Do(t.Context(), Args{Topic: "a"}); err != env.fail {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(` {"a": 1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if v := parse(b); v != nil && !json.Valid(b) {
			t.Errorf("%v", v)
		}
	})
}
