package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/postbus/postbus/bus"
)

// TestAnInterruptedReplayIsAnError: a part of the journal does not look like all of it, whatever the streams wait for.
func TestAnInterruptedReplayIsAnError(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for seq := 1; r.Context().Err() == nil; seq++ {
			if _, err := fmt.Fprintf(w, `{"seq":%d,"time":"2026-01-01T00:00:00Z","topic":"a","payload":"x"}`+"\n", seq); err != nil {
				return
			}
		}
	}))
	defer server.Close()
	m := &Main{}
	for n := range 40 {
		ctx, cancel := context.WithCancel(context.Background())
		seen := 0
		err := m.journal(ctx, &remote{url: server.URL}, "24h", []string{"a", "b"}, func(*bus.Event) {
			if seen++; seen == 5*readAhead+n {
				cancel()
			}
		})
		cancel()
		if err == nil {
			t.Fatalf("interrupted after %d events, and no error", seen)
		}
	}
}

// TestWidestFilters: each event that a filter matches is read, by one of those that are left where one covers the others.
func TestWidestFilters(t *testing.T) {
	for _, c := range []struct{ filters, want []string }{
		{[]string{"a/b", "a/b"}, []string{"a/b"}},
		{[]string{"out/x", "#", "in/+"}, []string{"#"}},
		{[]string{"+/#", "#", "a"}, []string{"#"}},
		{[]string{"$bus/plugins/a/events", "#"}, []string{"#", "$bus/plugins/a/events"}},
		{[]string{"a/+/c", "a/b/+"}, []string{"a/+/c", "a/b/+"}},
		{[]string{"a/#", "a", "a/b"}, []string{"a/#"}},
	} {
		if got := widest(slices.Clone(c.filters)); !slices.Equal(got, c.want) {
			t.Errorf("%q: got %q, want %q", c.filters, got, c.want)
		}
	}
}
