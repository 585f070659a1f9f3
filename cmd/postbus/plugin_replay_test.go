package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
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
