package journal_test

// This file is holes: files that vanish, are emptied, cut, or get each other's names while no bus runs.

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/bus/bustest"
	"github.com/postbus/postbus/bus/journal"
)

// segmented is a disk with a closed journal of 60 records in 6 segments of 10.
func segmented(t *testing.T, closed bool) (*bustest.Disk, []string) {
	t.Helper()
	d := bustest.NewDisk(1)
	l := open(t, d, journal.Options{SegmentSize: 300})
	for i := range 6 {
		putGroup(t, l, i*10)
	}
	var names []string
	all, err := d.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range all {
		if strings.HasSuffix(n, ".seg") {
			names = append(names, n)
		}
	}
	if len(names) != 6 {
		t.Fatalf("segments: %q", names)
	}
	if closed {
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return d, names
	}
	killed := d.Kill()
	l.Close()
	return killed, names
}

// putGroup appends ten records in one group, which gets a segment of its own.
func putGroup(t *testing.T, l *journal.Log, from int) {
	t.Helper()
	var rs []*journal.Record
	for i := range 10 {
		rs = append(rs, event(from+i))
	}
	c, err := l.AppendAll(rs...)
	if err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	if err := c.Err(); err != nil {
		t.Fatal(err)
	}
}

// read returns the sequences that are read from 1 on, and those that are reported as lost.
func read(t *testing.T, l *journal.Log, match func([]byte) bool) (got []uint64, lost []journal.Hole) {
	t.Helper()
	r := l.Reader(1)
	defer r.Release()
	r.Match = match
	r.Lost = func(from, to uint64) { lost = append(lost, journal.Hole{From: from, To: to}) }
	var rec journal.Record
	for {
		ok, err := r.Next(&rec)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return got, lost
		}
		got = append(got, rec.Seq)
	}
}

func without(from, to uint64) (rest []uint64) {
	for seq := uint64(1); seq <= 60; seq++ {
		if seq < from || seq > to {
			rest = append(rest, seq)
		}
	}
	return rest
}

func TestEveryHoleIsFound(t *testing.T) {
	type damage func(d *bustest.Disk, name string)
	lose := func(d *bustest.Disk, name string) { d.Lose(name) }
	empty := func(d *bustest.Disk, name string) { d.Cut(name, 0) }
	blank := func(d *bustest.Disk, name string) { d.Cut(name, 64) }
	for _, c := range []struct {
		name     string
		do       damage
		segments []int
		from, to uint64
	}{
		{"first", lose, []int{0}, 1, 10},
		{"middle", lose, []int{2}, 21, 30},
		{"several", lose, []int{1, 2, 3}, 11, 40},
		{"last", lose, []int{5}, 51, 60},
		{"last two", lose, []int{4, 5}, 41, 60},
		{"all", lose, []int{0, 1, 2, 3, 4, 5}, 1, 60},
		{"first emptied", empty, []int{0}, 1, 10},
		{"middle emptied", empty, []int{2}, 21, 30},
		{"last emptied", empty, []int{5}, 51, 60},
		{"middle cut behind its header", blank, []int{2}, 21, 30},
		{"last cut behind its header", blank, []int{5}, 51, 60},
	} {
		for _, closed := range []bool{true, false} {
			if !closed && strings.Contains(c.name, "last cut") {
				continue // it looks like the torn end of a crash
			}
			for _, indexed := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/closed=%v/indexed=%v", c.name, closed, indexed), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						d, names := segmented(t, closed)
						for _, i := range c.segments {
							c.do(d, names[i])
							if !indexed {
								d.Lose(strings.Replace(names[i], ".seg", ".idx", 1))
							}
						}
						if !indexed {
							d.Lose("00000000000000000001.idx")
						}
						next := uint64(61)
						for range 3 { // it stays known
							var log strings.Builder
							l := open(t, d, journal.Options{SegmentSize: 300, Logger: slog.New(slog.NewTextHandler(&log, nil))})
							l.Needed(1)
							to := c.to
							if !closed && to == 60 { // where the newest segment ended is not known
								to = l.Holes()[0].To
							}
							if holes := l.Holes(); !slices.Equal(holes, []journal.Hole{{From: c.from, To: to}}) || to < c.to {
								t.Fatalf("holes %v, want %d to %d", holes, c.from, to)
							}
							if st := l.Stats(); st.Missing != to-c.from+1 || st.Holes == 0 {
								t.Errorf("%d sequences are counted as missing, in %d holes", st.Missing, st.Holes)
							}
							if text := log.String(); !strings.Contains(text, "journal records are missing") || !strings.Contains(text, fmt.Sprint("from_seq=", c.from)) {
								t.Errorf("the log does not say it:\n%s", text)
							}
							got, lost := read(t, l, nil)
							if len(got) > 60-int(c.to-c.from+1) { // with those that were put behind
								got = got[:60-int(c.to-c.from+1)]
							}
							if !slices.Equal(got, without(c.from, c.to)) {
								t.Errorf("read %v", got)
							}
							n := uint64(0)
							for _, h := range lost {
								n += h.To - h.From + 1
							}
							if n != to-c.from+1 {
								t.Errorf("reported as lost: %v, %d of %d", lost, n, to-c.from+1)
							}
							if at := l.Next(); at < next {
								t.Errorf("the next sequence is %d, and was %d", at, next)
							}
							put(t, l, 100, 103)
							next = l.Next()
							if err := l.Close(); err != nil {
								t.Fatal(err)
							}
						}
					})
				})
			}
		}
	}
}

