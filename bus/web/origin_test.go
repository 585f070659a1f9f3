package web_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/journal"
	"github.com/postbus/postbus/bus/web"
)

// TestOrigin: topics, events in both forms and causes say which bus accepted an event first, and when; nothing of
// this bus's own events.
func TestOrigin(t *testing.T) {
	b, base := start(t, web.Options{Local: true, Plugins: noPlugins{}})
	record := func(topic string, n uint64, at int64) journal.Record {
		return journal.Record{Flags: 1 | 4, Expiry: journal.NoExpiry, Source: []byte("lamp"), Topic: []byte(topic), Payload: []byte("x"),
			Lane: []byte("0123456789abcdef/a"), Number: n, At: at, Stamp: int64(n)}
	}
	if _, err := b.Publish(t.Context(), bus.Event{Topic: "home/own", Payload: []byte("x"), QoS: 1, Retain: true, Source: "lamp"}); err != nil {
		t.Fatal(err)
	}
	p, err := b.Import(bus.Imported{What: bus.ImportEvent, Bus: "attic", Record: record("home/far", 1, 1_000_000_000_500_000_000)},
		bus.Imported{What: bus.ImportEvent, Bus: "attic", Record: record("home/unknown", 2, 0)})
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if err := b.WaitFor(t.Context(), b.Stats().Journal.Last); err != nil {
		t.Fatal(err)
	}
	type event struct {
		Seq    uint64
		Topic  string
		Source string
		Origin *struct{ Bus, Time string }
	}
	check := func(what string, list []event) {
		n := 0
		for _, e := range list {
			want, source := map[string]string{"home/own": "", "home/far": "attic 2001-09-09T01:46:40.5Z", "home/unknown": "attic "}[e.Topic], "@fleet/attic/lamp"
			got := ""
			if e.Origin != nil {
				got = e.Origin.Bus + " " + e.Origin.Time
			}
			if want == "" {
				source = "lamp"
			}
			if n++; got != want || e.Source != source {
				t.Errorf("%s: %s of %s has the origin %q, want %q", what, e.Topic, e.Source, got, want)
			}
		}
		if n != 3 {
			t.Errorf("%s: %d events", what, n)
		}
	}
	var topics []event
	_, _, body := request{method: "GET", path: "/api/v1/topics?filter=home/%23"}.do(t, base)
	if err := json.Unmarshal([]byte(body), &topics); err != nil {
		t.Fatal(err, body)
	}
	check("topics", topics)
	var page struct{ Events []event }
	_, _, body = request{method: "GET", path: "/api/v1/events?filter=home/%23"}.do(t, base)
	if err := json.Unmarshal([]byte(body), &page); err != nil {
		t.Fatal(err, body)
	}
	check("events", page.Events)
	var lines []event
	_, _, body = request{method: "GET", path: "/api/v1/events?filter=home/%23", header: map[string]string{"Accept": "application/x-ndjson"}}.do(t, base)
	for line := range strings.Lines(body) {
		var e event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err, line)
		}
		if e.Seq > 0 {
			lines = append(lines, e)
		}
	}
	check("lines of events", lines)
	var steps []event
	for _, topic := range []string{"home/own", "home/far", "home/unknown"} {
		var why struct{ Steps []event }
		_, _, body = request{method: "GET", path: "/api/v1/why?topic=" + topic}.do(t, base)
		if err := json.Unmarshal([]byte(body), &why); err != nil {
			t.Fatal(err, body)
		}
		steps = append(steps, why.Steps...)
	}
	check("causes", steps)
}
