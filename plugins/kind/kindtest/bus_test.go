package kindtest

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"testing/synctest"
)

// consume runs one Consume that ends when all offered events are delivered, and returns what it
// got. result is what done gets.
func consume(t *testing.T, b *Bus, result func(topic string) error, filters ...string) (got []string) {
	t.Helper()
	b.Consuming.Err = errors.New("the end")
	err := b.Consume(t.Context(), "source", filters, func(e map[string]any, done func(error)) {
		text := e["topic"].(string)
		if e["redelivered"].(bool) {
			text += " again"
		}
		got = append(got, text)
		done(result(e["topic"].(string)))
	})
	if err != b.Consuming.Err || b.Cursor != "source" {
		t.Errorf("%v, cursor %q", err, b.Cursor)
	}
	return got
}

func TestConsumeDeliversAgainWhatIsNotAcknowledged(t *testing.T) {
	b := NewBus()
	b.Consuming.Match = func(filter, topic string) bool { return filter == topic }
	for _, topic := range []string{"a", "b", "c"} {
		b.Offer(map[string]any{"topic": topic})
	}
	failed := errors.New("the disk is full")
	fail := func(topic string) error {
		if topic == "b" {
			return failed
		}
		return nil
	}
	if got := consume(t, b, fail, "a", "b"); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("%q", got)
	}
	if b.Acknowledged() != 1 || b.Offered[1].Result != failed {
		t.Errorf("%+v", b.Offered[1])
	}
	succeed := func(string) error { return nil }
	if got := consume(t, b, succeed, "a", "b"); !slices.Equal(got, []string{"b again"}) || b.Acknowledged() != 3 {
		t.Errorf("%q, %d", got, b.Acknowledged())
	}
}

func TestConsumeWaitsForDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBus()
		ctx, cancel := context.WithCancel(t.Context())
		delivered, ended := make(chan func(error), 1), make(chan error, 1)
		go func() {
			ended <- b.Consume(ctx, "source", []string{"#"}, func(_ map[string]any, done func(error)) { delivered <- done })
		}()
		synctest.Wait()
		b.Offer(map[string]any{"topic": "a"})
		done := <-delivered
		cancel()
		synctest.Wait()
		if len(ended) != 0 {
			t.Fatalf("Consume has ended before done: %v", <-ended)
		}
		done(nil)
		if err := <-ended; err != context.Canceled {
			t.Error(err)
		}
	})
}

func TestHandle(t *testing.T) {
	b := NewBus()
	status := func() int {
		w := httptest.NewRecorder()
		b.ServeHTTP(w, httptest.NewRequest("GET", "/x", nil))
		return w.Code
	}
	answer := func(code int) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })
	}
	first, err := b.Handle("/x", true, answer(201))
	if err != nil || status() != 201 {
		t.Fatal(err, status())
	}
	second, _ := b.Handle("/x", false, answer(202))
	first()
	if is, public := b.Mounted("/x"); !is || public || status() != 202 {
		t.Error("the second handler is not mounted")
	}
	second()
	if status() != 404 {
		t.Error("the handler is still mounted")
	}
}
