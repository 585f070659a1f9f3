package stream

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	benchRecords = 500 // in a group
	benchSize    = 128 // bytes of a record
)

func benchStream(b *testing.B, always bool) *Stream {
	b.Helper()
	h := startHub(b, func(o *server.Options) { o.SyncAlways, o.JetStreamMaxStore = always, 8<<30 })
	createHome(b, h.options())
	return open(b, h.options())
}

func reportEvents(b *testing.B, groups int) {
	b.ReportMetric(float64(groups*benchRecords)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkCommit stores groups, one after the other, on one server.
func BenchmarkCommit(b *testing.B) {
	for _, always := range []bool{true, false} {
		b.Run(fmt.Sprintf("always=%v", always), func(b *testing.B) {
			s := benchStream(b, always)
			data := make([]byte, benchRecords*benchSize)
			var prev Message
			var err error
			n := 0
			for b.Loop() {
				if prev, err = Commit(b.Context(), s, "pbf.home.attic.a", prev, data); err != nil {
					b.Fatal(err)
				}
				n++
			}
			reportEvents(b, n)
		})
	}
}

// BenchmarkRead reads groups.
func BenchmarkRead(b *testing.B) {
	s := benchStream(b, false)
	const groups = 1000
	var prev Message
	var err error
	for range groups {
		if prev, err = Commit(b.Context(), s, "pbf.home.attic.a", prev, make([]byte, benchRecords*benchSize)); err != nil {
			b.Fatal(err)
		}
	}
	var r *Reader
	n := 0
	for b.Loop() {
		if n%groups == 0 {
			if r != nil {
				r.Close()
			}
			if r, err = s.Read(b.Context(), 1); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := r.Next(b.Context()); err != nil {
			b.Fatal(err)
		}
		n++
	}
	r.Close()
	reportEvents(b, n)
}
