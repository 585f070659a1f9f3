package bus_test

// This file is what the bus reports about clients: the form of its topics, and how it is stored.

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/bustest"
	"github.com/postbus/postbus/bus/topic"
)

func TestClientTopics(t *testing.T) {
	for id, want := range map[string]string{
		"pump": "pump", "a/b": "a%2Fb", "+": "%2B", "#": "%23", "50%": "50%25", "a%2Fb": "a%252Fb", "$SYS": "%24SYS", "a$": "a$", "a\tb\x7f": "a%09b%7F",
		"\u0085": "%C2%85", "\xff": "%FF", "größe 1": "größe 1", "%": "%25", "\ufffd": "\ufffd",
	} {
		got, ok := bus.ClientTopic(id)
		if got != "$bus/clients/"+want || !ok {
			t.Errorf("%q: %q %v, want %q", id, got, ok, want)
		}
		if back, ok := bus.ClientOf(got); back != id || !ok {
			t.Errorf("%q: %q is of %q %v", id, got, back, ok)
		}
	}
	for _, id := range []string{"", strings.Repeat("x", 1025), strings.Repeat("/", 342)} {
		if got, ok := bus.ClientTopic(id); ok {
			t.Errorf("%q has the topic %q", id, got)
		}
	}
	for _, other := range []string{"$bus/clients/", "$bus/clients/a/b", "$bus/clients/%2", "$bus/clients/%2f", "$bus/clients/%61", "$bus/clients/$", "$bus/lost", "pump", "$bus/clients/%GG"} {
		if id, ok := bus.ClientOf(other); ok {
			t.Errorf("%q is of the client %q", other, id)
		}
	}
}

func FuzzClientTopic(f *testing.F) {
	for _, id := range []string{"pump", "$a/+#%", "\x00\xff", "a%2F"} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if name, ok := bus.ClientTopic(s); ok {
			if back, ok := bus.ClientOf(name); !ok || back != s {
				t.Errorf("%q: %q is of %q %v", s, name, back, ok)
			}
			if err := topic.CheckName(name); err != nil || strings.Count(name, "/") != 2 {
				t.Errorf("%q: %q is not a topic of three levels: %v", s, name, err)
			}
		}
		if id, ok := bus.ClientOf(s); ok {
			if name, _ := bus.ClientTopic(id); name != s {
				t.Errorf("%q is of %q, whose topic is %q", s, id, name)
			}
		}
	})
}

// TestReports: what the bus reports about itself is stored beside the retained values of clients,
// which can neither keep it out nor are kept out by it, also after a restart.
func TestReports(t *testing.T) {
	disk := bustest.NewDisk(1)
	o := bus.Options{Limits: bus.Limits{Retained: 2}}
	report := func(b *bus.Bus, topic, payload string) {
		t.Helper()
		p, err := b.Report(topic, []byte(payload))
		if err != nil {
			t.Fatal(err)
		}
		if <-p.Done(); p.Err() != nil {
			t.Fatal(p.Err())
		}
		if _, err := b.Retained("$bus/none"); err != nil { // waits for the fold
			t.Fatal(err)
		}
	}
	b := open(t, disk, o)
	for _, name := range []string{"$bus/clients/a", "$bus/clients/b", "$bus/clients/c"} {
		report(b, name, "x")
	}
	full := func(b *bus.Bus) {
		t.Helper()
		if err := publishRetained(b, "three"); err == nil {
			t.Error("the third value of clients is accepted")
		} else if limit := (*bus.LimitError)(nil); !errors.As(err, &limit) {
			t.Error(err)
		}
		if st := b.Stats(); st.Retained != 2 || st.RetainedBytes != 2 {
			t.Errorf("counted: %d, %d bytes", st.Retained, st.RetainedBytes)
		}
		report(b, "$bus/clients/d", "longer")
		if keys := b.Reached(); len(keys) != 1 || keys[0] != bus.LimitRetained {
			t.Errorf("reached: %v", keys)
		}
		if e, ok := b.RetainedValue("$bus/clients/d"); !ok || string(e.Payload) != "longer" || e.Source != "bus" || b.RetainedSeq("$bus/clients/d") != e.Seq || b.RetainedSeq("$bus/clients/x") != 0 {
			t.Error(e, ok)
		}
	}
	for _, name := range []string{"one", "two"} {
		if err := publishRetained(b, name); err != nil {
			t.Fatal(err)
		}
	}
	full(b)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = open(t, disk, o)
	full(b)
	report(b, "$bus/clients/a", "")
	if b.RetainedSeq("$bus/clients/a") != 0 {
		t.Error("a cleared value stays")
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Report("$bus/clients/a", nil); !errors.Is(err, bus.ErrClosed) {
		t.Error(err)
	}
}

func publishRetained(b *bus.Bus, name string) error {
	_, err := b.Publish(context.Background(), bus.Event{Topic: name, Payload: []byte("1"), QoS: 1, Retain: true})
	if err == nil {
		_, err = b.Retained("none") // waits for the fold
	}
	return err
}