// TestWhatIsMissingMayBeOfOtherTopics: the index of a segment outlives it, and names its topics.
func TestWhatIsMissingMayBeOfOtherTopics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, names := segmented(t, true)
		d.Lose(names[2])
		l := open(t, d, journal.Options{})
		defer l.Close()
		for topic, want := range map[string]int{"t/3": 1, "elsewhere": 0} {
			_, lost := read(t, l, func(b []byte) bool { return string(b) == topic })
			if len(lost) != want {
				t.Errorf("a reader of %s reports %v", topic, lost)
			}
			r := l.Reader(1)
			r.Prefixes = []journal.Prefix{journal.PrefixOf(topic)}
			reports := 0
			r.Lost = func(from, to uint64) { reports++ }
			var rec journal.Record
			for ok, err := r.Next(&rec); ok; ok, err = r.Next(&rec) {
				if err != nil {
					t.Fatal(err)
				}
			}
			r.Release()
			if reports != want {
				t.Errorf("a reader of the prefix %s reports %d times", topic, reports)
			}
		}
	})
}

// TestASegmentThatWasCut at the end of a record: what is behind is a hole, what is before stays.
func TestASegmentThatWasCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, i := range []int{0, 2, 5} {
			for cut := 1; cut <= 10; cut++ {
				d, names := segmented(t, true)
				b := d.Content(names[i])
				d.Cut(names[i], endOf(t, b, uint64(i*10+cut)))
				l := open(t, d, journal.Options{})
				want := []journal.Hole{{From: uint64(i*10 + cut + 1), To: uint64(i*10 + 10)}}
				if cut == 10 {
					want = nil
				}
				if holes := l.Holes(); !slices.Equal(holes, want) {
					t.Errorf("segment %d cut behind %d records: holes %v, want %v", i, cut, holes, want)
				}
				got, _ := read(t, l, nil)
				if len(want) > 0 && !slices.Equal(got, without(want[0].From, want[0].To)) {
					t.Errorf("segment %d cut behind %d records: read %v", i, cut, got)
				}
				l.Close()
			}
		}
	})
}

// TestTheNewestSegmentOfAClosedJournalIsNotTorn: nothing of it is cut off, whatever is wrong at its end.
func TestTheNewestSegmentOfAClosedJournalIsNotTorn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, names := segmented(t, true)
		newest := names[5]
		d.Cut(newest, endOf(t, d.Content(newest), 58)-3)
		was := d.Content(newest)
		l := open(t, d, journal.Options{})
		defer l.Close()
		if holes := l.Holes(); !slices.Equal(holes, []journal.Hole{{From: 58, To: 60}}) {
			t.Errorf("holes %v", holes)
		}
		if string(d.Content(newest)) != string(was) {
			t.Errorf("%d bytes became %d", len(was), len(d.Content(newest)))
		}
	})
}

// endOf is where the record that holds the payload of a sequence ends.
func endOf(t *testing.T, b []byte, seq uint64) int {
	t.Helper()
	payload := fmt.Sprintf("payload %d", seq-1)
	at := strings.Index(string(b), payload)
	if at < 0 {
		t.Fatalf("no %q", payload)
	}
	return at + len(payload)
}

// TestNamesOfSegmentsAreRestored: two that have each other's name, also when a crash comes in between, one
// that has another, and a copy.
func TestNamesOfSegmentsAreRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for failAt := range 12 {
			d, names := segmented(t, true)
			d.Swap(names[1], names[4])
			d.Swap(names[2], "00000000000000009999.seg")
			if failAt > 0 {
				d.FailIn(failAt, true)
				if l, err := journal.Open(context.Background(), d, journal.Options{}); err == nil {
					l.Close()
				}
				d.FailIn(0, false)
			}
			l := open(t, d, journal.Options{})
			if got, lost := read(t, l, nil); !slices.Equal(got, without(99, 99)) || len(lost) > 0 || len(l.Holes()) > 0 {
				t.Fatalf("failure at %d: read %v, lost %v", failAt, got, lost)
			}
			l.Close()
			for _, n := range names {
				if d.Content(n) == nil {
					t.Errorf("%s is not there", n)
				}
			}
		}
	})
}

