package bus_test

// This file is kept values: both or neither, whatever happens.

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/bustest"
)

// values lists the values of topics that match the filter, as "topic=value".
func values(t testing.TB, b *bus.Bus, filter string) []string {
	t.Helper()
	list, err := b.Retained(filter)
	if err != nil {
		t.Fatal(err)
	}
	out := []string{}
	for _, e := range list {
		if !e.Retain || e.Seq == 0 || e.Time.IsZero() {
			t.Errorf("%s: retain %v, sequence %d, time %s", e.Topic, e.Retain, e.Seq, e.Time)
		}
		out = append(out, e.Topic+"="+string(e.Payload))
	}
	return out
}

func same(t testing.TB, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func send(t testing.TB, b *bus.Bus, e bus.Event) uint64 {
	t.Helper()
	seq, err := b.Publish(context.Background(), e)
	if err != nil {
		t.Fatal(err)
	}
	return seq
}

func kept(topic, value string) bus.Kept {
	return bus.Kept{Topic: "$plugin/" + topic, Value: []byte(value)}
}

// An event of each kind sets the value; the event is delivered without it, and nobody gets the value
// as an event.
func TestAKeptValueIsSetWithItsEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := bustest.NewDisk(1)
		b := open(t, d, bus.Options{})
		ctx := context.Background()
		own, err := b.Subscribe(ctx, "", "$plugin/#", "home/#")
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		for i, e := range []bus.Event{
			{QoS: 1, Kept: kept("a/1", "one"), Cause: 7},
			{QoS: 2, Kept: kept("a/2", "two"), Expiry: time.Second},
			{QoS: 0, Kept: kept("a/3", "three")},
			{QoS: 1, Retain: true, Kept: kept("a/4", "four")},
			{QoS: 0, Retain: true, Kept: kept("a/5", "five"), Hops: 3},
		} {
			e.Topic, e.Payload, e.Source = fmt.Sprint("home/", i), []byte("event"), "plugin:a"
			if seq := send(t, b, e); seq == 0 {
				t.Errorf("event %d: no sequence", i)
			}
			got, err := own.Next(ctx)
			if err != nil || got.Topic != e.Topic || string(got.Payload) != "event" || got.Cause != e.Cause || got.Kept.Topic != "" || got.Kept.Value != nil {
				t.Errorf("event %d is delivered as %+v, err %v", i, got, err)
			}
		}
		all := []string{"$plugin/a/1=one", "$plugin/a/2=two", "$plugin/a/3=three", "$plugin/a/4=four", "$plugin/a/5=five"}
		same(t, values(t, b, "$plugin/#"), all...)
		same(t, values(t, b, "home/#"), "home/3=event", "home/4=event")
		time.Sleep(time.Hour) // the value does not expire with its event
		e, ok := b.RetainedValue("$plugin/a/2")
		if !ok || e.Seq != 2 || !e.Time.Equal(start) || e.Source != "plugin:a" || e.Expiry != 0 || e.Cause != 0 {
			t.Errorf("the value is %+v", e)
		}
		if got := b.RetainedByPlugins(); len(got) != 7 || got["$plugin/a/2"] != "plugin:a" || got["home/3"] != "plugin:a" {
			t.Errorf("of plugins: %v", got)
		}
		late, err := b.Subscribe(ctx, "", "$plugin/#") // a new subscription doesn't get them, either
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []*bus.Subscription{own, late} {
			short, cancel := context.WithTimeout(ctx, time.Minute)
			if e, err := s.Next(short); err == nil {
				t.Errorf("delivered: %s %q", e.Topic, e.Payload)
			}
			cancel()
			s.Close()
		}
		var history []string
		if err := b.History(ctx, "#", bus.Since{Seq: 1}, func(e bus.Event) bool { history = append(history, e.Topic); return true }); err != nil {
			t.Fatal(err)
		}
		same(t, history, "home/0", "home/3", "home/4") // that of home/1 expired
		for i := range 3 {                             // from the journal, from a snapshot, from a snapshot of a snapshot
			if i == 0 {
				next := d.PowerCut()
				b.Close()
				d = next
			} else if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			b = open(t, d, bus.Options{})
			same(t, values(t, b, "$plugin/#"), all...)
			same(t, values(t, b, "home/#"), "home/3=event", "home/4=event")
		}
		send(t, b, bus.Event{Topic: "home/3", QoS: 1, Retain: true, Kept: bus.Kept{Topic: "$plugin/a/1"}})
		send(t, b, bus.Event{Topic: "home/x", Kept: bus.Kept{Topic: "$plugin/a/3"}})
		send(t, b, bus.Event{Topic: "$plugin/a/2", QoS: 1, Retain: true}) // as one clears a retained value
		for range 2 {
			same(t, values(t, b, "$plugin/#"), all[3:]...)
			same(t, values(t, b, "home/#"), "home/4=event")
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			b = open(t, d, bus.Options{})
		}
		b.Close()
	})
}

func TestAKeptValueThatIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := bustest.NewDisk(1)
		b := open(t, d, bus.Options{Limits: bus.Limits{TopicLevels: 3}})
		for name, c := range map[string]struct {
			e    bus.Event
			want string
		}{
			"another root":            {bus.Event{Kept: bus.Kept{Topic: "home/a", Value: []byte("x")}}, `kept value at "home/a": its topic must begin with $plugin/`},
			"no topic":                {bus.Event{Kept: bus.Kept{Value: []byte("x")}}, `kept value at "": its topic must begin with $plugin/`},
			"a wildcard":              {bus.Event{Kept: kept("+", "x")}, "kept value: topic"},
			"its own retained event":  {bus.Event{Topic: "$plugin/a", Retain: true, Kept: kept("a", "x")}, `kept value at "$plugin/a": the retained event of the same topic`},
			"too large":               {bus.Event{Kept: bus.Kept{Topic: "$plugin/a", Value: make([]byte, bus.MaxKept+1)}}, "it has 16777217 bytes, at most 16777216"},
			"with an event refused":   {bus.Event{Topic: "a/b/c/d", Kept: kept("a", "x")}, "limits.topic_levels"},
			"with an event malformed": {bus.Event{Topic: "a/#", Kept: kept("a", "x")}, "topic"},
		} {
			for qos := range byte(3) {
				e := c.e
				if e.Topic == "" {
					e.Topic = "home/a"
				}
				e.QoS = qos
				_, err := b.Publish(t.Context(), e)
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("%s at QoS %d: error %v, want %q", name, qos, err, c.want)
				}
			}
		}
		r := (&bus.Event{Topic: "home/a", Kept: kept("a", "x")}).Record()
		if err := b.PublishNow(r); err == nil {
			t.Error("an event that is not written took a kept value along")
		}
		r = (&bus.Event{Topic: "home/a", QoS: 1, Kept: bus.Kept{Topic: "home/b", Value: []byte("x")}}).Record()
		if _, err := b.Append(r); err == nil {
			t.Error("a record with another root is accepted")
		}
		d.FailIn(1, true)
		for qos := range byte(2) {
			if _, err := b.Publish(t.Context(), bus.Event{Topic: "home/a", QoS: qos, Kept: kept("a", "x")}); err == nil {
				t.Errorf("accepted at QoS %d by a disk that fails", qos)
			}
		}
		same(t, values(t, b, "$plugin/#"))
		d.FailIn(0, false)
		b.Close()
		b = open(t, d, bus.Options{Limits: bus.Limits{MinFree: 1}})
		d.Fill(true)
		time.Sleep(2 * time.Second)
		for qos := range byte(2) {
			if _, err := b.Publish(t.Context(), bus.Event{Topic: "home/a", QoS: qos, Kept: kept("a", "x")}); err == nil {
				t.Errorf("accepted at QoS %d by a full disk", qos)
			}
		}
		same(t, values(t, b, "$plugin/#"))
		b.Close()
	})
}

// A client that fills the limits of retained values stops no plugin, and values of plugins take
// nothing from clients.
func TestKeptValuesCountForNoLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, bustest.NewDisk(1), bus.Options{Limits: bus.Limits{Retained: 2, RetainedSize: 1000, TopicLevels: 2, MaxPayload: 100}})
		ctx := context.Background()
		large := strings.Repeat("x", 2000)
		send(t, b, bus.Event{Topic: "home/x", QoS: 1, Kept: kept("a/deep/er/state", large)})
		publish := func(topic, payload string) error {
			_, err := b.Publish(ctx, bus.Event{Topic: topic, QoS: 1, Retain: true, Payload: []byte(payload)})
			b.Retained("#")
			return err
		}
		for i := range 2 {
			if err := publish(fmt.Sprint("home/", i), "v"); err != nil {
				t.Error(err)
			}
		}
		if err := publish("home/2", "v"); err == nil {
			t.Error("the limit of clients does not hold")
		}
		if got := b.Reached(); !slices.Equal(got, []string{bus.LimitRetained}) {
			t.Errorf("reached: %v", got)
		}
		for i := range 10 {
			send(t, b, bus.Event{Topic: "home/x", QoS: byte(i % 2), Kept: kept(fmt.Sprint("a/", i), large)})
		}
		if err := publish("$plugin/b", "state"); err != nil {
			t.Error(err)
		}
		b.Retained("#")
		st := b.Stats()
		if st.Retained != 2 || st.RetainedBytes != 2 || st.Kept != 12 || st.KeptBytes != 11*2000+5 {
			t.Errorf("counted: %d of clients with %d bytes, %d of plugins with %d bytes", st.Retained, st.RetainedBytes, st.Kept, st.KeptBytes)
		}
		b.Close()
	})
}

// BenchmarkKept is what a kept value costs beside an event alone, and beside a second event that
// holds the value.
func BenchmarkKept(b *testing.B) {
	value := []byte(strings.Repeat("v", 100))
	for _, c := range []struct {
		name        string
		kept, apart bool
	}{{"event", false, false}, {"kept", true, false}, {"apart", false, true}} {
		b.Run(c.name, func(b *testing.B) {
			u, err := bus.Open(context.Background(), bus.Options{Dir: b.TempDir()})
			if err != nil {
				b.Fatal(err)
			}
			defer u.Close()
			topics := make([]string, 10_000)
			for i := range topics {
				topics[i] = fmt.Sprint(bus.KeptPrefix, "a/", i)
			}
			e := bus.Event{Topic: "a/b", Payload: make([]byte, 128), QoS: 1}
			var last bus.Pending
			b.ReportAllocs()
			for i := range b.N {
				e.Kept = bus.Kept{}
				if c.kept {
					e.Kept = bus.Kept{Topic: topics[i%len(topics)], Value: value}
				}
				if last, err = u.Send(e); err == nil && c.apart {
					last, err = u.Send(bus.Event{Topic: topics[i%len(topics)], Payload: value, QoS: 1, Retain: true})
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			<-last.Done()
			if err := u.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}
