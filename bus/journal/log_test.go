package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postbus/postbus/bus/bustest"
	"github.com/postbus/postbus/bus/journal"
)

func open(t testing.TB, fs journal.FS, o journal.Options) *journal.Log {
	t.Helper()
	l, err := journal.Open(context.Background(), fs, o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func event(i int) *journal.Record {
	return &journal.Record{Kind: journal.KindEvent, Expiry: journal.NoExpiry, Topic: fmt.Appendf(nil, "t/%d", i%7), Payload: fmt.Appendf(nil, "payload %d", i)}
}

// put appends events from..to-1 and waits until they are durable.
func put(t testing.TB, l *journal.Log, from, to int) {
	t.Helper()
	var last journal.Commit
	for i := from; i < to; i++ {
		c, err := l.Append(event(i))
		if err != nil {
			t.Fatal(err)
		}
		last = c
	}
	<-last.Done()
	if err := last.Err(); err != nil {
		t.Fatal(err)
	}
}

func payloads(t testing.TB, l *journal.Log, from uint64) []string {
	t.Helper()
	r := l.Reader(from)
	defer r.Release()
	var got []string
	var rec journal.Record
	var prev uint64
	for {
		ok, err := r.Next(&rec)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return got
		}
		if rec.Seq <= prev {
			t.Fatalf("sequence %d after %d", rec.Seq, prev)
		}
		prev = rec.Seq
		got = append(got, string(rec.Payload))
	}
}

func TestWhatIsDurableIsThereAfterOpen(t *testing.T) {
	for _, o := range []journal.Options{{}, {SegmentSize: 4 << 10, CacheSize: 1 << 10}, {Interval: time.Millisecond, SegmentSize: 4 << 10}} {
		fs, err := journal.DirFS(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for range 4 {
			l := open(t, fs, o)
			if got := payloads(t, l, 1); len(got) != n {
				t.Fatalf("%d of %d records after opening", len(got), n)
			}
			put(t, l, n, n+500)
			n += 500
			got := payloads(t, l, 1)
			for i, p := range got {
				if want := fmt.Sprintf("payload %d", i); p != want {
					t.Fatalf("record %d is %q", i, p)
				}
			}
			if got := payloads(t, l, 444); len(got) != n-443 {
				t.Fatalf("from 444: %d records", len(got))
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestASecondProcessIsRefusedByName(t *testing.T) {
	dir := t.TempDir()
	fs, _ := journal.DirFS(dir)
	l := open(t, fs, journal.Options{})
	defer l.Close()
	_, err := journal.Open(context.Background(), fs, journal.Options{})
	if !errors.Is(err, journal.ErrLocked) || !strings.Contains(err.Error(), "by process ") {
		t.Fatalf("error %v", err)
	}
}

func TestANewerFormatIsRefusedUntouched(t *testing.T) {
	d := bustest.NewDisk(1)
	f, _ := d.Open("meta.json", true)
	f.WriteAt([]byte(`{"format":99,"epoch":"00"}`), 0)
	before := d.Ops()
	if _, err := journal.Open(context.Background(), d, journal.Options{}); !errors.Is(err, journal.ErrFormat) {
		t.Fatalf("error %v", err)
	}
	if d.Ops() != before {
		t.Fatal("the directory was written to")
	}
}

// A power cut at every operation in turn: what was committed is there, and nothing twice.
func TestPowerCutAnywhere(t *testing.T) {
	for seed := range uint64(1000) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			d := bustest.NewDisk(seed)
			acked := map[string]bool{}
			n := 0
			for range 4 {
				o := journal.Options{SegmentSize: 2 << 10, CacheSize: 512}
				l := open(t, d, o)
				got := map[string]bool{}
				for _, p := range payloads(t, l, 1) {
					if got[p] {
						t.Fatalf("seed %d: %q twice", seed, p)
					}
					got[p] = true
				}
				for p := range acked {
					if !got[p] {
						t.Fatalf("seed %d: acknowledged %q is lost", seed, p)
					}
				}
				if l.Stats().Damaged != 0 {
					t.Fatalf("seed %d: a torn tail was taken for damage", seed)
				}
				type pending struct {
					p string
					c journal.Commit
				}
				var ps []pending
				if rnd.IntN(3) == 0 {
					d.FailIn(1+rnd.IntN(20), rnd.IntN(2) == 0)
				}
				for range rnd.IntN(60) {
					r := event(n)
					n++
					if c, err := l.Append(r); err == nil {
						ps = append(ps, pending{string(r.Payload), c})
					}
					if rnd.IntN(3) == 0 {
						synctest.Wait()
					}
					if rnd.IntN(20) == 0 {
						d.FailIn(0, false)
						time.Sleep(2 * time.Second)
					}
				}
				next := d.PowerCut()
				for _, p := range ps {
					select {
					case <-p.c.Done():
						if p.c.Err() == nil {
							acked[p.p] = true
						}
					default:
					}
				}
				l.Close()
				d = next
			}
		})
	}
}

func TestADamagedRecordIsSkippedAndItsNeighboursKept(t *testing.T) {
	for _, clean := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			d := bustest.NewDisk(1)
			l := open(t, d, journal.Options{})
			put(t, l, 0, 10)
			put(t, l, 10, 20)
			put(t, l, 20, 30)
			if clean {
				l.Close()
			} else {
				defer l.Close()
			}
			next := d.Kill()
			next.Corrupt("00000000000000000001.seg", 64+40+40+3+9+40+2) // in the second record
			l2 := open(t, next, journal.Options{})
			defer l2.Close()
			got := payloads(t, l2, 1)
			if len(got) != 29 || got[0] != "payload 0" || got[1] != "payload 2" {
				t.Fatalf("%d records: %q…", len(got), got[:3])
			}
			if n := l2.Stats().Damaged; n == 0 {
				t.Fatal("the damage was not counted")
			}
		})
	}
}

func TestAFullDiskRefusesAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := bustest.NewDisk(1)
		l := open(t, d, journal.Options{SegmentSize: 1 << 10})
		defer func() { l.Close() }()
		put(t, l, 0, 5)
		d.Fill(true)
		var refused *journal.Unavailable
		for i := 5; refused == nil; i++ {
			c, err := l.Append(event(i))
			if err == nil {
				<-c.Done()
				err = c.Err()
			}
			if err != nil && !errors.As(err, &refused) {
				t.Fatalf("error %v", err)
			}
		}
		if !refused.Full {
			t.Fatalf("error %v does not say that the disk is full", refused)
		}
		if got := payloads(t, l, 1); len(got) < 5 {
			t.Fatalf("reading while full: %d records", len(got))
		}
		d.Fill(false)
		time.Sleep(3 * time.Second)
		put(t, l, 100, 105)
		l.Close()
		l = open(t, d, journal.Options{})
		got := payloads(t, l, 1)
		if got[len(got)-1] != "payload 104" {
			t.Fatalf("after recovery: %q", got)
		}
	})
}

func TestRetentionKeepsWhatIsNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := bustest.NewDisk(1)
		l := open(t, d, journal.Options{SegmentSize: 1 << 10, CacheSize: 1})
		defer l.Close()
		for i := range 30 {
			put(t, l, i*10, i*10+10)
		}
		if first := l.Retain(95, 0, 0, time.Now()); first > 95 || first < 50 {
			t.Fatalf("first kept is %d, needed is 95", first)
		}
		if got := payloads(t, l, 95); got[0] != "payload 94" {
			t.Fatalf("first is %q", got[0])
		}
		if first := l.Retain(1<<60, time.Hour, 1<<40, time.Now()); first > 95 {
			t.Fatalf("deleted within the retention: first is %d", first)
		}
		time.Sleep(2 * time.Hour)
		if first := l.Retain(1<<60, time.Hour, 1<<40, time.Now()); first < 250 {
			t.Fatalf("nothing expired: first is %d", first)
		}
	})
}

