package bus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/bustest"
)

func wantLimit(t *testing.T, err error, key string) {
	t.Helper()
	limit := (*bus.LimitError)(nil)
	if key == "" && err != nil || key != "" && (!errors.As(err, &limit) || limit.Key != key) {
		t.Errorf("got %.200v, want %q", err, key)
	}
}

// TestRetainedLimits: values beyond a limit are refused; what is stored may change, shrink and go,
// and is counted the same after a restart.
func TestRetainedLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := bustest.NewDisk(1)
		o := bus.Options{Limits: bus.Limits{Retained: 3, RetainedSize: 8000}}
		b := open(t, d, o)
		put := func(topic string, size int, key string) {
			t.Helper()
			for qos := range byte(2) {
				_, err := b.Publish(context.Background(), bus.Event{Topic: topic, Payload: make([]byte, size), QoS: qos, Retain: true})
				wantLimit(t, err, key)
				synctest.Wait()
			}
		}
		steps := func() {
			t.Helper()
			put("a", 1000, "")
			put("b", 7100, bus.LimitRetainedSize)
			put("b", 5000, "")
			put("a", 3200, bus.LimitRetainedSize)
			put("a", 900, "")
			put("c", 10, "")
			put("d", 10, bus.LimitRetained)
			put("b", 0, "")
			put(strings.Repeat("x", 999), 10, bus.LimitRetainedSize) // topics are in memory: an eighth
			put("d", 10, "")
			put("e", 10, bus.LimitRetained)
			if got := b.Reached(); !slices.Equal(got, []string{bus.LimitRetained}) {
				t.Errorf("%q are reached", got)
			}
			for _, name := range []string{"a", "c", "d"} {
				put(name, 0, "")
			}
			if st := b.Stats(); st.Retained != 0 || st.RetainedBytes != 0 || len(b.Reached()) != 0 {
				t.Errorf("%d values with %d bytes are left, %q are reached", st.Retained, st.RetainedBytes, b.Reached())
			}
		}
		steps()
		refused := b.Stats().Refused
		if refused[bus.LimitRetained] != 4 || refused[bus.LimitRetainedSize] != 6 {
			t.Errorf("refused %v", refused)
		}
		put("kept/1", 100, "")
		put("kept/2", 100, "")
		put("kept/3", 100, "")
		for range 2 { // from the journal, and from a snapshot
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			b = open(t, d, o)
			put("kept/4", 1, bus.LimitRetained)
			put("kept/1", 90, "")
		}
		for i := range 3 {
			put(fmt.Sprint("kept/", i+1), 0, "")
		}
		steps()
		o.Limits.Retained = 1
		put("a", 1, "")
		put("b", 1, "")
		b.SetLimits(o.Limits) // what is stored stays
		put("b", 2, "")
		put("c", 1, bus.LimitRetained)
		b.Close()
	})
}

