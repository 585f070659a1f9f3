package journal_test

// This file is what a reader finds, and what it passes without reading.

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/bus/bustest"
	"github.com/postbus/postbus/bus/journal"
)

func TestSeqAtFindsTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, bustest.NewDisk(1), journal.Options{SegmentSize: 1 << 10, CacheSize: 1})
		defer l.Close()
		start := time.Now()
		for i := range 300 { // one a second, over many segments
			put(t, l, i, i+1)
			time.Sleep(time.Second)
		}
		for _, s := range []int{0, 1, 77, 299} {
			seq, complete := l.SeqAt(start.Add(time.Duration(s) * time.Second).UnixNano())
			if want := uint64(s + 1); seq > want || want-seq > 20 || !complete {
				t.Errorf("second %d: sequence %d, complete %v; want at or shortly before %d", s, seq, complete, want)
			}
		}
		if seq, _ := l.SeqAt(time.Now().UnixNano()); seq != 301 {
			t.Errorf("now: sequence %d, want the next one", seq)
		}
		l.Retain(200, 0, 0, time.Now())
		if _, complete := l.SeqAt(start.UnixNano()); complete {
			t.Error("the journal claims to reach back to what it deleted")
		}
	})
}

func TestReaderPassesSegmentsWithoutItsTopic(t *testing.T) {
	fs, _ := journal.DirFS(t.TempDir())
	l := open(t, fs, journal.Options{SegmentSize: 4 << 10, CacheSize: 1})
	defer l.Close()
	for i := range 100 {
		put(t, l, i*10, i*10+10)
	}
	rare := &journal.Record{Kind: journal.KindEvent, Topic: []byte("rare"), Payload: []byte("here")}
	c, _ := l.Append(rare)
	<-c.Done()
	for i := range 100 {
		put(t, l, i*10, i*10+10)
	}
	r := l.Reader(1)
	defer r.Release()
	r.Match = func(topic []byte) bool { return string(topic) == "rare" }
	var rec journal.Record
	read, found := 0, false
	for {
		ok, err := r.Next(&rec)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		read++
		found = found || string(rec.Topic) == "rare"
	}
	if !found || read > 300 {
		t.Fatalf("found %v after reading %d of 2001 records", found, read)
	}
}

// A reader with prefixes passes over what holds nothing for it, in memory and on disk, and finds
// the rest.
func TestAReaderPassesOverOtherTopics(t *testing.T) {
	for name, cache := range map[string]int{"memory": 64 << 20, "disk": 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const n = 20000
				l := open(t, bustest.NewDisk(1), journal.Options{CacheSize: cache, SegmentSize: 1 << 20})
				defer l.Close()
				for i := range n {
					r := event(i)
					r.Topic = fmt.Appendf(nil, "d/%d/cmd", i%5000)
					if i%3 == 0 {
						r = &journal.Record{Kind: 3, Source: []byte("somebody")}
					}
					if _, err := l.Append(r); err != nil {
						t.Fatal(err)
					}
				}
				c, err := l.Append(event(n))
				if err != nil {
					t.Fatal(err)
				}
				<-c.Done()
				all, topics := 0, 0
				for want := 1; want < 5000; want += 97 {
					r := l.Reader(1)
					r.Prefixes = []journal.Prefix{journal.PrefixOf(fmt.Sprint("d/", want))}
					read, found := 0, 0
					var rec journal.Record
					for {
						ok, err := r.NextUntil(n, &rec)
						if err != nil {
							t.Fatal(err)
						}
						if !ok {
							break
						}
						read++
						if string(rec.Topic) == fmt.Sprintf("d/%d/cmd", want) {
							found++
						}
					}
					expect := 0
					for i := want; i < n; i += 5000 {
						if i%3 != 0 {
							expect++
						}
					}
					if found != expect {
						t.Errorf("topic %d: %d of %d events found", want, found, expect)
					}
					all, topics = all+read, topics+1
					r.Release()
				}
				if all/topics > n/2 {
					t.Errorf("%d of %d records read for a topic on average", all/topics, n)
				}
			})
		})
	}
}