func TestSnapshots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := bustest.NewDisk(1)
		l := open(t, d, journal.Options{})
		defer l.Close()
		write := func(seq uint64, n int) {
			_, snap, err := l.WriteSnapshot(seq, func(emit func(*journal.Record) (int64, error)) error {
				for i := range n {
					if _, err := emit(event(i)); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			snap.Close()
		}
		count := func() (seq uint64, n int) {
			seq, _, err := l.ReadSnapshot(func(*journal.Record, int64) error { n++; return nil })
			if err != nil {
				t.Fatal(err)
			}
			return seq, n
		}
		if seq, n := count(); seq != 0 || n != 0 {
			t.Fatal("a snapshot of nothing")
		}
		write(5, 10)
		write(9, 2000)
		if seq, n := count(); seq != 9 || n != 2000 {
			t.Fatalf("snapshot %d with %d records", seq, n)
		}
		d.Corrupt("00000000000000000009.snap", 70000)
		if seq, n := count(); seq != 5 || n != 10 {
			t.Fatalf("behind a damaged one: snapshot %d with %d records", seq, n)
		}
	})
}

// small is a file system with so much room.
type small struct {
	journal.FS
	free *atomic.Int64
}

func (s small) Free() (int64, error) { return s.free.Load(), nil }

// TestHistoryGivesWay: a bus that refuses events while its disk holds what nobody waits for is of
// no use.
func TestHistoryGivesWay(t *testing.T) {
	const segment, limit = 4 << 10, 1 << 20
	synctest.Test(t, func(t *testing.T) {
		free := new(atomic.Int64)
		free.Store(limit + segment)
		l := open(t, small{bustest.NewDisk(1), free}, journal.Options{SegmentSize: segment, MinFree: limit})
		defer l.Close()
		for i := 0; i < 1000; i += 20 { // groups that are smaller than a segment
			put(t, l, i, i+20)
		}
		all := l.Stats().Segments
		keep := func() int {
			time.Sleep(5 * time.Second) // until it has looked at the disk
			l.Retain(800, time.Hour, 1<<40, time.Now())
			return l.Stats().Segments
		}
		if n := keep(); all < 10 || n != all {
			t.Fatalf("with room, %d of %d segments are kept", n, all)
		}
		free.Store(limit + segment - 1)
		if n := keep(); n != all-1 {
			t.Fatalf("for want of a byte, %d of %d segments are kept", n, all)
		}
		free.Store(0)
		if n := keep(); n >= all/2 || n == 1 {
			t.Fatalf("on a full disk, %d of %d segments are kept", n, all)
		}
		if got := payloads(t, l, 800); len(got) != 201 {
			t.Fatalf("%d events are left of those that somebody waits for", len(got))
		}
	})
}

// refusing is a file system that doesn't let some files be read.
type refusing struct {
	journal.FS
	ending string
}

func (r refusing) Open(name string, create bool) (journal.File, error) {
	if !create && strings.HasSuffix(name, r.ending) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return r.FS.Open(name, create)
}

// once refuses the first file that is opened, as for want of descriptors.
type once struct {
	journal.FS
	done bool
}

func (o *once) Open(name string, create bool) (journal.File, error) {
	if !o.done && strings.HasSuffix(name, ".seg") {
		o.done = true
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return o.FS.Open(name, create)
}

// TestAnEmptySegmentIsKept, whose name alone may say which sequence is next.
func TestAnEmptySegmentIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := bustest.NewDisk(1)
		if err := open(t, d, journal.Options{}).Close(); err != nil {
			t.Fatal(err)
		}
		before, err := d.List()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := journal.Open(t.Context(), &once{FS: d}, journal.Options{}); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("opened: %v", err)
		}
		if after, err := d.List(); err != nil || !slices.Equal(before, after) {
			t.Errorf("%q became %q, %v", before, after, err)
		}
	})
}