// TestSubscriptionLimits: a session's subscriptions are bounded, also those that ended and that a
// consumer which does not read still holds; and so is the memory of all.
func TestSubscriptionLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, bustest.NewDisk(1), bus.Options{Limits: bus.Limits{Subscriptions: 10, SubscriptionSize: 90_000, Sessions: 6}})
		defer b.Close()
		filters := func(from, to int, tail string) (list []bus.Filter) {
			for i := from; i < to; i++ {
				list = append(list, bus.Filter{Filter: fmt.Sprint("f/", i, tail), QoS: 1})
			}
			return list
		}
		s, _, err := b.Attach(context.Background(), bus.SessionOptions{Name: "s", Expiry: 60})
		if err != nil {
			t.Fatal(err)
		}
		ctx := context.Background()
		wantLimit(t, s.Subscribe(ctx, filters(0, 11, "")), bus.LimitSubscriptions)
		wantLimit(t, s.Subscribe(ctx, filters(0, 10, "")), "")
		exchanged := 0 // again and again, by a consumer that reads nothing
		for ; s.Subscribe(ctx, filters(0, 10, "")) == nil; exchanged++ {
			if exchanged > 10 {
				t.Fatal("filters that ended and are kept have no bound")
			}
		}
		s.Start(&takeAll{}, 10)
		synctest.Wait()
		if _, err := b.Publish(ctx, bus.Event{Topic: "n", QoS: 1}); err != nil { // the cursor passes what ended
			t.Fatal(err)
		}
		synctest.Wait()
		for range 50 {
			wantLimit(t, s.Subscribe(ctx, filters(0, 10, "")), "")
			if _, err := s.Unsubscribe(ctx, []string{"f/3"}); err != nil {
				t.Fatal(err)
			}
			wantLimit(t, s.Subscribe(ctx, filters(3, 4, "")), "")
			synctest.Wait() // until the cursor has passed what ended
		}
		wantLimit(t, s.Subscribe(ctx, filters(0, 1, strings.Repeat("/+", 127))), bus.LimitTopicLevels)
		long := "/" + strings.Repeat("x", 5000)
		var rest []*bus.Session
		for i := range 5 {
			o, _, err := b.Attach(ctx, bus.SessionOptions{Name: fmt.Sprint("o", i)})
			if err != nil {
				t.Fatal(err)
			}
			rest = append(rest, o)
			if i < 1 {
				wantLimit(t, o.Subscribe(ctx, filters(0, 4, long)), "")
			} else {
				wantLimit(t, o.Subscribe(ctx, filters(0, 4, long)), bus.LimitSubscriptionSize)
			}
		}
		_, _, err = b.Attach(ctx, bus.SessionOptions{Name: "one more", Expiry: 60})
		wantLimit(t, err, bus.LimitSessions)
		for _, o := range rest {
			o.Detach(true, 0)
		}
		synctest.Wait()
		o, _, err := b.Attach(ctx, bus.SessionOptions{Name: "one more", Expiry: 60})
		wantLimit(t, err, "")
		wantLimit(t, o.Subscribe(ctx, filters(0, 6, long)), "")
	})
}

// TestWillLimit: last wills take a bounded memory, whether their clients are connected or not.
func TestWillLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := bustest.NewDisk(1)
		o := bus.Options{Limits: bus.Limits{WillSize: 10_000}}
		b := open(t, d, o)
		attach := func(name, key string) *bus.Session {
			t.Helper()
			s, _, err := b.Attach(context.Background(), bus.SessionOptions{Name: name, Expiry: 60, Will: &bus.Will{Topic: "w", Payload: make([]byte, 1500), Login: make([]byte, 1500), Delay: 30}})
			wantLimit(t, err, key)
			return s
		}
		for i := range 3 {
			attach(fmt.Sprint(i), "").Detach(i == 2, 60)
			synctest.Wait()
		}
		attach("3", "").Detach(false, 60) // the third sent DISCONNECT
		attach("4", bus.LimitWillSize)
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		b = open(t, d, o)
		attach("4", bus.LimitWillSize)
		time.Sleep(40 * time.Second) // they are published
		for i := range 3 {
			attach(fmt.Sprint("new", i), "").Detach(true, 0)
			synctest.Wait()
		}
		attach("4", "")
		b.Close()
	})
}

// TestTopicLevels: names are bounded wherever an event comes from, also a last will.
func TestTopicLevels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, bustest.NewDisk(1), bus.Options{})
		defer b.Close()
		for n, key := range map[int]string{128: "", 129: bus.LimitTopicLevels, 32768: bus.LimitTopicLevels} {
			name := strings.Repeat("/", n-1)
			for qos := range byte(3) {
				_, err := b.Publish(context.Background(), bus.Event{Topic: name, QoS: qos})
				wantLimit(t, err, key)
			}
			_, _, err := b.Attach(context.Background(), bus.SessionOptions{Name: fmt.Sprint(n), Will: &bus.Will{Topic: name}})
			wantLimit(t, err, key)
		}
	})
}