// TestNothingIsDeletedThatIsNotEmpty: garbage, a copy, another journal's segment keep their content.
func TestNothingIsDeletedThatIsNotEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, names := segmented(t, true)
		other, _ := segmented(t, true)
		write := func(name string, b []byte) {
			f, err := d.Open(name, true)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt(b, 0); err != nil {
				t.Fatal(err)
			}
		}
		kept := [][]byte{[]byte(strings.Repeat("garbage", 100)), other.Content(names[3]), append(d.Content(names[1]), "copy"...)}
		// A foreign one in the place of a segment, where another was set aside before.
		mine := d.Content(names[2])
		d.Swap(names[2], names[2]+".damaged")
		write(names[2], kept[1])
		write("00000000000000007777.seg", kept[0])
		write("00000000000000008888.seg", kept[2])
		for range 2 {
			open(t, d, journal.Options{}).Close()
		}
		all, err := d.List()
		if err != nil {
			t.Fatal(err)
		}
		for i, b := range append(kept, mine) {
			if !slices.ContainsFunc(all, func(n string) bool { return string(d.Content(n)) == string(b) }) {
				t.Errorf("content %d is gone; there are %q", i, all)
			}
		}
	})
}

// TestMetaIsRebuilt: the epoch is in every header.
func TestMetaIsRebuilt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, text := range []string{"missing", "", "{", `{"format":2,"epoch":"12"}`, `[]`} {
			d, names := segmented(t, true)
			l := open(t, d, journal.Options{})
			epoch := l.Epoch()
			l.Close()
			d.Lose("meta.json")
			if text != "missing" {
				f, err := d.Open("meta.json", true)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := f.WriteAt([]byte(text), 0); err != nil {
					t.Fatal(err)
				}
			}
			var log strings.Builder
			l = open(t, d, journal.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			got, _ := read(t, l, nil)
			if l.Epoch() != epoch || len(got) != 60 || len(l.Holes()) > 0 {
				t.Errorf("meta.json %q: epoch %x, was %x; %d records, holes %v", text, l.Epoch(), epoch, len(got), l.Holes())
			}
			if !strings.Contains(log.String(), "rebuilt") {
				t.Errorf("meta.json %q: the log says %s", text, log.String())
			}
			if len(text) > 0 && text != "missing" && string(d.Content("meta.json.damaged")) != text {
				t.Errorf("meta.json %q is not kept: %q", text, d.Content("meta.json.damaged"))
			}
			l.Close()
			if names2, _ := d.List(); !slices.Contains(names2, names[0]) {
				t.Errorf("files are %q", names2)
			}
		}
	})
}

// TestARetentionThatIsInterrupted leaves no hole, in whichever order a power cut brings files back.
func TestARetentionThatIsInterrupted(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			d := bustest.NewDisk(seed)
			l := open(t, d, journal.Options{SegmentSize: 300, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
			for i := range 6 {
				putGroup(t, l, i*10)
			}
			retainAll(l)
			d = d.PowerCut()
			l.Close()
			l = open(t, d, journal.Options{})
			defer l.Close()
			if holes := l.Holes(); len(holes) > 0 {
				t.Errorf("seed %d: holes %v", seed, holes)
			}
		})
	}
}

// TestAFailureLeavesNoSegmentBehind: one that was made when the disk failed is deleted in its turn, or the
// next start would miss what retention deleted behind it.
func TestAFailureLeavesNoSegmentBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for n := 1; n <= 20; n++ {
			d := bustest.NewDisk(uint64(n))
			l := open(t, d, journal.Options{SegmentSize: 300})
			putGroup(t, l, 0)
			d.FailIn(n, n%2 == 0)
			for range 2 {
				_ = tryPut(l) // in a new segment
			}
			time.Sleep(2 * time.Second) // it is tried again
			d.FailIn(0, false)
			time.Sleep(2 * time.Second)
			for i := range 3 {
				putGroup(t, l, i*10)
			}
			last := l.Next() - 1
			l.Retain(last, 0, 0, time.Now())
			l.Close()
			l = open(t, d, journal.Options{})
			if holes := l.Holes(); len(holes) > 0 {
				names, _ := d.List()
				t.Errorf("failure at %d: holes %v of %q", n, holes, names)
			}
			l.Close()
		}
	})
}

func TestTheFolderOfFormat1WithoutMeta(t *testing.T) {
	dir := t.TempDir()
	copyFiles(t, "../testdata/format1", dir, "meta.json")
	fs, err := journal.DirFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	l := open(t, fs, journal.Options{})
	defer l.Close()
	if got, _ := read(t, l, nil); len(got) == 0 || len(l.Holes()) > 0 {
		t.Errorf("read %v, holes %v", got, l.Holes())
	}
	if aside, _ := filepath.Glob(filepath.Join(dir, "journal", "*.damaged*")); len(aside) > 0 {
		t.Errorf("set aside: %q", aside)
	}
}