// TestWhatCannotBeReadIsNotDamaged: somebody ran the bus as root once, and its files are root's
// now.
func TestWhatCannotBeReadIsNotDamaged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := bustest.NewDisk(1)
		l := open(t, d, journal.Options{})
		put(t, l, 0, 100)
		for _, seq := range []uint64{40, 60} {
			write := func(emit func(*journal.Record) (int64, error)) error { _, err := emit(event(1)); return err }
			if _, snap, err := l.WriteSnapshot(seq, write); err != nil {
				t.Fatal(err)
			} else {
				snap.Close()
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		before, err := d.List()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := journal.Open(t.Context(), refusing{d, ".seg"}, journal.Options{}); !errors.Is(err, fs.ErrPermission) {
			t.Fatalf("opened: %v", err)
		}
		if after, err := d.List(); err != nil || !slices.Equal(before, after) {
			t.Fatalf("%q became %q, %v", before, after, err)
		}
		nothing := func(*journal.Record, int64) error { return nil }
		l = open(t, refusing{d, "60.snap"}, journal.Options{})
		if seq, _, err := l.ReadSnapshot(nothing); seq != 40 || err != nil {
			t.Fatalf("beside an unreadable one: snapshot %d, %v", seq, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = open(t, refusing{d, ".snap"}, journal.Options{})
		if seq, _, err := l.ReadSnapshot(nothing); !errors.Is(err, fs.ErrPermission) {
			t.Fatalf("all unreadable: snapshot %d, %v", seq, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = open(t, d, journal.Options{})
		defer l.Close()
		if got := payloads(t, l, 1); len(got) != 100 {
			t.Fatalf("%d events are left", len(got))
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	dir, _ := journal.DirFS(b.TempDir())
	l := open(b, dir, journal.Options{})
	defer l.Close()
	r := &journal.Record{Kind: journal.KindEvent, Topic: []byte("bench/topic"), Source: []byte("client"), Payload: make([]byte, 128)}
	b.ReportAllocs()
	var c journal.Commit
	for b.Loop() {
		c, _ = l.Append(r)
	}
	<-c.Done()
}

// Single records of a snapshot are read by their offsets, also when newer snapshots have replaced
// it.
func TestASnapshotsRecordsByOffset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := bustest.NewDisk(1)
		l := open(t, d, journal.Options{})
		defer l.Close()
		var offs []int64
		write := func(seq uint64) *journal.Snapshot {
			offs = nil
			_, s, err := l.WriteSnapshot(seq, func(emit func(*journal.Record) (int64, error)) error {
				for i := range 500 {
					r := event(i)
					r.Payload = bytes.Repeat([]byte{byte(i)}, i*3)
					off, err := emit(r)
					if err != nil {
						return err
					}
					offs = append(offs, off)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		check := func(s *journal.Snapshot) {
			t.Helper()
			for _, i := range []int{499, 0, 170, 171, 350} {
				var r journal.Record
				if err := s.Read(offs[i], &r); err != nil || len(r.Payload) != i*3 || i > 0 && r.Payload[i] != byte(i) {
					t.Fatalf("record %d: %d bytes, %v", i, len(r.Payload), err)
				}
			}
			if err := s.Read(offs[3]+1, new(journal.Record)); err == nil {
				t.Fatal("an offset within a record is read")
			}
		}
		first := write(10)
		check(first)
		for seq := range uint64(3) {
			write(20 + seq).Close()
		}
		check(first)
		first.Close()
		var read []int64
		_, s, err := l.ReadSnapshot(func(_ *journal.Record, off int64) error { read = append(read, off); return nil })
		if err != nil || !slices.Equal(read, offs) {
			t.Fatalf("offsets %d, %v", len(read), err)
		}
		check(s)
		s.Close()
	})
}
