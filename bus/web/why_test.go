package web_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/web"
)

// TestWhy: the chain of causes, without the payloads that a user may not read.
func TestWhy(t *testing.T) {
	b, base := start(t, web.Options{Local: true, Authenticate: policy(t, nil), Plugins: noPlugins{}})
	publish := func(topic, payload string, cause uint64) uint64 {
		t.Helper()
		seq, err := b.Publish(context.Background(), bus.Event{Topic: topic, Payload: []byte(payload), QoS: 1, Source: "x", Cause: cause})
		if err != nil {
			t.Fatal(err)
		}
		return seq
	}
	long := strings.Repeat("é", 300)
	first := publish("home/safe/code", "1234", 0)
	second := publish("home/door", long, first)
	third := publish("home/light", "\xff", second)
	publish("home/future", "x", 1<<40) // of a damaged record
	get := func(user, query string) (status int, steps []map[string]any, body string) {
		t.Helper()
		status, _, body = request{method: "GET", path: "/api/v1/why?" + query, user: user + ":secret"}.do(t, base)
		var answer struct{ Steps []map[string]any }
		if err := json.Unmarshal([]byte(body), &answer); err != nil {
			t.Fatal(body, err)
		}
		return status, answer.Steps, body
	}
	for _, query := range []string{"topic=home/light", fmt.Sprint("seq=", third)} {
		status, steps, body := get("pi", query)
		if status != 200 || len(steps) != 3 {
			t.Fatalf("%s: %d %s", query, status, body)
		}
		for i, topic := range []any{"home/light", "home/door", nil} {
			if steps[i]["topic"] != topic {
				t.Errorf("step %d is %v, want %s", i, steps[i], topic)
			}
		}
		if steps[0]["payload"] != nil || steps[1]["payload"] != strings.Repeat("é", 100)+"…" || steps[2]["payload"] != nil || strings.Contains(body, "1234") || strings.Contains(body, "safe") {
			t.Errorf("%s: %s", query, body)
		}
	}
	if _, steps, _ := get("root", "topic=home/door"); len(steps) != 2 || steps[1]["payload"] != "1234" {
		t.Errorf("root sees %v", steps)
	}
	if _, steps, _ := get("root", "topic=home/future"); len(steps) != 1 || steps[0]["cause"] != nil {
		t.Errorf("a cause that is later: %v", steps)
	}
	for query, want := range map[string]int{
		"": 400, "topic=home/x&seq=1": 400, "seq=x": 400, "seq=0": 400, "topic=a/%2B": 400, "topic=home/none": 404, "seq=999999": 404, "topic=home/safe/code": 403,
	} {
		if status, _, body := get("pi", query); status != want {
			t.Errorf("%q: %d %s, want %d", query, status, body, want)
		}
	}
	if status, _, body := get("eve", "topic=eve/x"); status != 403 {
		t.Errorf("eve: %d %s", status, body)
	}
}
