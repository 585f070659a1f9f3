package bus

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/postbus/postbus/bus/journal"
)

// The index agrees with a map, whatever is set and cleared in whatever order.
func TestTheIndexOfRetainedTopics(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var x retainedSet
		model := map[string]uint64{}
		check := func(filter string) {
			t.Helper()
			p := compile(filter)
			got := map[string]uint64{}
			var order []string
			for after, done := "", false; !done; {
				var found []retainedEntry
				found, after, done = x.next(&p, after, 1+rnd.IntN(9))
				for _, e := range found {
					got[e.topic] = e.seq
					order = append(order, e.topic)
				}
			}
			want := map[string]uint64{}
			for topic, seq := range model {
				if p.match([]byte(topic)) {
					want[topic] = seq
				}
			}
			if !maps.Equal(got, want) || len(order) != len(got) || !slices.IsSorted(order) {
				t.Fatalf("seed %d: %s finds %d topics in %d steps, want %d", seed, filter, len(got), len(order), len(want))
			}
		}
		topics := 10 + rnd.IntN(3000)
		for seq := uint64(1); seq < 6000; seq++ {
			n := rnd.IntN(topics)
			topic := fmt.Sprintf("%s/%d/%s", []string{"a", "b", "b-", "", "$x"}[n%5], n%97, []string{"t", "t/u", ""}[n%3])
			r := &journal.Record{Seq: seq, Topic: []byte(topic), Payload: []byte("x")}
			if rnd.IntN(100) < 40 {
				r.Payload = nil
				delete(model, topic)
			} else {
				model[topic] = seq
			}
			x.set(r, inJournal, stamp{})
			if v, _, ok := x.value(topic); ok != (len(r.Payload) > 0) || ok && v.seq != seq {
				t.Fatalf("seed %d: %s is %v %v after %d", seed, topic, v, ok, seq)
			}
			if x.clients.count != len(model) || x.clients.bytes != len(model) {
				t.Fatalf("seed %d: counts %d, %d bytes, want %d", seed, x.clients.count, x.clients.bytes, len(model))
			}
			if seq%500 == 0 {
				for _, f := range []string{"#", "a/#", "b/+/t", "+/5/#", "b/5/t", "a/5", "b/#", "$x/#", "+/+/+", "/#", "/5/t/u"} {
					check(f)
				}
			}
		}
	}
}

// BenchmarkRetainedIndex is the memory that a million topics take.
func BenchmarkRetainedIndex(b *testing.B) {
	for range b.N {
		var x retainedSet
		for i := range 1_000_000 {
			x.set(&journal.Record{Seq: uint64(i), Topic: fmt.Appendf(nil, "site/%06d/temp", i*7919%1_000_000), Payload: []byte("21.5")}, inJournal, stamp{})
		}
		size := 0
		for _, k := range x.blocks {
			size += cap(k.topics) + 4*cap(k.ends) + 32*cap(k.values)
		}
		b.ReportMetric(float64(size)/1e6, "bytes/topic")
		b.ReportMetric(float64(len(x.blocks)), "blocks")
	}
}
