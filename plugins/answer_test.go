package plugins

// This file tests on_answer: the answer to a job is an event of the plugin, in order and durable before the
// job counts as done.

import (
	"context"
	"fmt"
	"io"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/postbus/postbus/bus"
)

const askedFile = `
source: {mqtt: {topics: ["ask/+"]}}
actions:
  - http:
      url: "%s/${event.topic[1]}"
      method: PUT
      text: "${event.text}"
    retry: {backoff: 1ms..2ms}
    on_answer:
      - topic: "answer/${event.topic[1]}"
        when: answer.status == 200
        payload: {of: "${event.text}", got: "${answer.json.n}", kind: "${answer.headers[\"x-kind\"]}", n: "${own.n ?? 0}", fast: "${answer.took < 60}"}
        set_own: {n: "${(own.n ?? 0) + 1}"}
      - {topic: "raw/${event.topic[1]}", changed: answer.status}
`

func TestAnswersAreEvents(t *testing.T) {
	var n atomic.Int64
	server := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		body, _ := io.ReadAll(r.Body)
		if string(body) == "again" && n.Add(1) < 3 {
			w.WriteHeader(503)
			return
		}
		w.Header().Set("X-Kind", "test")
		fmt.Fprintf(w, `{"n": %q}`, r.URL.Path+string(body))
	}))
	defer server.Close()
	w := newWorld(t, Options{})
	w.write("a.yaml", fmt.Sprintf(askedFile, server.URL))
	w.is("a", StateRunning)
	got := w.subscribe("answer/#")
	raw := w.subscribe("raw/#")
	for _, e := range [][2]string{{"x", "1"}, {"x", "again"}, {"y", "3"}, {"x", "4"}} {
		w.ask("ask/"+e[0], e[1])
	}
	for _, want := range []string{
		`answer/x {"of":"1","got":"/x1","kind":"test","n":0,"fast":true}`,
		`answer/x {"of":"again","got":"/xagain","kind":"test","n":1,"fast":true}`,
		`answer/y {"of":"3","got":"/y3","kind":"test","n":0,"fast":true}`,
		`answer/x {"of":"4","got":"/x4","kind":"test","n":2,"fast":true}`,
	} {
		e := got.next()
		if s := e.Topic + " " + string(e.Payload); s != want {
			t.Errorf("got  %s\nwant %s", s, want)
		}
		if e.Source != "plugin:a" || e.Hops != 1 || e.Cause == 0 {
			t.Errorf("source %s, %d hops, cause %d", e.Source, e.Hops, e.Cause)
		}
	}
	for _, want := range []string{"raw/x", "raw/y"} {
		if e := raw.next(); e.Topic != want || !strings.Contains(string(e.Payload), `"status":200`) || strings.Contains(string(e.Payload), `"of"`) {
			t.Errorf("%s %s, want the answer on %s", e.Topic, e.Payload, want)
		}
	}
	raw.quiet() // the status is the same
}

// TestAnswerIsDurableBeforeTheJobIsDone: a crash repeats the request, and never loses the answer.
func TestAnswerIsDurableBeforeTheJobIsDone(t *testing.T) {
	w, disk := newWorldOnDisk(t)
	server := httptest.NewServer(nethttp.HandlerFunc(func(nethttp.ResponseWriter, *nethttp.Request) { disk.FailIn(1, true) }))
	defer server.Close()
	w.write("a.yaml", fmt.Sprintf(askedFile, server.URL))
	w.is("a", StateRunning)
	raw := w.subscribe("raw/#")
	w.ask("ask/x", "1")
	st := w.is("a", StateDegraded)
	if st.Counters.Done != 0 {
		t.Error("the job is done before its answer is durable")
	}
	disk.FailIn(0, false)
	if e := raw.next(); e.Topic != "raw/x" {
		t.Errorf("%s %s", e.Topic, e.Payload)
	}
	w.is("a", StateRunning, func(st Status) bool { return st.Counters.Done == 1 })
}

// ask publishes an event of a client.
func (w *world) ask(topic, text string) {
	w.t.Helper()
	if _, err := w.bus.Publish(context.Background(), bus.Event{Topic: topic, Payload: []byte(text), QoS: 1, Source: "client"}); err != nil {
		w.t.Fatal(err)
	}
}

func TestAnswersInTests(t *testing.T) {
	const file = `
source: {probe: {name: a}}
actions:
  - when: event.value > 0
    http: {url: "http://x.invalid/", text: "${event.text}"}
    on_answer: [{topic: "answer/${event.text}", when: answer.json.ok, payload: "${answer.status} ${event.value}"}]
tests:
  - event: {value: 7, text: x}
    answer: {http: {status: 201, json: {ok: true}}}
    expect: [{http: {text: x}}, {topic: answer/x, payload: "%s"}]
  - event: {value: 7, text: x}
    answer: {http: {json: {ok: false}}}
    expect: [{http: {text: x}}]
  - event: {value: 0, text: x}
    expect: []
  - steps:
      - {at: 0s, event: {value: 1, text: y}, answer: {http: {status: 200, json: {ok: true}}}}
      - {at: 1s, expect: [{http: {}}, {topic: answer/y, payload: "200 1"}]}
`
	if s, errs := checked(t, fmt.Sprintf(file, "201 7")); s == nil {
		t.Error(errs)
	}
	if _, errs := checked(t, fmt.Sprintf(file, "200 7")); !strings.Contains(errs, "want the payload 200 7, got 201 7") {
		t.Error(errs)
	}
}
